//! Documents of others that a configuration is made from: YAML or JSON, read as it is written, with places for messages.
//! Nothing in one is interpolated, and what isn't asked for may be anything.

use std::{io::Read, path::Path};

use super::{
    diagnostic::{Diagnostic, Finding, Findings, Span},
    interpolation::{self, Interpolation},
    source::{Source, Sources},
    yaml::{self, Budget, Node, Value},
};

/// Documents are larger than configurations: a big API's describes thousands of schemas.
const LARGEST: u64 = 16 << 20;
const BUDGET: Budget = Budget { deepest: 200, nodes: 1_500_000, copies: 500_000 };

/// A document, read.
#[derive(Debug)]
pub(crate) struct Document {
    sources: Sources,
    root: Node,
}

/// A value in a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'d> {
    document: &'d Document,
    node: &'d Node,
    /// Where its key is, if it is a map's member.
    key: Option<Span>,
}

impl Document {
    /// Reads a file. Its name in messages is the path.
    ///
    /// # Errors
    /// All that keeps it from being YAML or JSON.
    pub(crate) fn open(path: &Path) -> Result<Document, Vec<Diagnostic>> {
        let name = path.display().to_string();
        // As for a configuration, a pipe isn't waited for; stdin is there for that.
        let text = interpolation::read_text_up_to(LARGEST, path);
        Document::of(&name, text)
    }

    /// Reads what comes in. `name` is what messages call it.
    ///
    /// # Errors
    /// All that keeps it from being YAML or JSON.
    pub(crate) fn from_reader(name: &str, from: impl Read) -> Result<Document, Vec<Diagnostic>> {
        Document::of(name, interpolation::text_of(from, LARGEST))
    }

    fn of(name: &str, text: Result<String, String>) -> Result<Document, Vec<Diagnostic>> {
        match text {
            Ok(text) => Document::read(name, &text),
            Err(words) => Err(vec![Diagnostic::about(name, "", format!("can't read the document: {words}"), None)]),
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// All that keeps it from being YAML or JSON.
    pub(crate) fn read(name: &str, text: &str) -> Result<Document, Vec<Diagnostic>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return Err(vec![Diagnostic::about(name, "", "the document is empty".to_owned(), None)]);
        }
        let source = Source::new(name, text, Path::new(""));
        let mut findings = Findings::default();
        let tree = yaml::parse_within(BUDGET, &source, text, &mut Interpolation::none(), &mut findings);
        let sources = Sources::of(source);
        match tree {
            Some(root) if !findings.failed() => Ok(Document { sources, root }),
            _ => Err(findings.into_diagnostics(&sources)),
        }
    }

    /// All of it.
    pub(crate) fn root(&self) -> Part<'_> {
        Part { document: self, node: &self.root, key: None }
    }

    /// What a reference within the document stands for: `#/components/schemas/a~1b` (RFC 6901, section 6).
    pub(crate) fn find(&self, reference: &str) -> Option<Part<'_>> {
        let mut found = self.root();
        for name in reference.strip_prefix("#/")?.split('/') {
            let name = percent_decoded(name)?.replace("~1", "/").replace("~0", "~");
            found = match found.items() {
                Some(items) => *items.get(name.parse::<usize>().ok()?)?,
                None => found.member(&name)?,
            };
        }
        Some(found)
    }
}

