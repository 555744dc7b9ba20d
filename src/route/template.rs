//! The paths that a route is for.

use std::fmt;

use super::{Params, trie::split_segment};
use crate::path::{canonical, decode_reserved};

/// A path with `{name}` segments and perhaps a `/**` at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathTemplate {
    segments: Vec<Segment>,
    rest: bool,
}

/// One segment of a template.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// In canonical form.
    Literal(String),
    /// `{name}`: any one segment that isn't empty.
    Param(String),
}

/// Bounds how deep the compiled matcher is.
const MAX_SEGMENTS: usize = 128;

impl PathTemplate {
    /// Reads `/rest/{id}/**`. A slash at the end makes no difference.
    ///
    /// # Errors
    /// What is wrong, in words for the configuration's author.
    pub fn parse(text: &str) -> Result<PathTemplate, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err(format!("the path `{text}` does not begin with a slash: write `/{text}`"));
        };
        if text.contains("//") {
            return Err(format!("the path `{text}` has an empty segment: leave the doubled slash out"));
        }
        let path = path.strip_suffix('/').unwrap_or(path);
        let (path, rest) = match path.strip_suffix("/**") {
            Some(before) => (before, true),
            None if path == "**" => ("", true),
            None => (path, false),
        };
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            segments.push(Segment::parse(text, segment)?);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(format!("the path has over {MAX_SEGMENTS} segments: end it with `/**`"));
        }
        let template = PathTemplate { segments, rest };
        template.check_names(text)?;
        Ok(template)
    }

    fn check_names(&self, text: &str) -> Result<(), String> {
        let names: Vec<_> = self.param_names().collect();
        for (place, name) in names.iter().enumerate() {
            if names.iter().take(place).any(|before| before == name) {
                return Err(format!("the path `{text}` has two parameters named `{name}`: name each differently"));
            }
        }
        Ok(())
    }

    /// The segments before `/**`.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether it ends with `/**`.
    pub fn takes_rest(&self) -> bool {
        self.rest
    }

    /// The parameters' names, in the order of `Params`.
    pub fn param_names(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param(name) => Some(name.as_str()),
            Segment::Literal(_) => None,
        })
    }

    /// Where the parameters are in a path that fits this template alone, and where what `/**` takes begins; None if it
    /// doesn't fit.
    pub fn params_in(&self, path: &str) -> Option<(Params, usize)> {
        let mut params = Params::new();
        let mut rest = path;
        for segment in &self.segments {
            let (asked, after) = split_segment(rest)?;
            let end = path.len() - after.len();
            match segment {
                Segment::Literal(literal) if literal == asked => {}
                Segment::Param(_) if !asked.is_empty() => params.push(end - asked.len()..end),
                _ => return None,
            }
            rest = after;
        }
        (self.rest || split_segment(rest).is_none()).then(|| (params, path.len() - rest.len()))
    }
}

impl Segment {
    fn parse(path: &str, text: &str) -> Result<Segment, String> {
        if text.contains('*') {
            return Err(format!(
                "`*` in `{path}` is not understood there: write `{{name}}` for one segment, or `/**` at the end for any rest"
            ));
        }
        if text.contains(['{', '}']) {
            return Segment::param(path, text);
        }
        if let Some(other) = text.chars().find(|character| matches!(character, '?' | '#')) {
            return Err(format!("the path `{path}` has a `{other}`: a route is chosen by its path alone"));
        }
        if !text.is_ascii() {
            let encoded: String = text.bytes().map(encode_beyond_ascii).collect();
            return Err(format!("`{text}` in `{path}` is not ASCII: write `{encoded}`"));
        }
        let below =
            canonical(&format!("/x/{text}")).map_err(|detail| format!("`{path}` cannot be asked for: {detail}"))?;
        // Requests with the plain character would not match, and upstreams take both for one path.
        if let Some(plain) = decode_reserved(text) {
            return Err(format!("`{text}` in `{path}` encodes what needs no encoding: write `{plain}`"));
        }
        match below.strip_prefix("/x/") {
            Some(literal) if !literal.is_empty() => Ok(Segment::Literal(literal.to_owned())),
            _ => Err(format!("the path `{path}` has a dot segment: write the path that it leads to")),
        }
    }

    fn param(path: &str, text: &str) -> Result<Segment, String> {
        let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) else {
            return Err(format!("`{text}` in `{path}`: a parameter is a whole segment, like `/{{name}}/`"));
        };
        let begins = |character: char| character.is_ascii_alphabetic() || character == '_';
        let goes_on = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
        if !name.starts_with(begins) || !name.chars().all(goes_on) {
            return Err(format!(
                "`{name}` in `{path}` is not a parameter's name: write letters, digits, `_` and `-`, a letter first"
            ));
        }
        Ok(Segment::Param(name.to_owned()))
    }
}

