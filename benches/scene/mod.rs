//! The whole path in one process: a gateway with one worker, an upstream and a client. The last two take no memory while
//! they exchange, so that what is taken is the gateway's.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bearward::{app::App, config};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok";

/// A gateway that serves, and what it is asked with.
pub(crate) struct Scene {
    pub(crate) gateway: SocketAddr,
    pub(crate) upstream: SocketAddr,
    key: Ed25519KeyPair,
    _app: App,
}

impl Scene {
    pub(crate) fn start() -> Scene {
        let key = Ed25519KeyPair::generate().unwrap();
        let (upstream, another) = (start_upstream(), start_upstream());
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
  - {{name: bare, path: /bare, upstream: "http://{upstream}", allow: [{{scopes: [read]}}], identity: {{headers: {{}}}}}}
"#,
            URL_SAFE_NO_PAD.encode(key.public_key())
        );
        let policy = config::load_str(&yaml, "bench.yaml").expect("the bench's configuration is good").policy;
        let app = App::start(policy).unwrap();
        Scene { gateway: app.addresses().first().unwrap().socket().unwrap(), upstream, key, _app: app }
    }

    /// `Authorization` with a good token for this subject, which may `read`.
    pub(crate) fn authorization(&self, subject: &str) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
        let claims = format!(
            r#"{{"iss":"https://issuer.example","aud":"bench","sub":"{subject}","scope":"read write","exp":{}}}"#,
            now + 3600
        );
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("Authorization: Bearer {signed}.{signature}\r\n")
    }
}

/// A keep-alive connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: [u8; 8192],
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: [0; 8192] }
    }

    /// Sends one request and reads its answer to the end, which must have this status.
    pub(crate) fn exchange(&mut self, request: &str, status: &str) {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut got = 0;
        loop {
            let read = self.stream.read(self.buffer.get_mut(got..).unwrap()).unwrap();
            got += read;
            let answer = std::str::from_utf8(self.buffer.get(..got).unwrap()).unwrap();
            assert!(read > 0, "the connection was closed: {answer}");
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            assert!(head.get(9..12) == Some(status), "{answer}");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if body.len() == length.unwrap_or(0) {
                return;
            }
        }
    }
}

/// A request for this path with these fields.
pub(crate) fn request(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{fields}\r\n")
}

fn start_upstream() -> SocketAddr {
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
