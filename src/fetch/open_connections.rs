//! Calls over connections that stay open: how many are made, and what may go over one that has been used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
};

use super::*;

/// What a server does with a request.
#[derive(Clone, Debug)]
enum Step {
    Say(String),
    /// Says it, then closes without having announced that.
    SayAndClose(String),
    /// Closes without a word.
    Close,
    Never,
}
use Step::{Close, Never, Say, SayAndClose};

/// A server of many requests a connection, that counts both.
struct Server {
    url: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// `step` gets the numbers of the connection and of the request on it, from 0, and the request's target.
    async fn start(step: impl Fn(usize, usize, &str) -> Step + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server { url, connections: Arc::default(), requests: Arc::default() };
        let (connections, requests, step) = (server.connections.clone(), server.requests.clone(), Arc::new(step));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (step, requests) = (step.clone(), requests.clone());
                tokio::spawn(serve(stream, requests, move |request, target| step(number, request, target)));
            }
        });
        server
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    requests: Arc<AtomicUsize>,
    step: impl Fn(usize, &str) -> Step,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    for number in 0.. {
        let (mut target, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_lowercase();
            match line.strip_prefix("content-length: ") {
                _ if target.is_empty() => target = line.split(' ').nth(1).unwrap().to_owned(),
                _ if line.is_empty() => break,
                Some(said) => length = said.parse().unwrap(),
                None => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await?;
        requests.fetch_add(1, Ordering::SeqCst);
        match step(number, &target) {
            Say(answer) => stream.write_all(answer.as_bytes()).await?,
            SayAndClose(answer) => {
                stream.write_all(answer.as_bytes()).await?;
                return stream.shutdown().await;
            }
            Close => return Ok(()),
            Never => std::future::pending().await,
        }
    }
    Ok(())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn rules() -> FetchRules {
    FetchRules { timeout: Duration::from_secs(5), allow_http: false, max_body_bytes: 1000, trust: Arc::default() }
}

fn post(over: Over) -> Call {
    Call { method: Method::POST, fields: vec![], body: Bytes::from_static(b"token=x"), over }
}

async fn ask(server: &Server, path: &str, rules: &FetchRules) -> Result<Fetched, FetchError> {
    call(&format!("{}{path}", server.url), post(Over::OpenConnection), rules).await
}

#[tokio::test]
async fn calls_that_follow_each_other_share_a_connection() {
    let server = Server::start(|_, _, target| Say(ok(target))).await;
    let own = rules();
    for number in 0..20 {
        let path = format!("/{number}");
        assert_eq!(ask(&server, &path, &own).await.unwrap().body, path);
    }
    assert_eq!((server.connections(), server.requests()), (1, 20));
    ask(&server, "/", &rules()).await.unwrap();
    assert_eq!(server.connections(), 2, "a connection of other TLS settings was used");
    let other = FetchRules { allow_http: true, ..own.clone() };
    ask(&server, "/", &other).await.unwrap();
    assert_eq!(server.connections(), 3, "a connection of other rules was used");
    for _ in 0..3 {
        call(&format!("{}/", server.url), post(Over::NewConnection), &own).await.unwrap();
        get_json(&server.url, &own).await.unwrap();
    }
    assert_eq!(server.connections(), 9);
    ask(&server, "/", &own).await.unwrap();
    assert_eq!(server.connections(), 9, "the open one was given up");
}

#[tokio::test]
async fn chunked_answers_and_refusals_leave_the_connection_open() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let refused = "HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\n{}";
    let nothing = "HTTP/1.1 204 No Content\r\n\r\n";
    for answer in [chunked, refused, nothing] {
        let (server, rules) = (Server::start(move |_, _, _| Say(answer.to_owned())).await, rules());
        for _ in 0..5 {
            ask(&server, "/", &rules).await.unwrap();
        }
        assert_eq!(server.connections(), 1, "{answer}");
    }
}

#[tokio::test]
async fn a_connection_that_closes_while_it_idles_costs_no_call() {
    let server = Server::start(|_, _, _| SayAndClose(ok("{}"))).await;
    let rules = rules();
    for _ in 0..20 {
        assert_eq!(&ask(&server, "/", &rules).await.unwrap().body[..], b"{}");
    }
    assert_eq!(server.connections(), 20);
}

/// The race: the call is on its way when the server closes.
#[tokio::test]
async fn a_connection_that_closes_on_a_call_costs_one_more_and_no_answer() {
    let server = Server::start(|_, request, _| if request == 1 { Close } else { Say(ok("{}")) }).await;
    let rules = rules();
    ask(&server, "/", &rules).await.unwrap();
    ask(&server, "/", &rules).await.unwrap();
    assert_eq!((server.connections(), server.requests()), (2, 3));
    // A new connection that says nothing isn't asked again.
    let server = Server::start(|_, _, _| Close).await;
    ask(&server, "/", &rules).await.unwrap_err();
    assert_eq!((server.connections(), server.requests()), (1, 1));
    let server =
        Server::start(|connection, request, _| if (connection, request) == (0, 0) { Say(ok("{}")) } else { Close })
            .await;
    ask(&server, "/", &rules).await.unwrap();
    ask(&server, "/", &rules).await.unwrap_err();
    assert_eq!((server.connections(), server.requests()), (2, 3), "once more, and no more than that");
}

#[tokio::test]
async fn a_call_that_may_arrive_once_alone_never_goes_over_an_open_connection() {
    let server = Server::start(|_, request, _| if request == 1 { Close } else { Say(ok("{}")) }).await;
    let rules = rules();
    ask(&server, "/", &rules).await.unwrap();
    for _ in 0..3 {
        call(&server.url, post(Over::NewConnection), &rules).await.unwrap();
    }
    assert_eq!((server.connections(), server.requests()), (4, 4));
}

/// After these nothing more may be read from a connection: it could be the answer to another question.
#[tokio::test]
async fn what_leaves_a_connection_in_doubt_ends_it() {
    for (what, answer) in [
        ("it says so", "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"),
        ("an older version", "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\n{}"),
        (
            "more than the answer",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"a\": 1}",
        ),
        ("a body that can't be", "HTTP/1.1 204 No Content\r\ncontent-length: 38\r\n\r\n"),
        ("a redirect", "HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
        ("a long refusal", &format!("HTTP/1.1 400 No\r\ncontent-length: 20000\r\n\r\n{}", "x".repeat(20_000))),
        ("a long answer", &ok(&"x".repeat(1001))),
        ("an answer without its end", "HTTP/1.1 200 OK\r\ncontent-length: 30000\r\n\r\n{}"),
    ] {
        let first = answer.to_owned();
        let server = Server::start(move |connection, request, _| match (connection, request) {
            (0, 0) => Say(first.clone()),
            _ => Say(ok("\"next\"")),
        })
        .await;
        let rules = FetchRules { timeout: Duration::from_millis(700), ..rules() };
        drop(ask(&server, "/", &rules).await);
        let next = ask(&server, "/", &rules).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(&next.body[..], b"\"next\"", "{what}");
        assert_eq!(server.connections(), 2, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_time_once() {
    let server = Server::start(|connection, request, _| match (connection, request) {
        (0, 0) | (1, 0) => Say(ok("{}")),
        (0 | 1, _) => Never,
        _ => Say(ok("{}")),
    })
    .await;
    let rules = FetchRules { timeout: Duration::from_millis(300), ..rules() };
    let (one, other) = tokio::join!(ask(&server, "/", &rules), ask(&server, "/", &rules));
    assert!(one.is_ok() && other.is_ok());
    assert_eq!(server.connections(), 2);
    assert!(ask(&server, "/", &rules).await.unwrap_err().message.contains("no answer within"));
    ask(&server, "/", &rules).await.unwrap();
    assert_eq!(server.connections(), 3, "the other open connection was believed in");
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own_and_few_stay() {
    let server = Server::start(|_, _, _| Say(ok("{}"))).await;
    let rules = rules();
    let calls = (0..40).map(|_| {
        let (url, rules) = (server.url.clone(), rules.clone());
        tokio::spawn(async move { call(&url, post(Over::OpenConnection), &rules).await.unwrap() })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert!(rules.trust.idle.count() <= 16);
}

/// Over TLS: what a handshake costs a call. `cargo test --release --lib measured -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
async fn measured() {
    const CALLS: u32 = 300;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(serve(stream, Arc::default(), |_, _| Say(ok("{\"active\": true}"))));
        }
    });
    let rules = FetchRules { trust: Arc::new(Trust::with([made.cert.der().clone()])), ..rules() };
    for over in [Over::NewConnection, Over::OpenConnection] {
        call(&url, post(over), &rules).await.unwrap();
        let begin = std::time::Instant::now();
        for _ in 0..CALLS {
            call(&url, post(over), &rules).await.unwrap();
        }
        println!("{over:?}: {:?} a call, server's part included", begin.elapsed() / CALLS);
    }
}
