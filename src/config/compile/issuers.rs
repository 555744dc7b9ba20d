//! `issuers`.

use std::{path::PathBuf, time::Duration};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Compiler, url::HttpUrl};
use crate::{
    config::{
        file::{Audiences as WrittenAudiences, Claims, Introspection, Issuer, Jwt},
        interpolation::read_text,
        keys,
        reader::At,
    },
    observe::Observer,
    token::{
        claims::{ClaimPath, ClaimPlaces},
        extra_roots::ExtraRoots,
        issuer::{Algorithm, Audiences, IssuerSettings, JwtSettings, KeyFile, KeySource},
        jwks::KeyStore,
        pattern::Pattern,
        secret::Secret,
    },
};

/// Standard base64; padding is optional.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::EdDsa),
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
];

const CLOCK_SKEW: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(600);
const STALE_KEYS: Duration = Duration::from_secs(24 * 3600);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);

/// What goes over an endpoint's connections, and what to say where they are open to anyone on the way.
pub(super) struct Traffic {
    refused: &'static str,
    accepted: &'static str,
}

impl Traffic {
    pub(super) const KEYS: Traffic = Traffic {
        refused: "keys would be fetched over plain http, where anyone on the way can change them",
        accepted: "keys are fetched over plain http",
    };
    pub(super) const TOKENS: Traffic = Traffic {
        refused: "tokens would be sent over plain http, where anyone on the way can read them",
        accepted: "tokens are sent over plain http",
    };
}

