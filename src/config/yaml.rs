//! YAML text to a tree of nodes that know where they stand. The only file that names the YAML crate.
//!
//! The tree is built from the parser's events, so that a plain scalar keeps its text (`010` and `on` are what was
//! written), every key has a place, and one mistake doesn't hide the next.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_saphyr::granit_parser::{self, Event, Marker, Parser, ScalarStyle, StrInput};

use super::{
    diagnostic::{Finding, Findings, Span},
    interpolation::Interpolation,
    redact,
    source::Source,
};

/// What a tree may be made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// How deep lists and maps may stand in each other, aliases followed.
    pub(super) deepest: usize,
    /// Nodes that are written.
    pub(super) nodes: usize,
    /// Nodes that aliases and merge keys may add.
    pub(super) copies: usize,
}

/// Of a configuration.
const BUDGET: Budget = Budget { deepest: 64, nodes: 250_000, copies: 50_000 };

/// A value with its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Span,
    pub(super) value: Value,
    height: usize,
    size: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(Text),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// Something about which an error was reported.
    Broken,
}

/// A scalar after interpolation.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: Arc<str>,
    /// Without quotes, or from an interpolation: may be a number, a boolean, nothing.
    pub(super) plain: bool,
    /// Holds what a variable or a file had: never to be shown.
    pub(super) foreign: bool,
    /// Holds a placeholder: what can't be read of it is no mistake.
    pub(super) placeholder: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Text,
    pub(super) key_span: Span,
    pub(super) value: Node,
}

impl Node {
    fn new(span: Span, value: Value) -> Node {
        let children: &mut dyn Iterator<Item = &Node> = match &value {
            Value::List(items) => &mut items.iter(),
            Value::Map(entries) => &mut entries.iter().map(|entry| &entry.value),
            Value::Text(_) | Value::Broken => &mut std::iter::empty(),
        };
        let (height, size) =
            children.fold((0, 1), |(height, size), node| (height.max(node.height + 1), size + node.size));
        Node { span, value, height, size }
    }

    /// With all its places moved behind the files before its own.
    pub(super) fn moved(mut self, base: usize) -> Node {
        self.span = self.span.moved(base);
        self.value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(|item| item.moved(base)).collect()),
            Value::Map(entries) => {
                let moved = |entry: Entry| Entry {
                    key: entry.key,
                    key_span: entry.key_span.moved(base),
                    value: entry.value.moved(base),
                };
                Value::Map(entries.into_iter().map(moved).collect())
            }
            value => value,
        };
        self
    }

    /// Whether nothing was written (YAML 1.2, section 10.3.2).
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Text(text) if text.is_null())
    }
}

impl Text {
    /// Whether it is a null of the core schema.
    pub(super) fn is_null(&self) -> bool {
        self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }

    /// True and false of the core schema.
    pub(super) fn as_bool(&self) -> Option<bool> {
        match &*self.text {
            "true" | "True" | "TRUE" if self.plain => Some(true),
            "false" | "False" | "FALSE" if self.plain => Some(false),
            _ => None,
        }
    }
}

/// Reads one document. None where there is no tree to go on with; the findings then say why.
pub(super) fn parse(
    source: &Source,
    text: &str,
    interpolation: &mut Interpolation<'_>,
    findings: &mut Findings,
) -> Option<Node> {
    parse_within(BUDGET, source, text, interpolation, findings)
}

/// The same within another budget.
pub(super) fn parse_within(
    budget: Budget,
    source: &Source,
    text: &str,
    interpolation: &mut Interpolation<'_>,
    findings: &mut Findings,
) -> Option<Node> {
    if let Some(at) = text.find('\0') {
        findings.push(Finding::error(Span { start: at, end: at + 1 }, "", "a NUL byte in the file"));
        return None;
    }
    let options = serde_saphyr::granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: budget.deepest,
        block_nesting_limit: budget.deepest,
    };
    let mut builder = Builder {
        budget,
        source,
        text,
        interpolation,
        findings,
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        documents: 0,
        nodes: 0,
        copies: 0,
    };
    for event in Parser::<StrInput<'_>>::new_from_str_with_options(text, options) {
        let went_on = match event {
            Ok((event, span)) => builder.take(event, &span),
            Err(error) => {
                let at = byte_span(text, error.marker(), error.marker());
                let what = if builder.in_secret() { "a secret can't be read".to_owned() } else { error.info() };
                builder.findings.push(syntax_error(text, at, &what));
                return None;
            }
        };
        went_on?;
    }
    match builder.root {
        Some(root) if !root.is_null() => Some(root),
        _ => {
            findings.push(Finding::file("the file is empty").hint("a configuration has `routes` at least"));
            None
        }
    }
}

