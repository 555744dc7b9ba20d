//! Texts in rules that may hold values of the request: `{path.tenant}`, `acme-{query.unit}`.

use std::{borrow::Cow, fmt};

use hyper::header::HeaderName;

use super::facts::Facts;
use crate::route::PathTemplate;

/// A text with references to the request in it, resolved at load as far as it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestText {
    written: Box<str>,
    parts: Box<[Part]>,
    /// Whether it may be shown: not what came from a file or a variable.
    is_hidden: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    /// For each of the route's paths: the place of the parameter in it, if it has one of that name.
    Path(Box<[Option<usize>]>),
    Query(Box<str>),
    Header(HeaderName),
    Host,
}

impl RequestText {
    /// Reads a text of a rule, on a route with these paths.
    ///
    /// # Errors
    /// What is wrong with a `{…}` in it, in words for the configuration's author.
    pub fn parse(text: &str, paths: &[PathTemplate]) -> Result<RequestText, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let inner = from.strip_prefix('{').and_then(|from| from.split_once('}'));
            let Some((name, after)) = inner.filter(|(name, _)| !name.contains('{')) else {
                return Err("a brace here begins or ends a value of the request, such as `{path.tenant}`".to_owned());
            };
            if !before.is_empty() {
                parts.push(Part::Literal(before.into()));
            }
            parts.push(Part::parse(name, paths)?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(RequestText { written: text.into(), parts: parts.into(), is_hidden: false })
    }

    /// The text for this request. None where a value in it is absent or given more than once: it equals nothing then.
    pub fn resolve<'t>(&'t self, facts: &Facts<'t>) -> Option<Cow<'t, str>> {
        match &*self.parts {
            [] => Some(Cow::Borrowed("")),
            [only] => only.resolve(facts),
            parts => {
                let mut text = String::new();
                for part in parts {
                    text.push_str(&part.resolve(facts)?);
                }
                Some(Cow::Owned(text))
            }
        }
    }

    /// The same, never to be shown.
    #[must_use]
    pub fn hidden(self) -> RequestText {
        RequestText { is_hidden: true, ..self }
    }

    /// What it is for this request, in words for people.
    pub(super) fn shown(&self, facts: &Facts<'_>) -> String {
        if self.is_hidden {
            return "a value that isn't shown".to_owned();
        }
        match self.resolve(facts) {
            Some(text) if *text == *self.written => text.into_owned(),
            Some(text) => format!("{text} ({})", self.written),
            None => format!("{} (absent, or there more than once)", self.written),
        }
    }

    /// Whether it asks for a header.
    pub fn reads_headers(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Header(_)))
    }
}

impl fmt::Display for RequestText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Part {
    fn parse(name: &str, paths: &[PathTemplate]) -> Result<Part, String> {
        match name.split_once('.') {
            Some(("path", param)) => Part::param(param, paths),
            Some(("query", field)) if !field.is_empty() => Ok(Part::Query(field.into())),
            Some(("header", header)) => HeaderName::from_bytes(header.as_bytes())
                .map(Part::Header)
                .map_err(|_| format!("`{header}` is not a header's name")),
            None if name == "host" => match place_of("host", paths).iter().all(Option::is_none) {
                true => Ok(Part::Host),
                false => Err("`{host}` could be the request's host or the path's `{host}`: write `{path.host}`, or name the path's otherwise".to_owned()),
            },
            None if !name.is_empty() => Part::param(name, paths),
            _ => Err(format!(
                "`{{{name}}}` is no value of a request: there are `{{path.…}}`, `{{query.…}}`, `{{header.…}}` and `{{host}}`"
            )),
        }
    }