impl Compiler<'_> {
    pub(super) fn issuer(&mut self, written: &Issuer) -> Option<IssuerSettings> {
        let name = self.name(&written.name);
        let allow_http = written.allow_http.as_ref().is_some_and(|flag| flag.value);
        let audiences = match &written.audiences {
            Some(WrittenAudiences::Any(_)) => Some(Audiences::Any),
            Some(WrittenAudiences::OneOf(list)) => {
                Some(Audiences::OneOf(list.iter().map(|audience| audience.value.clone()).collect()))
            }
            None => None,
        };
        let tls_ca = match &written.tls_ca {
            None => Some(None),
            Some(file) => self.extra_roots(file).map(Some),
        };
        let http_timeout = written.http_timeout.unwrap_or(HTTP_TIMEOUT);
        let introspection = self.introspection(written, allow_http, http_timeout);
        let takes_jwts = written.has_jwt || (written.introspection.is_none() && written.userinfo.is_none());
        let keys = match takes_jwts {
            true => self.key_source(&written.jwt, written, allow_http),
            // What it signs beside tokens: its answers, and what it tells of sessions.
            false if written.introspection.as_ref().is_some_and(Introspection::is_signed) => Some(KeySource::Discovery),
            false if written.logout.is_wanted() => Some(KeySource::Discovery),
            false => Some(KeySource::Nowhere),
        };
        if takes_jwts && written.introspection.is_some() && written.issuer.is_none() {
            self.findings
                .push(written.name.error("`jwt` needs `issuer`: what its tokens have in `iss`, to the letter"));
        }
        let can_tell = self.check_logout(written, takes_jwts, allow_http);
        let jwt = self.jwt(&written.jwt, keys);
        let claims = self.claims(&written.claims);
        let settings = IssuerSettings {
            name: name?,
            issuer: match (&written.issuer, takes_jwts) {
                (None, true) => return None,
                (issuer, _) => issuer.as_ref().map(|issuer| issuer.value.clone()),
            },
            takes_jwts,
            introspection: introspection?,
            audiences: audiences?,
            jwt: jwt?,
            claims: claims?,
            http_timeout,
            allow_http,
            sender: written.sender.clone(),
            logout: written.logout,
            tls_ca: tls_ca?,
        };
        can_tell?;
        self.check_local_keys(&written.jwt, &settings)?;
        Some(settings)
    }

    fn key_source(&mut self, jwt: &Jwt, issuer: &Issuer, allow_http: bool) -> Option<KeySource> {
        let places = [
            jwt.discovery.as_ref().filter(|flag| flag.value).map(|at| ("discovery", at.with(()))),
            jwt.jwks_uri.as_ref().map(|at| ("jwks_uri", at.with(()))),
            jwt.jwks_file.as_ref().map(|at| ("jwks_file", at.with(()))),
            jwt.jwks.as_ref().map(|at| ("jwks", at.with(()))),
            jwt.public_keys.as_ref().map(|at| ("public_keys", at.with(()))),
            jwt.secret.as_ref().map(|at| ("secret", at.with(()))),
            jwt.secret_base64.as_ref().map(|at| ("secret_base64", at.with(()))),
        ];
        let mut written = places.into_iter().flatten();
        if let (Some((first, _)), Some((second, at))) = (written.next(), written.next()) {
            return self.fail(
                at.error(format!("`{second}` beside `{first}`")).hint("an issuer has exactly one source of keys"),
            );
        }
        if jwt.broken {
            return None;
        }
        if let Some(uri) = &jwt.jwks_uri {
            self.endpoint_url(uri, allow_http, &Traffic::KEYS)?;
            return Some(KeySource::Uri(uri.value.clone()));
        }
        if let Some(file) = &jwt.jwks_file {
            return self.watched_key_file(file).map(KeySource::File);
        }
        if let Some(files) = &jwt.public_keys {
            let files = files.value.iter().map(|file| self.watched_key_file(file)).collect::<Vec<_>>();
            return Some(KeySource::PublicKeys(files.into_iter().collect::<Option<_>>()?));
        }
        if let Some(secret) = &jwt.secret {
            return Some(KeySource::Secret(secret.value.clone()));
        }
        if let Some(text) = &jwt.secret_base64 {
            return match BASE64.decode(text.value.expose()) {
                Ok(secret) => Some(KeySource::Secret(Secret::new(secret))),
                Err(_) => self.fail(text.error("this isn't base64 (RFC 4648, section 4)")),
            };
        }
        if let Some(keys) = &jwt.jwks {
            return Some(KeySource::Inline(keys.value.to_string()));
        }
        match &jwt.discovery {
            Some(flag) if !flag.value => self.fail(
                flag.error("an issuer without a source of keys")
                    .hint("`discovery: true`, `jwks_uri`, `jwks_file`, `jwks`, `public_keys` or `secret`"),
            ),
            _ => {
                let url = self.endpoint_url(issuer.issuer.as_ref()?, allow_http, &Traffic::KEYS)?;
                if url.query.is_some() {
                    return self.fail(
                        issuer.issuer.as_ref()?.error("an issuer with a query has no discovery; give `jwks_uri`"),
                    );
                }
                Some(KeySource::Discovery)
            }
        }
    }

    fn extra_roots(&mut self, written: &At<String>) -> Option<ExtraRoots> {
        let (_, text) = self.key_file(written)?;
        match ExtraRoots::parse(&text) {
            Ok(roots) => Some(roots),
            Err(words) => self.fail(
                written
                    .error(format!("{}: {words}", written.shown()))
                    .hint("a PEM file with the certificate of who signs the certificates of this issuer's servers"),
            ),
        }
    }

    /// Where it is, and what is in it.
    pub(super) fn key_file(&mut self, written: &At<String>) -> Option<(PathBuf, String)> {
        match self.text(written.span, &written.value) {
            Ok(read) => Some(read),
            Err(words) => self.fail(written.error(format!("{}: {words}", written.shown()))),
        }
    }

    /// The same of a file of an issuer's keys, which its key store watches.
    fn watched_key_file(&mut self, written: &At<String>) -> Option<KeyFile> {
        let path = self.path(written.span, &written.value);
        match read_text(&path) {
            Ok(text) => Some(KeyFile { path, text }),
            Err(words) => self.fail(written.error(format!("{}: {words}", written.shown()))),
        }
    }

    /// A key set that is at hand must be good now; a remote one is looked at when it comes.
    fn check_local_keys(&mut self, jwt: &Jwt, settings: &IssuerSettings) -> Option<()> {
        let at = match &settings.jwt.keys {
            KeySource::File(_) => jwt.jwks_file.as_ref()?.with(()),
            KeySource::Inline(_) => jwt.jwks.as_ref()?.with(()),
            KeySource::PublicKeys(_) => jwt.public_keys.as_ref()?.with(()),
            KeySource::Secret(_) => jwt.secret.as_ref().or(jwt.secret_base64.as_ref())?.with(()),
            KeySource::Discovery | KeySource::Uri(_) | KeySource::Nowhere => return Some(()),
        };
        match KeyStore::new(settings, Observer::silent()) {
            Ok(_) => Some(()),
            Err(words) => self.fail(at.error(words)),
        }
    }

    pub(super) fn endpoint_url(
        &mut self,
        written: &At<String>,
        allow_http: bool,
        traffic: &Traffic,
    ) -> Option<HttpUrl> {
        let url = match HttpUrl::parse(&written.value) {
            Ok(url) => url,
            Err(words) => return self.fail(written.error(words)),
        };
        if !url.tls && !url.is_loopback() {
            if !allow_http {
                return self.fail(
                    written.error(traffic.refused).hint("use https; `allow_http: true` on the issuer accepts the risk"),
                );
            }
            self.findings.push(written.warning(traffic.accepted));
        }
        Some(url)
    }

    fn jwt(&mut self, written: &Jwt, keys: Option<KeySource>) -> Option<JwtSettings> {
        let algorithms = match &written.algorithms {
            None => Some(default_algorithms(keys.as_ref())),
            Some(list) => self.algorithms(&list.value, keys.as_ref()),
        };
        let types = match &written.types {
            None => Some(vec!["at+jwt".to_owned(), "jwt".to_owned()]),
            Some(list) => self.types(&list.value),
        };
        let require_claims = match &written.require_claims {
            None => vec!["exp".to_owned()],
            Some(list) => {
                if !list.value.iter().any(|claim| claim.value == "exp") {
                    self.findings.push(list.warning("a token without `exp` is good for ever").hint("add `exp`"));
                }
                list.value.iter().map(|claim| claim.value.clone()).collect()
            }
        };
        Some(JwtSettings {
            keys: keys?,
            algorithms: algorithms?,
            types: types?,
            clock_skew: written.clock_skew.as_ref().map_or(CLOCK_SKEW, |skew| skew.value),
            max_token_age: written.max_token_age.flatten(),
            require_claims,
            require_issuer: written.require_issuer.unwrap_or(true),
            string_dates: written.string_dates.unwrap_or(false),
            refresh: written.refresh.unwrap_or(REFRESH),
            stale_keys: written.stale_keys.as_ref().map_or(STALE_KEYS, |time| time.value),
        })
    }

    fn algorithms(&mut self, written: &[At<String>], keys: Option<&KeySource>) -> Option<Vec<Algorithm>> {
        let mut all = Vec::new();
        let mut good = true;
        for name in written {
            let algorithm = ALGORITHMS.iter().find(|(known, _)| *known == name.value).map(|(_, algorithm)| *algorithm);
            let fault = match algorithm {
                Some(algorithm) => misfit(name, algorithm, keys),
                None => Some(algorithm_fault(name)),
            };
            match fault {
                Some(fault) => {
                    good = false;
                    self.findings.push(fault);
                }
                None => all.extend(algorithm.filter(|algorithm| !all.contains(algorithm))),
            }
        }
        (good && !all.is_empty()).then_some(all)
    }

    fn types(&mut self, written: &[At<String>]) -> Option<Vec<String>> {
        let mut all = Vec::new();
        for name in written {
            let lower = name.value.to_ascii_lowercase();
            let short = lower.strip_prefix("application/").unwrap_or(&lower).to_owned();
            if short.is_empty() || short.contains(char::is_whitespace) {
                return self.fail(name.error(format!("{} is not a token type", name.shown())));
            }
            if !all.contains(&short) {
                all.push(short);
            }
        }
        (!all.is_empty()).then_some(all)
    }

    fn claims(&mut self, written: &Claims) -> Option<ClaimPlaces> {
        let defaults = ClaimPlaces::default();
        let scopes = self.claim_paths(written.scopes.as_ref(), defaults.scopes);
        let roles = self.claim_paths(written.roles.as_ref(), defaults.roles);
        let client = self.claim_paths(written.client.as_ref(), defaults.client);
        let subject = match &written.subject {
            None => Some(defaults.subject),
            Some(path) => self.claim_path(path),
        };
        let client_subjects = match &written.client_subjects {
            None => Some(None),
            Some(pattern) => match Pattern::parse(&pattern.value) {
                Ok(pattern) => Some(Some(pattern)),
                Err(words) => self.fail(pattern.error_about(&words)),
            },
        };
        Some(ClaimPlaces {
            scopes: scopes?,
            roles: roles?,
            subject: subject?,
            client: client?,
            client_subjects: client_subjects?,
        })
    }

    fn claim_paths(
        &mut self,
        written: Option<&At<Vec<At<String>>>>,
        default: Vec<ClaimPath>,
    ) -> Option<Vec<ClaimPath>> {
        let Some(list) = written else { return Some(default) };
        let paths = list.value.iter().map(|path| self.claim_path(path)).collect::<Vec<_>>();
        paths.into_iter().collect()
    }

    fn claim_path(&mut self, written: &At<String>) -> Option<ClaimPath> {
        ClaimPath::parse(&written.value).map_err(|words| self.findings.push(written.error_about(&words))).ok()
    }
}

