//! Every reason for a no: what the client sees of it and what the metrics call it.

use std::{sync::Arc, time::Duration};

use hyper::StatusCode;

use crate::token::proof::Nonce;

/// Why a request doesn't go on. Carries no internals: all that is in it may be shown to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The path has no canonical form, or another reading of it leads elsewhere.
    Path(&'static str),
    /// The bytes of the message are ambiguous (RFC 9112, section 11.2).
    Framing(&'static str),
    /// The request head is over `server.max_header_bytes` or has over 100 fields (RFC 6585, section 5).
    HeadTooLarge,
    /// The head didn't arrive within `server.header_timeout`.
    HeadTooSlow,
    /// The body is over its limit.
    BodyTooLarge,
    /// The body brought no byte for `server.body_timeout`.
    BodyTooSlow,
    /// The route's `timeout` was over during the upload.
    UploadTimedOut,
    /// No route takes this host and path.
    NoRoute,
    /// The route takes other methods; the value of `Allow`.
    Method {
        /// The methods of the route, as RFC 9110, section 10.2.1 wants them.
        allow: Arc<str>,
    },
    /// A credential is needed and none of a kind that is understood was sent.
    NoCredential,
    /// The credential's form is wrong (RFC 6750, section 3.1: `invalid_request`).
    Credential(&'static str),
    /// The token is no good (RFC 6750, section 3.1: `invalid_token`).
    Token(TokenFault),
    /// The token is bound to somebody, and the request doesn't show to come from there (RFC 8705, section 3).
    Proof(ProofFault),
    /// The keys that the token asks for can't be had now.
    KeysUnavailable {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// An issuer that would have to be asked about the token can't be asked now, or its answer can't be used.
    IntrospectionUnavailable {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// The token is good and isn't enough for this route.
    Rule(RuleFault),
    /// A web page of another origin asks, in somebody's browser, where no token is needed: it would spend the gateway's own.
    ForeignPage,
    /// A field of the head isn't what it has to be: of those that describe a request to be decided, or under a name that nobody
    /// would take away.
    Header(&'static str),
    /// A decision is asked for by who isn't trusted to say whom a request comes from.
    UntrustedPeer,
    /// One of the route's limits is exceeded (RFC 6585, section 4).
    RateLimited {
        /// When it is worth to come again.
        retry_after: Duration,
    },
    /// The upstream's fault; the decision was a yes.
    Upstream(UpstreamFault),
}

/// What is wrong with a token. In the order in which faults are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenFault {
    /// Over `server.max_token_bytes`.
    TooLong,
    /// Not a token that any issuer of the route takes: not three parts, not base64url, not JSON objects…
    Malformed,
    /// The algorithm isn't one of the issuer's.
    Algorithm,
    /// The `typ` isn't one of the issuer's.
    Type,
    /// `crit` names something (RFC 7515, section 4.1.11).
    Critical,
    /// No issuer of the route has this `iss`.
    Issuer,
    /// The issuer has no key of this `kid`, or none that fits.
    Key,
    /// The signature doesn't verify.
    Signature,
    /// `exp` is over.
    Expired,
    /// `nbf` is yet to come.
    NotYetValid,
    /// `iat` is yet to come.
    IssuedInFuture,
    /// `iat` is further back than `max_token_age`.
    TooOld,
    /// No accepted audience in `aud`.
    Audience,
    /// A claim that the issuer's tokens must have is absent.
    MissingClaim,
    /// It was ended before its time.
    Revoked,
    /// The issuer says that it isn't active (RFC 7662, section 2.2).
    Inactive,
    /// The token is bound in a way that isn't understood (RFC 7800), or isn't bound as its issuer's tokens must be.
    Binding,
}

/// What is wrong with the proof that a token is presented by whom it is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofFault {
    /// Nobody can prove to be what the token is bound to.
    Unsupported,
    /// The request comes without a certificate.
    NoCertificate,
    /// It comes with another one than the token's.
    OtherCertificate,
    /// A trusted proxy tells of a certificate, and not as RFC 9440 has it.
    UnclearCertificate,
    /// The token is bound to a key, and comes as if it were not (RFC 9449, section 7.2).
    NotShown,
    /// It comes with a proof, and is bound to no key.
    NotBound,
    /// It is bound to another key than the proof's.
    OtherKey,
    /// There is no proof, or it proves nothing (RFC 9449, section 4.3).
    Proof(&'static str),
    /// The proof has no nonce of ours, or an old one (RFC 9449, section 9); a new one.
    NonceNeeded(Nonce),
    /// The key makes more proofs than can be remembered.
    TooMany,
}

/// What the closest rule misses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleFault {
    /// Scopes; the value of the challenge's `scope` (RFC 6750, section 3).
    Scope(Arc<str>),
    /// Roles.
    Role,
    /// The token is of an issuer that the rule doesn't take.
    Issuer,
    /// The token isn't for an audience that the rule asks for besides.
    Audience,
    /// The token is a client's own and the rule wants a user's, or the other way round.
    TokenKind,
    /// A claim.
    Claim,
    /// An expression (`when`).
    Condition,
    /// Nothing but how, or how long ago, the user authenticated (RFC 9470): the client can have that done anew.
    StepUp(StepUp),
}

/// The authentication that a rule asks for, all of it, whichever part of it is missed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    /// What is missed.
    pub missed: Missed,
    /// The challenge's `acr_values` (RFC 9470, section 3), separated by spaces.
    pub acr_values: Option<Arc<str>>,
    /// The challenge's `max_age`, in whole seconds.
    pub max_age: Option<Duration>,
}

/// Which part of an authentication is missed; both: the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// The class of the authentication: the token's `acr`.
    Acr,
    /// That it isn't long ago: the token's `auth_time`.
    MaxAge,
}

/// What went wrong behind the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// The connection was refused, reset or closed, or the answer wasn't HTTP.
    Broken,
    /// Connecting or waiting for the answer's head took too long.
    TimedOut,
    /// No endpoint may be asked, or all its connections are in use.
    Unavailable,
    /// It said yes to a logout, and there is no room to note that the token has ended.
    TokenNotEnded,
    /// The token that it is called with can't be had now.
    TokenUnavailable {
        /// When it is worth to ask again.
        retry_after: Duration,
    },
    /// The token endpoint gives none to call it with.
    TokenRefused,
}

