//! Tokens: whatever is taken has a signature by the key, and says in plain JSON what a good token says.

use std::{
    cell::RefCell,
    fmt,
    net::{IpAddr, Ipv4Addr},
};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bearward::{
    config,
    observe::Observer,
    path::CanonicalPath,
    request::RequestView,
    snapshot::{LongLived, Snapshot},
    token::{self, credential::Credential},
    trace::Span,
};
use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, HeaderValue},
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Checked, fuzz};
use crate::support::token::{encode, now};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const SKEW: i64 = 30;

struct Scene {
    snapshot: Snapshot,
    runtime: tokio::runtime::Runtime,
    key: hmac::Key,
}

impl Scene {
    fn new() -> Scene {
        let yaml = format!(
            "issuers:\n  main: {{issuer: \"https://issuer.example\", audiences: [api], jwt: {{secret: {SECRET}}}}}\n\
             routes:\n  - {{name: a, path: \"/**\", upstream: \"http://127.0.0.1:1\", allow: authenticated}}\n"
        );
        let policy = config::load_str(&yaml, "gateway.yaml").unwrap_or_else(|found| panic!("{found:?}")).policy;
        let (snapshot, _) = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Scene { snapshot, runtime, key: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()) }
    }

    fn check(&self, input: &[u8]) -> Checked {
        let token = signed_token(input, &self.key);
        let mut headers = HeaderMap::new();
        let Ok(value) = HeaderValue::try_from(format!("Bearer {token}")) else { return Ok("no header".to_owned()) };
        headers.insert(AUTHORIZATION, value);
        let credential = match Credential::from_headers(&headers, 64 * 1024) {
            Ok(credential) => credential,
            Err(refusal) => return Ok(refusal.detail().to_owned()),
        };
        let (path, span) = (CanonicalPath::parse("/").map_err(|refusal| format!("{refusal:?}"))?, Span::none());
        let view = RequestView {
            listener: 0,
            method: &Method::GET,
            host: None,
            authority: None,
            scheme: "http",
            path: &path,
            query: None,
            headers: &headers,
            client_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            trusted_peer: false,
            certificate: None,
            span: &span,
        };
        let verified = token::verify(
            &credential,
            &self.snapshot.issuers,
            &self.snapshot.tokens,
            &self.snapshot.revocations,
            &self.snapshot.proofs,
            &view,
        );
        let principal = match self.runtime.block_on(verified) {
            Ok(principal) => principal,
            Err((refusal, _)) => return Ok(refusal.detail().to_owned()),
        };
        self.is_good(&token)?;
        Ok(format!("taken, subject {}", principal.subject().is_some()))
    }

    /// By another reader of JSON and base64.
    fn is_good(&self, token: &str) -> Result<(), String> {
        // Behind the scheme there may be several spaces (RFC 9110, section 11.4).
        let parts: Vec<&str> = token.trim_start_matches(' ').split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err("not three parts".to_owned()) };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let signed = format!("{header}.{claims}");
        hmac::verify(&self.key, signed.as_bytes(), &decode(signature)?).map_err(|_| "the signature".to_owned())?;
        let (header, claims) = (object(&decode(header)?)?, object(&decode(claims)?)?);
        let kind = header["typ"].as_str().unwrap_or("jwt").to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        if header["alg"] != "HS256" || header.get("crit").is_some() || !["jwt", "at+jwt"].contains(&kind) {
            return Err(format!("the header {header}"));
        }
        let audience = &claims["aud"];
        let for_us = audience == "api" || audience.as_array().is_some_and(|all| all.contains(&"api".into()));
        if claims["iss"] != "https://issuer.example" || !for_us {
            return Err(format!("whose it is: {claims}"));
        }
        let seconds = |claim: &str| claims.get(claim).map(|date| date.as_f64().ok_or(format!("{claim} is no date")));
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let (soon, just_now) = ((now() + SKEW) as f64, (now() - SKEW) as f64);
        match seconds("exp").transpose()? {
            Some(end) if end + 1.0 >= just_now => {}
            end => return Err(format!("exp {end:?}")),
        }
        for claim in ["nbf", "iat"] {
            if seconds(claim).transpose()?.is_some_and(|begin| begin > soon + 1.0) {
                return Err(format!("{claim} in {claims}"));
            }
        }
        Ok(())
    }
}

/// An input of two parts that a NUL divides is a header and claims to be signed; any other is a token as it is.
pub(super) fn signed_token(input: &[u8], key: &hmac::Key) -> String {
    match input.iter().position(|byte| *byte == 0) {
        Some(divided) => {
            let signed = format!("{}.{}", encode(&input[..divided]), encode(&input[divided + 1..]));
            let signature = hmac::sign(key, signed.as_bytes());
            format!("{signed}.{}", encode(signature))
        }
        None => String::from_utf8_lossy(input).into_owned(),
    }
}

/// An object in which no name is there twice, at any depth.
pub(super) fn object(json: &[u8]) -> Result<Value, String> {
    serde_json::from_slice::<Once>(json).map_err(|error| error.to_string())?;
    let value: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err(format!("{value} is no object")) }
}

struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Once, D::Error> {
        json.deserialize_any(Once)
    }
}

impl<'de> Visitor<'de> for Once {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Once, M::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some((name, Once)) = map.next_entry::<String, Once>()? {
            if !names.insert(name.clone()) {
                return Err(M::Error::custom(format!("{name} is there twice")));
            }
        }
        Ok(Once)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Once, S::Error> {
        while list.next_element::<Once>()?.is_some() {}
        Ok(Once)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_str<E>(self, _: &str) -> Result<Once, E> {
        Ok(Once)
    }

    fn visit_unit<E>(self) -> Result<Once, E> {
        Ok(Once)
    }
}

#[test]
fn jwt() {
    #[rustfmt::skip]
    let words = [
        "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u0061", "\0", ".", "=", "null", "true", "0", "-1", "1e400",
        "1e10", "4102444800", "4102444800.5", "99999999999999999999", "\"alg\":\"HS256\"", "\"alg\":\"none\"",
        "\"alg\":\"HS384\"", "\"alg\":\"RS256\"", "\"typ\":\"at+jwt\"", "\"typ\":\"JWT\"", "\"typ\":\"id+jwt\"",
        "\"crit\":[]", "\"crit\":[\"exp\"]", "\"b64\":false", "\"kid\":\"../../x\"", "\"jwk\":{}",
        "\"jku\":\"https://x\"", "\"iss\":\"https://issuer.example\"", "\"aud\":\"api\"", "\"aud\":[\"x\",\"api\"]",
        "\"aud\":[]", "\"exp\":1", "\"exp\":4102444800", "\"nbf\":4102444800", "\"iat\":4102444800", "\"iat\":0",
        "\"sub\":\"u\"", "\"sub\":7", "\"scope\":\"a b\"", "\u{e9}", " ", "\n",
    ];
    let scene = RefCell::new(Scene::new());
    let outcomes = fuzz("jwt", &words, 4_000, |input| scene.borrow().check(input));
    assert!(outcomes.contains_key("taken, subject true"), "{outcomes:?}");
    assert!(outcomes.len() >= 10, "{outcomes:?}");
}
