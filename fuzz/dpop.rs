//! Proofs of possession: what lets a request in is signed by the token's key for this request, by another reader, and does so
//! once.

use std::cell::RefCell;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bearward::{
    config,
    observe::Observer,
    path::CanonicalPath,
    refusal::Refusal,
    request::RequestView,
    snapshot::{LongLived, Snapshot},
    token::{self, place::TokenPlaces},
    trace::Span,
};
use hyper::{
    HeaderMap, Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::json;

use super::{Checked, fuzz, jwt::object};
use crate::support::{
    keys::Key,
    proofs::thumbprint,
    token::{Token, encode, now},
};

const DPOP: HeaderName = HeaderName::from_static("dpop");
const HOST: &str = "api.example";
const PATH: &str = "/orders/7";
const SKEW: i64 = 30;
const MAX_AGE: i64 = 60;

struct Scene {
    snapshot: Snapshot,
    runtime: tokio::runtime::Runtime,
    client: Key,
    token: String,
    /// So that two inputs with one `jti` aren't told apart by the order in which they come.
    used: u64,
}

impl Scene {
    fn new() -> Scene {
        let (issuer, client) = (Key::es256("k1"), Key::es256("client"));
        let yaml = format!(
            "issuers:\n  main: {{issuer: \"https://issuer.example\", audiences: [api], jwt: {{jwks: {{keys: [{}]}}}}}}\n\
             routes:\n  - {{name: a, path: \"/**\", upstream: \"http://127.0.0.1:1\", allow: authenticated}}\n",
            issuer.jwk()
        );
        let policy = config::load_str(&yaml, "gateway.yaml").unwrap_or_else(|found| panic!("{found:?}")).policy;
        let (snapshot, _) = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let token = Token::new("https://issuer.example", &issuer).exp_in(30 * 86_400);
        let token = token.claim("cnf", json!({"jkt": thumbprint(&client)}));
        Scene { snapshot, runtime, client, token: token.build(), used: 0 }
    }

    /// An input of two parts that a NUL divides is a header and claims to be signed; any other is a proof as it is. `@` and a
    /// letter stand for what is new each time: the key, the token's hash, the time, a name.
    fn check(&mut self, input: &[u8]) -> Checked {
        self.used += 1;
        let text = String::from_utf8_lossy(input)
            .replace("@k", &self.client.jwk().to_string())
            .replace("@a", &ath(&self.token))
            .replace("@t", &now().to_string())
            .replace("@j", &format!("j{}", self.used));
        let proof = match text.split_once('\0') {
            Some((header, claims)) => {
                let signed = format!("{}.{}", encode(header), encode(claims));
                format!("{signed}.{}", encode(self.client.sign(signed.as_bytes())))
            }
            None => text,
        };
        let Ok(value) = HeaderValue::try_from(&proof) else { return Ok("no header".to_owned()) };
        match self.ask(value.clone()) {
            Ok(()) => {
                self.is_good(&proof)?;
                match self.ask(value) {
                    Err(Refusal::Proof(fault)) if fault.detail().contains("used before") => Ok("taken once".to_owned()),
                    other => Err(format!("again: {other:?}")),
                }
            }
            Err(Refusal::Proof(fault)) => Ok(fault.detail().to_owned()),
            Err(other) => Err(format!("not for its proof: {other:?}")),
        }
    }

    fn ask(&self, proof: HeaderValue) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("DPoP {}", self.token)).unwrap());
        headers.insert(DPOP, proof);
        let (path, span) = (CanonicalPath::parse(PATH)?, Span::none());
        let view = RequestView {
            listener: 0,
            method: &Method::POST,
            host: Some(HOST),
            authority: Some(HOST),
            scheme: "https",
            path: &path,
            query: None,
            headers: &headers,
            client_ip: [192, 0, 2, 7].into(),
            trusted_peer: false,
            certificate: None,
            span: &span,
        };
        let credential = TokenPlaces::default().credential(&view, 64 * 1024)?;
        let Snapshot { issuers, tokens, revocations, proofs, .. } = &self.snapshot;
        let verified = token::verify(&credential, issuers, tokens, revocations, proofs, &view);
        self.runtime.block_on(verified).map(drop).map_err(|(refusal, _)| refusal)
    }

    /// By another reader of JSON, base64 and addresses.
    fn is_good(&self, proof: &str) -> Result<(), String> {
        let parts: Vec<&str> = proof.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err("not three parts".to_owned()) };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let signed = format!("{header}.{claims}");
        let public = self.client.public_bytes();
        aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED, public)
            .verify(signed.as_bytes(), &decode(signature)?)
            .map_err(|_| "the signature".to_owned())?;
        let (header, claims) = (object(&decode(header)?)?, object(&decode(claims)?)?);
        let own = self.client.jwk();
        let is_own = ["kty", "crv", "x", "y"].iter().all(|name| header["jwk"][name] == own[name]);
        let is_public = ["d", "k", "p", "q"].iter().all(|name| header["jwk"].get(name).is_none());
        let kind = header["typ"].as_str().unwrap_or_default().to_ascii_lowercase();
        let is_proof = ["dpop+jwt", "application/dpop+jwt"].contains(&&*kind);
        if header["alg"] != "ES256" || header.get("crit").is_some() || !is_own || !is_public || !is_proof {
            return Err(format!("the header {header}"));
        }
        let text = |name: &str| claims[name].as_str().unwrap_or_default();
        if text("htm") != "POST" || text("ath") != ath(&self.token) || text("jti").is_empty() || !is_here(text("htu")) {
            return Err(format!("what it is for: {claims}"));
        }
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        let (begin, end) = ((now() - MAX_AGE - SKEW) as f64 - 2.0, (now() + SKEW) as f64 + 2.0);
        match claims["iat"].as_f64() {
            Some(issued) if (begin..=end).contains(&issued) => Ok(()),
            _ => Err(format!("when it is from: {claims}")),
        }
    }
}

