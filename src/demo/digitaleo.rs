//! Digitaleo: JWTs of up to 50,000 characters, with or without `iss`, by client credentials.

use bytes::Bytes;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::{
    answers::{self, Answer, Client, NoToken, object},
    form::Form,
    loopback,
    signing::SigningKey,
    tokens::{hex, now},
};

/// The document's own. Its tokens name no issuer.
pub(super) const CLIENT: Client =
    Client { id: "51612c780b4dbaea8f81995beccbcfec08969d0e", secret: "p280edbd76d510c41990cbe5e6108c7e" };
/// Its tokens name their issuer, and are as long as they get.
pub(super) const LARGE: Client = Client { id: "large-account", secret: "large-account-secret" };
pub(super) const AUDIENCE: &str = "digitaleo-api";
pub(super) const SCOPE: &str = "campaigns:read";

const LIFETIME: u64 = 3600;
/// Characters of a token.
const LONGEST: usize = 50_000;
const HEADER: &str = r#"{"typ":"JWT","alg":"RS256"}"#;

pub(super) struct Digitaleo {
    /// What `iss` is where it is there.
    issuer: String,
    key: SigningKey,
}

impl Digitaleo {
    pub(super) fn new(issuer: String, key: SigningKey) -> Digitaleo {
        Digitaleo { issuer, key }
    }

    pub(super) fn answer(&self, request: &Request<Bytes>) -> Option<Answer> {
        match request.uri().path() {
            "/token" => Some(answers::token(request, |form| self.token(form))),
            "/digitaleo/jwks" if request.method() == Method::GET => {
                Some(loopback::json(StatusCode::OK, json!({"keys": [self.key.jwk(None)]}).to_string()))
            }
            _ => None,
        }
    }

    fn token(&self, form: &Form) -> Result<String, NoToken> {
        match form.one("grant_type")? {
            "client_credentials" => {}
            "" => return Err(NoToken::because("invalid_request", "The grant type was not specified in the request")),
            _ => return Err(NoToken::because("unsupported_grant_type", "This grant type is not supported")),
        }
        let (id, secret) = (form.one("client_id")?, form.one("client_secret")?);
        let client = [&CLIENT, &LARGE].into_iter().find(|client| client.id == id && client.secret == secret);
        let client = client.ok_or_else(|| NoToken::because("invalid_client", "The client credentials are invalid"))?;
        Ok(object(&[
            ("access_token", self.jwt(client).ok_or_else(NoToken::no_random)?.into()),
            ("expires_in", LIFETIME.into()),
            ("token_type", "bearer".into()),
            ("scope", SCOPE.into()),
        ]))
    }

    fn jwt(&self, client: &Client) -> Option<String> {
        let (id, now) = (hex::<20>()?, now());
        let mut claims: Vec<(&str, Value)> =
            vec![("id", id.clone().into()), ("jti", id.into()), ("aud", AUDIENCE.into()), ("sub", client.id.into())];
        if *client == LARGE {
            claims.push(("iss", self.issuer.as_str().into()));
        }
        claims.extend([
            ("client_id", client.id.into()),
            ("exp", (now + LIFETIME).into()),
            ("iat", now.into()),
            ("token_type", "bearer".into()),
            ("scope", SCOPE.into()),
        ]);
        if *client == LARGE {
            claims.push(("contracts", String::new().into()));
            // What is missing to the longest payload, whose every three octets are four characters.
            let others = self.key.jwt(HEADER, "")?.len();
            let room = (LONGEST - others) / 4 * 3;
            let padding = room.saturating_sub(object(&claims).len());
            claims.pop();
            claims.push(("contracts", "0123456789 ".chars().cycle().take(padding).collect::<String>().into()));
        }
        self.key.jwt(HEADER, &object(&claims))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::{
        super::answers::tests::{post, read},
        *,
    };

    fn digitaleo() -> Digitaleo {
        Digitaleo::new("http://127.0.0.1:1/digitaleo".to_owned(), SigningKey::generate().unwrap())
    }

    async fn ask(digitaleo: &Digitaleo, form: &str) -> (u16, Value) {
        read(digitaleo.answer(&post("/token", form)).unwrap()).await
    }

    #[tokio::test]
    async fn a_token_looks_as_the_document_shows_it() {
        let digitaleo = digitaleo();
        for (client, issuer, is_longest) in [(CLIENT, None, false), (LARGE, Some("http://127.0.0.1:1/digitaleo"), true)]
        {
            let form = format!("grant_type=client_credentials&client_id={}&client_secret={}", client.id, client.secret);
            let (status, answer) = ask(&digitaleo, &form).await;
            assert_eq!((status, &answer["expires_in"], &answer["token_type"]), (200, &json!(3600), &json!("bearer")));
            assert_eq!(answer["scope"], "campaigns:read");
            let token = answer["access_token"].as_str().unwrap();
            assert!(token.starts_with("eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJpZCI6I"), "{token:.100}");
            assert_eq!(token.len() == 50_000, is_longest, "{}", token.len());
            let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let claims: Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!(claims.get("iss").and_then(Value::as_str), issuer);
        }
    }

    #[tokio::test]
    async fn what_is_not_correct_is_400() {
        let digitaleo = digitaleo();
        let secret = CLIENT.secret;
        for (form, error, description) in [
            (
                format!("grant_type=client_credentials&client_id=x&client_secret={secret}"),
                "invalid_client",
                "The client credentials are invalid",
            ),
            (
                format!("grant_type=client_credentials&client_id={}&client_secret=x", CLIENT.id),
                "invalid_client",
                "The client credentials are invalid",
            ),
            ("grant_type=client_credentials".to_owned(), "invalid_client", "The client credentials are invalid"),
            ("grant_type=password".to_owned(), "unsupported_grant_type", "This grant type is not supported"),
            (String::new(), "invalid_request", "The grant type was not specified in the request"),
        ] {
            let (status, answer) = ask(&digitaleo, &form).await;
            assert_eq!((status, answer), (400, json!({"error": error, "error_description": description})), "{form}");
        }
    }
}