struct Builder<'b, 'e> {
    budget: Budget,
    source: &'b Source,
    text: &'b str,
    interpolation: &'b mut Interpolation<'e>,
    findings: &'b mut Findings,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    documents: usize,
    nodes: usize,
    copies: usize,
}

/// A list or map whose end hasn't come.
struct Open {
    start: usize,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merged: Vec<Node>, key: Pending },
}

/// The key whose value comes next.
enum Pending {
    None,
    Key(Text, Span),
    Merge,
    Broken,
}

impl Builder<'_, '_> {
    /// None ends the reading; the error was reported.
    fn take(&mut self, event: Event<'_>, at: &granit_parser::Span) -> Option<()> {
        let span = byte_span(self.text, &at.start, &at.end);
        if let Some(tag) = event.tag() {
            let tag_span = at.tag_span().map_or(span, |tag| byte_span(self.text, &tag.start, &tag.end));
            let message = match self.in_secret() {
                true => "tags are not supported".to_owned(),
                false => format!("tags are not supported (`{}`)", tag.original()),
            };
            self.findings.push(Finding::error(tag_span, "", message).hint("quote the value if `!` is part of it"));
        }
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.findings.push(
                        Finding::error(span, "", "a second document in the file")
                            .hint("a configuration is one document"),
                    );
                    return None;
                }
            }
            Event::Scalar(text, style, anchor, _) => {
                let node = self.scalar(&text, style, span);
                self.complete(node, anchor)?;
            }
            Event::SequenceStart(_, anchor, _) => self.begin(span, anchor, Content::List(Vec::new()))?,
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Map { entries: Vec::new(), merged: Vec::new(), key: Pending::None };
                self.begin(span, anchor, content)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop()?;
                let whole = Span { start: open.start, end: span.end.max(open.start) };
                let value = match open.content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, merged, .. } => Value::Map(self.merge(entries, merged)?),
                };
                self.complete(Node::new(whole, value), open.anchor)?;
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(node) => {
                    self.copied(node.size, span)?;
                    self.deep_enough(node.height, span)?;
                    self.complete(node, 0)?;
                }
                None => {
                    self.findings.push(Finding::error(span, "", "an alias inside of what it stands for"));
                    return None;
                }
            },
            Event::UnresolvedAlias(name) => {
                let finding = match self.in_secret() {
                    true => Finding::error(span, "", "no anchor has this name").hint("quote the value"),
                    false => {
                        let written = self.text.get(span.start..span.end).unwrap_or_default();
                        Finding::error(span, "", format!("no anchor is called `{name}`")).hint(format!(
                            "a star at the beginning is an alias in YAML; if it is part of the text, quote it: `\"{written}\"`"
                        ))
                    }
                };
                self.findings.push(finding);
                self.complete(Node::new(span, Value::Broken), 0)?;
            }
            _ => {}
        }
        Some(())
    }

    /// Whether what comes is the value of a key that holds a secret.
    fn in_secret(&self) -> bool {
        self.open.iter().any(|open| match &open.content {
            Content::Map { key: Pending::Key(key, _), .. } => redact::is_secret_key(&key.text),
            _ => false,
        })
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: Span) -> Node {
        // A value that isn't there comes as an empty span, whatever stands for it in the event.
        let written = if style == ScalarStyle::Plain && span.start == span.end { "" } else { text };
        let key = self.open.iter().rev().find_map(|open| match &open.content {
            Content::Map { key: Pending::Key(key, _), .. } => Some(key.text.clone()),
            _ => None,
        });
        let value = match self.interpolation.expand(written, key.as_deref()) {
            Ok(None) => Value::Text(Text {
                text: Arc::from(written),
                plain: style == ScalarStyle::Plain,
                foreign: false,
                placeholder: false,
            }),
            Ok(Some(out)) => Value::Text(Text {
                text: Arc::from(out.text),
                plain: true,
                foreign: out.foreign,
                placeholder: out.placeholder,
            }),
            Err(fault) => {
                self.findings.push(Finding::error(span, "", fault.message).hint_if(fault.hint));
                Value::Broken
            }
        };
        Node::new(span, value)
    }

    fn begin(&mut self, span: Span, anchor: usize, content: Content) -> Option<()> {
        self.deep_enough(0, span)?;
        self.open.push(Open { start: span.start, anchor, content });
        Some(())
    }

    fn deep_enough(&mut self, height: usize, span: Span) -> Option<()> {
        let deepest = self.budget.deepest;
        if self.open.len() + height < deepest {
            return Some(());
        }
        self.findings.push(Finding::error(span, "", format!("lists and maps stand more than {deepest} deep")));
        None
    }

    fn copied(&mut self, nodes: usize, span: Span) -> Option<()> {
        self.copies = self.copies.saturating_add(nodes);
        let most = self.budget.copies;
        if self.copies <= most {
            return Some(());
        }
        self.findings.push(Finding::error(span, "", format!("aliases add up to more than {most} values")));
        None
    }

    /// A node has come to its end: gives it to whatever holds it.
    fn complete(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.nodes += 1;
        if self.nodes > self.budget.nodes {
            let message = format!("the file holds more than {} values", self.budget.nodes);
            self.findings.push(Finding::error(node.span, "", message));
            return None;
        }
        if anchor != 0 {
            self.copied(node.size, node.span)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, merged, key }) => match std::mem::replace(key, Pending::None) {
                Pending::None => *key = pending(node, self.text, self.findings),
                Pending::Key(key, key_span) => entries.push(Entry { key, key_span, value: node }),
                Pending::Merge => merged.push(node),
                Pending::Broken => {}
            },
        }
        Some(())
    }

    /// Refuses double keys, then adds what merge keys bring and the map doesn't have itself.
    fn merge(&mut self, entries: Vec<Entry>, merged: Vec<Node>) -> Option<Vec<Entry>> {
        let mut places = HashMap::<Arc<str>, Span>::new();
        let mut kept = Vec::with_capacity(entries.len());
        for entry in entries {
            match places.get(&entry.key.text) {
                Some(first) => {
                    let name = if entry.key.foreign { "this key" } else { &format!("`{}`", entry.key.text) };
                    let message = format!("{name} is there twice, first at {}", self.source.place(*first));
                    self.findings.push(Finding::error(entry.key_span, "", message));
                }
                None => {
                    places.insert(Arc::clone(&entry.key.text), entry.key_span);
                    kept.push(entry);
                }
            }
        }
        let mut names = places.into_keys().collect::<HashSet<_>>();
        for node in merged {
            let span = node.span;
            let maps = match node.value {
                Value::Map(_) => vec![node],
                Value::List(items) => items,
                Value::Text(_) | Value::Broken => vec![Node::new(span, Value::Broken)],
            };
            for map in maps {
                let Value::Map(entries) = map.value else {
                    self.findings.push(Finding::error(span, "", "`<<` merges a map or a list of maps"));
                    continue;
                };
                self.copied(entries.len(), span)?;
                kept.extend(entries.into_iter().filter(|entry| names.insert(Arc::clone(&entry.key.text))));
            }
        }
        Some(kept)
    }
}

