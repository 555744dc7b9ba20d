//! One issuer: what its tokens must be, and its keys.

use std::{
    hash::{Hash, Hasher},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    claims::ClaimPlaces,
    extra_roots::ExtraRoots,
    introspection::{IntrospectionSettings, Introspector},
    jwks::KeyStore,
    secret::Secret,
};
use crate::observe::{IssuerMetrics, Observer, Trouble};

/// An issuer as the configuration gives it, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IssuerSettings {
    /// The key in the configuration.
    pub name: Arc<str>,
    /// Compared with `iss` to the letter. None: only asked about opaque tokens.
    pub issuer: Option<String>,
    /// What must be in `aud`.
    pub audiences: Audiences,
    /// How its JWTs, and what else it signs, are verified.
    pub jwt: JwtSettings,
    /// Whether its tokens may be JWTs that are verified here. If not, it is asked about them, as about opaque ones.
    pub takes_jwts: bool,
    /// How it is asked about tokens, if it is.
    pub introspection: Option<IntrospectionSettings>,
    /// Where things are in its claims.
    pub claims: ClaimPlaces,
    /// A call to one of its endpoints takes no longer.
    pub http_timeout: Duration,
    /// Whether endpoints over plain http off loopback are called.
    pub allow_http: bool,
    /// Who vouches for its endpoints besides the machine's own authorities.
    pub tls_ca: Option<ExtraRoots>,
    /// What proves that a token is presented by whom it was given to.
    pub sender: SenderSettings,
    /// Who may end its tokens from outside.
    pub logout: LogoutSettings,
}

/// `issuers.*.sender_constraint` and `issuers.*.dpop`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SenderSettings {
    /// What must be there; None: `cnf` is honoured where it is there.
    pub constraint: Option<SenderConstraint>,
    /// A DPoP proof older than this is refused (RFC 9449, section 11.1).
    pub dpop_max_age: Duration,
    /// Whether proofs must have a nonce of ours (RFC 9449, section 9).
    pub dpop_nonce: bool,
    /// Whether clients are told in challenges that they may bind tokens so.
    pub dpop_offered: bool,
}

/// A proof that comes with every token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SenderConstraint {
    /// The certificate of the connection (RFC 8705).
    Mtls,
    /// A signed proof (RFC 9449).
    Dpop,
}

/// `issuers.*.logout`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LogoutSettings {
    /// OpenID Connect back-channel logout.
    pub back_channel: bool,
    /// Shared Signals, pushed (RFC 8935).
    pub events: bool,
}

impl LogoutSettings {
    /// Whether the issuer ends tokens in any way.
    pub fn is_wanted(self) -> bool {
        self.back_channel || self.events
    }
}

impl SenderConstraint {
    /// The member of `cnf` that names whom a token is bound to.
    pub fn member(self) -> &'static str {
        match self {
            SenderConstraint::Mtls => "x5t#S256",
            SenderConstraint::Dpop => "jkt",
        }
    }
}

impl Default for SenderSettings {
    fn default() -> SenderSettings {
        SenderSettings {
            constraint: None,
            dpop_max_age: Duration::from_secs(60),
            dpop_nonce: false,
            dpop_offered: false,
        }
    }
}

/// Whom a token must be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Audiences {
    /// `audiences: any`: on purpose.
    Any,
    /// One of these at least. Never empty.
    OneOf(Vec<String>),
}

/// `issuers.*.jwt`
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JwtSettings {
    /// Where the keys come from.
    pub keys: KeySource,
    /// Accepted algorithms. Never empty.
    pub algorithms: Vec<Algorithm>,
    /// Accepted `typ`, lower-case, without `application/`. Never empty.
    pub types: Vec<String>,
    /// For exp, nbf, iat.
    pub clock_skew: Duration,
    /// `iat` older than this is refused.
    pub max_token_age: Option<Duration>,
    /// Claims that must be there.
    pub require_claims: Vec<String>,
    /// Whether a token must name its issuer.
    pub require_issuer: bool,
    /// Whether NumericDates may be JSON strings.
    pub string_dates: bool,
    /// Background refresh of remote keys.
    pub refresh: Duration,
    /// How long keys serve when the key server is down.
    pub stale_keys: Duration,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeySource {
    /// `<issuer>/.well-known/openid-configuration`, then RFC 8414's form.
    Discovery,
    /// A JWKS by URL.
    Uri(String),
    /// A JWKS file.
    File(KeyFile),
    /// A JWKS in place: its JSON text.
    Inline(String),
    /// PEM files of public keys or certificates.
    PublicKeys(Vec<KeyFile>),
    /// A secret shared with the issuer. Who has it can make tokens.
    Secret(Secret),
    /// Nothing that it signs is verified here.
    Nowhere,
}

impl KeySource {
    /// As the configuration calls it; None: nowhere.
    pub fn name(&self) -> Option<&'static str> {
        match self {
            KeySource::Discovery => Some("discovery"),
            KeySource::Uri(_) => Some("jwks_uri"),
            KeySource::File(_) => Some("jwks_file"),
            KeySource::Inline(_) => Some("jwks"),
            KeySource::PublicKeys(_) => Some("public_keys"),
            KeySource::Secret(_) => Some("secret"),
            KeySource::Nowhere => None,
        }
    }
}

