//! `issuers.*.introspection` and `issuers.*.userinfo`.

use std::time::Duration;

use super::{duration, some_time};
use crate::{
    config::reader::{At, Fields, Reader},
    token::secret::Secret,
};

/// More at the same time is no limit.
const MOST_CONCURRENT: usize = 10_000_000;

#[derive(Debug)]
pub(in crate::config) struct Introspection {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) endpoint: Option<At<String>>,
    pub(in crate::config) client_id: Option<At<String>>,
    pub(in crate::config) client_secret: Option<At<Secret>>,
    pub(in crate::config) auth: Option<AuthWord>,
    pub(in crate::config) bearer_token: Option<At<Secret>>,
    pub(in crate::config) private_key: Option<At<Secret>>,
    /// One of these was written and is wrong.
    pub(in crate::config) broken: bool,
    pub(in crate::config) tokens: Option<At<String>>,
    pub(in crate::config) timeout: Option<Duration>,
    pub(in crate::config) cache_ttl: Option<Duration>,
    pub(in crate::config) negative_ttl: Option<Duration>,
    pub(in crate::config) max_concurrent: Option<usize>,
    pub(in crate::config) signed: Option<At<bool>>,
    pub(in crate::config) certificate: Option<At<String>>,
    pub(in crate::config) key: Option<At<String>>,
}

/// `auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum AuthWord {
    Basic,
    Post,
    Bearer,
    PrivateKeyJwt,
    None,
}

#[derive(Debug)]
pub(in crate::config) struct Userinfo {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) endpoint: Option<At<String>>,
    pub(in crate::config) cache_ttl: Option<Duration>,
}

impl Introspection {
    /// Whether answers must be signed.
    pub(in crate::config) fn is_signed(&self) -> bool {
        self.signed.as_ref().is_some_and(|flag| flag.value)
    }
}

impl AuthWord {
    pub(in crate::config) const ALL: [(&'static str, AuthWord); 5] = [
        ("basic", AuthWord::Basic),
        ("post", AuthWord::Post),
        ("bearer", AuthWord::Bearer),
        ("private_key_jwt", AuthWord::PrivateKeyJwt),
        ("none", AuthWord::None),
    ];
}

pub(super) fn introspection(at: At<()>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Introspection {
    let auth = r.field(fields, "auth").and_then(|field| r.word(&field, &AuthWord::ALL));
    let text = |key, r: &mut Reader<'_>| r.field(fields, key).and_then(|field| r.text(&field));
    let secret =
        |key, r: &mut Reader<'_>| text(key, r).map(|text| text.with(Secret::new(text.value.clone().into_bytes())));
    let endpoint = text("endpoint", r);
    let client_id = text("client_id", r);
    let client_secret = secret("client_secret", r);
    let bearer_token = secret("bearer_token", r);
    let private_key = secret("private_key", r);
    let written = ["auth", "endpoint", "client_id", "client_secret", "bearer_token", "private_key"];
    let found = [
        auth.is_some(),
        endpoint.is_some(),
        client_id.is_some(),
        client_secret.is_some(),
        bearer_token.is_some(),
        private_key.is_some(),
    ];
    Introspection {
        at,
        endpoint,
        client_id,
        client_secret,
        auth,
        bearer_token,
        private_key,
        broken: found != written.map(|key| fields.has(key)),
        tokens: text("tokens", r),
        timeout: some_time(fields, "timeout", r),
        cache_ttl: duration(fields, "cache_ttl", r).map(|time| time.value),
        negative_ttl: duration(fields, "negative_ttl", r).map(|time| time.value),
        max_concurrent: r.field(fields, "max_concurrent").and_then(|field| r.count(&field, MOST_CONCURRENT)),
        certificate: text("certificate", r),
        key: text("key", r),
        signed: r.field(fields, "signed").and_then(|field| r.flag(&field).map(|flag| field.at_key(flag))),
    }
}

pub(super) fn userinfo(at: At<()>, fields: &Fields<'_>, r: &mut Reader<'_>) -> Userinfo {
    Userinfo {
        at,
        endpoint: r.field(fields, "endpoint").and_then(|field| r.text(&field)),
        cache_ttl: duration(fields, "cache_ttl", r).map(|time| time.value),
    }
}
