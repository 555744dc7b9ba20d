//! `identity`, at the top and on a route.

use std::time::Duration;

use super::{duration, secret, text};
use crate::{
    config::reader::{At, Field, Fields, Reader},
    token::secret::Secret,
};

#[derive(Debug, Default)]
pub(in crate::config) struct Identity {
    pub(in crate::config) headers: Option<Vec<(At<String>, IdentityValue)>>,
    /// Whether the token goes on.
    pub(in crate::config) authorization: Option<At<bool>>,
    pub(in crate::config) assertion: Option<Assertion>,
}

#[derive(Debug)]
pub(in crate::config) struct Assertion {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) header: Option<At<String>>,
    /// A file, or the key in place.
    pub(in crate::config) private_key: Option<At<Secret>>,
    pub(in crate::config) issuer: Option<At<String>>,
    pub(in crate::config) audience: Option<At<String>>,
    pub(in crate::config) ttl: Option<At<Duration>>,
    /// Keys that are there and wrong, so that they don't count as missing.
    pub(in crate::config) broken: Vec<&'static str>,
}

#[derive(Debug)]
pub(in crate::config) enum IdentityValue {
    Source(At<String>),
    Literal(At<String>),
}

pub(super) fn identity(fields: &Fields<'_>, r: &mut Reader<'_>) -> Identity {
    let authorization = r.field(fields, "authorization");
    Identity {
        headers: r.field(fields, "headers").map(|field| identity_headers(&field, r)),
        authorization: authorization.and_then(|field| {
            r.word(&field, &[("forward", true), ("remove", false)]).map(|forward| field.at_key(forward))
        }),
        assertion: r.field(fields, "assertion").and_then(|field| assertion(&field, r)),
    }
}

fn assertion(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Assertion> {
    let fields = r.fields(field)?;
    let (private_key, issuer) = (secret(&fields, "private_key", r), text(&fields, "issuer", r));
    let found = [("private_key", private_key.is_some()), ("issuer", issuer.is_some())];
    Some(Assertion {
        at: field.at_key(()),
        header: text(&fields, "header", r),
        private_key,
        issuer,
        audience: text(&fields, "audience", r),
        ttl: duration(&fields, "ttl", r),
        broken: found
            .into_iter()
            .filter(|(key, found)| !found && fields.has_or_means(key))
            .map(|(key, _)| key)
            .collect(),
    })
}

fn identity_headers(field: &Field<'_>, r: &mut Reader<'_>) -> Vec<(At<String>, IdentityValue)> {
    let mut headers = Vec::new();
    for (name, field) in r.named(field) {
        let value = if field.is_text() {
            r.text(&field).map(IdentityValue::Source)
        } else {
            let literal =
                r.fields(&field).and_then(|fields| r.required(&fields, "value", "a literal: `{value: production}`"));
            literal.and_then(|field| r.text(&field)).map(IdentityValue::Literal)
        };
        headers.extend(value.map(|value| (name, value)));
    }
    headers
}
