//! The files of a configuration, and where in them a finding is.
//!
//! Each file is read by itself; then its spans are moved behind those of the files before it, so that one number tells
//! file and place.

use std::path::{Path, PathBuf};

use super::{
    diagnostic::{Diagnostic, Finding, Snippet, Span},
    redact,
};

/// A file's text with the index of its lines.
#[derive(Debug)]
pub(super) struct Source {
    name: String,
    text: String,
    folder: PathBuf,
    line_starts: Vec<usize>,
    /// Byte ranges whose text is never shown; None where they aren't known, for want of a tree.
    hidden: Option<Vec<Span>>,
}

impl Source {
    /// Relative paths in it are relative to `folder`.
    pub(super) fn new(name: &str, text: &str, folder: &Path) -> Source {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { name: name.to_owned(), text: text.to_owned(), folder: folder.to_owned(), line_starts, hidden: None }
    }

    /// Ranges that hold secrets.
    pub(super) fn hide(&mut self, spans: Vec<Span>) {
        self.hidden = Some(spans);
    }

    /// `gateway.yaml:3:5`: for messages that name a second place.
    pub(super) fn place(&self, span: Span) -> String {
        let (line, column, _) = self.locate(span.start);
        format!("{}:{line}:{column}", self.name)
    }

    /// Line and column from 1, and where the line begins.
    fn locate(&self, at: usize) -> (usize, usize, usize) {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(0, |before| before.chars().count());
        (line, column + 1, start)
    }

    pub(super) fn diagnostic(&self, finding: Finding) -> Diagnostic {
        let place = finding.span.map(|span| (self.locate(span.start), span));
        let ((line, column, _), snippet) = match place {
            Some((at, span)) => (at, self.snippet(at.2, span)),
            None => ((0, 0, 0), None),
        };
        Diagnostic {
            severity: finding.severity,
            message: redact::printable(&redact::userinfo(&finding.message)),
            file: self.name.clone(),
            line,
            column,
            path: redact::printable(&redact::userinfo(&finding.path)),
            hint: finding.hint.map(|hint| redact::printable(&redact::userinfo(&hint))),
            snippet,
        }
    }

    fn snippet(&self, line_start: usize, span: Span) -> Option<Snippet> {
        let line = self.text.get(line_start..)?.lines().next()?;
        let (shown, caret_at, caret_end) = redact::line(
            &self.text,
            line_start,
            line,
            self.hidden.as_deref(),
            (span.start - line_start, span.end - line_start),
        );
        Some(Snippet::window(&shown, caret_at, caret_end.saturating_sub(caret_at).max(1)))
    }
}

/// All files of a configuration, in the order in which they were read.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<(usize, Source)>);

impl Sources {
    /// A single file.
    pub(super) fn of(source: Source) -> Sources {
        Sources(vec![(0, source)])
    }

    /// The line of its file where it begins, from 1.
    pub(super) fn line(&self, span: Span) -> usize {
        self.at(span.start).map_or(0, |(base, source)| source.locate(span.start - base).0)
    }

    /// Adds a file. Returns how far its spans are to be moved.
    pub(super) fn push(&mut self, source: Source) -> usize {
        let base = self.0.last().map_or(0, |(base, last)| base + last.text.len() + 1);
        self.0.push((base, source));
        base
    }

    fn at(&self, place: usize) -> Option<&(usize, Source)> {
        let index = self.0.partition_point(|(base, _)| *base <= place).checked_sub(1)?;
        self.0.get(index)
    }

    /// `routes/orders.yaml:3:5`: for messages that name a second place.
    pub(super) fn place(&self, span: Span) -> String {
        self.at(span.start).map(|(base, source)| source.place(span.back(*base))).unwrap_or_default()
    }

    /// What is written there.
    pub(super) fn written(&self, span: Span) -> &str {
        let found = self.at(span.start).and_then(|(base, source)| {
            let span = span.back(*base);
            source.text.get(span.start..span.end)
        });
        found.unwrap_or_default()
    }

    /// What a relative path there is relative to.
    pub(super) fn folder(&self, span: Span) -> &Path {
        self.at(span.start).map_or(Path::new(""), |(_, source)| &source.folder)
    }

    /// Looks place and line up. None: there is no file at all.
    pub(super) fn diagnostic(&self, finding: Finding) -> Option<Diagnostic> {
        let (base, source) = self.at(finding.start())?;
        Some(source.diagnostic(finding.back(*base)))
    }

    /// The texts, for who tells configurations apart.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, source)| source.text.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_its_file() {
        let mut sources = Sources::default();
        let bases = [("a", "x: 1\n"), ("b", ""), ("c", "y: 2\nz: 3")].map(|(name, text)| {
            let base = sources.push(Source::new(name, text, Path::new(name)));
            (name, text, base)
        });
        for (name, text, base) in bases {
            for at in 0..=text.len() {
                let span = Span { start: base + at, end: base + at };
                assert!(sources.place(span).starts_with(&format!("{name}:")), "{at} of {name}");
                assert_eq!(sources.folder(span), Path::new(name));
            }
            assert_eq!(sources.written(Span { start: base, end: base + text.len() }), text);
        }
        let last = Span { start: bases[2].2 + 5, end: bases[2].2 + 6 };
        assert_eq!((sources.place(last), sources.written(last)), ("c:2:1".to_owned(), "z"));
        let about = sources.diagnostic(Finding::file("empty").moved(bases[1].2)).unwrap();
        assert_eq!((&*about.file, about.line), ("b", 0));
    }
}
