//! Upstreams that speak TLS or HTTP/2, or sit at a Unix socket.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixListener,
    path::Path,
};

use hyper::{HeaderMap, Version};

use crate::support::{
    certificates::{Authority, Identity},
    gateway::Gateway,
    modern::{Caller, Modern},
};

fn configuration(url: &str, more: &str) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\nadmin: {{address: \"127.0.0.1:0\"}}\nlogging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\nissuers: {{}}\nupstreams: {{api: {{url: \"{url}\"{more}}}}}\n\
         routes: [{{name: open, path: \"/**\", upstream: api, allow: public}}]\n"
    )
}

fn start(url: &str, more: &str) -> Gateway {
    Gateway::start_unready(&configuration(url, more))
}

#[test]
fn http_2_from_end_to_end_with_trailers_both_ways() {
    let upstream = Modern::start(None);
    let gateway = start(&format!("http://{}", upstream.address), ", http2: true");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "7".parse().unwrap());
    trailers.insert("x-auth-subject", "root".parse().unwrap());
    let caller = Caller::connect(gateway.address);
    let answers = caller.post("/pkg.Service/Call?a=b", b"message", &trailers, 50);
    for answer in &answers {
        assert_eq!((answer.head.status.as_u16(), &*answer.body), (200, &b"message"[..]));
        assert_eq!(answer.head.headers["content-type"], "application/grpc");
        assert_eq!(answer.trailers["grpc-status"], "0");
        assert_eq!(answer.trailers["x-sum"], "7");
        assert!(!answer.trailers.contains_key("x-auth-subject"), "the upstream never got it");
    }
    let request = upstream.last_request();
    assert_eq!(request.version, Version::HTTP_2);
    assert_eq!(request.uri.path_and_query().unwrap(), "/pkg.Service/Call?a=b");
    assert_eq!(request.uri.authority().unwrap().as_str(), upstream.address.to_string());
    assert_eq!(request.headers["te"], "trailers");
    assert_eq!(request.headers["x-forwarded-host"], "api.example");
    assert!(!request.headers.contains_key("host") && !request.headers.contains_key("transfer-encoding"));
    assert_eq!(upstream.connections(), 1, "one connection carries them all");
    assert_eq!(gateway.metric("bearward_upstream_connections{state=\"active\",upstream=\"api\"}"), 1.0);
}

#[test]
fn an_http_1_client_of_an_http_2_upstream() {
    let upstream = Modern::start(None);
    let gateway = start(&format!("http://{}", upstream.address), ", http2: true, preserve_host: true");
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: api.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    let answer = client.receive();
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert_eq!(upstream.last_request().uri.authority().unwrap(), "api.example");
}

struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(authority: &Authority, client: &Identity) -> Files {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        client.write(folder.path());
        Files { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

#[test]
fn tls_by_the_settings_of_the_upstream() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.sign(2090);
    let files = Files::new(&authority, &authority.sign(2090));
    let others = Files::new(&stranger, &stranger.sign(2090));
    let known = format!("ca: {}/ca.pem, server_name: localhost", files.path().display());
    let identity = format!("certificate: {0}/tls.crt, key: {0}/tls.key", files.path().display());
    let foreign = format!("certificate: {0}/tls.crt, key: {0}/tls.key", others.path().display());
    let cases: [(&[&str], bool, String, u16, Version); 7] = [
        (&["h2", "http/1.1"], false, known.clone(), 200, Version::HTTP_2),
        (&["http/1.1"], false, known.clone(), 200, Version::HTTP_11),
        (&[], false, known.clone(), 200, Version::HTTP_11),
        (&["h2"], false, format!("ca: {}/ca.pem", files.path().display()), 502, Version::HTTP_2),
        (
            &["h2"],
            false,
            format!("ca: {}/ca.pem, server_name: localhost", others.path().display()),
            502,
            Version::HTTP_2,
        ),
        (&["h2"], true, format!("{known}, {identity}"), 200, Version::HTTP_2),
        (&["h2"], true, format!("{known}, {foreign}"), 502, Version::HTTP_2),
    ];
    for (protocols, asks, tls, status, version) in cases {
        let upstream = Modern::start(Some(server.server(protocols, asks.then_some(&authority))));
        let gateway = start(&format!("https://{}", upstream.address), &format!(", tls: {{{tls}}}"));
        for _ in 0..2 {
            assert_eq!(gateway.get("/a").status, status, "{protocols:?} {tls}");
        }
        if status == 200 {
            assert_eq!(upstream.last_request().version, version, "{protocols:?}");
        }
    }
}

#[test]
fn an_upstream_at_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").unwrap();
        String::from_utf8(head).unwrap()
    });
    let gateway = start(&format!("unix:{}", path.display()), "");
    let answer = gateway.get("/a?b");
    assert_eq!((answer.status, &*answer.body), (200, &b"hi"[..]));
    let head = served.join().unwrap();
    assert!(head.starts_with("GET /a?b HTTP/1.1\r\n") && head.contains("host: localhost\r\n"), "{head}");
}
