//! Fields of the tree, read one by one: each mistake is noted and the reading goes on.

use std::time::Duration;

use super::{
    diagnostic::{Finding, Findings, Span},
    keys,
    source::Sources,
    units,
    yaml::{self, Entry, Node, Text, Value},
};

/// Something that was written, with its place.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
    pub(super) path: String,
    /// Holds what a variable or a file had: never to be shown.
    pub(super) foreign: bool,
}

/// Unknown keys of a map that are taken for misspelt ones.
const MOST_GUESSES: usize = 10;

impl<T> At<T> {
    pub(super) fn with<U>(&self, value: U) -> At<U> {
        At { value, span: self.span, path: self.path.clone(), foreign: self.foreign }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Finding {
        Finding::error(self.span, &self.path, message)
    }

    pub(super) fn warning(&self, message: impl Into<String>) -> Finding {
        Finding::warning(self.span, &self.path, message)
    }
}

impl At<String> {
    /// For a message: the text in backticks, unless it isn't ours to show.
    pub(super) fn shown(&self) -> String {
        shown(&self.value, self.foreign)
    }

    /// An error whose words may hold the value itself.
    pub(super) fn error_about(&self, words: &str) -> Finding {
        if self.foreign {
            self.error("what comes out of this variable or file is not valid here")
        } else {
            self.error(words)
        }
    }
}

fn shown(text: &str, foreign: bool) -> String {
    if foreign {
        return "what comes out of this".to_owned();
    }
    let short = text.chars().take(60).collect::<String>();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

/// A map whose keys are those of the table.
#[derive(Clone, Debug)]
pub(super) struct Fields<'n> {
    entries: &'n [Entry],
    parent: String,
    /// As in the table of keys.
    pattern: String,
    /// As shown.
    pub(super) path: String,
    /// What stands for the whole where something is missing in it.
    pub(super) span: Span,
}

/// A field that is there.
#[derive(Clone, Debug)]
pub(super) struct Field<'n> {
    pub(super) node: &'n Node,
    pattern: String,
    pub(super) path: String,
    pub(super) key_span: Span,
}

impl Field<'_> {
    pub(super) fn at<T>(&self, value: T) -> At<T> {
        At { value, span: self.node.span, path: self.path.clone(), foreign: false }
    }

    /// The place of its key, for what is about the field as a whole.
    pub(super) fn at_key<T>(&self, value: T) -> At<T> {
        At { span: self.key_span, ..self.at(value) }
    }

    fn text(&self) -> Option<&Text> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is this word.
    pub(super) fn is(&self, word: &str) -> bool {
        self.text().is_some_and(|text| &*text.text == word)
    }

    /// Whether a placeholder stands for what it will be: then it has no value, and that is no mistake.
    pub(super) fn is_placeholder(&self) -> bool {
        self.text().is_some_and(|text| text.placeholder)
    }

    /// A scalar's text.
    pub(super) fn written(&self) -> Option<&str> {
        self.text().map(|text| &*text.text)
    }

    pub(super) fn is_text(&self) -> bool {
        self.text().is_some()
    }

    pub(super) fn is_empty_map(&self) -> bool {
        matches!(&self.node.value, Value::Map(entries) if entries.is_empty())
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Value::List(_))
    }
}

/// Reads fields and notes what is wrong with them.
pub(super) struct Reader<'r> {
    pub(super) findings: &'r mut Findings,
    source: &'r Sources,
}

