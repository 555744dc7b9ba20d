//! What is written of a request.

use http_body_util::Full;
use hyper::{Version, client::conn::http1, header::HeaderValue};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

fn requests() -> Vec<Request<Empty<Bytes>>> {
    let mut all = Vec::new();
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        for target in ["/", "/a?b=%2F", "/a?", "//x//?q", "*", "/%E4?\u{e4}"] {
            let builder = Request::builder().method(method).uri(target).header("host", "h");
            let plain = builder.body(Empty::new()).unwrap();
            let mut with_fields = plain.clone();
            let headers = with_fields.headers_mut();
            headers.insert("X-Two", HeaderValue::from_static("1"));
            headers.append("x-two", HeaderValue::from_bytes(b"\xe4\t,\"").unwrap());
            headers.insert("x-empty", HeaderValue::from_static(""));
            headers.insert("content-length", HeaderValue::from_static("0"));
            headers.insert("expect", HeaderValue::from_static("100-continue"));
            all.extend([plain, with_fields]);
        }
    }
    all
}

async fn written_by_hyper(request: Request<Empty<Bytes>>) -> Vec<u8> {
    let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
    let (mut sender, task) = http1::handshake(TokioIo::new(ours)).await.unwrap();
    let task = tokio::spawn(task);
    let answer = tokio::spawn(async move { sender.send_request(request).await.map(|_| ()) });
    let mut written = Vec::new();
    while !written.ends_with(b"\r\n\r\n") {
        assert_ne!(theirs.read_buf(&mut written).await.unwrap(), 0);
    }
    theirs.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await.unwrap();
    answer.await.unwrap().unwrap();
    task.await.unwrap().unwrap();
    theirs.read_to_end(&mut written).await.unwrap();
    written
}

#[tokio::test]
async fn a_head_is_written_as_hyper_writes_it() {
    for request in requests() {
        let mut wire = Wire::new(Pieces::new([OK.as_bytes()], false));
        wire.send(plain(&request)).await.unwrap();
        let written = String::from_utf8_lossy(&wire.stream.written).into_owned();
        assert_eq!(written, String::from_utf8_lossy(&written_by_hyper(request).await));
    }
}

#[tokio::test]
async fn it_is_written_whole_however_little_is_taken_at_a_time() {
    let large = format!("/{}", "x".repeat(60_000));
    for takes in [1, 7, 10_000] {
        let mut stream = Pieces::new([OK.as_bytes()], false);
        stream.takes = takes;
        let mut wire = Wire::new(stream);
        let request = Request::builder().uri(&large).header("host", "h").body(Empty::<Bytes>::new()).unwrap();
        let mut rest = wire.send(plain(&request)).await.unwrap().into_body();
        let frame = poll_fn(|cx| rest.poll_frame(&mut wire, cx)).await;
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "ok");
        assert!(wire.is_ready());
        assert_eq!(wire.stream.written, format!("GET {large} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes());
    }
}

/// Who answers before it has read the request may take the rest of it for another one.
#[tokio::test]
async fn an_early_answer_is_passed_on_and_ends_its_connection() {
    let mut stream = Pieces::new([OK.as_bytes()], false);
    stream.takes = 0;
    let mut wire = Wire::new(stream);
    let mut rest = wire.send(plain(&request("GET"))).await.unwrap().into_body();
    let frame = poll_fn(|cx| rest.poll_frame(&mut wire, cx)).await;
    assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), "ok");
    assert!(rest.is_end_stream() && !wire.is_ready());
}

#[tokio::test]
async fn a_request_that_closes_ends_its_connection() {
    for (connection, is_kept) in [("close", false), ("x, CLOSE", false), ("keep-alive", true)] {
        let mut wire = Wire::new(Pieces::new(["HTTP/1.1 204 x\r\n\r\n".as_bytes()], false));
        let mut closing = request("GET");
        closing.headers_mut().insert("connection", HeaderValue::from_static(connection));
        wire.send(plain(&closing)).await.unwrap();
        assert_eq!(wire.is_ready(), is_kept, "{connection}");
    }
}

#[test]
fn what_is_more_than_its_head_is_not_plain() {
    fn is_plain<B: Body>(request: &Request<B>) -> bool {
        Plain::of(request).is_some()
    }
    let with = |name: &'static str, value: &'static str| {
        let mut request = request("POST");
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        is_plain(&request)
    };
    assert!(is_plain(&request("POST")) && with("content-length", "0") && with("te", "trailers"));
    assert!(!is_plain(&request("CONNECT")));
    assert!(!with("upgrade", "websocket") && !with("transfer-encoding", "chunked"));
    assert!(!with("content-length", "1") && !with("content-length", "x"));
    assert!(!is_plain(&request("POST").map(|_| Full::new(Bytes::from_static(b"body")))));
    let absolute = Request::builder().uri("http://h/a").body(Empty::<Bytes>::new()).unwrap();
    assert!(!is_plain(&absolute));
    let mut old = request("GET");
    *old.version_mut() = Version::HTTP_10;
    assert!(!is_plain(&old));
}
