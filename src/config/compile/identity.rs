//! `identity`, at the top and on a route.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};

use super::Compiler;
use crate::{
    config::{
        file::{Assertion, Identity, IdentityValue},
        keys,
        reader::At,
    },
    identity::{AssertionPlan, IdentityPlan, IdentitySource, is_alias},
    signer::Signer,
    token::{claims::ClaimPath, secret::Secret},
};

const ASSERTION_ALGORITHMS: [&str; 3] = ["EdDSA", "ES256", "RS256"];
const ASSERTION_TTL: Duration = Duration::from_secs(60);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);

/// Names, in lower case and without all but letters and digits, that carry the message itself. An identity header of
/// such a name, or of an alias of it, would take it from every request.
const NOT_FOR_IDENTITY: [&str; 27] = [
    "accept",
    "authorization",
    "clientcert",
    "clientcertchain",
    "connection",
    "contentencoding",
    "contentlength",
    "contenttype",
    "cookie",
    "dpop",
    "expect",
    "forwarded",
    "host",
    "keepalive",
    "proxyauthenticate",
    "proxyauthorization",
    "proxyconnection",
    "range",
    "te",
    "traceparent",
    "trailer",
    "transferencoding",
    "upgrade",
    "via",
    "xforwardedfor",
    "xforwardedproto",
    "xrequestid",
];

