//! An OAuth issuer with three clients: client credentials (RFC 6749, section 4.4), discovery and a key set; and, for the
//! client whose tokens are opaque, introspection and userinfo.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::{Value, json};

use super::{loopback, opaque::OpaqueTokens};

/// Whom its tokens are for.
pub(super) const AUDIENCE: &str = "notes-api";

/// Seconds that a token lives.
const LIFETIME: u64 = 3600;

const KID: &str = "demo-1";

/// A client that may have tokens. Its secret is no secret: it is printed.
pub(super) struct Client {
    pub(super) id: &'static str,
    pub(super) secret: &'static str,
    pub(super) scope: &'static str,
}

pub(super) const READER: Client = Client { id: "reader", secret: "reader-secret", scope: "notes:read" };
/// Its tokens are opaque.
pub(super) const LEARNER: Client = Client { id: "learner", secret: "learner-secret", scope: "courses:read" };
/// Who may ask about tokens: the gateway.
pub(super) const GATEWAY: Client = Client { id: "gateway", secret: "gateway-secret", scope: "" };
pub(super) const WRITER: Client = Client { id: "writer", secret: "writer-secret", scope: "notes:read notes:write" };

pub(super) struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    random: SystemRandom,
    opaque: OpaqueTokens,
}

/// What a token request lacks (RFC 6749, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenError {
    InvalidRequest,
    InvalidClient,
    UnsupportedGrantType,
    ServerError,
}