impl UpstreamFault {
    /// In a word, for operators.
    pub fn word(self) -> &'static str {
        match self {
            UpstreamFault::Broken => "broken",
            UpstreamFault::TimedOut => "timeout",
            UpstreamFault::Unavailable => "unavailable",
            UpstreamFault::TokenNotEnded => "token_not_ended",
            UpstreamFault::TokenUnavailable { .. } => "token_unavailable",
            UpstreamFault::TokenRefused => "token_refused",
        }
    }
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Path(_) | Refusal::Framing(_) | Refusal::Credential(_) | Refusal::Header(_) => {
                StatusCode::BAD_REQUEST
            }
            Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::HeadTooSlow | Refusal::BodyTooSlow | Refusal::UploadTimedOut => StatusCode::REQUEST_TIMEOUT,
            Refusal::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::NoRoute => StatusCode::NOT_FOUND,
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Proof(ProofFault::TooMany) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NoCredential | Refusal::Token(_) | Refusal::Proof(_) => StatusCode::UNAUTHORIZED,
            Refusal::KeysUnavailable { .. } | Refusal::IntrospectionUnavailable { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Refusal::Rule(RuleFault::StepUp(_)) => StatusCode::UNAUTHORIZED,
            Refusal::Rule(_) | Refusal::ForeignPage | Refusal::UntrustedPeer => StatusCode::FORBIDDEN,
            Refusal::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Upstream(UpstreamFault::Broken | UpstreamFault::TokenRefused) => StatusCode::BAD_GATEWAY,
            Refusal::Upstream(UpstreamFault::TimedOut) => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Upstream(
                UpstreamFault::Unavailable | UpstreamFault::TokenNotEnded | UpstreamFault::TokenUnavailable { .. },
            ) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The `reason` label of metrics and log.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::Path(_) => "path",
            Refusal::Framing(_) => "framing",
            Refusal::HeadTooLarge | Refusal::BodyTooLarge => "size",
            Refusal::HeadTooSlow | Refusal::BodyTooSlow | Refusal::UploadTimedOut => "timeout",
            Refusal::NoRoute => "no_route",
            Refusal::Method { .. } => "method",
            Refusal::NoCredential => "no_credential",
            Refusal::Credential(_) => "invalid_request",
            Refusal::Token(fault) => fault.reason(),
            Refusal::Proof(_) => TokenFault::Binding.reason(),
            Refusal::KeysUnavailable { .. } => "keys_unavailable",
            Refusal::IntrospectionUnavailable { .. } => "introspection_unavailable",
            Refusal::Rule(fault) => fault.reason(),
            Refusal::ForeignPage | Refusal::Header(_) | Refusal::UntrustedPeer => "header",
            Refusal::RateLimited { .. } => "rate_limit",
            Refusal::Upstream(_) => "ok",
        }
    }

    /// Whether the connection can't be used after the answer: where the next request begins isn't known, or bytes
    /// of this one are still to come.
    pub fn closes_connection(&self) -> bool {
        matches!(
            self,
            Refusal::Framing(_)
                | Refusal::HeadTooLarge
                | Refusal::HeadTooSlow
                | Refusal::BodyTooLarge
                | Refusal::BodyTooSlow
                | Refusal::UploadTimedOut
        )
    }

    /// One plain clause for the client: the `detail` of the problem document and, for tokens, the
    /// challenge's `error_description`. ASCII, without quotes or backslashes (RFC 6750, section 3).
    pub fn detail(&self) -> &'static str {
        match self {
            Refusal::Path(detail)
            | Refusal::Framing(detail)
            | Refusal::Credential(detail)
            | Refusal::Header(detail) => detail,
            Refusal::HeadTooLarge => "the request head is too large",
            Refusal::HeadTooSlow => "the request head took too long to arrive",
            Refusal::BodyTooLarge => "the request body is too large",
            Refusal::BodyTooSlow => "the request body took too long to arrive",
            Refusal::UploadTimedOut => "the time for this request was over before its body had arrived",
            Refusal::NoRoute => "nothing is served at this address",
            Refusal::Method { .. } => "the method is not allowed here",
            Refusal::NoCredential => "a bearer token is needed",
            Refusal::Token(fault) => fault.detail(),
            Refusal::Proof(fault) => fault.detail(),
            Refusal::KeysUnavailable { .. } => "the keys to verify this token are not available at the moment",
            Refusal::IntrospectionUnavailable { .. } => "whether this token is good can not be found out at the moment",
            Refusal::Rule(fault) => fault.detail(),
            Refusal::ForeignPage => "web pages of other origins are not served here",
            Refusal::UntrustedPeer => "decisions are for trusted proxies alone",
            Refusal::RateLimited { .. } => "too many requests: come again later",
            Refusal::Upstream(UpstreamFault::Broken) => "the service behind the gateway failed to answer",
            Refusal::Upstream(UpstreamFault::TimedOut) => "the service behind the gateway took too long to answer",
            Refusal::Upstream(UpstreamFault::Unavailable) => "the service behind the gateway is not available",
            Refusal::Upstream(UpstreamFault::TokenNotEnded) => "the token could not be ended at the gateway",
            Refusal::Upstream(UpstreamFault::TokenUnavailable { .. }) => {
                "the token to call the service behind the gateway with can not be had at the moment"
            }
            Refusal::Upstream(UpstreamFault::TokenRefused) => {
                "the gateway gets no token to call the service behind it with"
            }
        }
    }
}

