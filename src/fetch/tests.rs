//! Calls against a server that misbehaves on demand; other modules' tests use it too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};

use super::*;

type Answers = Box<dyn Fn(&str) -> String + Send>;

/// An HTTP/1.1 server of one request a connection.
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Heads of the requests, in order of arrival.
    heads: watch::Sender<Vec<String>>,
    answers: Mutex<Answers>,
    is_held: watch::Sender<bool>,
}

impl Server {
    /// Answers with what the function makes of a path: all bytes of the response.
    pub(crate) async fn start(answers: impl Fn(&str) -> String + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            heads: watch::Sender::default(),
            answers: Mutex::new(Box::new(answers)),
            is_held: watch::Sender::default(),
        });
        let server = Server { url, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, shared.clone()));
            }
        });
        server
    }

    pub(crate) fn answer(&self, answers: impl Fn(&str) -> String + Send + 'static) {
        *self.shared.answers.lock().unwrap() = Box::new(answers);
    }

    /// While held, requests arrive and aren't answered.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.is_held.send_replace(is_held);
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.borrow().clone()
    }

    pub(crate) async fn has_requests(&self, count: usize) {
        self.shared.heads.subscribe().wait_for(|heads| heads.len() >= count).await.unwrap();
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    shared.heads.send_modify(|heads| heads.push(head));
    let _ = shared.is_held.subscribe().wait_for(|is_held| !is_held).await;
    let answer = shared.answers.lock().unwrap()(&path);
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// A whole response.
pub(crate) fn response(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{fields}\r\n{body}", body.len())
}

fn rules() -> FetchRules {
    FetchRules { timeout: Duration::from_secs(5), allow_http: false, max_body_bytes: 1000, trust: Arc::default() }
}

#[tokio::test]
async fn gets_a_document() {
    let server = Server::start(|_| response("200 OK", "cache-control: max-age=5\r\n", "{}")).await;
    let fetched = get_json(&format!("{}/a/b?c=d", server.url), &rules()).await.unwrap();
    assert_eq!((&fetched.body[..], fetched.headers["cache-control"].as_bytes()), (&b"{}"[..], &b"max-age=5"[..]));
    let head = server.heads().concat().to_lowercase();
    assert!(head.starts_with("get /a/b?c=d http/1.1\r\n"), "{head}");
    let host = server.url.trim_start_matches("http://");
    assert!(
        head.contains(&format!("\r\nhost: {host}\r\n")) && head.contains("\r\naccept: application/json\r\n"),
        "{head}"
    );
    let by_name = server.url.replace("127.0.0.1", "localhost");
    assert!(get_json(&by_name, &rules()).await.is_ok());
}

#[tokio::test]
async fn reads_chunks_and_bodies_that_end_with_the_connection() {
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{}",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n\r\n{}",
    ] {
        let server = Server::start(|_| answer.to_owned()).await;
        assert_eq!(&get_json(&server.url, &rules()).await.unwrap().body[..], b"{}", "{answer}");
    }
}

#[tokio::test]
async fn anything_but_a_small_200_is_refused() {
    let big = response("200 OK", "", &"x".repeat(1001));
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000));
    let redirect = response("302 Found", "location: /other\r\n", "");
    for answer in [
        redirect,
        response("301 Moved", "location: http://169.254.169.254/\r\n", ""),
        response("204 No Content", "", ""),
        response("201 Created", "", "{}"),
        response("404 Not Found", "", "{}"),
        response("500 Oops", "", "{}"),
        big,
        endless,
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n".to_owned(),
        "nonsense\r\n\r\n".to_owned(),
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}\r\n{{}}", "x: y\r\n".repeat(10_000)),
        format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n{{}}", "y".repeat(1_000_000)),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n{}".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}".to_owned(),
        String::new(),
    ] {
        let server = Server::start(move |_| answer.clone()).await;
        let error = get_json(&format!("{}/x?secret=s3cr3t", server.url), &rules()).await.unwrap_err();
        assert!(!error.message.contains("s3cr3t"), "{error}");
        assert_eq!(server.heads().len(), 1);
    }
}

