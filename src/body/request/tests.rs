#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use http_body_util::BodyExt as _;
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

use super::*;

pub(crate) const GENEROUS: BodyLimits = BodyLimits { max_bytes: None, idle: Duration::from_secs(30), deadline: None };

/// What a server gives its service for these bytes. The other end stays with the caller; more can be written.
pub(crate) async fn received(bytes: &[u8]) -> (Request<Incoming>, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    let (give, mut take) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |request: Request<Incoming>| {
        let _ = give.send(request);
        std::future::pending::<Result<Response<crate::body::Body>, hyper::Error>>()
    });
    tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client.write_all(bytes).await.unwrap();
    (take.recv().await.unwrap(), client)
}

pub(crate) async fn request(bytes: &[u8], limits: BodyLimits) -> (Request<RequestBody>, BodyFault, DuplexStream) {
    let (request, client) = received(bytes).await;
    let fault = BodyFault::default();
    let reserved = Arc::new(ReservedNames::new([]));
    let request = request.map(|incoming| RequestBody::new(incoming, limits, fault.clone(), reserved));
    (request, fault, client)
}

async fn body(bytes: &str, limits: BodyLimits) -> (RequestBody, BodyFault, DuplexStream) {
    let (request, fault, client) = request(bytes.as_bytes(), limits).await;
    (request.into_body(), fault, client)
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn a_body_is_counted() {
    let (body, fault, _client) = body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello", GENEROUS).await;
    let upload = body.upload();
    assert_eq!((upload.bytes(), upload.ended()), (0, false));
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!((upload.bytes(), upload.ended()), (5, true));
    assert_eq!(fault.get(), None);
}

#[tokio::test]
async fn no_body_costs_nothing() {
    let (body, _fault, _client) = body("GET / HTTP/1.1\r\nhost: h\r\n\r\n", GENEROUS).await;
    assert!(body.is_end_stream() && body.upload().0.is_none() && body.upload().ended());
}

#[tokio::test]
async fn a_declared_length_over_the_limit_is_refused_at_once() {
    for (most, refused) in [(Some(4), true), (Some(5), false), (None, false)] {
        let limits = BodyLimits { max_bytes: most, ..GENEROUS };
        let (body, _fault, _client) = body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n", limits).await;
        assert_eq!(body.check_declared().is_err(), refused, "{most:?}");
    }
}

#[tokio::test]
async fn chunks_over_the_limit_end_the_body() {
    let limits = BodyLimits { max_bytes: Some(5), ..GENEROUS };
    let (mut body, fault, mut client) = body(CHUNKED, limits).await;
    assert!(body.check_declared().is_ok());
    client.write_all(b"5\r\nhello\r\n").await.unwrap();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
    client.write_all(b"1\r\n!\r\n").await.unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert!(matches!(error, BodyError::Fault(Refusal::BodyTooLarge)), "{error}");
    assert_eq!(fault.get(), Some(&Refusal::BodyTooLarge));
    assert!(body.upload().ended());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_brings_nothing_is_too_slow() {
    let (mut body, fault, mut client) = body(CHUNKED, GENEROUS).await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(29)).await;
        client.write_all(b"1\r\nx\r\n").await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
    }
    let start = Instant::now();
    assert!(body.frame().await.unwrap().is_err());
    assert_eq!(start.elapsed().as_secs(), 30);
    assert_eq!(fault.get(), Some(&Refusal::BodyTooSlow));
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nobody_asks_is_not_the_clients() {
    let (mut body, fault, mut client) = body(CHUNKED, GENEROUS).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    client.write_all(b"1\r\nx\r\n").await.unwrap();
    assert!(body.frame().await.unwrap().is_ok());
    assert_eq!(fault.get(), None);
}

#[tokio::test(start_paused = true)]
async fn the_routes_time_is_over_during_the_upload() {
    let limits = BodyLimits { deadline: Some(Instant::now() + Duration::from_secs(45)), ..GENEROUS };
    let (mut body, fault, mut client) = body(CHUNKED, limits).await;
    let feed = async {
        for _ in 0..10 {
            client.write_all(b"1\r\nx\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    };
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    tokio::select! { () = feed => panic!("it goes on"), () = read => {} }
    assert_eq!(fault.get(), Some(&Refusal::UploadTimedOut));
}

#[tokio::test]
async fn trailers_are_cleaned() {
    let (body, _fault, mut client) = body(CHUNKED, GENEROUS).await;
    client
        .write_all(b"1\r\nx\r\n0\r\nx-sum: 1\r\nX_Auth_Subject: root\r\nauthorization: Bearer t\r\n\r\n")
        .await
        .unwrap();
    let collected = body.collect().await.unwrap();
    let trailers = collected.trailers().unwrap();
    assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
}

#[tokio::test]
async fn a_client_that_goes_away_is_an_error_and_no_end() {
    let (mut body, _fault, client) = body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhel", GENEROUS).await;
    drop(client);
    assert!(body.frame().await.unwrap().is_ok());
    assert!(matches!(body.frame().await, Some(Err(BodyError::Connection(_)))));
}

#[tokio::test]
async fn what_was_kept_can_be_sent_again_and_again() {
    let (mut first, _fault, mut client) = body(CHUNKED, GENEROUS).await;
    client.write_all(b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 1\r\n\r\n").await.unwrap();
    let mut kept = first.keep().unwrap();
    let mut spare = first.emptied();
    assert!(spare.refilled(&kept).is_none(), "it was not read yet");
    spare = first.emptied();
    first.collect().await.unwrap();
    for _ in 0..2 {
        let mut again = spare.refilled(&kept).unwrap();
        assert!(!again.is_end_stream() && again.size_hint().exact().is_none());
        kept = again.keep().unwrap();
        spare = again.emptied();
        let upload = again.upload();
        let collected = again.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
        assert_eq!(collected.to_bytes(), "onetwo");
        assert!(upload.ended() && !upload.broke_off());
    }
}

#[tokio::test]
async fn no_more_is_kept_than_may_be() {
    for (length, is_kept) in [(MOST_KEPT, true), (MOST_KEPT + 1, false)] {
        let (mut body, _fault, mut client) = body(CHUNKED, GENEROUS).await;
        client.write_all(format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)).as_bytes()).await.unwrap();
        let (kept, spare) = (body.keep().unwrap(), body.emptied());
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), length);
        assert_eq!(spare.refilled(&kept).is_some(), is_kept, "{length}");
    }
    let declared = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", MOST_KEPT + 1);
    let (mut body, _fault, _client) = body(&declared, GENEROUS).await;
    assert!(body.keep().is_none());
}

#[tokio::test]
async fn half_a_body_is_never_sent_again() {
    let (mut body, _fault, client) = body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhel", GENEROUS).await;
    let (kept, spare, upload) = (body.keep().unwrap(), body.emptied(), body.upload());
    drop(client);
    assert!(body.collect().await.is_err());
    assert!(upload.broke_off());
    assert!(spare.refilled(&kept).is_none());
}