    fn param(name: &str, paths: &[PathTemplate]) -> Result<Part, String> {
        let places = place_of(name, paths);
        if places.iter().any(Option::is_some) {
            return Ok(Part::Path(places));
        }
        let known: Vec<_> =
            paths.iter().flat_map(PathTemplate::param_names).map(|name| format!("`{{{name}}}`")).collect();
        Err(match known.is_empty() {
            true => format!("the route's path has no `{{{name}}}`, nor any other parameter"),
            false => format!("the route's path has no `{{{name}}}`: it has {}", known.join(", ")),
        })
    }

    fn resolve<'t>(&'t self, facts: &Facts<'t>) -> Option<Cow<'t, str>> {
        match self {
            Part::Literal(text) => Some(Cow::Borrowed(text)),
            Part::Path(places) => facts.param((*places.get(facts.template)?)?),
            Part::Query(name) => facts.query(name),
            Part::Header(name) => facts.header(name).map(Cow::Borrowed),
            Part::Host => facts.host.map(Cow::Borrowed),
        }
    }
}

fn place_of(name: &str, paths: &[PathTemplate]) -> Box<[Option<usize>]> {
    paths.iter().map(|path| path.param_names().position(|param| param == name)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use hyper::{HeaderMap, Method, header::HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::token::principal::Principal;

    fn paths(texts: &[&str]) -> Vec<PathTemplate> {
        texts.iter().map(|text| PathTemplate::parse(text).unwrap()).collect()
    }

    #[test]
    fn values_stand_inside_text() {
        let paths = paths(&["/{a}/{b}", "/x/{b}"]);
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-unit"), HeaderValue::from_static("u"))]);
        let principal = Principal::for_test(&[], &[]);
        let b_alone = std::slice::from_ref(&(3..6));
        let facts = Facts {
            principal: &principal,
            method: &Method::GET,
            host: Some("api.example"),
            scheme: "http",
            client_ip: [192, 0, 2, 7].into(),
            path: "/one/t%20wo",
            template: 0,
            params: &[1..4, 5..11],
            query: Some("q=3&r=1&r=2"),
            headers: &headers,
            now: 0,
        };
        let second = Facts { path: "/x/two", template: 1, params: b_alone, ..facts };
        for (text, in_first, in_second) in [
            ("plain", Some("plain"), Some("plain")),
            ("{path.a}", Some("one"), None),
            ("{a}", Some("one"), None),
            ("{b}", Some("t wo"), Some("two")),
            (
                "x-{b}-{query.q}-{header.X-Unit}@{host}!",
                Some("x-t wo-3-u@api.example!"),
                Some("x-two-3-u@api.example!"),
            ),
            ("{b}{b}", Some("t wot wo"), Some("twotwo")),
            ("{query.r}", None, None),
            ("x{query.absent}", None, None),
            ("{header.x-none}", None, None),
        ] {
            let read = RequestText::parse(text, &paths).unwrap();
            assert_eq!(read.resolve(&facts).as_deref(), in_first, "{text}");
            assert_eq!(read.resolve(&second).as_deref(), in_second, "{text}");
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_value_of_the_request_is_refused() {
        let with_host = paths(&["/{host}/{a}"]);
        for (text, words) in [
            ("{path.c}", "it has `{host}`, `{a}`"),
            ("{c}", "no `{c}`"),
            ("{}", "is no value of a request"),
            ("{query.}", "is no value of a request"),
            ("{claims.a}", "is no value of a request"),
            ("{header.}", "is not a header's name"),
            ("{header.a b}", "is not a header's name"),
            ("{path.}", "no `{}`"),
            ("{a", "a brace"),
            ("a}", "a brace"),
            ("{{a}}", "a brace"),
            ("{a}}", "a brace"),
            ("{host}", "write `{path.host}`"),
        ] {
            let error = RequestText::parse(text, &with_host).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!(RequestText::parse("{path.host}", &with_host).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn never_panics(text in "[{}a-z.]{0,12}", any in "\\PC{0,20}") {
            let paths = paths(&["/{a}"]);
            let _ = RequestText::parse(&text, &paths);
            let _ = RequestText::parse(&any, &paths);
        }
    }
}
