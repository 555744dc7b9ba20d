//! What is wrong with a configuration and where: message, place, the line itself with a caret, a hint.

use std::{
    fmt::{self, Write},
    path::Path,
};

use super::source::{Source, Sources};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// Legal, but unwise.
    Warning,
}

/// One problem, ready to be shown. Holds no value of a secret, of a variable or of an included file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// The file, as it was named to us.
    pub file: String,
    /// From 1; 0 where the whole file is meant.
    pub line: usize,
    /// In characters, from 1; 0 where the whole file is meant.
    pub column: usize,
    /// The key's path, as in `upstreams.orders.url`; empty at the top.
    pub path: String,
    /// What to do about it.
    pub hint: Option<String>,
    pub(super) snippet: Option<Snippet>,
}

/// A line, and what of it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Snippet {
    text: String,
    caret_at: usize,
    caret_len: usize,
}

/// A range of bytes in the text of a file, moved behind those of the files before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Span {
    /// Moved behind the files before its own.
    pub(super) fn moved(self, base: usize) -> Span {
        Span { start: self.start + base, end: self.end + base }
    }

    /// Its place in its own file.
    pub(super) fn back(self, base: usize) -> Span {
        Span { start: self.start.saturating_sub(base), end: self.end.saturating_sub(base) }
    }
}

/// A problem as it is found, before its place is looked up.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    pub(super) message: String,
    /// None: the file as a whole.
    pub(super) span: Option<Span>,
    /// Where its file begins.
    base: usize,
    pub(super) path: String,
    pub(super) hint: Option<String>,
}

impl Finding {
    pub(super) fn error(span: Span, path: &str, message: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Error,
            message: message.into(),
            span: Some(span),
            base: 0,
            path: path.to_owned(),
            hint: None,
        }
    }

    pub(super) fn warning(span: Span, path: &str, message: impl Into<String>) -> Finding {
        Finding { severity: Severity::Warning, ..Finding::error(span, path, message) }
    }

    /// About the file as a whole.
    pub(super) fn file(message: impl Into<String>) -> Finding {
        Finding { span: None, ..Finding::error(Span::default(), "", message) }
    }

    /// Where it begins, or its file does.
    pub(super) fn start(&self) -> usize {
        self.span.map_or(self.base, |span| span.start)
    }

    /// Moved behind the files before its own.
    pub(super) fn moved(self, base: usize) -> Finding {
        Finding { span: self.span.map(|span| span.moved(base)), base: self.base + base, ..self }
    }

    /// Its place in its own file.
    pub(super) fn back(self, base: usize) -> Finding {
        Finding { span: self.span.map(|span| span.back(base)), ..self }
    }

    pub(super) fn into_warning(self) -> Finding {
        Finding { severity: Severity::Warning, ..self }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Finding {
        self.hint = Some(hint.into());
        self
    }

    pub(super) fn hint_if(mut self, hint: Option<String>) -> Finding {
        self.hint = self.hint.or(hint);
        self
    }
}

/// All problems found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    dropped: usize,
    failed: bool,
}

/// Beyond it problems are counted and no longer kept.
const KEPT_FINDINGS: usize = 200;

impl Findings {
    pub(super) fn push(&mut self, finding: Finding) {
        self.failed |= finding.severity == Severity::Error;
        if self.list.len() < KEPT_FINDINGS {
            self.list.push(finding);
        } else {
            self.dropped += 1;
        }
    }

    /// Whether more would only be counted.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= KEPT_FINDINGS
    }

    /// Whether an error is among them.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Adds those of a file whose spans begin at zero.
    pub(super) fn append(&mut self, of_file: Findings, base: usize) {
        self.dropped += of_file.dropped;
        self.failed |= of_file.failed;
        of_file.list.into_iter().for_each(|finding| self.push(finding.moved(base)));
    }

    /// Looks places and lines up, in the order of the files.
    pub(super) fn into_diagnostics(mut self, source: &Sources) -> Vec<Diagnostic> {
        self.list.sort_by_key(Finding::start);
        let mut all = self.list.into_iter().filter_map(|finding| source.diagnostic(finding)).collect::<Vec<_>>();
        if self.dropped > 0 {
            let severity = if self.failed { Severity::Error } else { Severity::Warning };
            let more = format!("{} more problems are not shown", self.dropped);
            all.extend(source.diagnostic(Finding { severity, ..Finding::file(more) }));
        }
        all
    }
}

const WINDOW: usize = 140;

