//! `upstreams.*.token`

use std::time::Duration;

use super::{duration, secret, section, some_texts, some_time, text};
use crate::{
    config::reader::{At, Field, Fields, Reader},
    egress::{ClientAuth, ScopeSeparator},
    token::secret::Secret,
};

#[derive(Debug)]
pub(in crate::config) struct Egress {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) endpoint: Option<At<String>>,
    pub(in crate::config) grant: Option<At<GrantWord>>,
    pub(in crate::config) client_id: Option<At<String>>,
    pub(in crate::config) client_secret: Option<At<Secret>>,
    pub(in crate::config) scopes: Option<At<Vec<At<String>>>>,
    pub(in crate::config) audience: Option<At<String>>,
    pub(in crate::config) scope_separator: Option<ScopeSeparator>,
    pub(in crate::config) username: Option<At<String>>,
    pub(in crate::config) password: Option<At<Secret>>,
    /// A file, or the key in place.
    pub(in crate::config) private_key: Option<At<Secret>>,
    pub(in crate::config) algorithm: Option<At<String>>,
    pub(in crate::config) assertion: Option<Assertion>,
    pub(in crate::config) auth: Option<At<ClientAuth>>,
    pub(in crate::config) expiry_margin: Option<At<Duration>>,
    /// Keys that are there and wrong, so that they don't count as missing.
    pub(in crate::config) broken: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum GrantWord {
    ClientCredentials,
    Password,
    JwtBearer,
    TokenExchange,
}

#[derive(Debug)]
pub(in crate::config) struct Assertion {
    pub(in crate::config) at: At<()>,
    pub(in crate::config) iss: Option<At<String>>,
    pub(in crate::config) sub: Option<At<String>>,
    pub(in crate::config) aud: Option<At<String>>,
    pub(in crate::config) ttl: Option<Duration>,
}

pub(super) fn egress(field: &Field<'_>, r: &mut Reader<'_>) -> Option<Egress> {
    const GRANTS: [(&str, GrantWord); 4] = [
        ("client_credentials", GrantWord::ClientCredentials),
        ("password", GrantWord::Password),
        ("jwt_bearer", GrantWord::JwtBearer),
        ("token_exchange", GrantWord::TokenExchange),
    ];
    let fields = r.fields(field)?;
    let endpoint =
        r.required(&fields, "endpoint", "where tokens come from: `endpoint: https://auth.example.org/token`");
    let grant = r.required(&fields, "grant", "`client_credentials`, `password`, `jwt_bearer` or `token_exchange`");
    let auth = r.field(&fields, "auth");
    let separator = r.field(&fields, "scope_separator");
    let separators = [(" ", ScopeSeparator::Space), (",", ScopeSeparator::Comma)];
    let mut egress = Egress {
        at: field.at_key(()),
        endpoint: endpoint.and_then(|field| r.text(&field)),
        grant: grant.and_then(|field| r.word(&field, &GRANTS).map(|word| field.at(word))),
        client_id: text(&fields, "client_id", r),
        client_secret: secret(&fields, "client_secret", r),
        scopes: some_texts(&fields, "scopes", "leave it out for what the endpoint gives by itself", r),
        audience: text(&fields, "audience", r),
        scope_separator: separator.and_then(|field| r.word(&field, &separators)),
        username: text(&fields, "username", r),
        password: secret(&fields, "password", r),
        private_key: secret(&fields, "private_key", r),
        algorithm: text(&fields, "algorithm", r),
        assertion: section(&fields, "assertion", r).map(|inner| assertion(&inner, &fields, r)),
        auth: auth.and_then(|field| {
            r.word(&field, &[("basic", ClientAuth::Basic), ("post", ClientAuth::Post)]).map(|word| field.at_key(word))
        }),
        expiry_margin: duration(&fields, "expiry_margin", r),
        broken: Vec::new(),
    };
    egress.broken = broken(&egress, &fields);
    Some(egress)
}

fn assertion(fields: &Fields<'_>, egress: &Fields<'_>, r: &mut Reader<'_>) -> Assertion {
    let at = r.field(egress, "assertion").map(|field| field.at_key(()));
    Assertion {
        at: at.unwrap_or_else(|| At { value: (), span: fields.span, path: fields.path.clone(), foreign: false }),
        iss: text(fields, "iss", r),
        sub: text(fields, "sub", r),
        aud: text(fields, "aud", r),
        ttl: some_time(fields, "ttl", r),
    }
}

fn broken(egress: &Egress, fields: &Fields<'_>) -> Vec<&'static str> {
    let found = [
        ("client_id", egress.client_id.is_some()),
        ("client_secret", egress.client_secret.is_some()),
        ("username", egress.username.is_some()),
        ("password", egress.password.is_some()),
        ("private_key", egress.private_key.is_some()),
        ("assertion", egress.assertion.is_some()),
    ];
    found.into_iter().filter(|(key, found)| !found && fields.has_or_means(key)).map(|(key, _)| key).collect()
}
