//! `allow` on a route.

use std::time::Duration;

use super::{
    super::reader::{At, Field, Fields, Reader},
    duration, some_texts,
};
use crate::token::kind::TokenKind;

#[derive(Debug)]
pub(in crate::config) enum Allow {
    Public,
    Optional,
    Authenticated,
    Rules(Vec<Rule>),
}

#[derive(Debug)]
pub(in crate::config) struct Rule {
    pub(in crate::config) methods: Option<Vec<At<String>>>,
    pub(in crate::config) issuers: Option<At<Vec<At<String>>>>,
    pub(in crate::config) audiences: Option<At<Vec<At<String>>>>,
    pub(in crate::config) scopes: Option<At<Vec<At<String>>>>,
    pub(in crate::config) any_scope: Option<At<Vec<At<String>>>>,
    pub(in crate::config) roles: Option<At<Vec<At<String>>>>,
    pub(in crate::config) any_role: Option<At<Vec<At<String>>>>,
    pub(in crate::config) token_kind: Option<TokenKind>,
    pub(in crate::config) claims: Vec<(At<String>, ClaimTest)>,
    pub(in crate::config) acr: Option<At<Vec<At<String>>>>,
    pub(in crate::config) max_age: Option<At<Duration>>,
    pub(in crate::config) when: Option<At<String>>,
}

#[derive(Debug)]
pub(in crate::config) enum ClaimTest {
    OneOf(Vec<At<String>>),
    Present(bool),
    Matches(At<String>),
}

pub(super) fn access(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Allow> {
    const HINT: &str = "`public`, `optional`, `authenticated`, or a list of rules";
    if field.is("public") {
        return Some(Allow::Public);
    }
    if field.is("authenticated") {
        return Some(Allow::Authenticated);
    }
    if field.is("optional") {
        return Some(Allow::Optional);
    }
    if !field.is_list() {
        r.findings.push(field.at(()).error("this is nothing that `allow` can be").hint(HINT));
        return None;
    }
    let items = r.items(field)?;
    if items.is_empty() {
        r.findings.push(field.at(()).error("an empty list").hint(HINT));
        return None;
    }
    let wanted = items.len();
    let rules = items.iter().filter_map(|item| rule(item, r)).collect::<Vec<_>>();
    (rules.len() == wanted).then_some(Allow::Rules(rules))
}

fn rule(item: &Field<'_>, r: &mut Reader<'_>) -> Option<Rule> {
    if item.is_text() {
        r.findings.push(item.at(()).error("a rule is a map").hint(
            match ["public", "optional", "authenticated"].into_iter().find(|word| item.is(word)) {
                Some(word) => format!("`allow: {word}` stands without a list"),
                None => "`- scopes: [orders:read]`".to_owned(),
            },
        ));
        return None;
    }
    let fields = r.fields(item)?;
    if fields.is_empty() {
        r.findings.push(
            item.at(())
                .error("a rule that asks for nothing")
                .hint("to let in whoever has a good token: `allow: authenticated`"),
        );
        return None;
    }
    const HINT: &str = "name one at least, or leave the key out";
    Some(Rule {
        methods: some_texts(&fields, "methods", HINT, r).map(|list| list.value),
        issuers: some_texts(&fields, "issuers", HINT, r),
        audiences: some_texts(&fields, "audiences", HINT, r),
        scopes: some_texts(&fields, "scopes", HINT, r),
        any_scope: some_texts(&fields, "any_scope", HINT, r),
        roles: some_texts(&fields, "roles", HINT, r),
        any_role: some_texts(&fields, "any_role", HINT, r),
        token_kind: token_kind(&fields, r),
        claims: claims(&fields, r),
        acr: some_texts(&fields, "acr", HINT, r),
        max_age: duration(&fields, "max_age", r),
        when: r.field(&fields, "when").and_then(|field| r.text(&field)),
    })
}

fn token_kind(fields: &Fields<'_>, r: &mut Reader<'_>) -> Option<TokenKind> {
    let field = r.field(fields, "token_kind")?;
    r.word(&field, &[("user", TokenKind::User), ("client", TokenKind::Client)])
}

fn claims(fields: &Fields<'_>, r: &mut Reader<'_>) -> Vec<(At<String>, ClaimTest)> {
    let Some(field) = r.field(fields, "claims") else { return Vec::new() };
    if field.is_empty_map() {
        r.findings.push(field.at(()).error("an empty map").hint("name one claim at least, or leave the key out"));
    }
    let named = r.named(&field);
    named.into_iter().filter_map(|(name, field)| claim_test(&field, r).map(|test| (name, test))).collect()
}

fn claim_test(field: &Field<'_>, r: &mut Reader<'_>) -> Option<ClaimTest> {
    if field.is_text() {
        return r.text(field).map(|value| ClaimTest::OneOf(vec![value]));
    }
    if field.is_list() {
        return r.some_texts(field, "name one value at least").map(|list| ClaimTest::OneOf(list.value));
    }
    if let Some(hint) = r.quote_hint(field).filter(|_| !field.is_empty_map()) {
        r.findings.push(field.at(()).error("a value of the request is a text").hint(hint));
        return None;
    }
    let fields = r.fields(field)?;
    let present = r.field(&fields, "present").and_then(|field| r.flag(&field)).map(ClaimTest::Present);
    let matches = r.field(&fields, "matches").and_then(|field| r.text(&field)).map(ClaimTest::Matches);
    if fields.has("present") == fields.has("matches") {
        r.findings.push(
            field
                .at(())
                .error("a claim is held against one thing")
                .hint("a value, a list of values, `{present: true}`, or `{matches: \"…\"}`"),
        );
    }
    present.or(matches)
}