/// Those of public keys, or those that the secret is long enough for (none: it is refused as too short).
fn default_algorithms(keys: Option<&KeySource>) -> Vec<Algorithm> {
    let Some(KeySource::Secret(secret)) = keys else { return Algorithm::ALL.to_vec() };
    let length = secret.expose().len();
    let fits = |algorithm: &Algorithm| algorithm.least_secret_bytes().is_some_and(|least| length >= least);
    Algorithm::OF_SECRETS.into_iter().filter(fits).collect()
}

/// What is wrong with an algorithm beside keys of this kind.
fn misfit(name: &At<String>, algorithm: Algorithm, keys: Option<&KeySource>) -> Option<super::Finding> {
    let shown = name.shown();
    match (keys?, algorithm.least_secret_bytes()) {
        (KeySource::Secret(secret), Some(least)) if secret.expose().len() < least => {
            Some(name.error(format!("{shown} needs a secret of {least} bytes at least")))
        }
        (KeySource::Secret(_), Some(_)) => None,
        (KeySource::Secret(_), None) => Some(
            name.error(format!("{shown} needs a public key, and this issuer has a secret"))
                .hint("with a secret: HS256, HS384 or HS512"),
        ),
        (_, Some(_)) => Some(
            name.error(format!("{shown} needs `secret`, and this issuer has public keys"))
                .hint("a shared secret lets whoever verifies tokens make them; use RS256, ES256 or EdDSA"),
        ),
        (_, None) => None,
    }
}

fn algorithm_fault(name: &At<String>) -> super::Finding {
    let shown = name.shown();
    match name.value.to_ascii_uppercase().as_str() {
        "NONE" => name.error("tokens without a signature are never accepted"),
        _ => {
            let known = ALGORITHMS.iter().map(|(known, _)| *known);
            let hint = match keys::nearest_of(&name.value, known.clone()) {
                Some(near) if !name.foreign => format!("did you mean `{near}`?"),
                _ => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            name.error(format!("{shown} is not an algorithm that is accepted here")).hint(hint)
        }
    }
}