impl Issuer {
    /// An issuer at this URL, with a new key.
    ///
    /// # Errors
    /// No key could be made.
    pub(super) fn new(url: String) -> Result<Issuer, String> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| "the issuer's key can't be generated".to_owned())?;
        Ok(Issuer { url, key, random: SystemRandom::new(), opaque: OpaqueTokens::default() })
    }

    pub(super) fn answer(&self, request: Request<Bytes>) -> Response<Full<Bytes>> {
        let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
        match request.uri().path() {
            "/.well-known/openid-configuration" if get => loopback::json(StatusCode::OK, &self.metadata()),
            "/jwks" if get => loopback::json(StatusCode::OK, &self.key_set()),
            "/token" if post => self.token(request.body()),
            "/introspect" if post => self.introspect(&request),
            "/userinfo" if get => self.userinfo(request.headers()),
            "/token" => {
                let mut response = loopback::json(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "invalid_request"}));
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
                response
            }
            _ => loopback::json(StatusCode::NOT_FOUND, &json!({"error": "not_found"})),
        }
    }

    fn metadata(&self) -> Value {
        json!({
            "issuer": self.url,
            "jwks_uri": format!("{}/jwks", self.url),
            "token_endpoint": format!("{}/token", self.url),
            "introspection_endpoint": format!("{}/introspect", self.url),
            "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
            "userinfo_endpoint": format!("{}/userinfo", self.url),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
        })
    }

    fn key_set(&self) -> Value {
        // An uncompressed point (SEC 1, section 2.3.3): 4, then x and y of 32 octets.
        let point = self.key.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).unwrap_or_default();
        json!({"keys": [{
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": KID,
            "x": BASE64_URL_SAFE_NO_PAD.encode(x), "y": BASE64_URL_SAFE_NO_PAD.encode(y),
        }]})
    }

    fn token(&self, form: &[u8]) -> Response<Full<Bytes>> {
        match client_of(form).and_then(|client| Ok((client, self.issue(client)?))) {
            Ok((client, token)) => loopback::json(
                StatusCode::OK,
                &json!({"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME, "scope": client.scope}),
            ),
            Err(error) => loopback::json(error.status(), &json!({"error": error.code()})),
        }
    }

    /// RFC 7662, section 2.1.
    fn introspect(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let expected = format!("Basic {}", BASE64_STANDARD.encode(format!("{}:{}", GATEWAY.id, GATEWAY.secret)));
        if request.headers().get(AUTHORIZATION).is_none_or(|value| value.as_bytes() != expected.as_bytes()) {
            return loopback::json(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_client"}));
        }
        match (field(request.body(), "token"), now()) {
            (Ok(token), Ok(now)) => loopback::json(StatusCode::OK, &self.opaque.introspection(&token, now)),
            (Err(error), _) | (_, Err(error)) => loopback::json(error.status(), &json!({"error": error.code()})),
        }
    }

    fn userinfo(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        match token.and_then(|token| self.opaque.userinfo(token, now().ok()?)) {
            Some(claims) => loopback::json(StatusCode::OK, &claims),
            None => {
                let mut response = loopback::json(StatusCode::UNAUTHORIZED, &json!({"error": "invalid_token"}));
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
                response
            }
        }
    }

    fn issue(&self, client: &'static Client) -> Result<String, TokenError> {
        match client.id == LEARNER.id {
            true => self.opaque.give(client, now()?, LIFETIME).ok_or(TokenError::ServerError),
            false => self.sign(client),
        }
    }

    fn sign(&self, client: &Client) -> Result<String, TokenError> {
        let now = now()?;
        let header = json!({"alg": "ES256", "kid": KID, "typ": "at+jwt"});
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": client.id, "client_id": client.id, "scope": client.scope,
            "iat": now, "exp": now + LIFETIME,
        });
        let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign(&self.random, input.as_bytes()).map_err(|_| TokenError::ServerError)?;
        Ok(format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl TokenError {
    fn status(self) -> StatusCode {
        match self {
            TokenError::InvalidRequest | TokenError::UnsupportedGrantType => StatusCode::BAD_REQUEST,
            TokenError::InvalidClient => StatusCode::UNAUTHORIZED,
            TokenError::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(self) -> &'static str {
        match self {
            TokenError::InvalidRequest => "invalid_request",
            TokenError::InvalidClient => "invalid_client",
            TokenError::UnsupportedGrantType => "unsupported_grant_type",
            TokenError::ServerError => "server_error",
        }
    }
}

/// Unix seconds.
fn now() -> Result<u64, TokenError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| TokenError::ServerError)?;
    Ok(since.as_secs())
}

/// The client that a token request authenticates.
fn client_of(form: &[u8]) -> Result<&'static Client, TokenError> {
    match field(form, "grant_type")?.as_str() {
        "client_credentials" => {}
        "" => return Err(TokenError::InvalidRequest),
        _ => return Err(TokenError::UnsupportedGrantType),
    }
    let (id, secret) = (field(form, "client_id")?, field(form, "client_secret")?);
    [&READER, &WRITER, &LEARNER]
        .into_iter()
        .find(|client| client.id == id && client.secret == secret)
        .ok_or(TokenError::InvalidClient)
}

/// The one value of a form's field; empty where it is absent.
fn field(form: &[u8], name: &str) -> Result<String, TokenError> {
    let mut found = None;
    for pair in form.split(|byte| *byte == b'&') {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(at);
        if decode(key)? == name && found.replace(decode(value.get(1..).unwrap_or_default())?).is_some() {
            return Err(TokenError::InvalidRequest);
        }
    }
    Ok(found.unwrap_or_default())
}

/// One name or value of `application/x-www-form-urlencoded`.
fn decode(text: &[u8]) -> Result<String, TokenError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(*digit).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or(TokenError::InvalidRequest)?;
                u8::try_from(high * 16 + low).map_err(|_| TokenError::InvalidRequest)?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| TokenError::InvalidRequest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use http_body_util::BodyExt;
    use proptest::prelude::*;

    use super::*;

    async fn post(issuer: &Issuer, form: &str) -> (u16, Value) {
        let request = Request::post("/token").body(Bytes::copy_from_slice(form.as_bytes())).unwrap();
        let response = issuer.answer(request);
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap())
    }

    #[tokio::test]
    async fn a_token_verifies_with_the_published_key() {
        let issuer = Issuer::new("http://127.0.0.1:1".to_owned()).unwrap();
        let form = "grant_type=client%5fcredentials&client_id=writer&client_secret=writer-secret";
        let (status, answer) = post(&issuer, form).await;
        assert_eq!((status, answer["scope"].as_str()), (200, Some("notes:read notes:write")));
        let token = answer["access_token"].as_str().unwrap();
        let (input, signature) = token.rsplit_once('.').unwrap();
        let key = &issuer.key_set()["keys"][0];
        let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input.as_bytes(), &signature).unwrap();
    }

    #[tokio::test]
    async fn a_bad_request_has_its_error() {
        let issuer = Issuer::new("http://127.0.0.1:1".to_owned()).unwrap();
        for (form, status, error) in [
            ("", 400, "invalid_request"),
            ("grant_type=password", 400, "unsupported_grant_type"),
            ("grant_type=client_credentials", 401, "invalid_client"),
            ("grant_type=client_credentials&client_id=reader&client_secret=writer-secret", 401, "invalid_client"),
            ("grant_type=client_credentials&client_id=reader&client_id=writer&client_secret=x", 400, "invalid_request"),
            ("grant_type=%4", 400, "invalid_request"),
            ("grant_type=%ff", 400, "invalid_request"),
        ] {
            let (got, answer) = post(&issuer, form).await;
            assert_eq!((got, answer["error"].as_str()), (status, Some(error)), "{form}");
            assert_eq!(answer.get("access_token"), None);
        }
    }

    proptest! {
        #[test]
        fn a_form_is_read_or_refused(form in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = client_of(&form);
        }

        #[test]
        fn what_is_encoded_is_read_back(text in ".{0,16}") {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(field(format!("a=b&x={encoded}").as_bytes(), "x"), Ok(text));
        }
    }
}