impl Snippet {
    /// Cuts a long line down to what is around the caret.
    pub(super) fn window(line: &str, caret_at: usize, caret_len: usize) -> Snippet {
        let skip = if caret_at + 20 > WINDOW { caret_at - 40 } else { 0 };
        let head = if skip > 0 { "…" } else { "" };
        let mut text = format!("{head}{}", line.chars().skip(skip).take(WINDOW).collect::<String>());
        if line.chars().nth(skip + WINDOW).is_some() {
            text.push('…');
        }
        let caret_at = caret_at - skip + head.chars().count();
        let room = text.chars().count().saturating_sub(caret_at).max(1);
        Snippet { text, caret_at, caret_len: caret_len.min(room) }
    }
}

impl Diagnostic {
    /// An error about a file as a whole, or about what a key path in it stands for.
    pub(crate) fn about(file: &str, path: &str, message: String, hint: Option<String>) -> Diagnostic {
        Source::new(file, "", Path::new(""))
            .diagnostic(Finding { path: path.to_owned(), ..Finding::file(message) }.hint_if(hint))
    }

    /// The same as a warning.
    pub(crate) fn unwise(file: &str, path: &str, message: String, hint: Option<String>) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::about(file, path, message, hint) }
    }

    /// As `check --format json` and the admin listener have it.
    pub fn to_json(&self) -> serde_json::Value {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        serde_json::json!({
            "severity": severity,
            "message": self.message,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "path": self.path,
            "hint": self.hint,
        })
    }

    /// In one line: where, what, and what to do.
    pub fn in_a_line(&self) -> String {
        let place =
            if self.line == 0 { self.file.clone() } else { format!("{}:{}:{}", self.file, self.line, self.column) };
        let hint = self.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{place}: {}{hint}", self.message)
    }

    /// As text, with terminal colours if wanted. Ends with a line break.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = self.write(&mut text, &Palette::new(color, self.severity));
        text
    }

    fn write(&self, out: &mut String, paint: &Palette) -> fmt::Result {
        let Palette { label, mark, strong, reset } = paint;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{label}{severity}{reset}{strong}: {}{reset}", self.message)?;
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        match &self.snippet {
            Some(snippet) => {
                writeln!(out, "{gutter} {mark}-->{reset} {}:{}:{}", self.file, self.line, self.column)?;
                writeln!(out, "{gutter} {mark} |{reset}")?;
                writeln!(out, "{mark} {number} |{reset} {}", snippet.text)?;
                let caret = format!("{}{}", " ".repeat(snippet.caret_at), "^".repeat(snippet.caret_len));
                writeln!(out, "{gutter} {mark} |{reset} {label}{caret}{reset}")?;
            }
            None => writeln!(out, "{gutter} {mark}-->{reset} {}", self.file)?,
        }
        match &self.hint {
            Some(hint) => writeln!(out, "{gutter} {mark} ={reset} {strong}hint{reset}: {hint}"),
            None => Ok(()),
        }
    }
}

struct Palette {
    label: &'static str,
    mark: &'static str,
    strong: &'static str,
    reset: &'static str,
}

impl Palette {
    fn new(color: bool, severity: Severity) -> Palette {
        let label = match severity {
            Severity::Error => "\x1b[1;31m",
            Severity::Warning => "\x1b[1;33m",
        };
        if color {
            Palette { label, mark: "\x1b[1;34m", strong: "\x1b[1m", reset: "\x1b[0m" }
        } else {
            Palette { label: "", mark: "", strong: "", reset: "" }
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn sources(name: &str, text: &str) -> Sources {
        Sources::of(Source::new(name, text, Path::new("")))
    }

    fn one(text: &str, span: Span) -> String {
        let mut findings = Findings::default();
        findings.push(Finding::error(span, "", "wrong").hint("right it"));
        findings.into_diagnostics(&sources("gateway.yaml", text))[0].render(false)
    }

    #[test]
    fn has_the_form_of_the_style_guide() {
        let text = "a:\n  b:\n    timout: 5s\n";
        let start = text.find("timout").unwrap();
        assert_eq!(
            one(text, Span { start, end: start + 6 }),
            "error: wrong\n  --> gateway.yaml:3:5\n   |\n 3 |     timout: 5s\n   |     ^^^^^^\n   = hint: right it\n"
        );
    }

    #[test]
    fn long_and_odd_lines_stay_printable() {
        let text = format!("{}\u{1b}[31mX\ttail{}", "ä".repeat(500), "b".repeat(500));
        let start = text.find('X').unwrap();
        let shown = one(&text, Span { start, end: start + 1 });
        assert!(shown.lines().all(|line| line.chars().count() < 170), "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\t'));
        assert!(shown.contains('^'));
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut findings = Findings::default();
        for _ in 0..10_000 {
            findings.push(Finding::error(Span::default(), "", "wrong"));
        }
        let shown = findings.into_diagnostics(&sources("f", "x"));
        assert_eq!(shown.len(), KEPT_FINDINGS + 1);
        assert_eq!(shown.last().unwrap().message, "9800 more problems are not shown");
    }
}
