//! `issuers.*.introspection` and `issuers.*.userinfo`.

use std::time::Duration;

use super::{Compiler, issuers::Traffic};
use crate::{
    config::{
        file::{Audiences, AuthWord, Introspection, Issuer, Userinfo},
        reader::At,
    },
    token::{
        client_certificate::ClientCertificate,
        introspection::{ClientAuth, ClientSettings, IntrospectionSettings, Way},
        pattern::Pattern,
        secret::Secret,
    },
};

const TIMEOUT: Duration = Duration::from_secs(2);
const CACHE_TTL: Duration = Duration::from_secs(60);
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
const MAX_CONCURRENT: usize = 64;

impl Compiler<'_> {
    /// How an issuer is asked about tokens; Some(None): it isn't.
    pub(super) fn introspection(
        &mut self,
        issuer: &Issuer,
        allow_http: bool,
        http_timeout: Duration,
    ) -> Option<Option<IntrospectionSettings>> {
        if let Some(userinfo) = &issuer.userinfo {
            return self.userinfo(userinfo, issuer, allow_http, http_timeout).map(Some);
        }
        let Some(written) = &issuer.introspection else { return Some(None) };
        let endpoint = self.asked_at(written.endpoint.as_ref(), &written.at, issuer, allow_http);
        let client = self.client(written);
        let tokens = match &written.tokens {
            None => Some(None),
            Some(pattern) => match Pattern::parse(&pattern.value) {
                Ok(pattern) => Some(Some(pattern)),
                Err(words) => self.fail(pattern.error_about(&words)),
            },
        };
        let certificate = self.client_certificate(written);
        self.check_signed(written, issuer)?;
        Some(Some(IntrospectionSettings {
            way: Way::Introspection(client?),
            endpoint: endpoint?,
            tokens: tokens?,
            timeout: written.timeout.unwrap_or(TIMEOUT),
            cache_ttl: written.cache_ttl.unwrap_or(CACHE_TTL),
            negative_ttl: written.negative_ttl.unwrap_or(NEGATIVE_TTL),
            max_concurrent: written.max_concurrent.unwrap_or(MAX_CONCURRENT),
            certificate: certificate?,
        }))
    }

    fn userinfo(
        &mut self,
        written: &Userinfo,
        issuer: &Issuer,
        allow_http: bool,
        http_timeout: Duration,
    ) -> Option<IntrospectionSettings> {
        let other = [("jwt", issuer.has_jwt), ("introspection", issuer.introspection.is_some())];
        if let Some((other, _)) = other.into_iter().find(|(_, is_there)| *is_there) {
            let finding = written.at.error(format!("`userinfo` beside `{other}`"));
            return self.fail(finding.hint("`userinfo` is for providers with neither JWTs nor introspection"));
        }
        if matches!(issuer.audiences, Some(Audiences::OneOf(_))) {
            let finding = written.at.error("`userinfo` can't tell whom a token is for");
            self.findings.push(finding.hint("it needs `audiences: any`: every token of this provider is accepted"));
        }
        Some(IntrospectionSettings {
            way: Way::Userinfo,
            endpoint: self.asked_at(written.endpoint.as_ref(), &written.at, issuer, allow_http)?,
            tokens: None,
            timeout: http_timeout,
            cache_ttl: written.cache_ttl.unwrap_or(CACHE_TTL),
            negative_ttl: NEGATIVE_TTL,
            max_concurrent: MAX_CONCURRENT,
            certificate: None,
        })
    }

    /// Some(None): by discovery.
    fn asked_at(
        &mut self,
        endpoint: Option<&At<String>>,
        at: &At<()>,
        issuer: &Issuer,
        allow_http: bool,
    ) -> Option<Option<String>> {
        if let Some(endpoint) = endpoint {
            self.endpoint_url(endpoint, allow_http, &Traffic::TOKENS)?;
            return Some(Some(endpoint.value.clone()));
        }
        let Some(url) = &issuer.issuer else {
            let finding = at.error("neither `endpoint` nor an `issuer` to discover it from");
            return self.fail(finding.hint("`endpoint: https://…`"));
        };
        let parsed = self.endpoint_url(url, allow_http, &Traffic::TOKENS)?;
        if parsed.query.is_some() {
            return self.fail(url.error("an issuer with a query has no discovery; give `endpoint`"));
        }
        Some(None)
    }

    fn client(&mut self, written: &Introspection) -> Option<ClientSettings> {
        if written.broken {
            return None;
        }
        let word = written.auth.unwrap_or(AuthWord::Basic);
        let name = AuthWord::ALL.iter().find(|(_, known)| *known == word).map_or("", |(name, _)| name);
        let (secret, bearer, key) = (&written.client_secret, &written.bearer_token, &written.private_key);
        let takes_secret = matches!(word, AuthWord::Basic | AuthWord::Post);
        let superfluous = [
            ("client_secret", secret.as_ref().filter(|_| !takes_secret)),
            ("bearer_token", bearer.as_ref().filter(|_| word != AuthWord::Bearer)),
            ("private_key", key.as_ref().filter(|_| word != AuthWord::PrivateKeyJwt)),
        ];
        for (key, at) in superfluous.into_iter().filter_map(|(key, at)| Some((key, at?))) {
            self.findings.push(at.error(format!("`{key}` beside `auth: {name}`, which has no use for it")));
        }
        let needs_id = takes_secret || word == AuthWord::PrivateKeyJwt;
        let id = self.needed(written.client_id.as_ref(), "client_id", needs_id, name, &written.at);
        let auth = match word {
            AuthWord::Basic => self.needed_secret(secret, "client_secret", name, &written.at).map(ClientAuth::Basic),
            AuthWord::Post => self.needed_secret(secret, "client_secret", name, &written.at).map(ClientAuth::Post),
            AuthWord::Bearer => self.bearer(bearer, name, &written.at),
            AuthWord::PrivateKeyJwt => {
                let key = self.needed(key.as_ref(), "private_key", true, name, &written.at)?;
                key.and_then(|key| self.signer(key)).map(ClientAuth::PrivateKeyJwt)
            }
            AuthWord::None => Some(ClientAuth::None),
        };
        Some(ClientSettings { id: id?.map(|id| id.value.clone()), auth: auth?, signed: written.is_signed() })
    }

    fn needed<'w, T>(
        &mut self,
        value: Option<&'w At<T>>,
        key: &str,
        is_needed: bool,
        auth: &str,
        at: &At<()>,
    ) -> Option<Option<&'w At<T>>> {
        match value {
            None if is_needed => {
                let finding = at.error(format!("`auth: {auth}` needs `{key}`"));
                let hint = format!(
                    "`auth` says how the gateway proves who it is; without one it is `basic`. Write `{key}: …`"
                );
                self.fail(finding.hint(hint))
            }
            value => Some(value),
        }
    }

    fn needed_secret(&mut self, value: &Option<At<Secret>>, key: &str, auth: &str, at: &At<()>) -> Option<Secret> {
        Some(self.needed(value.as_ref(), key, true, auth, at)??.value.clone())
    }

    fn bearer(&mut self, value: &Option<At<Secret>>, auth: &str, at: &At<()>) -> Option<ClientAuth> {
        let token = self.needed(value.as_ref(), "bearer_token", true, auth, at)??;
        let is_good = |byte: &u8| byte.is_ascii_graphic();
        if token.value.expose().is_empty() || !token.value.expose().iter().all(is_good) {
            return self.fail(
                token.error("this can't be a bearer token: it is empty or has spaces or characters beyond ASCII"),
            );
        }
        Some(ClientAuth::Bearer(token.value.clone()))
    }

    fn client_certificate(&mut self, written: &Introspection) -> Option<Option<ClientCertificate>> {
        let (certificate, key) = match (&written.certificate, &written.key) {
            (None, None) => return Some(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(alone), None) => return self.fail(alone.error("`certificate` without `key`")),
            (None, Some(alone)) => return self.fail(alone.error("`key` without `certificate`")),
        };
        let (chain, pem) = (self.key_file(certificate), self.key_file(key));
        let pem = Secret::new(pem?.1.into_bytes());
        let (path, chain) = chain?;
        match ClientCertificate::parse(path, chain, pem) {
            Ok(certificate) => Some(Some(certificate)),
            Err(words) => self.fail(certificate.error(words)),
        }
    }

    fn check_signed(&mut self, written: &Introspection, issuer: &Issuer) -> Option<()> {
        let Some(flag) = written.signed.as_ref().filter(|flag| flag.value) else { return Some(()) };
        if written.client_id.is_none() {
            return self.fail(flag.error("a signed answer is made for a client: `signed: true` needs `client_id`"));
        }
        if issuer.issuer.is_none() {
            return self.fail(flag.error("a signed answer names the issuer: `signed: true` needs `issuer`"));
        }
        Some(())
    }
}