/// A map's next key out of a node that stands where a key is expected.
fn pending(node: Node, text: &str, findings: &mut Findings) -> Pending {
    match node.value {
        Value::Text(key) if key.plain && !key.foreign && &*key.text == "<<" => Pending::Merge,
        Value::Text(key) => Pending::Key(key, node.span),
        Value::Broken => Pending::Broken,
        Value::List(_) | Value::Map(_) => {
            let hint = quote_hint(text.get(node.span.start..node.span.end).unwrap_or_default());
            findings.push(Finding::error(node.span, "", "a list or a map can't be a key").hint_if(hint));
            Pending::Broken
        }
    }
}

/// The places of all texts that must not be shown.
pub(super) fn secret_places(node: &Node) -> Vec<Span> {
    let mut places = Vec::new();
    collect_secrets(node, false, &mut places);
    places
}

fn collect_secrets(node: &Node, in_key_set: bool, places: &mut Vec<Span>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| collect_secrets(item, in_key_set, places)),
        Value::Map(entries) => {
            for entry in entries {
                let key = &entry.key.text;
                let secret = redact::is_secret_key(key) || in_key_set && redact::is_private_jwk_member(key);
                if secret && !matches!(entry.value.value, Value::Map(_)) {
                    // From the key on, for what stands between it and its value; an alias' value is elsewhere.
                    places.push(Span { start: entry.key_span.end + 1, end: entry.value.span.end });
                    places.push(entry.value.span);
                }
                collect_secrets(&entry.value, in_key_set || &**key == "jwks", places);
            }
        }
        Value::Text(_) | Value::Broken => {}
    }
}

