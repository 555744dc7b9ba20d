//! Degreed: client credentials with scopes that are separated by commas, organization and provider keys, and a logout.

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{
    answers::{self, Answer, Client, NoToken, object},
    form::Form,
    loopback,
    signing::SigningKey,
    tokens::{Kept, Tokens, hex, now},
};

pub(super) const AUDIENCE: &str = "degreed-api";
/// The document's own: a key of the organization. Its tokens are JWTs and live as long as the document shows.
pub(super) const ORGANIZATION: Key = Key {
    client: Client { id: "abcd", secret: "efgh" },
    provider: None,
    scopes: &["users:read", "content:read", "content:write"],
    lifetime: 5_183_999,
};
/// A provider's key. Its tokens are opaque and live as long as they do by default.
pub(super) const PROVIDER: Key = Key {
    client: Client { id: "provider-key", secret: "provider-secret" },
    provider: Some("acme"),
    scopes: &["content:read", "content:write"],
    lifetime: 300,
};

/// An API key.
pub(super) struct Key {
    pub(super) client: Client,
    /// Whose data it is limited to; None: it is the organization's.
    pub(super) provider: Option<&'static str>,
    scopes: &'static [&'static str],
    /// Seconds.
    lifetime: u64,
}

pub(super) struct Degreed {
    issuer: String,
    signing: SigningKey,
    access: Tokens<Grant>,
    /// Of no use but to be ended.
    refresh: Tokens<()>,
}

/// What a token stands for.
#[derive(Clone)]
struct Grant {
    key: &'static Key,
    /// Separated by commas.
    scope: String,
}