#[tokio::test]
async fn no_message_shows_what_may_be_secret_in_a_url() {
    for (url, expected) in [
        ("https://a.example", "https://a.example/"),
        ("https://a.example/", "https://a.example/"),
        ("https://a.example/?k=SECRET", "https://a.example/"),
        ("https://a.example:8443/SECRET", "https://a.example:8443/…"),
        ("http://[::1]:1/a/SECRET/b?k=SECRET", "http://[::1]:1/…"),
        ("https://a.example/.well-known/openid-configuration", "https://a.example/.well-known/openid-configuration"),
        ("https://a.example/SECRET/.well-known/jwks.json?SECRET", "https://a.example/…/.well-known/jwks.json"),
        (
            "https://a.example/.well-known/oauth-authorization-server/SECRET",
            "https://a.example/.well-known/oauth-authorization-server/…",
        ),
        ("https://a.example/.well-known/openid-configurationSECRET", "https://a.example/…"),
        ("https://SECRET@a.example/", "a URL that can't be called: it has a user name or password in it"),
    ] {
        assert_eq!(shown(url), expected);
    }
    let get = || Call { method: Method::GET, fields: vec![], body: Bytes::new(), over: Over::NewConnection };
    let error = call("http://127.0.0.1:1/SECRET/k?SECRET", get(), &rules()).await.unwrap_err();
    assert!(error.message.starts_with("http://127.0.0.1:1/…: no connection: "), "{error}");
    let server = Server::start(|_| response("404 Not Found", "", "")).await;
    let error = get_json(&format!("{}/SECRET", server.url), &rules()).await.unwrap_err();
    assert_eq!(error.message, format!("{}/…: status 404", server.url));
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_timeout() {
    let server = Server::start(|_| String::new()).await;
    server.hold(true);
    let error = get_json(&server.url, &FetchRules { timeout: Duration::from_millis(50), ..rules() }).await.unwrap_err();
    assert!(error.message.contains("no answer within"), "{error}");
}

#[tokio::test]
async fn a_server_that_drips_costs_the_timeout() {
    for begin in ["", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(begin.as_bytes()).await.unwrap();
            // Ends with the connection.
            while stream.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let error = get_json(&url, &FetchRules { timeout: Duration::from_millis(200), ..rules() }).await.unwrap_err();
        assert!(error.message.contains("no answer within") || error.message.contains("can't be read"), "{error}");
    }
}

#[tokio::test]
async fn addresses_that_are_never_called() {
    let allow = FetchRules { allow_http: true, ..rules() };
    for (url, why) in [
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("https://169.254.1.1/", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[febf::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://[::ffff:a9fe:a9fe]/", "link-local"),
        ("http://[::169.254.169.254]/", "link-local"),
        ("http://[64:ff9b::a9fe:a9fe]/", "link-local"),
        ("http://[::ffff:0:a9fe:a9fe]/", "link-local"),
    ] {
        let error = get_json(url, &allow).await.unwrap_err();
        assert!(error.message.contains(why), "{url}: {error}");
    }
    for url in [
        "http://example.org/",
        "http://10.0.0.1/",
        "http://0.0.0.0/",
        "http://[::]/",
        "http://[2001:db8::1]/",
        "http://localhost.example/",
    ] {
        let error = get_json(url, &rules()).await.unwrap_err();
        assert!(error.message.contains("allow_http"), "{url}: {error}");
    }
    for url in [
        "",
        "/x",
        "example.org",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://user:pass@127.0.0.1/",
        "http:///x",
        "unix:/x",
        "http://[::1",
    ] {
        let error = get_json(url, &allow).await.unwrap_err();
        assert!(error.message.contains("can't be called") && !error.message.contains("pass@"), "{url}: {error}");
    }
}

/// Whatever a name resolves to: one bad address among good ones is enough, and what was looked at is what is called.
#[test]
fn a_name_must_not_lead_to_a_link_local_address() {
    let target = Target::parse("https://keys.example/").unwrap();
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let rules = FetchRules { allow_http: true, ..rules() };
    assert!(target.may_be_called(&addresses(&["192.0.2.1:443", "[2001:db8::1]:443"]), &rules).is_ok());
    for bad in ["169.254.169.254:443", "[fe80::1]:443", "[::ffff:169.254.0.1]:443"] {
        assert!(target.may_be_called(&addresses(&[bad]), &rules).is_err(), "{bad}");
        assert!(target.may_be_called(&addresses(&["192.0.2.1:443", bad]), &rules).is_err(), "{bad}");
    }
    let plain = Target::parse("http://localhost/").unwrap();
    let rules = FetchRules { allow_http: false, ..rules };
    assert!(plain.may_be_called(&addresses(&["127.0.0.1:80", "[::1]:80"]), &rules).is_ok());
    assert!(plain.may_be_called(&addresses(&["127.0.0.1:80", "192.0.2.1:80"]), &rules).is_err());
}

#[tokio::test]
async fn a_certificate_must_be_vouched_for_by_the_machine_or_by_tls_ca() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut head = [0; 1000];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(response("200 OK", "", "{}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let url = format!("https://localhost:{port}/");
    let error = get_json(&url, &rules()).await.unwrap_err();
    assert!(error.message.contains("TLS: invalid peer certificate"), "{error}");
    let trusting = FetchRules { trust: Arc::new(Trust::with([made.cert.der().clone()])), ..rules() };
    assert_eq!(&get_json(&url, &trusting).await.unwrap().body[..], b"{}");
    let error = get_json(&format!("https://127.0.0.1:{port}/"), &trusting).await.unwrap_err();
    assert!(error.message.contains("TLS: invalid peer certificate"), "another name: {error}");
}

#[tokio::test]
async fn a_certificate_is_shown_to_a_server_that_asks_for_one() {
    let (made, ours) = (
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap(),
        rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap(),
    );
    let key = |of: &rcgen::KeyPair| rustls::pki_types::PrivateKeyDer::try_from(of.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut clients = rustls::RootCertStore::empty();
    clients.add(ours.cert.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider.clone())
        .build()
        .unwrap();
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let chain = vec![made.cert.der().clone()];
    let config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key(&made.signing_key)).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut head = [0; 1000];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(response("200 OK", "", "{}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        }
    });
    let trust = || Trust::with([made.cert.der().clone()]);
    let without = FetchRules { trust: Arc::new(trust()), ..rules() };
    assert!(get_json(&url, &without).await.is_err());
    let identity = CertifiedKey::from_der(vec![ours.cert.der().clone()], key(&ours.signing_key), &provider).unwrap();
    let showing = FetchRules { trust: Arc::new(trust().showing(Some(Arc::new(identity)))), ..rules() };
    assert_eq!(&get_json(&url, &showing).await.unwrap().body[..], b"{}");
}