impl Compiler<'_> {
    /// What is written replaces the base key by key. Of an assertion, what isn't written is taken from `like`, which may be
    /// one that the base doesn't have: whoever writes `assertion: {}` then says that it is sent after all.
    pub(super) fn identity(
        &mut self,
        written: &Identity,
        base: &IdentityPlan,
        like: Option<&AssertionPlan>,
    ) -> Option<IdentityPlan> {
        let headers = match &written.headers {
            None => base.headers.clone(),
            Some(headers) => self.identity_headers(headers)?,
        };
        let assertion = match &written.assertion {
            None => base.assertion.clone(),
            Some(assertion) => Some(self.assertion(assertion, like)?),
        };
        let taken = assertion
            .as_ref()
            .and_then(|plan| headers.iter().find(|(name, _)| is_alias(name.as_str(), plan.header.as_str())));
        if let (Some((name, _)), Some(at)) = (taken, written.assertion.as_ref().map(|assertion| &assertion.at)) {
            return self.fail(at.error(format!("the assertion's header is an identity header, too: `{name}`")));
        }
        let forward_authorization = written.authorization.as_ref().map_or(base.forward_authorization, |at| at.value);
        Some(IdentityPlan { headers, forward_authorization, assertion })
    }

    /// What is not written is taken from the base.
    fn assertion(&mut self, written: &Assertion, base: Option<&AssertionPlan>) -> Option<AssertionPlan> {
        let missing = [
            ("private_key", written.private_key.is_some(), "a PEM file with what signs it: `private_key: gateway.pem`"),
            ("issuer", written.issuer.is_some(), "what it has in `iss`: `issuer: https://gateway.example`"),
        ];
        for (key, found, hint) in missing {
            if !found && base.is_none() && !self.broken_identity && !written.broken.contains(&key) {
                let message = format!("`{key}` is missing in {}", written.at.path);
                self.findings.push(written.at.error(message).hint(hint));
            }
        }
        let header = match &written.header {
            None => Some(base.map_or(HeaderName::from_static("x-auth-assertion"), |base| base.header.clone())),
            Some(name) => self.identity_header(name, &canonical(&name.value)),
        };
        let keys = match &written.private_key {
            None => base.map(|base| (base.key.clone(), base.announced.clone())),
            Some(key) => self.assertion_keys(key),
        };
        let ttl = match &written.ttl {
            None => Some(base.map_or(ASSERTION_TTL, |base| base.ttl)),
            Some(ttl) if ttl.value < Duration::from_secs(1) => self.fail(ttl.error("it lives for a second at least")),
            Some(ttl) if ttl.value > LONGEST_TTL => self.fail(
                ttl.error("an assertion can't be taken back: it lives for a day at most")
                    .hint("a new one is signed when half of the time is over; `60s` will do"),
            ),
            Some(ttl) => Some(ttl.value),
        };
        let audience = match &written.audience {
            None => base.and_then(|base| base.audience.clone()),
            Some(audience) => Some(audience.value.clone()).filter(|audience| audience != "upstream"),
        };
        let issuer = written.issuer.as_ref().map(|issuer| issuer.value.clone());
        let issuer = issuer.or_else(|| base.map(|base| base.issuer.clone()));
        let (key, announced) = keys?;
        Some(AssertionPlan { header: header?, key, announced, issuer: issuer?, audience, ttl: ttl? })
    }

    /// The one that signs, and those that are published beside it.
    fn assertion_keys(&mut self, written: &At<Secret>) -> Option<(Signer, Vec<Signer>)> {
        let mut keys = self.signers(written)?;
        if let Some(other) = keys.iter().map(Signer::algorithm).find(|name| !ASSERTION_ALGORITHMS.contains(name)) {
            return self.fail(written.error(format!("assertions are signed with EdDSA, ES256 or RS256, not {other}")));
        }
        let announced = keys.split_off(1);
        keys.pop().map(|key| (key, announced))
    }

    fn identity_headers(
        &mut self,
        written: &[(At<String>, IdentityValue)],
    ) -> Option<Vec<(HeaderName, IdentitySource)>> {
        let mut seen = Vec::<(String, &At<String>)>::new();
        let mut headers = Vec::new();
        for (name, value) in written {
            let canonical = canonical(&name.value);
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == canonical) {
                let message = format!(
                    "{} is the same header to many servers as the one at {}",
                    name.shown(),
                    self.source.place(first.span)
                );
                self.findings.push(name.error(message));
            }
            let header = self.identity_header(name, &canonical);
            seen.push((canonical, name));
            headers.push(header.zip(self.identity_source(value)));
        }
        headers.into_iter().collect()
    }

    fn identity_header(&mut self, name: &At<String>, canonical: &str) -> Option<HeaderName> {
        if NOT_FOR_IDENTITY.contains(&canonical) {
            return self.fail(name.error(format!("{} can't be an identity header", name.shown())).hint(
                "it, or a header that many servers take for the same, is part of the message; choose a name such as `X-Auth-…`",
            ));
        }
        let valid = HeaderName::from_bytes(name.value.as_bytes()).ok().filter(|_| !canonical.is_empty());
        valid.or_else(|| self.fail(name.error(format!("{} is not a header's name", name.shown()))))
    }

    fn identity_source(&mut self, value: &IdentityValue) -> Option<IdentitySource> {
        const WORDS: [&str; 5] = ["subject", "client", "scopes", "roles", "issuer"];
        let source = match value {
            IdentityValue::Literal(text) => {
                return match HeaderValue::from_str(&text.value) {
                    Ok(value) => Some(IdentitySource::Literal(value)),
                    Err(_) => self.fail(text.error("a header can't hold this text")),
                };
            }
            IdentityValue::Source(source) => source,
        };
        match source.value.as_str() {
            "subject" => Some(IdentitySource::Subject),
            "client" => Some(IdentitySource::Client),
            "scopes" => Some(IdentitySource::Scopes),
            "roles" => Some(IdentitySource::Roles),
            "issuer" => Some(IdentitySource::Issuer),
            text => match text.strip_prefix("claims.").map(ClaimPath::parse) {
                Some(Ok(path)) => Some(IdentitySource::Claim(path)),
                Some(Err(words)) => self.fail(source.error_about(&words)),
                None => {
                    let hint = match keys::nearest_of(text, WORDS) {
                        Some(near) if !source.foreign => format!("did you mean `{near}`?"),
                        _ => format!("{}, `claims.<path>`, or `{{value: text}}`", WORDS.join(", ")),
                    };
                    self.fail(source.error(format!("{} is nothing that a header can say", source.shown())).hint(hint))
                }
            },
        }
    }
}

/// The form in which aliases of a name are equal.
fn canonical(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}
