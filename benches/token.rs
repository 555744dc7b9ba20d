//! What a token costs that isn't in the cache, beside the bare check of its signature with a key that was parsed before,
//! what it costs when it comes again and is in the cache, and that with a proof by a key of the same kind (RFC 9449), which
//! is new each time and brings its key:
//! `cargo bench --profile dist --bench token`. Microseconds of this thread on the CPU for one token, the best of several
//! runs (Linux).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::{
    cell::Cell,
    future::Future,
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use bearward::{
    config,
    observe::Observer,
    path::CanonicalPath,
    request::RequestView,
    token::{
        cache::TokenCache, credential::Credential, issuer::Issuer, jwks::KeyStore, place::TokenPlaces, proof::Proofs,
        revocation::Revocations, verify,
    },
    trace::Span,
};
use hyper::{HeaderMap, Method, header::AUTHORIZATION};

const RUNS: usize = 40;
const CALLS: u32 = 500;

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

struct Signer {
    algorithm: &'static str,
    /// As its thumbprint has it (RFC 7638).
    jwk: String,
    parsed: ParsedPublicKey,
    sign: Sign,
}

fn main() {
    let (path, headers, span) = (CanonicalPath::parse("/").unwrap(), HeaderMap::new(), Span::none());
    let (proofs, view) = (
        Proofs::new().unwrap(),
        RequestView {
            listener: 0,
            method: &Method::GET,
            host: None,
            authority: None,
            scheme: "https",
            path: &path,
            query: None,
            headers: &headers,
            client_ip: [192, 0, 2, 7].into(),
            trusted_peer: false,
            certificate: None,
            span: &span,
        },
    );
    println!(
        "             bare      whole      again     proven   signatures, tokens, tokens in the cache, those with a proof; µs"
    );
    for signer in [rsa(), ecdsa(), eddsa()] {
        let header = format!(r#"{{"alg":"{}","typ":"at+jwt"}}"#, signer.algorithm);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = format!(
            r#"{{"iss":"https://issuer.example","aud":"api","sub":"u1","scope":"a:read a:write","iat":{now},"exp":{}}}"#,
            now + 3600
        );
        let message = format!("{}.{}", BASE64.encode(&header), BASE64.encode(&claims));
        let signature = (signer.sign)(message.as_bytes());
        let token = format!("{message}.{}", BASE64.encode(&signature));

        let bare = best(|| black_box(&signer.parsed).verify_sig(message.as_bytes(), &signature).is_ok());
        let (issuer, [cache, remembering]) = issuer(&signer);
        let credential = credential(&token);
        let revocations = Revocations::new(&Observer::silent());
        let whole = best(|| ready(verify(&credential, &issuer, &cache, &revocations, &proofs, &view)).is_ok());
        let again = best(|| ready(verify(&credential, &issuer, &remembering, &revocations, &proofs, &view)).is_ok());
        let requests = proven_requests(&signer, &header, &claims);
        let next = Cell::new(0);
        let proven = best(|| {
            let headers = requests.get(next.replace(next.get() + 1)).unwrap();
            let view = RequestView { headers, authority: Some("api.example"), ..view };
            let credential = TokenPlaces::default().credential(&view, 64 * 1024).unwrap();
            ready(verify(&credential, &issuer, &remembering, &revocations, &proofs, &view)).is_ok()
        });
        println!("{:>6} {bare:10.1} {whole:10.1} {again:10.1} {proven:10.1}", signer.algorithm);
    }
}

/// As many as are called for: none is good twice.
fn proven_requests(signer: &Signer, header: &str, claims: &str) -> Vec<HeaderMap> {
    let hash = |text: &str| BASE64.encode(digest::digest(&digest::SHA256, text.as_bytes()));
    let signed = |header: &str, claims: &str| {
        let message = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        format!("{message}.{}", BASE64.encode((signer.sign)(message.as_bytes())))
    };
    let bound = format!(r#"{{"cnf":{{"jkt":"{}"}},{}"#, hash(&signer.jwk), claims.strip_prefix('{').unwrap());
    let token = signed(header, &bound);
    let proof_header = format!(r#"{{"typ":"dpop+jwt","alg":"{}","jwk":{}}}"#, signer.algorithm, signer.jwk);
    let request = |number: u64| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = format!(
            r#"{{"jti":"proof-{number}","htm":"GET","htu":"https://api.example/","iat":{now},"ath":"{}"}}"#,
            hash(&token)
        );
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("DPoP {token}").parse().unwrap());
        headers.insert("dpop", signed(&proof_header, &claims).parse().unwrap());
        headers
    };
    (0..RUNS as u64 * u64::from(CALLS)).map(request).collect()
}

/// One issuer with this key, a cache that holds nothing and one that remembers.
fn issuer(signer: &Signer) -> (Vec<Arc<Issuer>>, [Arc<TokenCache>; 2]) {
    let yaml = format!(
        r#"
issuers: {{bench: {{issuer: "https://issuer.example", audiences: [api], jwt: {{jwks: {{keys: [{}]}}}}}}}}
routes: [{{name: closed, path: /, upstream: "http://127.0.0.1:1", allow: authenticated}}]
"#,
        signer.jwk
    );
    let policy = config::load_str(&yaml, "bench.yaml").unwrap_or_else(|errors| panic!("{errors:?}")).policy;
    let (settings, observer) = (policy.issuers.first().unwrap().clone(), Observer::silent());
    let keys = KeyStore::new(&settings, observer.clone()).unwrap();
    let caches = [0, 1 << 20].map(|bytes| Arc::new(TokenCache::new(bytes, &observer).unwrap()));
    (vec![Arc::new(Issuer::new(settings, keys, &observer))], caches)
}

fn credential(token: &str) -> Credential {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    Credential::from_headers(&headers, 64 * 1024).unwrap()
}

fn best(call: impl Fn() -> bool) -> f64 {
    let run = || {
        let begin = on_cpu();
        for _ in 0..CALLS {
            assert!(black_box(call()));
        }
        (on_cpu() - begin) / 1e3 / f64::from(CALLS)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds that this thread has been on a CPU.
fn on_cpu() -> f64 {
    // The kernel adds up when it schedules; without that, all that is read is as old as its last tick.
    std::thread::yield_now();
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    statistics.split(' ').next().unwrap().parse().unwrap()
}

fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("keys in place are waited for"),
    }
}

fn rsa() -> Signer {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    // RSAPublicKey of 2048 bits (RFC 8017, A.1.1): the modulus begins after its length and a zero octet.
    let modulus = BASE64.encode(public.get(9..265).unwrap());
    Signer {
        algorithm: "RS256",
        jwk: format!(r#"{{"e":"AQAB","kty":"RSA","n":"{modulus}"}}"#),
        parsed: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &public).unwrap(),
        sign: Box::new(move |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        }),
    }
}

fn ecdsa() -> Signer {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let public = pair.public_key().as_ref().to_vec();
    let (x, y) = (BASE64.encode(public.get(1..33).unwrap()), BASE64.encode(public.get(33..).unwrap()));
    Signer {
        algorithm: "ES256",
        jwk: format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
        parsed: ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public).unwrap(),
        sign: Box::new(move |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()),
    }
}

fn eddsa() -> Signer {
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = BASE64.encode(pair.public_key());
    Signer {
        algorithm: "EdDSA",
        jwk: format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        parsed: ParsedPublicKey::new(&ED25519, pair.public_key()).unwrap(),
        sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()),
    }
}