fn encode_beyond_ascii(octet: u8) -> String {
    if octet.is_ascii() { char::from(octet).to_string() } else { format!("%{octet:02X}") }
}

impl fmt::Display for PathTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in &self.segments {
            match segment {
                Segment::Literal(literal) => write!(f, "/{literal}")?,
                Segment::Param(name) => write!(f, "/{{{name}}}")?,
            }
        }
        match (self.rest, self.segments.is_empty()) {
            (true, _) => f.write_str("/**"),
            (false, true) => f.write_str("/"),
            (false, false) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;
    use crate::path::CanonicalPath;

    #[test]
    fn templates() {
        let cases = [
            ("/", "/"),
            ("/**", "/**"),
            ("/**/", "/**"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a/**", "/a/**"),
            ("/rest/campaigns/{id}", "/rest/campaigns/{id}"),
            ("/{a}/{b}/**", "/{a}/{b}/**"),
            ("/{a-1}/{_b}", "/{a-1}/{_b}"),
            ("/%61dmin", "/admin"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/a%20b", "/a%20b"),
            ("/v1/x:purge", "/v1/x:purge"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a|b", "/a%7Cb"),
        ];
        for (text, shown) in cases {
            let template = PathTemplate::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            assert_eq!(template.to_string(), shown);
            assert_eq!(PathTemplate::parse(shown).as_ref(), Ok(&template));
        }
        let template = PathTemplate::parse("/a/{x}/b/{y}/**").unwrap();
        assert_eq!(template.param_names().collect::<Vec<_>>(), ["x", "y"]);
        assert!(template.takes_rest());
        assert_eq!(template.segments().len(), 4);
    }

    #[test]
    fn refused_with_a_hint() {
        let cases = [
            ("", "does not begin with a slash"),
            ("a/b", "write `/a/b`"),
            ("**", "does not begin with a slash"),
            ("https://x/a", "does not begin with a slash"),
            ("//", "doubled slash"),
            ("//a", "doubled slash"),
            ("/a//b", "doubled slash"),
            ("/a//", "doubled slash"),
            ("//**", "doubled slash"),
            ("/a//**", "doubled slash"),
            ("/a**", "`/**` at the end"),
            ("/a/*", "write `{name}`"),
            ("/a*", "write `{name}`"),
            ("/a/**/b", "`/**` at the end"),
            ("/**/**", "`/**` at the end"),
            ("/a/***", "`/**` at the end"),
            ("/a/{id", "a whole segment"),
            ("/a/id}", "a whole segment"),
            ("/a/x{id}", "a whole segment"),
            ("/a/{id}.json", "a whole segment"),
            ("/a/{a}{b}", "is not a parameter's name"),
            ("/a/{}", "is not a parameter's name"),
            ("/a/{1}", "is not a parameter's name"),
            ("/a/{a.b}", "is not a parameter's name"),
            ("/a/{é}", "is not a parameter's name"),
            ("/{id}/b/{id}", "two parameters named `id`"),
            ("/a/../b", "dot segment"),
            ("/a/./b", "dot segment"),
            ("/..", "dot segment"),
            ("/a/%2e%2E/b", "dot segment"),
            ("/a/%2e", "dot segment"),
            ("/a%2fb", "encoded slash"),
            ("/a%5cb", "encoded backslash"),
            ("/a\\b", "backslash"),
            ("/a b", "space"),
            ("/a%zz", "hex digits"),
            ("/a%00", "control character"),
            ("/a%3Ab", "write `a:b`"),
            ("/a%40%3b", "write `a@;`"),
            ("/a%2A", "write `a*`"),
            ("/a?b=c", "by its path alone"),
            ("/a#b", "by its path alone"),
            ("/café", "write `caf%C3%A9`"),
        ];
        for (text, part) in cases {
            let error = PathTemplate::parse(text).map(|template| template.to_string()).unwrap_err();
            assert!(error.contains(part), "{text:?}: {error}");
        }
        assert!(PathTemplate::parse(&"/a".repeat(MAX_SEGMENTS)).is_ok());
        assert!(PathTemplate::parse(&"/a".repeat(MAX_SEGMENTS + 1)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

        #[test]
        fn what_is_shown_is_read_the_same(any in "\\PC*", close in "/[a{}*/%.25eé-]{0,16}") {
            for text in [any, close] {
                let Ok(template) = PathTemplate::parse(&text) else { continue };
                prop_assert_eq!(PathTemplate::parse(&template.to_string()), Ok(template));
            }
        }

        #[test]
        fn literals_are_what_a_request_would_have(segment in "[a-z%2-7A-F.;:@|^]{1,8}") {
            let Ok(template) = PathTemplate::parse(&format!("/{segment}")) else { return Ok(()) };
            let requested = CanonicalPath::parse(&format!("/{segment}")).unwrap();
            prop_assert_eq!(template.to_string(), requested.as_str());
        }
    }
}
