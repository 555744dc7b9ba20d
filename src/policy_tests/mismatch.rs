//! What a test expects, held against what came of it.

use hyper::header::HeaderName;

use crate::{
    config::{self, Expectation, ExpectedHeader},
    refusal::{Refusal, RuleFault},
    rehearsal::Answer,
    snapshot::Snapshot,
};

/// One part that isn't as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Which part.
    pub what: String,
    /// What the test says.
    pub expected: String,
    /// What it is.
    pub got: String,
}

impl Mismatch {
    fn unless(good: bool, what: &str, expected: impl Into<String>, got: impl Into<String>) -> Option<Mismatch> {
        (!good).then(|| Mismatch { what: what.to_owned(), expected: expected.into(), got: got.into() })
    }
}

/// All parts that aren't as expected.
pub(super) fn all(expect: &Expectation, answer: &Answer, snapshot: &Snapshot) -> Vec<Mismatch> {
    let scope = match answer.refusal() {
        Some(Refusal::Rule(RuleFault::Scope(scope))) => Some(&**scope),
        _ => None,
    };
    let mut parts = against(
        expect,
        &Observed {
            allow: answer.is_allowed(),
            status: answer.status(),
            route: answer.route(snapshot).map(|route| &*route.settings.name),
            reason: answer.reason(),
            rule: answer.rule(),
            scope,
            upstream_headers: &answer.upstream_headers,
        },
    );
    if let Some(part) = parts.iter_mut().find(|part| part.what == "route") {
        part.expected.push_str(&unknown_route(&part.expected, snapshot).unwrap_or_default());
    }
    // What is compared is real; what is told isn't, where it came from a file.
    parts.iter_mut().for_each(|part| snapshot.confidential.mask_text(&mut part.got));
    parts
}

/// What there is to say of a route that isn't there, however a request is decided.
fn unknown_route(name: &str, snapshot: &Snapshot) -> Option<String> {
    let names = || snapshot.routes.iter().map(|route| &*route.settings.name);
    if names().any(|known| known == name) {
        return None;
    }
    let hint = config::did_you_mean(name, names(), "the routes are").unwrap_or_default();
    Some(format!(" (no route is called so; {hint})"))
}

/// What an expectation can be about.
struct Observed<'a> {
    allow: bool,
    status: u16,
    route: Option<&'a str>,
    reason: &'a str,
    /// From 0.
    rule: Option<usize>,
    scope: Option<&'a str>,
    upstream_headers: &'a [(String, String)],
}

fn against(expect: &Expectation, observed: &Observed<'_>) -> Vec<Mismatch> {
    let decision = |allow| if allow { "allow" } else { "deny" };
    let named = |name: Option<&str>| name.map_or_else(|| "none".to_owned(), str::to_owned);
    let mut parts =
        vec![
            expect.allow.and_then(|allow| {
                Mismatch::unless(allow == observed.allow, "decision", decision(allow), decision(observed.allow))
            }),
            expect.status.and_then(|status| {
                let got = observed.status.to_string();
                Mismatch::unless(status.as_u16() == observed.status, "status", status.as_str(), got)
            }),
            expect.route.as_deref().and_then(|route| {
                Mismatch::unless(observed.route == Some(route), "route", route, named(observed.route))
            }),
            expect
                .reason
                .as_deref()
                .and_then(|reason| Mismatch::unless(reason == observed.reason, "reason", reason, observed.reason)),
            expect.rule.and_then(|rule| {
                // People count from one.
                let got = observed.rule.map(|rule| rule + 1);
                Mismatch::unless(
                    got == Some(rule),
                    "rule",
                    rule.to_string(),
                    named(got.map(|got| got.to_string()).as_deref()),
                )
            }),
            expect.scope.as_deref().and_then(|scope| {
                Mismatch::unless(observed.scope == Some(scope), "scope", scope, named(observed.scope))
            }),
        ];
    parts.extend(expect.upstream_headers.iter().map(|(name, expected)| header(name, expected, observed)));
    parts.into_iter().flatten().collect()
}