impl RuleFault {
    /// The `reason` label of metrics and log.
    pub fn reason(&self) -> &'static str {
        match self {
            RuleFault::Scope(_) => "scope",
            RuleFault::Role => "role",
            RuleFault::Issuer => "issuer",
            RuleFault::Audience => "audience",
            RuleFault::TokenKind => "token_kind",
            RuleFault::Claim => "claim",
            RuleFault::Condition => "condition",
            RuleFault::StepUp(StepUp { missed: Missed::Acr, .. }) => "acr",
            RuleFault::StepUp(StepUp { missed: Missed::MaxAge, .. }) => "max_age",
        }
    }

    /// One plain clause for the client.
    pub fn detail(&self) -> &'static str {
        match self {
            RuleFault::Scope(_) => "the token lacks a scope that is needed here",
            RuleFault::Role => "the token lacks a role that is needed here",
            RuleFault::Issuer => "tokens of this issuer are not enough here",
            RuleFault::Audience => "the token lacks an audience that is needed here",
            RuleFault::TokenKind => "tokens of this kind are not enough here",
            RuleFault::Condition => "a condition for this request is not met",
            RuleFault::Claim => "a claim of the token is not what is needed here",
            RuleFault::StepUp(StepUp { missed: Missed::Acr, .. }) => "a stronger authentication is needed here",
            RuleFault::StepUp(StepUp { missed: Missed::MaxAge, .. }) => "a more recent authentication is needed here",
        }
    }
}

