//! DPoP proofs: good ones by default, and as bad as a test wants them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value, json};

use super::{
    keys::Key,
    token::{encode, now},
};

/// A proof in the making.
pub(crate) struct Proof {
    key: Key,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Proof {
    /// By this key, now, with a `jti` of its own.
    pub(crate) fn new(key: &Key, method: &str, address: &str, token: &str) -> Proof {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let jwk = public(key);
        let Value::Object(header) = json!({"typ": "dpop+jwt", "alg": key.alg(), "jwk": jwk}) else { unreachable!() };
        let ath = encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()));
        let claims = json!({"jti": format!("proof-{number}"), "htm": method, "htu": address, "iat": now(), "ath": ath});
        let Value::Object(claims) = claims else { unreachable!() };
        Proof { key: key.clone(), header, claims }
    }

    /// Null takes it away.
    pub(crate) fn claim(mut self, name: &str, value: Value) -> Proof {
        self.claims.insert(name.to_owned(), value);
        self.claims.retain(|_, value| !value.is_null());
        self
    }

    pub(crate) fn header(mut self, name: &str, value: Value) -> Proof {
        self.header.insert(name.to_owned(), value);
        self
    }

    /// By another key than it says.
    pub(crate) fn signed_by(mut self, key: &Key) -> Proof {
        self.key = key.clone();
        self
    }

    pub(crate) fn build(&self) -> String {
        let (header, claims) = (Value::from(self.header.clone()), Value::from(self.claims.clone()));
        let input = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{input}.{}", encode(self.key.sign(input.as_bytes())))
    }
}

/// What makes a key what it is.
fn public(key: &Key) -> Value {
    let mut jwk = key.jwk();
    jwk.as_object_mut().unwrap().retain(|name, _| ["kty", "crv", "x", "y", "n", "e"].contains(&name.as_str()));
    jwk
}

/// RFC 7638: the members in alphabetical order, which is how they print.
pub(crate) fn thumbprint(key: &Key) -> String {
    let text = public(key).to_string();
    encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
}

#[test]
fn a_thumbprint_is_of_sorted_members() {
    let text = public(&Key::es256("a")).to_string();
    assert!(text.starts_with(r#"{"crv":"P-256","kty":"EC","x":""#), "{text}");
}