fn ath(token: &str) -> String {
    encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes()))
}

/// Whether this is `https://api.example/orders/7`: by its beginning and its segments, read from the end.
fn is_here(htu: &str) -> bool {
    let address = htu.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = address.split_once("://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let authority = authority.to_ascii_lowercase();
    let host = authority.split_once(':').map_or(&*authority, |(host, port)| {
        let is_default = port.is_empty() || port.trim_start_matches('0') == "443";
        if is_default { host } else { "" }
    });
    let decoded = (0_u8..=0x7f).fold(path.to_owned(), |path, byte| {
        let char = char::from(byte);
        let is_unreserved = char.is_ascii_alphanumeric() || "-._~".contains(char);
        let spellings = [format!("%{byte:02x}"), format!("%{byte:02X}")];
        spellings.iter().fold(
            path,
            |path, spelling| {
                if is_unreserved { path.replace(spelling, &char.to_string()) } else { path }
            },
        )
    });
    let mut segments = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    scheme.eq_ignore_ascii_case("https") && host.trim_end_matches('.') == HOST && segments == ["orders", "7"]
}

#[test]
fn dpop() {
    #[rustfmt::skip]
    let words = [
        "{", "}", ":", ",", "\"", "\\", "\\u0061", "\0", ".", "=", "null", "true", "0", "-1", "1e400", "@k", "@a", "@t",
        "@j", "\"alg\":\"none\"", "\"alg\":\"HS256\"", "\"alg\":\"EdDSA\"", "\"alg\":\"ES384\"", "\"typ\":\"JWT\"",
        "\"crit\":[\"jwk\"]", "\"jwk\":{\"kty\":\"oct\",\"k\":\"AA\"}", "\"d\":\"AA\"", "\"jku\":\"https://x\"",
        "\"htm\":\"post\"", "\"htu\":\"https://api.example:443/orders/7\"", "HTTPS://API.example/%6Frders/./7?a#b",
        "http://", "https://evil@api.example/", "https://api.example:8443/", "//", "/../", "%2f", "%252e", "\u{e9}",
        "\"iat\":4102444800", "\"iat\":@t.5", "\"exp\":1", "\"nbf\":4102444800", "\"nonce\":\"x\"", "\"ath\":\"x\"", " ",
    ];
    let scene = RefCell::new(Scene::new());
    let outcomes = fuzz("dpop", &words, 4_000, |input| scene.borrow_mut().check(input));
    assert!(outcomes.contains_key("taken once"), "{outcomes:?}");
    assert!(outcomes.len() >= 10, "{outcomes:?}");
}

#[test]
fn the_other_reader_of_addresses() {
    for htu in [
        "https://api.example/orders/7",
        "HTTPS://api.EXAMPLE.:443/%6frders/7?x#y",
        "https://api.example:/a/../orders/./7",
    ] {
        assert!(is_here(htu), "{htu}");
    }
    for htu in ["", "http://api.example/orders/7", "https://api.example:80/orders/7", "https://api.example/orders/7/"] {
        assert!(!is_here(htu), "{htu}");
    }
}