impl Degreed {
    pub(super) fn new(issuer: String, signing: SigningKey) -> Degreed {
        Degreed { issuer, signing, access: Tokens::default(), refresh: Tokens::default() }
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Option<Answer> {
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match request.uri().path() {
            "/oauth/token" => Some(answers::token(request, |form| self.token(form))),
            "/oauth/logout" if post => Some(self.log_out(request)),
            "/oauth/introspect" => Some(answers::introspection(request, |token| self.introspect(token))),
            "/degreed/jwks" if get => {
                Some(loopback::json(StatusCode::OK, json!({"keys": [self.signing.jwk(Some(KID))]}).to_string()))
            }
            _ => None,
        }
    }

    fn token(&self, form: &Form) -> Result<String, NoToken> {
        match form.one("grant_type")? {
            "client_credentials" => {}
            "" => return Err(NoToken::because("invalid_request", "grant_type is needed")),
            "refresh_token" => {
                return Err(NoToken::because("unauthorized_client", "A refresh token is of no use to API keys"));
            }
            _ => return Err(NoToken::because("unsupported_grant_type", "grant_type must be client_credentials")),
        }
        let (id, secret) = (form.one("client_id")?, form.one("client_secret")?);
        let key = [&ORGANIZATION, &PROVIDER].into_iter().find(|key| key.client.id == id && key.client.secret == secret);
        let key = key.ok_or_else(|| NoToken::because("invalid_client", "client_id or client_secret is not correct"))?;
        let grant = Grant { key, scope: granted(key, form.one("scope")?)? };
        let now = now();
        let token = self.issue(&grant, now).ok_or_else(NoToken::no_random)?;
        let refresh_token = hex::<32>().ok_or_else(NoToken::no_random)?;
        self.access.keep(&token, grant, now, key.lifetime);
        self.refresh.keep(&refresh_token, (), now, key.lifetime);
        Ok(object(&[
            ("access_token", token.into()),
            ("token_type", "bearer".into()),
            ("expires_in", key.lifetime.into()),
            ("refresh_token", refresh_token.into()),
        ]))
    }

    /// A JWT for the organization's key, 64 hex digits for a provider's. None: the system has no random numbers.
    fn issue(&self, grant: &Grant, now: u64) -> Option<String> {
        let id = hex::<32>()?;
        if grant.key.provider.is_some() {
            return Some(id);
        }
        let client = grant.key.client.id;
        let claims = object(&[
            ("iss", self.issuer.as_str().into()),
            ("aud", AUDIENCE.into()),
            ("sub", client.into()),
            ("client_id", client.into()),
            ("scope", grant.scope.as_str().into()),
            ("jti", id.into()),
            ("iat", now.into()),
            ("exp", (now + grant.key.lifetime).into()),
        ]);
        self.signing.jwt(&object(&[("alg", "RS256".into()), ("kid", KID.into()), ("typ", "JWT".into())]), &claims)
    }

    /// Ends the access token, and the refresh token where one is in the JSON body.
    fn log_out(&self, request: &Request<Bytes>) -> Answer {
        let now = now();
        let ended = answers::bearer(request.headers()).and_then(|token| self.access.take(token, now));
        if ended.is_none() {
            return answers::invalid_token();
        }
        let body = serde_json::from_slice::<Value>(request.body()).unwrap_or_default();
        if let Some(refresh_token) = body.get("refresh_token").and_then(Value::as_str) {
            self.refresh.take(refresh_token, now);
        }
        loopback::json(StatusCode::OK, "{}".to_owned())
    }

    fn introspect(&self, token: &str) -> Option<Value> {
        let Kept { meaning: Grant { key, scope }, issued_at, ends_at } = self.access.find(token, now())?;
        Some(json!({
            "active": true, "token_type": "bearer", "sub": key.client.id, "client_id": key.client.id, "scope": scope,
            "provider_id": key.provider, "aud": AUDIENCE, "iss": self.issuer, "iat": issued_at, "exp": ends_at,
        }))
    }
}

const KID: &str = "degreed-1";

/// The scopes that are asked for, if the key has them all; all of its own where none is.
fn granted(key: &Key, asked: &str) -> Result<String, NoToken> {
    let asked: Vec<_> = asked.split([',', ' ']).filter(|scope| !scope.is_empty()).collect();
    match asked.iter().all(|scope| key.scopes.contains(scope)) {
        true if asked.is_empty() => Ok(key.scopes.join(",")),
        true => Ok(asked.join(",")),
        false => Err(NoToken::because("invalid_scope", "The API key does not have this scope")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::{
        super::answers::tests::{post, read},
        *,
    };

    fn degreed() -> Degreed {
        Degreed::new("http://127.0.0.1:1/degreed".to_owned(), SigningKey::generate().unwrap())
    }

    async fn ask(degreed: &Degreed, key: &Key, more: &str) -> (u16, Value) {
        let Client { id, secret } = key.client;
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}{more}");
        read(degreed.answer(&post("/oauth/token", &form)).unwrap()).await
    }

    async fn log_out(degreed: &Degreed, token: &str, body: &'static str) -> u16 {
        let request = Request::post("/oauth/logout").header("authorization", format!("Bearer {token}"));
        read(degreed.answer(&request.body(Bytes::from_static(body.as_bytes())).unwrap()).unwrap()).await.0
    }

    #[tokio::test]
    async fn a_key_gets_the_scopes_that_it_asks_for() {
        let degreed = degreed();
        for (key, asked, granted, lifetime) in [
            (&ORGANIZATION, "&scope=content:read", "content:read", 5_183_999),
            (&ORGANIZATION, "&scope=content:read,users:read", "content:read,users:read", 5_183_999),
            (&ORGANIZATION, "&scope=content:read+users:read", "content:read,users:read", 5_183_999),
            (&PROVIDER, "", "content:read,content:write", 300),
        ] {
            let (status, answer) = ask(&degreed, key, asked).await;
            assert_eq!((status, &answer["expires_in"]), (200, &json!(lifetime)), "{answer}");
            assert_eq!(answer["token_type"], "bearer");
            let said = degreed.introspect(answer["access_token"].as_str().unwrap()).unwrap();
            assert_eq!((&said["scope"], &said["provider_id"]), (&json!(granted), &json!(key.provider)));
        }
        for (key, asked) in [(&PROVIDER, "&scope=users:read"), (&ORGANIZATION, "&scope=content:read,admin")] {
            let (status, answer) = ask(&degreed, key, asked).await;
            assert_eq!((status, &answer["error"]), (400, &json!("invalid_scope")));
        }
    }

    #[tokio::test]
    async fn a_logout_ends_both_tokens() {
        let degreed = degreed();
        for key in [&ORGANIZATION, &PROVIDER] {
            let (_, answer) = ask(&degreed, key, "").await;
            let (token, refresh_token) = (&answer["access_token"], &answer["refresh_token"]);
            let (token, refresh_token) = (token.as_str().unwrap(), refresh_token.as_str().unwrap());
            assert_eq!(degreed.introspect(refresh_token), None, "a refresh token is no access token");
            assert_eq!(log_out(&degreed, refresh_token, "").await, 401);
            let body: &str = json!({"refresh_token": refresh_token}).to_string().leak();
            assert!(degreed.refresh.find(refresh_token, now()).is_some());
            assert_eq!((log_out(&degreed, token, body).await, degreed.introspect(token)), (200, None));
            assert_eq!(degreed.refresh.find(refresh_token, now()), None);
            assert_eq!(log_out(&degreed, token, "").await, 401);
        }
    }

    #[tokio::test]
    async fn a_bad_request_has_its_error() {
        let degreed = degreed();
        for (form, error) in [
            ("", "invalid_request"),
            ("grant_type=password", "unsupported_grant_type"),
            ("grant_type=client_credentials&client_id=abcd", "invalid_client"),
            ("grant_type=client_credentials&client_id=abcd&client_secret=provider-secret", "invalid_client"),
            ("grant_type=refresh_token&client_id=abcd&client_secret=efgh&refresh_token=x", "unauthorized_client"),
        ] {
            let (status, answer) = read(degreed.answer(&post("/oauth/token", form)).unwrap()).await;
            assert_eq!((status, answer["error"].as_str()), (400, Some(error)), "{form}");
        }
    }
}
