//! `upstreams.*.token`

use std::time::Duration;

use super::{Compiler, url::HttpUrl};
use crate::{
    config::{
        diagnostic::Span,
        file::{Egress, GrantWord},
        placeholder::PLACEHOLDER,
        reader::At,
    },
    egress::{Client, EgressSettings, Grant},
    signer::{Assertion, Signer},
    token::secret::Secret,
};

const EXPIRY_MARGIN: Duration = Duration::from_secs(30);
const ASSERTION_TTL: Duration = Duration::from_secs(60);

/// A key of `token`, and whether a grant needs it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Needed,
    Possible,
    Senseless,
}

impl Compiler<'_> {
    pub(super) fn egress(&mut self, written: &Egress) -> Option<EgressSettings> {
        let grant = written.grant.as_ref();
        let complete = grant.is_some_and(|grant| self.has_what_it_needs(written, grant.value));
        let endpoint = written.endpoint.as_ref().and_then(|endpoint| self.token_endpoint(endpoint));
        let scopes = match &written.scopes {
            None => Some(Vec::new()),
            Some(list) => self.scopes(list),
        };
        let key = match &written.private_key {
            None => Some(None),
            Some(key) => self.signer(key).map(Some),
        };
        let key = self.fits(written.algorithm.as_ref(), key?);
        if !complete {
            return None;
        }
        let (client, endpoint) = (client(written), endpoint?);
        Some(EgressSettings {
            grant: self.grant(written, grant?.value, key?, &endpoint)?,
            client,
            auth: written.auth.as_ref().map_or_else(Default::default, |auth| auth.value),
            scopes: scopes?.iter().map(ToString::to_string).collect(),
            scope_separator: written.scope_separator.unwrap_or_default(),
            audience: written.audience.as_ref().map(|audience| audience.value.clone()),
            expiry_margin: written.expiry_margin.as_ref().map_or(EXPIRY_MARGIN, |margin| margin.value),
            endpoint,
        })
    }

    /// Whether all is there that the grant needs; notes what is missing and what it has no use for.
    fn has_what_it_needs(&mut self, written: &Egress, grant: GrantWord) -> bool {
        use Use::{Needed, Possible, Senseless};
        let [client, user, signed] = match grant {
            GrantWord::ClientCredentials => [Needed, Senseless, Senseless],
            GrantWord::Password => [Needed, Needed, Senseless],
            GrantWord::JwtBearer => [Possible, Senseless, Needed],
            GrantWord::TokenExchange => [Possible, Senseless, Senseless],
        };
        let place = |at: &Option<At<String>>| at.as_ref().map(|at| at.with(()));
        let hidden = |at: &Option<At<Secret>>| at.as_ref().map(|at| at.with(()));
        let assertion = written.assertion.as_ref().map(|assertion| assertion.at.clone());
        let possible_if_signed = if signed == Needed { Possible } else { Senseless };
        let has_client = written.client_id.is_some() || written.client_secret.is_some();
        let client = if client == Possible && has_client { Needed } else { client };
        let keys = [
            ("client_id", place(&written.client_id), client),
            ("client_secret", hidden(&written.client_secret), client),
            ("username", place(&written.username), user),
            ("password", hidden(&written.password), user),
            ("private_key", hidden(&written.private_key), signed),
            ("assertion", assertion, signed),
            ("algorithm", place(&written.algorithm), possible_if_signed),
        ];
        let grant = grant.word();
        let mut complete = true;
        for (key, at, needed) in keys {
            let finding = match (at, needed) {
                (None, Needed) if written.broken.contains(&key) => {
                    complete = false;
                    continue;
                }
                (None, Needed) => {
                    let message = format!("`{key}` is missing in {}", written.at.path);
                    written.at.error(message).hint(format!("`grant: {grant}` needs it"))
                }
                (Some(at), Senseless) => at.error(format!("`grant: {grant}` has no use for `{key}`")),
                _ => continue,
            };
            complete = false;
            self.findings.push(finding);
        }
        if let (Some(auth), None) = (&written.auth, &written.client_id)
            && !has_client
            && complete
        {
            let finding = auth.error("`auth` says how a client names itself, and there is no `client_id`");
            self.findings.push(finding);
            complete = false;
        }
        complete
    }

    fn grant(&mut self, written: &Egress, grant: GrantWord, key: Option<Signer>, endpoint: &str) -> Option<Grant> {
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value.clone());
        Some(match grant {
            GrantWord::ClientCredentials => Grant::ClientCredentials,
            GrantWord::TokenExchange => Grant::TokenExchange,
            GrantWord::Password => Grant::Password {
                username: text(&written.username)?,
                password: written.password.as_ref()?.value.clone(),
            },
            GrantWord::JwtBearer => {
                let assertion = written.assertion.as_ref()?;
                let iss = text(&assertion.iss).or_else(|| text(&written.client_id));
                let Some(iss) = iss else {
                    let message = format!("`iss` is missing in {}", assertion.at.path);
                    return self.fail(assertion.at.error(message).hint("who signs, as the endpoint knows it"));
                };
                Grant::JwtBearer {
                    key: key?,
                    assertion: Assertion {
                        sub: text(&assertion.sub).unwrap_or_else(|| iss.clone()),
                        iss,
                        aud: text(&assertion.aud).unwrap_or_else(|| endpoint.to_owned()),
                        ttl: assertion.ttl.unwrap_or(ASSERTION_TTL),
                    },
                }
            }
        })
    }

    /// Secrets go there: https, or this machine.
    fn token_endpoint(&mut self, written: &At<String>) -> Option<String> {
        match HttpUrl::parse(&written.value) {
            Err(words) => self.fail(written.error(words)),
            Ok(url) if !url.tls && !url.is_loopback() => {
                self.fail(written.error("secrets would go to this endpoint over plain http").hint("use https"))
            }
            Ok(_) => Some(written.value.clone()),
        }
    }

    /// A private key: in place, or the name of a file. Says nothing of either.
    pub(super) fn signer(&mut self, written: &At<Secret>) -> Option<Signer> {
        self.signers(written)?.into_iter().next()
    }

    /// All private keys that are there, one at least.
    pub(super) fn signers(&mut self, written: &At<Secret>) -> Option<Vec<Signer>> {
        let in_place = written.value.expose().windows(10).any(|part| part == b"-----BEGIN");
        let pem = match in_place {
            true => written.value.clone(),
            false => {
                let name = String::from_utf8_lossy(written.value.expose()).into_owned();
                match self.text(written.span, &name) {
                    Ok((_, text)) => Secret::new(text.into_bytes()),
                    Err(_) if self.may_be_missing(written.span, &name) => {
                        return Some(vec![Signer::stand_in(&written.value)]);
                    }
                    Err(words) => {
                        let finding = written.error(format!("the private key's file: {words}"));
                        return self.fail(finding.hint("the name of a PEM file, or the key itself in PEM"));
                    }
                }
            }
        };
        Signer::all_from_pem(&pem)
            .map_err(|words| self.findings.push(written.error(format!("the private key: {words}"))))
            .ok()
    }

    /// Whether a key's file that isn't there may be so; notes that something stands for it. A text that isn't a file's
    /// name may be a key, and isn't told.
    fn may_be_missing(&mut self, span: Span, name: &str) -> bool {
        let is_name = name.starts_with('/') || name.contains('.');
        let is_placeholder = name.starts_with(PLACEHOLDER);
        if !self.with_placeholders || self.source.folder(span).join(name).exists() || !(is_name || is_placeholder) {
            return false;
        }
        let file = format!("file:{name}");
        if !is_placeholder && !self.stand_ins.contains(&file) {
            self.stand_ins.push(file);
        }
        true
    }

    /// Outer None: the algorithm isn't the key's.
    fn fits(&mut self, algorithm: Option<&At<String>>, key: Option<Signer>) -> Option<Option<Signer>> {
        if let (Some(algorithm), Some(signer)) = (algorithm, &key)
            && !signer.is_stand_in()
            && algorithm.value != signer.algorithm()
        {
            let hint = format!("with this key: `{}`", signer.algorithm());
            return self.fail(algorithm.error(format!("this key doesn't sign with {}", algorithm.shown())).hint(hint));
        }
        Some(key)
    }
}

fn client(written: &Egress) -> Option<Client> {
    let (id, secret) = written.client_id.as_ref().zip(written.client_secret.as_ref())?;
    Some(Client { id: id.value.clone(), secret: secret.value.clone() })
}

impl GrantWord {
    fn word(self) -> &'static str {
        match self {
            GrantWord::ClientCredentials => "client_credentials",
            GrantWord::Password => "password",
            GrantWord::JwtBearer => "jwt_bearer",
            GrantWord::TokenExchange => "token_exchange",
        }
    }
}