/// A file of keys. What is in it is the key store's affair, which takes up what changes: it doesn't make another issuer, so
/// two are equal if they are at the same place.
#[derive(Clone, Debug)]
pub struct KeyFile {
    /// Resolved.
    pub path: PathBuf,
    /// As of load.
    pub text: String,
}

impl PartialEq for KeyFile {
    fn eq(&self, other: &KeyFile) -> bool {
        self.path == other.path
    }
}

impl Eq for KeyFile {}

impl Hash for KeyFile {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.path.hash(state);
    }
}

/// A signature algorithm (RFC 7518, section 3.1; RFC 8037, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
    Hs384,
    Hs512,
}

/// An issuer at work: its settings and its keys, which outlive a reload.
#[derive(Debug)]
pub struct Issuer {
    /// As configured.
    pub settings: IssuerSettings,
    /// Shared by all snapshots whose key source is the same.
    pub keys: Arc<KeyStore>,
    pub(in crate::token) introspector: Option<Arc<Introspector>>,
    pub(in crate::token) metrics: IssuerMetrics,
    /// Different for each issuer that was ever put to work, so that what was verified under other settings is told apart.
    pub(in crate::token) epoch: u64,
}

impl Issuer {
    /// An issuer with its keys, its metrics bound.
    pub fn new(settings: IssuerSettings, keys: Arc<KeyStore>, observer: &Observer) -> Issuer {
        let name = settings.name.clone();
        Issuer::logged_as(name, settings, keys, observer)
    }

    /// The same; the log calls it by another name.
    pub fn logged_as(name: Arc<str>, settings: IssuerSettings, keys: Arc<KeyStore>, observer: &Observer) -> Issuer {
        static NEXT_EPOCH: AtomicU64 = AtomicU64::new(0);
        let metrics = observer.issuer(&settings.name);
        let introspector = Introspector::new(&settings, name, observer);
        Issuer { settings, keys, introspector, metrics, epoch: NEXT_EPOCH.fetch_add(1, Ordering::Relaxed) }
    }

    /// Whether it is asked about tokens that only it can judge.
    pub fn is_asked(&self) -> bool {
        self.introspector.is_some()
    }

    /// Whether the last call for its keys, or to ask it about a token, failed (`degraded` in `/readyz`).
    pub fn is_degraded(&self) -> bool {
        self.keys.is_degraded() || self.introspector.as_ref().is_some_and(|introspector| introspector.is_failing())
    }

    /// What went wrong last with a call for its keys, or to ask it about a token.
    pub fn last_trouble(&self) -> Option<Trouble> {
        self.metrics.last_trouble()
    }
}

impl IssuerSettings {
    /// How its tokens are verified: `jwt`, and `introspection` or `userinfo`.
    pub fn ways(&self) -> impl Iterator<Item = &'static str> {
        let asked = self.introspection.as_ref().map(|introspection| introspection.way.name());
        self.takes_jwts.then_some("jwt").into_iter().chain(asked)
    }

    /// Who it is whatever the configuration calls it: what its tokens have as `iss`, or its name where that isn't known.
    pub fn authority(&self) -> &str {
        self.issuer.as_deref().unwrap_or(&self.name)
    }

    /// What DPoP proofs that go with its tokens may be signed with: those of `algorithms` that public keys have; where there
    /// are none, all.
    pub fn proof_algorithms(&self) -> impl Iterator<Item = Algorithm> + '_ {
        let is_public = |algorithm: &Algorithm| algorithm.least_secret_bytes().is_none();
        let takes_all = !self.jwt.algorithms.iter().any(is_public);
        Algorithm::ALL.into_iter().filter(move |algorithm| takes_all || self.jwt.algorithms.contains(algorithm))
    }

    /// Whether a JWT that names no issuer may be its own.
    pub(in crate::token) fn takes_unnamed(&self) -> bool {
        self.takes_jwts && !self.jwt.require_issuer
    }
}

impl Algorithm {
    /// Those of shared secrets (RFC 7518, section 3.2), the one that takes the shortest first.
    pub const OF_SECRETS: [Algorithm; 3] = [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512];

    /// Those of public keys, in the order of the default `algorithms`.
    pub const ALL: [Algorithm; 9] = [
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::EdDsa,
    ];

    /// The algorithm of this `alg`, compared to the letter.
    pub fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().chain(Algorithm::OF_SECRETS).find(|algorithm| algorithm.name() == name)
    }

    /// Its `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Hs256 => "HS256",
            Algorithm::Hs384 => "HS384",
            Algorithm::Hs512 => "HS512",
        }
    }

    /// The `kty` of its keys (RFC 7518, section 6.1; RFC 8037, section 2).
    pub fn key_type(self) -> &'static str {
        match self {
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => "RSA",
            Algorithm::Es256 | Algorithm::Es384 => "EC",
            Algorithm::EdDsa => "OKP",
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => "oct",
        }
    }

    /// How long a secret must be for it (RFC 7518, section 3.2); None for those of public keys.
    pub fn least_secret_bytes(self) -> Option<usize> {
        match self {
            Algorithm::Hs256 => Some(32),
            Algorithm::Hs384 => Some(48),
            Algorithm::Hs512 => Some(64),
            _ => None,
        }
    }
}