impl<'r> Reader<'r> {
    pub(super) fn new(findings: &'r mut Findings, source: &'r Sources) -> Reader<'r> {
        Reader { findings, source }
    }

    /// The whole file.
    pub(super) fn top<'n>(&mut self, root: &'n Node) -> Option<Fields<'n>> {
        self.top_of(root, "")
    }

    /// The whole of a file whose keys stand in the table below this path.
    pub(super) fn top_of<'n>(&mut self, root: &'n Node, pattern: &str) -> Option<Fields<'n>> {
        let span = Span { start: root.span.start, end: root.span.start };
        self.fields(&Field { node: root, pattern: pattern.to_owned(), path: String::new(), key_span: span })
    }

    /// A field as a map of known keys. Every unknown key and every one without a value
    /// is noted here, whoever reads the map.
    pub(super) fn fields<'n>(&mut self, field: &Field<'n>) -> Option<Fields<'n>> {
        let Value::Map(entries) = &field.node.value else {
            self.wrong_kind(field, "a map (`key: value`)", None);
            return None;
        };
        let fields = Fields {
            entries,
            parent: if field.path.is_empty() { String::new() } else { format!(" in {}", field.path) },
            pattern: field.pattern.clone(),
            path: field.path.clone(),
            span: field.key_span,
        };
        for entry in entries {
            self.check_key(&fields, entry);
        }
        Some(fields)
    }

    fn check_key(&mut self, fields: &Fields<'_>, entry: &Entry) {
        let key = &*entry.key.text;
        let path = join(&fields.path, if entry.key.foreign { "*" } else { key });
        let name = shown(key, entry.key.foreign);
        if !keys::is_known(&fields.pattern, key) {
            let finding = Finding::error(entry.key_span, &path, format!("unknown key {name}{}", fields.parent));
            let finding = finding.hint_if(self.suggestion(fields, entry));
            self.findings.push(finding);
        } else if entry.value.is_null() {
            let hint = match keys::has_children(&fields.pattern, key) {
                true => format!("leave it out, or write `{key}: {{}}` for all defaults"),
                false => format!("write a value: `{key}: …`"),
            };
            self.findings.push(Finding::error(entry.key_span, &path, format!("{name} has no value")).hint(hint));
        }
    }

    fn suggestion(&self, fields: &Fields<'_>, entry: &Entry) -> Option<String> {
        let wanted = !entry.key.foreign && !self.findings.is_full();
        wanted.then(|| keys::suggestion(&fields.pattern, &entry.key.text)).flatten()
    }

    /// A map whose keys are names that the author chose, each with its value.
    pub(super) fn named<'n>(&mut self, field: &Field<'n>) -> Vec<(At<String>, Field<'n>)> {
        let mut all = self.members(field);
        all.retain(|(name, field)| {
            if field.node.is_null() {
                self.findings.push(name.error(format!("{} has no value", name.shown())));
            }
            !field.node.is_null()
        });
        all
    }

    /// The same where `null` is a value.
    pub(super) fn members<'n>(&mut self, field: &Field<'n>) -> Vec<(At<String>, Field<'n>)> {
        let Value::Map(entries) = &field.node.value else {
            self.wrong_kind(
                field,
                "a map with a name for each entry",
                Some("`name: {…}` for each, without a dash".to_owned()),
            );
            return Vec::new();
        };
        let mut all = Vec::new();
        for entry in entries {
            let shown_name = if entry.key.foreign { "*" } else { &*entry.key.text };
            let path = join(&field.path, shown_name);
            let name = At {
                value: entry.key.text.to_string(),
                span: entry.key_span,
                path: path.clone(),
                foreign: entry.key.foreign,
            };
            let pattern = join(&field.pattern, "*");
            all.push((name, Field { node: &entry.value, pattern, path, key_span: entry.key_span }));
        }
        all
    }

    /// The items of a list, each with its own place.
    pub(super) fn items<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        let Value::List(items) = &field.node.value else {
            let hint = match &field.node.value {
                Value::Text(text) if !text.foreign => Some(format!("write it as a list: `[{}]`", text.text)),
                Value::Map(_) => Some("each item begins with a dash: `- key: value`".to_owned()),
                _ => None,
            };
            self.wrong_kind(field, "a list", hint);
            return None;
        };
        let mut all = Vec::with_capacity(items.len());
        for (place, node) in items.iter().enumerate() {
            let path = format!("{}[{place}]", field.path);
            if node.is_null() {
                self.findings.push(Finding::error(node.span, &path, "an item without a value"));
                continue;
            }
            let key_span = match &node.value {
                Value::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
                _ => node.span,
            };
            all.push(Field { node, pattern: join(&field.pattern, "*"), path, key_span });
        }
        Some(all)
    }

    /// The items of a list; anything else counts as a list of one.
    pub(super) fn one_or_more<'n>(&mut self, field: &Field<'n>) -> Option<Vec<Field<'n>>> {
        match field.is_list() {
            true => self.items(field),
            false => Some(vec![Field { pattern: join(&field.pattern, "*"), ..field.clone() }]),
        }
    }

    /// A field that may be left out.
    pub(super) fn field<'n>(&mut self, fields: &Fields<'n>, key: &'static str) -> Option<Field<'n>> {
        debug_assert!(keys::is_known(&fields.pattern, key), "{}.{key}", fields.pattern);
        let entry = fields.entry(key)?;
        (!entry.value.is_null()).then(|| Field {
            node: &entry.value,
            pattern: join(&fields.pattern, key),
            path: join(&fields.path, key),
            key_span: entry.key_span,
        })
    }

    /// A field that must be there. None with an error noted, where it isn't.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &'static str, hint: &str) -> Option<Field<'n>> {
        if !fields.has_or_means(key) {
            let path = join(&fields.path, key);
            self.findings
                .push(Finding::error(fields.span, &path, format!("`{key}` is missing{}", fields.parent)).hint(hint));
        }
        self.field(fields, key)
    }

    pub(super) fn text(&mut self, field: &Field<'_>) -> Option<At<String>> {
        match field.text() {
            Some(text) if text.text.is_empty() => {
                self.findings.push(field.at(()).error("an empty text"));
                None
            }
            Some(text) => Some(At { foreign: text.foreign, ..field.at(text.text.to_string()) }),
            None => {
                self.wrong_kind(field, "a text", None);
                None
            }
        }
    }

    pub(super) fn texts(&mut self, field: &Field<'_>) -> Option<At<Vec<At<String>>>> {
        let items = self.items(field)?;
        let texts = items.iter().filter_map(|item| self.text(item)).collect::<Vec<_>>();
        Some(field.at_key(texts))
    }

    /// A list with one item at least.
    pub(super) fn some_texts(&mut self, field: &Field<'_>, hint: &str) -> Option<At<Vec<At<String>>>> {
        if matches!(&field.node.value, Value::List(items) if items.is_empty()) {
            self.findings.push(field.at(()).error("an empty list").hint(hint));
            return None;
        }
        self.texts(field)
    }

    pub(super) fn flag(&mut self, field: &Field<'_>) -> Option<bool> {
        let flag = field.text().and_then(Text::as_bool);
        if flag.is_none() && !field.is_placeholder() {
            let hint = match field.text() {
                Some(text) if matches!(&*text.text.to_lowercase(), "true" | "false") => "write it without quotes",
                _ => "in YAML 1.2 `on`, `off`, `yes` and `no` are texts",
            };
            self.wrong_kind(field, "true or false", Some(hint.to_owned()));
        }
        flag
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, field: &Field<'_>, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text(field)?;
        let found = words.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value);
        if found.is_none() && !field.is_placeholder() {
            let all = words.iter().map(|(word, _)| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
            self.findings.push(text.error(format!("{} is not {all}", text.shown())));
        }
        found
    }

    pub(super) fn duration(&mut self, field: &Field<'_>) -> Option<At<Duration>> {
        self.unit(field, "a duration", units::duration)
    }

    /// A duration that isn't zero.
    pub(super) fn some_time(&mut self, field: &Field<'_>) -> Option<Duration> {
        let duration = self.duration(field)?;
        if duration.value.is_zero() {
            self.findings.push(duration.error("it must be longer than zero"));
            return None;
        }
        Some(duration.value)
    }

    pub(super) fn size(&mut self, field: &Field<'_>) -> Option<At<u64>> {
        self.unit(field, "a size", units::size)
    }

    /// A whole number from 1.
    pub(super) fn count(&mut self, field: &Field<'_>, most: usize) -> Option<usize> {
        let read = |text: &str| match text.parse::<usize>() {
            Ok(number) if (1..=most).contains(&number) && !text.starts_with(['+', '0']) => Ok(number),
            _ => Err("write it in digits alone".to_owned()),
        };
        self.unit(field, &format!("a number from 1 to {most}"), read).map(|count| count.value)
    }

    /// `none`, or what `read` makes of it.
    pub(super) fn or_none<T>(
        &mut self,
        field: &Field<'_>,
        read: impl FnOnce(&mut Self, &Field<'_>) -> Option<T>,
    ) -> Option<Option<T>> {
        if field.is("none") {
            return Some(None);
        }
        read(self, field).map(Some)
    }

    pub(super) fn unit<T>(
        &mut self,
        field: &Field<'_>,
        what: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<At<T>> {
        let text = self.text(field)?;
        match read(&text.value) {
            Ok(value) => Some(text.with(value)),
            Err(_) if field.is_placeholder() => None,
            Err(_) if text.foreign => {
                self.findings.push(text.error(format!("what comes out of this is not {what}")));
                None
            }
            Err(hint) => {
                self.findings.push(text.error(format!("{} is not {what}", text.shown())).hint(hint));
                None
            }
        }
    }

    /// What to say where a text in braces, `{path.tenant}`, was written without quotes.
    pub(super) fn quote_hint(&self, field: &Field<'_>) -> Option<String> {
        yaml::quote_hint(self.source.written(field.node.span))
    }

    /// `gateway.yaml:3:5`.
    pub(super) fn place(&self, span: Span) -> String {
        self.source.place(span)
    }

    fn wrong_kind(&mut self, field: &Field<'_>, wanted: &str, hint: Option<String>) {
        let found = match &field.node.value {
            Value::Broken => return,
            Value::Text(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        };
        let found = match field.text() {
            Some(text) => shown(&text.text, text.foreign),
            None => found.to_owned(),
        };
        let hint = yaml::quote_hint(self.source.written(field.node.span)).or(hint);
        self.findings.push(field.at(()).error(format!("{wanted} is expected here, not {found}")).hint_if(hint));
    }
}

impl<'n> Fields<'n> {
    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| &*entry.key.text == key)
    }

    /// Whether an unknown key, of which its finding says so, was meant to be this one.
    fn misspelt(&self, key: &str) -> bool {
        let unknown = self.entries.iter().filter(|entry| !keys::is_known(&self.pattern, &entry.key.text));
        unknown.take(MOST_GUESSES).any(|entry| keys::meant(&self.pattern, &entry.key.text) == Some(key))
    }

    /// The keys that are known, each with its place.
    pub(super) fn known(&self) -> impl Iterator<Item = (&'n str, At<()>)> {
        let known = self.entries.iter().filter(|entry| keys::is_known(&self.pattern, &entry.key.text));
        known.map(|entry| {
            let path = join(&self.path, &entry.key.text);
            (&*entry.key.text, At { value: (), span: entry.key_span, path, foreign: entry.key.foreign })
        })
    }

    /// Whether the key was written, perhaps with a mistake in its name: it isn't missing then.
    pub(super) fn has_or_means(&self, key: &str) -> bool {
        self.has(key) || self.misspelt(key)
    }

    /// Whether the key was written, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
