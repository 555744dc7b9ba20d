//! What is ended, and who asks for it.

use std::fmt;

use aws_lc_rs::digest;

use crate::token::{
    credential::{Credential, Fingerprint},
    jwt,
};

/// A token's own name among revocations.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenId(pub(super) [u8; 32]);

/// What a revocation is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One token.
    Token {
        /// Its name here.
        id: TokenId,
        /// How logs name it.
        fingerprint: Fingerprint,
    },
    /// The token, or tokens, of this `jti`.
    Jti(String),
    /// A subject's tokens.
    Subject(String),
    /// Those issued to a client.
    Client(String),
    /// The tokens of a session, by their `sid`.
    Sid(String),
    /// Those with this `sub`, whatever of them the issuer's `claims.subject` makes the subject.
    Sub {
        /// The claim.
        sub: String,
        /// Only those that don't say of which session they are.
        without_sid: bool,
    },
}

/// An issuer, as it was written and as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfIssuer {
    /// As it was written.
    pub written: String,
    /// `IssuerSettings::authority`: it outlives a change of the issuer's name in the configuration.
    pub authority: String,
}

/// Who asks for a revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The admin listener.
    Admin,
    /// A route with `revokes: token`.
    Route,
    /// The issuer, by back-channel logout.
    BackChannel,
    /// The issuer, by a security event.
    Events,
}

/// Something to be ended.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What.
    pub target: Target,
    /// Whose tokens alone.
    pub issuer: Option<OfIssuer>,
    /// As in `Revocation`.
    pub issued_before: Option<i64>,
    /// As in `Revocation`.
    pub expires_at: Option<i64>,
    /// Who asks.
    pub source: Source,
}

impl TokenId {
    /// Of a token's text.
    pub(in crate::token) fn of(token: &str) -> TokenId {
        match token.rsplit_once('.') {
            Some((signed, _)) if jwt::is_one(token) => TokenId::of_signed(signed.as_bytes()),
            _ => TokenId::of_signed(token.as_bytes()),
        }
    }

    /// Of what a JWT's signature is about.
    pub(in crate::token) fn of_signed(signed: &[u8]) -> TokenId {
        let mut id = [0; 32];
        let hash = digest::digest(&digest::SHA256, signed);
        id.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        TokenId(id)
    }
}

impl Target {
    /// The token of this text. None: no token has such a text.
    pub fn token(text: &str) -> Option<Target> {
        let credential = Credential::of(text.as_bytes(), usize::MAX).ok()?;
        Some(Target::Token { id: TokenId::of(text), fingerprint: credential.fingerprint() })
    }

    pub(super) fn key(&self) -> &[u8] {
        match self {
            Target::Token { id, .. } => &id.0,
            Target::Jti(text) | Target::Subject(text) | Target::Client(text) | Target::Sid(text) => text.as_bytes(),
            Target::Sub { sub, .. } => sub.as_bytes(),
        }
    }

    /// Whether tokens that say of which session they are stay as they are.
    pub(super) fn spares_sessions(&self) -> bool {
        matches!(self, Target::Sub { without_sid: true, .. })
    }
}

impl Source {
    /// The `source` label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Source::Admin => "admin",
            Source::Route => "route",
            Source::BackChannel => "back_channel",
            Source::Events => "events",
        }
    }

    /// The source of this label.
    pub(super) fn from_name(name: &str) -> Option<Source> {
        [Source::Admin, Source::Route, Source::BackChannel, Source::Events]
            .into_iter()
            .find(|known| known.name() == name)
    }

    pub(super) fn is_issuers(self) -> bool {
        matches!(self, Source::BackChannel | Source::Events)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenId(…)")
    }
}
