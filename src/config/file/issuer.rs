//! `issuers`.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    duration, flag,
    introspection::{self, Introspection, Userinfo},
    section, some_texts, some_time, texts, time_or_none,
};
use crate::{
    config::{
        reader::{At, Field, Fields, Reader},
        yaml::{Node, Value},
    },
    token::{
        issuer::{LogoutSettings, SenderConstraint, SenderSettings},
        secret::Secret,
    },
};

#[derive(Debug)]
pub(in crate::config) struct Issuer {
    pub(in crate::config) name: At<String>,
    pub(in crate::config) issuer: Option<At<String>>,
    pub(in crate::config) audiences: Option<Audiences>,
    pub(in crate::config) jwt: Jwt,
    pub(in crate::config) has_jwt: bool,
    pub(in crate::config) introspection: Option<Introspection>,
    pub(in crate::config) userinfo: Option<Userinfo>,
    pub(in crate::config) claims: Claims,
    pub(in crate::config) http_timeout: Option<Duration>,
    pub(in crate::config) allow_http: Option<At<bool>>,
    pub(in crate::config) sender: SenderSettings,
    pub(in crate::config) logout: LogoutSettings,
    pub(in crate::config) tls_ca: Option<At<String>>,
}

#[derive(Debug)]
pub(in crate::config) enum Audiences {
    Any(At<()>),
    OneOf(Vec<At<String>>),
}

#[derive(Debug, Default)]
pub(in crate::config) struct Jwt {
    pub(in crate::config) discovery: Option<At<bool>>,
    pub(in crate::config) jwks_uri: Option<At<String>>,
    pub(in crate::config) jwks_file: Option<At<String>>,
    pub(in crate::config) jwks: Option<At<Json>>,
    pub(in crate::config) public_keys: Option<At<Vec<At<String>>>>,
    pub(in crate::config) secret: Option<At<Secret>>,
    /// As written: base64.
    pub(in crate::config) secret_base64: Option<At<Secret>>,
    /// A key source was written and is wrong.
    pub(in crate::config) broken: bool,
    pub(in crate::config) algorithms: Option<At<Vec<At<String>>>>,
    pub(in crate::config) types: Option<At<Vec<At<String>>>>,
    pub(in crate::config) clock_skew: Option<At<Duration>>,
    pub(in crate::config) max_token_age: Option<Option<Duration>>,
    pub(in crate::config) require_claims: Option<At<Vec<At<String>>>>,
    pub(in crate::config) require_issuer: Option<bool>,
    pub(in crate::config) string_dates: Option<bool>,
    pub(in crate::config) refresh: Option<Duration>,
    pub(in crate::config) stale_keys: Option<At<Duration>>,
}

#[derive(Debug, Default)]
pub(in crate::config) struct Claims {
    pub(in crate::config) scopes: Option<At<Vec<At<String>>>>,
    pub(in crate::config) roles: Option<At<Vec<At<String>>>>,
    pub(in crate::config) subject: Option<At<String>>,
    pub(in crate::config) client: Option<At<Vec<At<String>>>>,
    pub(in crate::config) client_subjects: Option<At<String>>,
}

