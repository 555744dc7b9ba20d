//! The whole path: one keep-alive client, the gateway with one worker, one upstream, all in this process. Prints wall
//! time a request for a public route and for one with a token, beside the same exchange without the gateway.
//!
//! `cargo bench --profile dist --bench request`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bearward::{app::App, config};

const WARM_UP: u32 = 2_000;
const COUNTED: u32 = 20_000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok";

fn main() {
    let key = Ed25519KeyPair::generate().unwrap();
    let (upstream, another) = (upstream(), upstream());
    let yaml = format!(
        r#"
listen: ["127.0.0.1:0"]
admin: off
server: {{workers: 1}}
logging: {{access: false}}
issuers:
  bench:
    issuer: https://issuer.example
    audiences: [bench]
    jwt:
      jwks: {{keys: [{{kty: OKP, crv: Ed25519, kid: k, x: "{}"}}]}}
upstreams:
  several: {{endpoints: ["http://{upstream}", "http://{another}"]}}
  retried: {{url: "http://{upstream}", retry: {{on: [connect, 503]}}}}
routes:
  - {{name: several, path: /several, upstream: several, allow: public}}
  - {{name: retried, path: /retried, upstream: retried, allow: public}}
  - {{name: limited, path: /limited, upstream: "http://{upstream}", allow: public, rate_limit: {{rate: 1000000/s}}}}
  - {{name: open, path: /open, upstream: "http://{upstream}", allow: public}}
  - {{name: closed, path: "/closed/{{id}}", upstream: "http://{upstream}", allow: [{{scopes: [read]}}]}}
"#,
        URL_SAFE_NO_PAD.encode(key.public_key())
    );
    let policy = config::load_str(&yaml, "bench.yaml").expect("the bench's configuration is good").policy;
    let app = App::start(policy).unwrap();
    let gateway = app.addresses().first().unwrap().socket().unwrap();
    let token = token(&key);

    let direct = time(upstream, "/open", "");
    let public = time(gateway, "/open", "");
    let with_token = time(gateway, "/closed/7", &format!("Authorization: Bearer {token}\r\n"));
    let [several, retried, limited] = ["/several", "/retried", "/limited"].map(|path| time(gateway, path, ""));
    println!("without the gateway      {direct:7.1} µs a request");
    println!("public route             {public:7.1} µs a request");
    println!("to one of two endpoints  {several:7.1} µs a request");
    println!("retried after a status   {retried:7.1} µs a request");
    println!("limited by address       {limited:7.1} µs a request");
    println!("EdDSA token, two scopes  {with_token:7.1} µs a request");
}

fn token(key: &Ed25519KeyPair) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
    let claims = format!(
        r#"{{"iss":"https://issuer.example","aud":"bench","sub":"u1","scope":"read write","exp":{}}}"#,
        now + 3600
    );
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

fn upstream() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 8192];
                while stream.read(&mut buffer).is_ok_and(|count| count > 0) && stream.write_all(ANSWER).is_ok() {}
            });
        }
    });
    address
}

/// Microseconds a request, one after the other.
fn time(address: SocketAddr, path: &str, fields: &str) -> f64 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}\r\n");
    let mut buffer = [0; 8192];
    let mut exchange = |count: u32| {
        for _ in 0..count {
            stream.write_all(request.as_bytes()).unwrap();
            let mut got = 0;
            while !buffer.get(..got).unwrap().ends_with(b"\r\n\r\nok") {
                let read = stream.read(buffer.get_mut(got..).unwrap()).unwrap();
                assert!(read > 0, "the connection was closed: {}", String::from_utf8_lossy(buffer.get(..got).unwrap()));
                got += read;
            }
            assert!(buffer.starts_with(b"HTTP/1.1 200"));
        }
    };
    exchange(WARM_UP);
    let began = Instant::now();
    exchange(COUNTED);
    began.elapsed().as_secs_f64() * 1e6 / f64::from(COUNTED)
}