/// "Quote it", where a flow map or list was probably meant as text: `{path.tenant}`.
pub(super) fn quote_hint(written: &str) -> Option<String> {
    (written.starts_with('{')
        && written.ends_with('}')
        && written.len() < 80
        && !written.contains(['\n', '"', ':', ',']))
    .then(|| format!("`{written}` is a map in YAML; if it is text, quote it: `\"{written}\"`"))
}

fn syntax_error(text: &str, span: Span, what: &str) -> Finding {
    let line_start = text.get(..span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let mut lines = text.get(line_start..).unwrap_or_default().lines();
    let (line, next) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let is_tabbed = |line: &str| line.trim_start_matches(' ').starts_with('\t');
    // A tab can end the value of the line before its own: it is what to look at.
    let (span, line) = match !is_tabbed(line) && is_tabbed(next) && what.contains("tab") {
        true => {
            let at = line_start
                + line.len()
                + text.get(line_start + line.len()..).and_then(|rest| rest.find('\t')).unwrap_or_default();
            (Span { start: at, end: at + 1 }, next)
        }
        false => (span, line),
    };
    let hint = if is_tabbed(line) {
        Some("YAML is indented with spaces, never with tabs")
    } else if line.contains("${") && line.contains(['{', '[']) {
        Some("between `{…}` or `[…]`, `${…}` is quoted: `\"${NAME}\"`")
    } else if needs_quotes(line, span.start.saturating_sub(line_start)) {
        Some("if this is text, quote it: put it between double quotes")
    } else if what.contains("did not find expected") || what.contains("mapping values are not allowed") {
        Some(
            "the keys of one map begin in the same column, a colon or a dash has a space after it; see the line before, too",
        )
    } else {
        None
    };
    Finding::error(span, "", format!("this is not valid YAML: {what}")).hint_if(hint.map(str::to_owned))
}

/// Whether what is wrong at this place of a line may be a text that YAML takes for something else.
fn needs_quotes(line: &str, at: usize) -> bool {
    let value = line.split_once(": ").map_or(line, |(_, value)| value).trim_start_matches([' ', '-', '[']);
    // `[/a/{id}]`: a brace inside of a text of a list.
    let brace = line.get(at..).is_some_and(|rest| rest.starts_with('{'))
        && line.get(..at).is_some_and(|before| !before.ends_with([' ', ',', '[', '{']));
    brace || value.starts_with(['@', '`', '%', '*', '&', '!', '{', '|', '>']) || value.contains(": ")
}

fn byte_span(text: &str, start: &Marker, end: &Marker) -> Span {
    let offset = |marker: &Marker| {
        let mut at = marker.byte_offset().unwrap_or_default().min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = offset(start);
    Span { start, end: offset(end).max(start) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::source::Sources;

    fn read(text: &str) -> Result<Node, Vec<String>> {
        let source = Source::new("f", text, Path::new(""));
        let mut findings = Findings::default();
        let environment = |name: &str| (name == "N").then(|| "null".to_owned());
        let mut interpolation = Interpolation::new(&environment, Path::new("/nowhere"));
        let tree = parse(&source, text, &mut interpolation, &mut findings);
        let failed = findings.failed();
        let messages = findings
            .into_diagnostics(&Sources::of(source))
            .into_iter()
            .map(|d| format!("{}:{} {}", d.line, d.column, d.message));
        tree.filter(|_| !failed).ok_or_else(|| messages.collect())
    }

    /// A tree written down in one line.
    fn flat(node: &Node) -> String {
        match &node.value {
            Value::Text(text) if text.is_null() => "null".to_owned(),
            Value::Text(text) if text.plain => text.text.to_string(),
            Value::Text(text) => format!("{:?}", text.text),
            Value::List(items) => format!("[{}]", items.iter().map(flat).collect::<Vec<_>>().join(" ")),
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| format!("{}={}", entry.key.text, flat(&entry.value)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(" "))
            }
            Value::Broken => "broken".to_owned(),
        }
    }

    #[test]
    fn scalars_keep_their_text() {
        let tree =
            read("a: on\nb: 010\nc: \"x\"\nd: 1_0\ne:\nf: ~\ng: ''\nh: 0.0.0.0:80\ni: /a/**\nj: ${N}\nk: [\"${N}\"]")
                .unwrap();
        assert_eq!(flat(&tree), r#"{a=on b=010 c="x" d=1_0 e=null f=null g="" h=0.0.0.0:80 i=/a/** j=null k=[null]}"#);
    }

    #[test]
    fn aliases_and_merge_keys_work() {
        let tree = read("a: &a {x: 1, y: 2}\nb: *a\nc: {<<: *a, y: 3}\nd:\n  <<: [{y: 4}, *a]\n").unwrap();
        assert_eq!(flat(&tree), "{a={x=1 y=2} b={x=1 y=2} c={y=3 x=1} d={y=4 x=1}}");
        assert_eq!(flat(&read("{\"<<\": {a: 1}}").unwrap()), "{<<={a=1}}");
    }

    #[test]
    fn what_is_refused() {
        let bad = [
            ("", "0:0 the file is empty"),
            ("# nothing\n", "0:0 the file is empty"),
            ("---\n", "0:0 the file is empty"),
            ("~", "0:0 the file is empty"),
            ("a: 1\n---\nb: 2\n", "2:1 a second document in the file"),
            ("a: 1\na: 2\n", "2:1 `a` is there twice, first at f:1:1"),
            ("a: {b: 1, \"b\": 2}\n", "1:11 `b` is there twice, first at f:1:5"),
            ("a: !!str 1\n", "1:4 tags are not supported (`!!str`)"),
            ("a: !x {b: 1}\n", "1:4 tags are not supported (`!x`)"),
            ("a: *b\n", "1:4 no anchor is called `b`"),
            ("a: &a [*a]\n", "1:8 an alias inside of what it stands for"),
            ("a: {<<: 1}\n", "1:9 `<<` merges a map or a list of maps"),
            ("{a: 1}: 2\n", "1:1 a list or a map can't be a key"),
            ("a: ${M}\n", "1:4 the environment variable `M` is not set"),
            ("a: \0\n", "1:4 a NUL byte in the file"),
        ];
        for (text, message) in bad {
            assert_eq!(read(text).unwrap_err(), [message], "{text}");
        }
        assert!(read("a: [\n").is_err());
    }

    #[test]
    fn one_mistake_does_not_hide_the_next() {
        assert_eq!(read("a: *x\nb: !t 1\nc: 1\nc: ${M}\n").unwrap_err().len(), 4);
    }

    #[test]
    fn bombs_are_bounded() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..20 {
            let below = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{below}]\n"));
        }
        assert!(read(&bomb).unwrap_err()[0].contains("aliases add up"));

        let chain =
            (1..1000).fold("a0: &a0 [x]\n".to_owned(), |text, n| text + &format!("a{n}: &a{n} [*a{}]\n", n - 1));
        assert!(read(&chain).unwrap_err()[0].contains("deep"));

        for (open, close) in [("[", "]"), ("{a: ", "}"), ("[", ""), ("- ", ""), ("? ", ""), ("a:\n ", "")] {
            assert!(read(&format!("{}{}", open.repeat(100_000), close.repeat(100_000))).is_err());
        }
        let nested = (0..5000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        assert!(read(&nested).is_err());
        let wide = "- a\n".repeat(BUDGET.nodes + 10);
        assert!(read(&wide).unwrap_err()[0].contains("more than"));
        let merges = format!(
            "a: &a {{{}}}\nb:\n{}",
            (0..100).map(|n| format!("k{n}: 1,")).collect::<String>(),
            " - {<<: *a}\n".repeat(5000)
        );
        assert!(read(&merges).unwrap_err()[0].contains("aliases add up"));
    }
}