impl<'d> Part<'d> {
    /// A map's member.
    pub(crate) fn member(self, name: &str) -> Option<Part<'d>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let entry = entries.iter().find(|entry| &*entry.key.text == name)?;
        Some(Part { node: &entry.value, key: Some(entry.key_span), ..self })
    }

    /// A map's members, in its order; None: it isn't one.
    pub(crate) fn members(self) -> Option<Vec<(&'d str, Part<'d>)>> {
        let Value::Map(entries) = &self.node.value else { return None };
        let part = |value, key| Part { node: value, key: Some(key), ..self };
        Some(entries.iter().map(|entry| (&*entry.key.text, part(&entry.value, entry.key_span))).collect())
    }

    /// A list's items; None: it isn't one.
    pub(crate) fn items(self) -> Option<Vec<Part<'d>>> {
        let Value::List(items) = &self.node.value else { return None };
        Some(items.iter().map(|node| Part { node, key: None, ..self }).collect())
    }

    /// A scalar's text.
    pub(crate) fn text(self) -> Option<&'d str> {
        match &self.node.value {
            Value::Text(text) => Some(&text.text),
            _ => None,
        }
    }

    /// Whether it is the boolean.
    pub(crate) fn is_true(self) -> bool {
        matches!(&self.node.value, Value::Text(text) if text.as_bool() == Some(true))
    }

    /// Something wrong with it.
    pub(crate) fn error(self, message: impl Into<String>, hint: &str) -> Box<Diagnostic> {
        let span = match &self.node.value {
            Value::Text(_) => self.node.span,
            _ => self.key.unwrap_or(self.node.span),
        };
        self.diagnostic(span, message.into(), hint)
    }

    /// Something wrong with what it is called.
    pub(crate) fn error_at_name(self, message: impl Into<String>, hint: &str) -> Box<Diagnostic> {
        self.diagnostic(self.key.unwrap_or(self.node.span), message.into(), hint)
    }

    fn diagnostic(self, span: Span, message: String, hint: &str) -> Box<Diagnostic> {
        let finding = Finding::error(span, "", message).hint_if((!hint.is_empty()).then(|| hint.to_owned()));
        let words = finding.message.clone();
        Box::new(self.document.sources.diagnostic(finding).unwrap_or_else(|| Diagnostic::about("", "", words, None)))
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = "a: ${HOME}\nb: on\nc/d: {x~y: [1, {z: 'no'}]}\ne: true\n\"%\": $$\n";
        let document = Document::read("api.yaml", text).unwrap();
        let root = document.root();
        let texts = ["a", "b", "e", "%"].map(|name| root.member(name).unwrap().text().unwrap());
        assert_eq!(texts, ["${HOME}", "on", "true", "$$"]);
        assert!(root.member("e").unwrap().is_true() && !root.member("b").unwrap().is_true());
        for (reference, found) in [
            ("#/c~1d/x~0y/1/z", Some("no")),
            ("#/c%2Fd/x~0y/1/z", Some("no")),
            ("#/%25", Some("$$")),
            ("#/%2", None),
            ("#/c~1d/x~0y/2", None),
            ("#/a/b", None),
            ("other.yaml#/a", None),
        ] {
            assert_eq!(document.find(reference).and_then(Part::text), found, "{reference}");
        }
        let shown = root.member("c/d").unwrap().error("wrong", "right it").to_string();
        assert_eq!(
            shown,
            "error: wrong\n  --> api.yaml:3:1\n   |\n 3 | c/d: {x~y: [1, {z: 'no'}]}\n   | ^^^\n   = hint: right it\n"
        );
    }

    #[test]
    fn json_is_read_too() {
        let text = "{\n\t\"a\": \"x\\/y \\ud83d\\ude00\",\n\t\"b\": [true, 1.0, null, {}]\n}\n";
        let document = Document::read("api.json", text).unwrap();
        assert_eq!(document.root().member("a").unwrap().text(), Some("x/y 😀"));
        assert_eq!(document.root().member("b").unwrap().items().unwrap().len(), 4);
    }

    #[test]
    fn what_is_no_document() {
        for (text, message) in [
            ("", "the document is empty"),
            ("\n \n", "the document is empty"),
            ("a: [", "this is not valid YAML"),
            ("a: 1\na: 2\n", "`a` is there twice"),
        ] {
            let wrong = Document::read("api.yaml", text).unwrap_err();
            assert!(wrong[0].message.contains(message), "{text}: {wrong:?}");
        }
        let wrong = Document::from_reader("stdin", std::io::repeat(b'a')).unwrap_err();
        assert_eq!(wrong[0].message, "can't read the document: it is larger than 16 MiB");
        assert!(Document::open(Path::new("/nowhere/api.yaml")).unwrap_err()[0].message.contains("no such file"));
    }
}