pub(super) fn issuer(name: At<String>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Issuer {
    let is_asked = fields.has("introspection") || fields.has("userinfo");
    let url = match is_asked {
        true => r.field(fields, "issuer"),
        false => r.required(fields, "issuer", "what its tokens have in `iss`, to the letter"),
    };
    let audiences = r.required(
        fields,
        "audiences",
        "what its tokens must have in `aud`: `audiences: [my-api]`; `audiences: any` accepts every token of the issuer",
    );
    Issuer {
        name,
        issuer: url.and_then(|field| r.text(&field)),
        audiences: audiences.and_then(|field| audiences_of(&field, r)),
        jwt: section(fields, "jwt", r).map(|fields| jwt(&fields, r)).unwrap_or_default(),
        has_jwt: fields.has("jwt"),
        introspection: r
            .field(fields, "introspection")
            .and_then(|field| Some(introspection::introspection(field.at_key(()), &r.fields(&field)?, r))),
        userinfo: r
            .field(fields, "userinfo")
            .and_then(|field| Some(introspection::userinfo(field.at_key(()), &r.fields(&field)?, r))),
        claims: section(fields, "claims", r).map(|fields| claims(&fields, r)).unwrap_or_default(),
        http_timeout: some_time(fields, "http_timeout", r),
        sender: sender(fields, r),
        logout: section(fields, "logout", r).map(|fields| logout(&fields, r)).unwrap_or_default(),
        allow_http: r.field(fields, "allow_http").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
        tls_ca: r.field(fields, "tls_ca").and_then(|field| r.text(&field)),
    }
}

fn sender(fields: &Fields<'_>, r: &mut Reader<'_>) -> SenderSettings {
    const CONSTRAINTS: [(&str, Option<SenderConstraint>); 3] =
        [("none", None), ("mtls", Some(SenderConstraint::Mtls)), ("dpop", Some(SenderConstraint::Dpop))];
    let constraint = r.field(fields, "sender_constraint").and_then(|field| r.word(&field, &CONSTRAINTS));
    let dpop = section(fields, "dpop", r);
    let defaults = SenderSettings::default();
    let constraint = constraint.flatten();
    SenderSettings {
        constraint,
        dpop_offered: dpop.is_some() || constraint == Some(SenderConstraint::Dpop),
        dpop_max_age: dpop.as_ref().and_then(|dpop| some_time(dpop, "max_age", r)).unwrap_or(defaults.dpop_max_age),
        dpop_nonce: dpop.as_ref().and_then(|dpop| flag(dpop, "nonce", r)).unwrap_or(defaults.dpop_nonce),
    }
}

fn logout(fields: &Fields<'_>, r: &mut Reader<'_>) -> LogoutSettings {
    LogoutSettings {
        back_channel: flag(fields, "back_channel", r).unwrap_or(false),
        events: flag(fields, "events", r).unwrap_or(false),
    }
}

fn audiences_of(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Audiences> {
    if field.is("any") {
        return Some(Audiences::Any(field.at_key(())));
    }
    r.some_texts(field, "name one audience at least, or accept every one with `audiences: any`")
        .map(|list| Audiences::OneOf(list.value))
}

fn jwt(fields: &Fields<'_>, r: &mut Reader<'_>) -> Jwt {
    let discovery = r.field(fields, "discovery").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag)));
    let text_at_key = |key, r: &mut Reader<'_>| r.field(fields, key).and_then(|field| r.text(&field));
    let jwks_uri = text_at_key("jwks_uri", r);
    let jwks_file = text_at_key("jwks_file", r);
    let jwks = r.field(fields, "jwks").and_then(|field| {
        if !matches!(field.node.value, Value::Map(_)) {
            r.findings.push(field.at(()).error("a JSON Web Key Set is a map: `jwks: {keys: […]}`"));
            return None;
        }
        Some(field.at_key(json(field.node)))
    });
    let public_keys = some_texts(fields, "public_keys", "name one file at least", r);
    let secret_at_key = |key, r: &mut Reader<'_>| {
        let text = r.field(fields, key).and_then(|field| r.text(&field))?;
        Some(text.with(Secret::new(text.value.clone().into_bytes())))
    };
    let secret = secret_at_key("secret", r);
    let secret_base64 = secret_at_key("secret_base64", r);
    let found = [
        discovery.is_some(),
        jwks_uri.is_some(),
        jwks_file.is_some(),
        jwks.is_some(),
        public_keys.is_some(),
        secret.is_some(),
        secret_base64.is_some(),
    ];
    let keys = ["discovery", "jwks_uri", "jwks_file", "jwks", "public_keys", "secret", "secret_base64"];
    let written = keys.map(|key| fields.has(key));
    Jwt {
        discovery,
        jwks_uri,
        jwks_file,
        jwks,
        public_keys,
        secret,
        secret_base64,
        broken: found != written,
        algorithms: some_texts(fields, "algorithms", "leave it out for all algorithms of good repute", r),
        types: some_texts(fields, "types", "leave it out for `[at+jwt, JWT]`", r),
        clock_skew: duration(fields, "clock_skew", r),
        max_token_age: time_or_none(fields, "max_token_age", r),
        require_claims: texts(fields, "require_claims", r),
        require_issuer: flag(fields, "require_issuer", r),
        string_dates: flag(fields, "string_dates", r),
        refresh: some_time(fields, "refresh", r),
        stale_keys: duration(fields, "stale_keys", r),
    }
}

fn claims(fields: &Fields<'_>, r: &mut Reader<'_>) -> Claims {
    let token_kind = section(fields, "token_kind", r);
    let client_if = token_kind.and_then(|fields| section(&fields, "client_if", r));
    let client_subjects = client_if.and_then(|fields| r.field(&fields, "subject_matches"));
    Claims {
        scopes: texts(fields, "scopes", r),
        roles: texts(fields, "roles", r),
        subject: r.field(fields, "subject").and_then(|field| r.text(&field)),
        client: texts(fields, "client", r),
        client_subjects: client_subjects.and_then(|field| r.text(&field)),
    }
}

/// A tree as JSON, by the core schema of YAML.
pub(in crate::config) fn json(node: &Node) -> Json {
    match &node.value {
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.text.to_string(), json(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Text(text) if text.is_null() => Json::Null,
        Value::Text(text) => match (text.as_bool(), text.text.parse::<serde_json::Number>()) {
            (Some(flag), _) => flag.into(),
            (None, Ok(number)) if text.plain => number.into(),
            _ => (*text.text).into(),
        },
        Value::Broken => Json::Null,
    }
}