fn header(name: &HeaderName, expected: &ExpectedHeader, observed: &Observed<'_>) -> Option<Mismatch> {
    let what = format!("upstream header {name}");
    let values = observed.upstream_headers.iter().filter(|(sent, _)| sent == name.as_str());
    let values = values.map(|(_, value)| value.as_str()).collect::<Vec<_>>();
    let got = match values.as_slice() {
        [] => "not sent".to_owned(),
        values => values.join(" and "),
    };
    match expected {
        ExpectedHeader::Value(value) => Mismatch::unless(values == [value.as_str()], &what, value, got),
        ExpectedHeader::Present(true) => Mismatch::unless(!values.is_empty(), &what, "sent", got),
        ExpectedHeader::Present(false) => Mismatch::unless(values.is_empty(), &what, "not sent", got),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    fn found(expect: &Expectation) -> Vec<Mismatch> {
        let upstream_headers = [("x-auth-subject", "u1"), ("x-twice", "a"), ("x-twice", "b")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        against(
            expect,
            &Observed {
                allow: true,
                status: 200,
                route: Some("orders"),
                reason: "ok",
                rule: Some(1),
                scope: None,
                upstream_headers: &upstream_headers,
            },
        )
    }

    fn headers(name: &'static str, expected: ExpectedHeader) -> Expectation {
        Expectation { upstream_headers: vec![(HeaderName::from_static(name), expected)], ..Expectation::default() }
    }

    #[test]
    fn each_part_is_compared() {
        let value = |text: &str| ExpectedHeader::Value(text.to_owned());
        let none = Expectation::default;
        for (expect, expected) in [
            (Expectation { allow: Some(true), ..none() }, None),
            (Expectation { allow: Some(false), ..none() }, Some(("decision", "deny", "allow"))),
            (Expectation { status: Some(StatusCode::OK), ..none() }, None),
            (Expectation { status: Some(StatusCode::FORBIDDEN), ..none() }, Some(("status", "403", "200"))),
            (Expectation { route: Some("orders".to_owned()), ..none() }, None),
            (Expectation { route: Some("order".to_owned()), ..none() }, Some(("route", "order", "orders"))),
            (Expectation { reason: Some("ok".to_owned()), ..none() }, None),
            (Expectation { reason: Some("scope".to_owned()), ..none() }, Some(("reason", "scope", "ok"))),
            (Expectation { rule: Some(2), ..none() }, None),
            (Expectation { rule: Some(1), ..none() }, Some(("rule", "1", "2"))),
            (Expectation { scope: Some("read".to_owned()), ..none() }, Some(("scope", "read", "none"))),
            (headers("x-auth-subject", value("u1")), None),
            (headers("x-auth-subject", value("U1")), Some(("upstream header x-auth-subject", "U1", "u1"))),
            (headers("x-twice", value("a")), Some(("upstream header x-twice", "a", "a and b"))),
            (headers("x-twice", ExpectedHeader::Present(true)), None),
            (headers("x-no", value("a")), Some(("upstream header x-no", "a", "not sent"))),
            (headers("x-no", ExpectedHeader::Present(true)), Some(("upstream header x-no", "sent", "not sent"))),
            (headers("x-no", ExpectedHeader::Present(false)), None),
            (
                headers("x-auth-subject", ExpectedHeader::Present(false)),
                Some(("upstream header x-auth-subject", "not sent", "u1")),
            ),
        ] {
            let found = found(&expect);
            let found = found.iter().map(|part| (&*part.what, &*part.expected, &*part.got)).collect::<Vec<_>>();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{expect:?}");
        }
    }

    #[test]
    fn all_mismatches_come_at_once() {
        let expect = Expectation { allow: Some(false), route: Some("x".to_owned()), ..Expectation::default() };
        assert_eq!(found(&expect).len(), 2);
    }
}
