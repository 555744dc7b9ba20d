//! Why a notice isn't taken.

use std::time::Duration;

use crate::refusal::TokenFault;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeFault {
    /// As with any token of the issuer's.
    Token(TokenFault),
    /// It says what can't be understood, or what it mustn't say; in a clause.
    Content(&'static str),
    /// The keys that it asks for can't be had now.
    KeysUnavailable {
        /// When it is worth to come again.
        retry_after: Duration,
    },
}

/// A notice that isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub fault: NoticeFault,
    /// Whether the issuer has signed it: then somebody should look after it.
    pub is_issuers: bool,
}

impl NoticeFault {
    /// The `reason` label of metrics and log.
    pub fn reason(self) -> &'static str {
        match self {
            NoticeFault::Token(fault) => fault.reason(),
            NoticeFault::Content(_) => TokenFault::Malformed.reason(),
            NoticeFault::KeysUnavailable { .. } => "keys_unavailable",
        }
    }

    /// One plain clause for the sender, ASCII, that holds nothing of the notice.
    pub fn detail(self) -> &'static str {
        match self {
            NoticeFault::Token(fault) => fault.detail(),
            NoticeFault::Content(detail) => detail,
            NoticeFault::KeysUnavailable { .. } => "the keys to verify this token are not available at the moment",
        }
    }

    /// The `err` of a security event that isn't taken (RFC 8935, section 2.4).
    pub fn code(self) -> &'static str {
        match self {
            NoticeFault::Token(TokenFault::Algorithm | TokenFault::Key) => "invalid_key",
            NoticeFault::Token(TokenFault::Signature) => "authentication_failed",
            NoticeFault::Token(TokenFault::Issuer) => "invalid_issuer",
            NoticeFault::Token(TokenFault::Audience) => "invalid_audience",
            NoticeFault::Token(_) | NoticeFault::Content(_) | NoticeFault::KeysUnavailable { .. } => "invalid_request",
        }
    }

    pub(super) fn of_nobody(self) -> Refused {
        Refused { fault: self, is_issuers: false }
    }

    pub(super) fn of_issuer(self) -> Refused {
        Refused { fault: self, is_issuers: true }
    }
}
