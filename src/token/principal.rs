//! Verified claims, typed.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Map, Value};

use super::{
    credential::Fingerprint,
    date::{self, Round},
    issuer::Issuer,
    kind::TokenKind,
    proof::Binding,
    revocation::TokenId,
};

/// Who a verified token speaks for. Made by verification alone.
#[derive(Debug)]
pub struct Principal {
    pub(in crate::token) issuer: Arc<str>,
    pub(in crate::token) subject: Option<String>,
    pub(in crate::token) client: Option<String>,
    pub(in crate::token) kind: TokenKind,
    pub(in crate::token) scopes: Vec<String>,
    pub(in crate::token) roles: Vec<String>,
    pub(in crate::token) ends_at: Option<i64>,
    pub(in crate::token) claims: Arc<Map<String, Value>>,
    pub(in crate::token) fingerprint: Fingerprint,
    pub(in crate::token) id: TokenId,
    /// `IssuerSettings::authority`
    pub(in crate::token) authority: Arc<str>,
    /// `iat` in Unix seconds, where it is a date.
    pub(in crate::token) issued_at: Option<i64>,
    pub(in crate::token) binding: Binding,
    number: u64,
}

/// Each principal has one of its own.
fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Principal {
    /// Whom claims of this issuer's speak for. `ends_at`: as the function of that name.
    pub(in crate::token) fn of(
        issuer: &Issuer,
        claims: Arc<Map<String, Value>>,
        ends_at: Option<i64>,
        fingerprint: Fingerprint,
        id: TokenId,
    ) -> Principal {
        let places = &issuer.settings.claims;
        let (subject, client) = (places.subject(&claims), places.client(&claims));
        Principal {
            issuer: issuer.settings.name.clone(),
            kind: TokenKind::of(subject.as_deref(), client.as_deref(), places.client_subjects.as_ref()),
            subject,
            client,
            scopes: places.scopes(&claims),
            roles: places.roles(&claims),
            ends_at,
            fingerprint,
            id,
            authority: issuer.settings.authority().into(),
            issued_at: date::of(&claims, "iat", Round::Down, issuer.settings.jwt.string_dates).ok().flatten(),
            binding: Binding::of(&claims),
            claims,
            number: next_number(),
        }
    }

    /// The issuer's key in the configuration.
    pub fn issuer(&self) -> &Arc<str> {
        &self.issuer
    }
    /// Whom the token is about.
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
    /// The client that it was issued to.
    pub fn client(&self) -> Option<&str> {
        self.client.as_deref()
    }
    /// Whether it is a user's token or the client's own.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }
    /// The scopes, each once.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }
    /// The roles, each once.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
    /// The first second, in Unix time, at which the token isn't good any more: skew is added where its issuer's clock
    /// isn't asked. None: it is good for ever.
    pub fn ends_at(&self) -> Option<i64> {
        self.ends_at
    }
    /// All claims.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
    /// What a claim names: the token (`jti`, RFC 7519, section 4.1.7), its session (`sid`), whom it is about (`sub`).
    pub(in crate::token) fn named(&self, claim: &str) -> Option<Cow<'_, str>> {
        match self.claims.get(claim)? {
            Value::String(text) => Some(Cow::Borrowed(text)),
            Value::Number(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }
    /// How logs name the token.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
    /// What tells it from every other principal of this process, also from those of the same token.
    pub fn number(&self) -> u64 {
        self.number
    }
    #[cfg(test)]
    pub(crate) fn with_claims(self, claims: Map<String, Value>) -> Principal {
        Principal { claims: Arc::new(claims), ..self }
    }
    #[cfg(test)]
    pub(crate) fn with_end(self, ends_at: i64) -> Principal {
        Principal { ends_at: Some(ends_at), ..self }
    }
    #[cfg(test)]
    pub(crate) fn with_kind(self, kind: TokenKind) -> Principal {
        Principal { kind, ..self }
    }
    #[cfg(test)]
    pub(crate) fn for_test(scopes: &[&str], roles: &[&str]) -> Principal {
        let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        Principal {
            issuer: "test".into(),
            subject: Some("subject".to_owned()),
            client: None,
            kind: TokenKind::User,
            scopes: owned(scopes),
            roles: owned(roles),
            ends_at: None,
            claims: Arc::default(),
            fingerprint: Fingerprint([0; 6]),
            id: TokenId::of("test"),
            authority: "test".into(),
            issued_at: None,
            binding: Binding::Nobody,
            number: next_number(),
        }
    }
}