impl ProofFault {
    /// Whether it is about a proof by DPoP, not about a certificate.
    pub fn is_about_dpop(self) -> bool {
        !matches!(
            self,
            ProofFault::Unsupported
                | ProofFault::NoCertificate
                | ProofFault::OtherCertificate
                | ProofFault::UnclearCertificate
        )
    }

    /// One plain clause for the client.
    pub fn detail(self) -> &'static str {
        match self {
            ProofFault::Unsupported => TokenFault::Binding.detail(),
            ProofFault::NoCertificate => "the token is bound to a client certificate and the request comes without one",
            ProofFault::OtherCertificate => "the token is bound to another client certificate",
            ProofFault::UnclearCertificate => "the client certificate is not passed on in a form that is understood",
            ProofFault::NotShown => "the token is bound to a key and comes without a DPoP proof",
            ProofFault::NotBound => "the token is not bound to a key and can not be presented by DPoP",
            ProofFault::OtherKey => "the token is bound to another key than that of the DPoP proof",
            ProofFault::Proof(detail) => detail,
            ProofFault::NonceNeeded(_) => "the DPoP proof needs the nonce that comes with this answer",
            ProofFault::TooMany => "too many DPoP proofs by this key: come again later",
        }
    }
}

impl TokenFault {
    /// The `reason` label of metrics and log, and the `result` of a verification.
    pub fn reason(self) -> &'static str {
        match self {
            TokenFault::TooLong => "size",
            TokenFault::Malformed => "malformed",
            TokenFault::Algorithm => "algorithm",
            TokenFault::Type => "typ",
            TokenFault::Critical => "crit",
            TokenFault::Issuer => "unknown_issuer",
            TokenFault::Key => "unknown_key",
            TokenFault::Signature => "signature",
            TokenFault::Expired => "expired",
            TokenFault::NotYetValid => "not_yet_valid",
            TokenFault::IssuedInFuture => "issued_in_future",
            TokenFault::TooOld => "too_old",
            TokenFault::Audience => "audience",
            TokenFault::MissingClaim => "missing_claim",
            TokenFault::Revoked => "revoked",
            TokenFault::Inactive => "inactive",
            TokenFault::Binding => "binding",
        }
    }

    /// One plain clause for the client.
    pub fn detail(self) -> &'static str {
        match self {
            TokenFault::TooLong => "the token is too long",
            TokenFault::Malformed => "the token is malformed",
            TokenFault::Algorithm => "the token is signed with an algorithm that is not accepted",
            TokenFault::Type => "the token is of a type that is not accepted",
            TokenFault::Critical => "the token has a critical header that is not understood",
            TokenFault::Issuer => "the token is from an issuer that is not accepted here",
            TokenFault::Key => "the token is signed with a key that the issuer does not publish",
            TokenFault::Signature => "the signature of the token does not verify",
            TokenFault::Expired => "the token has expired",
            TokenFault::NotYetValid => "the token is not valid yet",
            TokenFault::IssuedInFuture => "the token was issued in the future",
            TokenFault::TooOld => "the token is too old",
            TokenFault::Audience => "the token is for another audience",
            TokenFault::MissingClaim => "the token lacks a claim that is needed",
            TokenFault::Revoked => "the token has been revoked",
            TokenFault::Inactive => "the token is not active",
            TokenFault::Binding => "the token is not bound to its sender as is needed here",
        }
    }
}
