//! The same bytes, read by hyper's client and by ours. Whatever we take, it takes for the same; what we refuse, it refuses, but
//! for what we are stricter with.

use std::cell::Cell;

use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
    test_runner::{Config, TestRunner},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn ask_hyper(method: &str, answer: &[u8]) -> Outcome {
    let (ours, mut theirs) = tokio::io::duplex(1024 * 1024);
    let (mut sender, task) = http1::handshake(TokioIo::new(ours)).await.unwrap();
    tokio::spawn(task);
    let answering = async {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            theirs.read_buf(&mut read).await.unwrap();
        }
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
    };
    let (response, ()) = tokio::join!(sender.send_request(request(method)), answering);
    let (head, mut incoming) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let (mut body, mut trailers, mut end) = (Vec::new(), None, Ok(()));
    while let Some(frame) = incoming.frame().await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(error) => {
                end = Err(error.to_string());
                break;
            }
        }
    }
    Outcome::Answer { status: head.status.as_u16(), headers: head.headers, body, trailers, end }
}

/// What we refuse beyond hyper: codings that are refused later on, and what no honest server sends.
fn is_strictness(why: &str) -> bool {
    [CODING, "a chunk's size", "its trailers", "interim answers"].iter().any(|strict| why.ends_with(strict))
}

/// In a word, how both have come out.
fn compare(method: &str, ours: &Outcome, hypers: &Outcome, is_whole: &Cell<u32>) -> Result<(), String> {
    match (ours, hypers) {
        (Outcome::Refused(_), Outcome::Refused(_)) => Ok(()),
        (Outcome::Refused(why), _) if is_strictness(why) => Ok(()),
        (
            Outcome::Answer { status, headers, body, trailers, end },
            Outcome::Answer { status: status2, headers: headers2, body: body2, trailers: trailers2, end: end2 },
        ) => {
            let same_head = status == status2 && headers == headers2;
            let same_end = match (end, end2) {
                (Ok(()), Ok(())) => {
                    is_whole.set(is_whole.get() + 1);
                    body == body2 && trailers == trailers2
                }
                (Err(_), Err(_)) => body.starts_with(body2) || body2.starts_with(body),
                (Err(why), Ok(())) => is_strictness(why) && body2.starts_with(body),
                (Ok(()), Err(_)) => false,
            };
            if same_head && same_end { Ok(()) } else { Err("another answer".to_owned()) }
        }
        _ => Err("taken by one".to_owned()),
    }
    .map_err(|what| format!("{what} to {method}\nours: {ours:?}\nhyper's: {hypers:?}"))
}

fn heads() -> impl Strategy<Value = String> {
    let line = select(vec![
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200",
        "HTTP/1.1 404 ",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 304 x",
        "HTTP/1.0 200 OK",
        "HTTP/1.1 299 \u{e4}",
        "HTTP/1.1 100 Continue",
        "HTTP/1.1 101 x",
    ]);
    let field = select(vec![
        "content-length: 0",
        "content-length: 2",
        "Content-Length: 2",
        "content-length: 5",
        "content-length: 2, 2",
        "content-length: 02",
        "transfer-encoding: chunked",
        "Transfer-Encoding: Chunked",
        "connection: close",
        "connection: keep-alive, x",
        "x: y",
        "x:",
        "x:\t y \t",
        "X-Long-Name: a b\u{e4}",
        "trailer: x-sum",
        "upgrade: x",
    ]);
    let end = select(vec!["\r\n", "\r\n", "\r\n", "\r\n", "\n"]);
    (line, vec(field, 0..4), end).prop_map(|(line, fields, end)| {
        let lines = std::iter::once(line).chain(fields).map(|line| format!("{line}{end}"));
        lines.chain([end.to_owned()]).collect()
    })
}

fn bodies() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "2\r\nok\r\n",
        "0A\r\n0123456789\r\n",
        "2;a=\"b\"\r\nok\r\n",
        "2 \r\nok\r\n",
        "0\r\n\r\n",
        "0\r\nx-sum: 1\r\n\r\n",
        "0\r\nx: 1\r\ny: 2\r\n\r\n",
        "ok",
        "ok",
        "hello",
        "2\r\nokk\r\n",
        "\r\n",
        "",
    ]);
    vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// An answer, mostly in order, and a few of its bytes changed.
fn answers() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let change = (any::<Index>(), select(b"\0\t\n\r :;,0129aAfFxX/.\x7f\xff".to_vec()), 0..3u8);
    let pieces = vec(any::<Index>(), 0..4);
    (vec(heads(), 1..3), bodies(), vec(change, 0..3), pieces).prop_map(|(heads, body, changes, pieces)| {
        let mut bytes = (heads.concat() + &body).into_bytes();
        for (at, byte, how) in changes {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let mut pieces: Vec<usize> = pieces.iter().map(|at| at.index(bytes.len() + 1)).collect();
        pieces.sort_unstable();
        (bytes, pieces)
    })
}

#[test]
fn answers_are_what_hyper_takes_them_for() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let whole = Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let method = select(vec!["GET", "GET", "GET", "HEAD"]);
    let tested = runner.run(&(method, answers()), |(method, (bytes, at))| {
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for at in at.iter().rev() {
            let (before, after) = rest.split_at(*at.min(&rest.len()));
            pieces.push(after);
            rest = before;
        }
        pieces.push(rest);
        let (ours, _) = runtime.block_on(ask(method, Pieces::new(pieces.into_iter().rev(), true)));
        let hypers = runtime.block_on(ask_hyper(method, &bytes));
        compare(method, &ours, &hypers, &whole)
            .map_err(|why| TestCaseError::fail(format!("{why}\nin: {}", bytes.escape_ascii())))
    });
    tested.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(whole.get() > 1000, "only {} were whole", whole.get());
}
