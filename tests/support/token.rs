//! Tokens: good ones by default, and as bad as a test wants them.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use super::keys::Key;

/// A token in the making: subject `u1`, audience `api`, five minutes to live, unless told otherwise.
#[derive(Clone)]
pub(crate) struct Token {
    key: Key,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    pub(crate) fn new(issuer: &str, key: &Key) -> Token {
        let Value::Object(header) = json!({"alg": key.alg(), "kid": key.kid, "typ": "at+jwt"}) else { unreachable!() };
        let Value::Object(claims) =
            json!({"iss": issuer, "sub": "u1", "aud": "api", "iat": now(), "exp": now() + 300, "client_id": "c1"})
        else {
            unreachable!()
        };
        Token { key: key.clone(), header, claims }
    }

    pub(crate) fn sub(self, subject: &str) -> Token {
        self.claim("sub", json!(subject))
    }

    pub(crate) fn scope(self, scope: &str) -> Token {
        self.claim("scope", json!(scope))
    }

    pub(crate) fn roles(self, roles: &[&str]) -> Token {
        self.claim("roles", json!(roles))
    }

    pub(crate) fn aud(self, audience: &str) -> Token {
        self.claim("aud", json!(audience))
    }

    /// Seconds from now; negative: it is over.
    pub(crate) fn exp_in(self, seconds: i64) -> Token {
        self.claim("exp", json!(now() + seconds))
    }

    pub(crate) fn kid(self, kid: &str) -> Token {
        self.header("kid", json!(kid))
    }

    /// What the header says; the key signs as ever.
    pub(crate) fn alg(self, algorithm: &str) -> Token {
        self.header("alg", json!(algorithm))
    }

    pub(crate) fn claim(mut self, name: &str, value: Value) -> Token {
        self.claims.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Token {
        self.claims.remove(name);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: Value) -> Token {
        self.header.insert(name.to_owned(), value);
        self
    }

    pub(crate) fn without_header(mut self, name: &str) -> Token {
        self.header.remove(name);
        self
    }

    /// Signed by another key than its header says.
    pub(crate) fn signed_by(mut self, key: &Key) -> Token {
        self.key = key.clone();
        self
    }

    /// What is signed: header and claims.
    pub(crate) fn signing_input(&self) -> String {
        format!(
            "{}.{}",
            encode(Value::from(self.header.clone()).to_string()),
            encode(Value::from(self.claims.clone()).to_string())
        )
    }

    pub(crate) fn build(&self) -> String {
        let input = self.signing_input();
        let signature = self.key.sign(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }

    /// With a signature of the test's own making.
    pub(crate) fn with_signature(&self, signature: &[u8]) -> String {
        format!("{}.{}", self.signing_input(), encode(signature))
    }

    /// With an HMAC by this secret: algorithm confusion.
    pub(crate) fn with_hmac(&self, secret: &[u8]) -> String {
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        self.with_signature(aws_lc_rs::hmac::sign(&key, self.signing_input().as_bytes()).as_ref())
    }
}

/// A token of these texts, whatever they are, signed by this key.
pub(crate) fn forged(header: &str, claims: &str, key: &Key) -> String {
    let input = format!("{}.{}", encode(header), encode(claims));
    format!("{input}.{}", encode(key.sign(input.as_bytes())))
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Unix seconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
