//! A table of requests on raw sockets. Each is refused and its connection closed, or it comes upstream as exactly one
//! well-formed request of the same meaning.

use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::find,
    strict::Message,
    upstream::Upstream,
};

const ROUTES: &str = r#"
  - {name: open, path: "/**", upstream: echo, allow: public}
"#;

/// Follows every case on its connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

type Cases = Vec<(String, Vec<u8>)>;

fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.into(), bytes.into())
}

/// `POST` with these lines and this body.
fn post(fields: &str, body: &str) -> String {
    format!("POST /case HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}")
}

#[rustfmt::skip]
fn lengths() -> Cases {
    let values = [
        "", " ", "x", "+4", "-4", "-0", "+0", "4.0", "4e0", "0x4", "4x", "x4", "4 4", "4,4", "4, 4", "4;4", "\"4\"",
        "'4'", "4\t4", "04", "00", "0004", "4_0", "1 000", "\u{b}4", "\u{c}4", "4\u{b}", "\u{85}4", "\u{a0}4",
        "\u{ff14}", "\u{661}", "9223372036854775808", "18446744073709551615", "18446744073709551616",
        "18446744073709551620", "99999999999999999999999999", "NaN", "inf", "null", "4\0",
    ];
    values
        .iter()
        .map(|value| case(format!("length {value:?}"), post(&format!("Content-Length: {value}\r\n"), "abcd")))
        .collect()
}

#[rustfmt::skip]
fn codings() -> Cases {
    let values = [
        "", " ", "identity", "gzip", "deflate", "compress", "br", "xchunked", "chunkedx", "chunked,", ",chunked",
        "chunked;", "chunked;q=1", "chunked; x=y", "chunked, chunked", "chunked,identity", "identity, chunked",
        "gzip, chunked", "chunked, gzip", "gzip,chunked,", "\"chunked\"", "'chunked'", "chunked chunked",
        "c hunked", "chun\tked", "\u{b}chunked", "chunked\u{b}", "chunked\u{c}", "chunked\0", "\0chunked",
        "\u{a0}chunked", "chunked\u{a0}", "chunKed\u{17f}", "chun\u{212a}ed", "(x)chunked", "trailers", "chunked-",
        "x-chunked", "[chunked]", "chunk", "*",
    ];
    values
        .iter()
        .map(|value| case(format!("coding {value:?}"), post(&format!("Transfer-Encoding: {value}\r\n"), "0\r\n\r\n")))
        .collect()
}

#[rustfmt::skip]
fn both() -> Cases {
    let pairs = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 5\r\n",
        "CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "Content-Length: 5\r\nTransfer-Encoding:\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 0\r\nContent-Length: 5\r\n", "Content-Length: 5\r\ncontent-length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\nContent-Length:\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
    ];
    pairs.iter().map(|fields| case(format!("{fields:?}"), post(fields, "0\r\n\r\n"))).collect()
}

#[rustfmt::skip]
fn names() -> Cases {
    let fields = [
        "Transfer-Encoding : chunked", "Transfer-Encoding\t: chunked", " Transfer-Encoding: chunked",
        "\tTransfer-Encoding: chunked", "Transfer Encoding: chunked", "Transfer_Encoding: chunked",
        "Transfer.Encoding: chunked", "TRANSFER_ENCODING: chunked", "Transfer\u{2010}Encoding: chunked",
        "Transfer-Encoding\u{b}: chunked", "\u{b}Transfer-Encoding: chunked", "\"Transfer-Encoding\": chunked",
        "Transfer-Encoding\0: chunked", "\0Transfer-Encoding: chunked", "Transfer-\u{45}ncoding\u{a0}: chunked",
        "Content-Length : 5", "Content-Length\t: 5", " Content-Length: 5", "Content_Length: 5", "Content.Length: 5",
        "content_length: 5", "Content Length: 5", "Content-Length\0: 5", "Content-Length\u{c}: 5",
        "Content~Length: 5", ": x", " : x", "X y: z", "X(y): z", "X/y: z", "X[y]: z", "X{y}: z", "X=y: z", "X@y: z",
        "X,y: z", "X\"y: z", "X\u{e9}: z", "no colon", "X", ":authority: a", ":path: /x", ":method: GET",
        ":scheme: http", ":status: 200",
    ];
    fields.iter().map(|line| case(format!("field {line:?}"), post(&format!("{line}\r\n"), "0\r\n\r\n"))).collect()
}

#[rustfmt::skip]
fn lines() -> Cases {
    let heads = [
        "GET /case HTTP/1.1\nHost: a\n\n", "GET /case HTTP/1.1\nHost: a\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\n\r\n", "GET /case HTTP/1.1\r\nHost: a\r\n\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: y\nZ: w\r\n\r\n", "GET /case HTTP/1.1\rHost: a\r\r",
        "GET /case HTTP/1.1\r\r\nHost: a\r\n\r\n", "GET /case HTTP/1.1\r\nHost: a\r\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 5\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: \r\n y\r\n\r\n", "GET /case HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\nabcde",
        "GET /case HTTP/1.1\r\n Host: a\r\n\r\n", "GET /case HTTP/1.1\r\n \r\nHost: a\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\n \r\n\r\n", "GET /case HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: a\u{7f}b\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: a\u{1b}b\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: a\u{8}b\r\n\r\n", "\r\n\r\nGET /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "\nGET /case HTTP/1.1\r\nHost: a\r\n\r\n", " GET /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "\tGET /case HTTP/1.1\r\nHost: a\r\n\r\n", "\0GET /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{feff}GET /case HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    heads.iter().map(|head| case(format!("{head:?}"), *head)).collect()
}

#[rustfmt::skip]
fn request_lines() -> Cases {
    let lines = [
        "GET  /case HTTP/1.1", "GET /case  HTTP/1.1", "GET\t/case HTTP/1.1", "GET /case\tHTTP/1.1",
        "GET /case HTTP/1.1 ", "GET /ca se HTTP/1.1", "GET /case", "GET", "/case HTTP/1.1", " ",
        "GET /case HTTP/1.2", "GET /case HTTP/1.9", "GET /case HTTP/2.0", "GET /case HTTP/2", "GET /case HTTP/0.9",
        "GET /case HTTP/1", "GET /case HTTP/1.", "GET /case HTTP/.1", "GET /case HTTP/1.10", "GET /case HTTP/01.1",
        "GET /case HTTP/1.1x", "GET /case http/1.1", "GET /case HTTPS/1.1", "GET /case XTTP/1.1",
        "GET /case HTTP 1.1", "GET /case HTTP/1,1", "G\u{e9}T /case HTTP/1.1", "G(T /case HTTP/1.1",
        "GET: /case HTTP/1.1", "\"GET\" /case HTTP/1.1", "GE\0T /case HTTP/1.1", "[GET] /case HTTP/1.1",
        "GET case HTTP/1.1", "GET \\case HTTP/1.1", "GET /case\0 HTTP/1.1", "GET /case#x HTTP/1.1",
        "GET * HTTP/1.1", "GET a:80 HTTP/1.1", "GET http://b/case HTTP/1.1", "GET http://a@b/case HTTP/1.1",
        "GET http://a:81/case HTTP/1.1", "GET http:///case HTTP/1.1", "CONNECT /case HTTP/1.1",
        "CONNECT a HTTP/1.1", "CONNECT http://a/case HTTP/1.1",
    ];
    lines.iter().map(|line| case(format!("line {line:?}"), format!("{line}\r\nHost: a\r\n\r\n"))).collect()
}

#[rustfmt::skip]
fn hosts() -> Cases {
    let fields = [
        "", "Host: a\r\nHost: a\r\n", "Host: a\r\nHost: b\r\n", "Host: a\r\nhost: a\r\n", "Host:\r\n", "Host: \r\n",
        "Host: a b\r\n", "Host: a,b\r\n", "Host: a/b\r\n", "Host: a@b\r\n", "Host: u:p@a\r\n", "Host: a#b\r\n",
        "Host: a?b\r\n", "Host: a\\b\r\n", "Host: a%20b\r\n", "Host: http://a\r\n", "Host: a:\r\n", "Host: a:x\r\n",
        "Host: a:-1\r\n", "Host: a:65536\r\n", "Host: a:080\r\n", "Host: a:80:80\r\n", "Host: :80\r\n",
        "Host: [::1\r\n", "Host: ::1\r\n", "Host: [::1]x\r\n", "Host: [a]\r\n", "Host: [::1%25eth0]\r\n",
        "Host: \u{e9}\r\n", "Host : a\r\n", " Host: a\r\n", "Host\0: a\r\n", "X: y\r\n", "Host: a\0\r\n",
        "Host: a\tb\r\n",
    ];
    fields.iter().map(|lines| case(format!("host {lines:?}"), format!("GET /case HTTP/1.1\r\n{lines}\r\n"))).collect()
}

#[rustfmt::skip]
fn chunks() -> Cases {
    let bodies = [
        "\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n", "-3\r\nabc\r\n0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n",
        "x3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", " 3\r\nabc\r\n0\r\n\r\n", "\t3\r\nabc\r\n0\r\n\r\n",
        "3\t\r\nabc\r\n0\r\n\r\n", "3 ;x\r\nabc\r\n0\r\n\r\n", "3,3\r\nabc\r\n0\r\n\r\n",
        "3\u{b}\r\nabc\r\n0\r\n\r\n", "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "00000000000000003\r\nabc\r\n0\r\n\r\n", "3\nabc\r\n0\r\n\r\n", "3\rabc\r\n0\r\n\r\n",
        "3\r\r\nabc\r\n0\r\n\r\n", "3;a=b\nabc\r\n0\r\n\r\n", "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n", "3;a\u{7f}\r\nabc\r\n0\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc\r\r\n0\r\n\r\n", "3\r\nabc\r\n0\n\r\n", "3\r\nabc\r\n0\r\n\n", "3\r\nabc\r\n0\n\n",
        "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n", "3\r\nabc\r\n0\r\nX\r\n\r\n", "3\r\nabc\r\n0\r\nX : a\r\n\r\n",
        "3\r\nabc\r\n0\r\n: a\r\n\r\n", "3\r\nabc\r\n0\r\nX: a\nY: b\r\n\r\n", "3\r\nabc\r\n0\r\nX: a\0\r\n\r\n",
        "3\r\nabc\r\n0\r\n X: a\r\n\r\n", "g\r\nabc\r\n0\r\n\r\n", "\u{ff13}\r\nabc\r\n0\r\n\r\n",
        "3.\r\nabc\r\n0\r\n\r\n", "'3'\r\nabc\r\n0\r\n\r\n",
        // Where an extension ends: some look for CR, some for LF, some for the end of a quoted string.
        "3;\n\r\nabc\r\n0\r\n\r\n", "3;a=\"\r\n\"\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\n",
        "3;a=\"\n\"\r\nabc\r\n0\r\n\r\n", "3;\r\n\nabc\r\n0\r\n\r\n", "3\n;\r\nabc\r\n0\r\n\r\n",
        "3;a\r;b\r\nabc\r\n0\r\n\r\n", "3;\u{b}\n\r\nabc\r\n0\r\n\r\n", "3\r;x\nabc\r\n0\r\n\r\n",
        "3;xx\n50\r\nabc\r\n0\r\n\r\nGET /next HTTP/1.1\r\nX: y\r\n\r\n", "0;\n\r\n\r\n", "0;a\n\n",
    ];
    let long = [
        format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(5000)),
        format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(20)),
        format!("3\r\nabc\r\n0\r\n{}\r\n", "X: y\r\n".repeat(200)),
        format!("3\r\nabc\r\n0\r\nX: {}\r\n\r\n", "y".repeat(20_000)),
    ];
    let bodies = bodies.iter().map(|body| (*body).to_owned()).chain(long);
    bodies.map(|body| case(format!("chunks {body:.99?}"), post("Transfer-Encoding: chunked\r\n", &body))).collect()
}

/// All answers to a request, on a connection where another follows.
fn answers(gateway: &Gateway, bytes: &[u8], piece: usize) -> String {
    let mut client = gateway.client();
    for part in [bytes, NEXT.as_bytes()].concat().chunks(piece) {
        // The answer may come, and the connection go, before all is sent.
        if client.try_send(part).is_err() {
            break;
        }
    }
    String::from_utf8_lossy(&client.receive_rest()).into_owned()
}

fn scene() -> (Issuer, Upstream, Gateway) {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&configuration(&issuer, &upstream, ROUTES));
    (issuer, upstream, gateway)
}

/// One answer at most, a refusal; nothing that came after is looked at.
fn refused(answers: &str) -> bool {
    let statuses = ["400", "405", "413", "431", "501", "505"];
    let is_refusal = statuses.iter().any(|status| answers.starts_with(&format!("HTTP/1.1 {status} ")));
    (answers.is_empty() || is_refusal) && answers.matches("HTTP/1.1 ").count() <= 1
}

#[test]
fn an_ambiguous_head_is_refused_and_nothing_after_it_is_read() {
    let (_issuer, upstream, gateway) = scene();
    let cases = [lengths(), codings(), both(), names(), lines(), request_lines(), hosts()].concat();
    assert!(cases.len() >= 200, "{}", cases.len());
    for (name, bytes) in cases {
        for piece in [bytes.len() + NEXT.len(), 7] {
            let answers = answers(&gateway, &bytes, piece);
            assert!(refused(&answers), "{name}: {answers}");
            assert_eq!(upstream.bytes(), 0, "{name}: {}", upstream.wire().escape_ascii());
        }
    }
}

#[test]
fn a_broken_body_is_never_a_whole_request() {
    let (_issuer, upstream, gateway) = scene();
    let cases = chunks();
    assert!(cases.len() >= 40, "{}", cases.len());
    for (name, bytes) in cases {
        for piece in [bytes.len() + NEXT.len(), 7] {
            let answers = answers(&gateway, &bytes, piece);
            assert!(refused(&answers), "{name}: {answers}");
            assert_eq!(upstream.take_messages(), Ok(Vec::new()), "{name}");
        }
    }
    assert_eq!(find(&upstream.wire(), b"next"), None);
}

/// What is in order, with its body; the last word: whether the connection goes on after it.
fn in_order() -> Vec<(String, &'static str, bool)> {
    let long_size = "0000000000000003\r\nabc\r\n0\r\n\r\n";
    let mut cases: Vec<(String, &'static str, bool)> = Vec::new();
    for (fields, body, sent) in [
        ("Content-Length: 3\r\n", "abc", "abc"),
        ("content-length:3\r\n", "abc", "abc"),
        ("CONTENT-LENGTH: \t 3 \t \r\n", "abc", "abc"),
        ("Content-Length: 0\r\n", "", ""),
        ("Content-Length: 3\r\nContent-Type: text/plain\r\n", "\r\n\r", "\r\n\r"),
        ("Content-Length: 18\r\n", "GET /x HTTP/1.1\r\n\r", "GET /x HTTP/1.1\r\n\r"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("transfer-encoding:CHUNKED\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("Transfer-Encoding: \t chunked\t\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789"),
        ("Transfer-Encoding: chunked\r\n", "003\r\nabc\r\n000\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", long_size, "abc"),
        ("Transfer-Encoding: chunked\r\n", "3;a\r\nabc\r\n0;b=c\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3;a=\"b\"\r\nabc\r\n0\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3;\r\nabc\r\n0\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\n\r\n\r\r\n0\r\n\r\n", "\r\n\r"),
        ("Transfer-Encoding: chunked\r\n", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTrailer: x\r\n", "3\r\nabc\r\n0\r\nX: y\r\n\r\n", "abc"),
        ("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nContent-Length: 9\r\nHost: b\r\n\r\n", "abc"),
        ("X:\r\nContent-Length: 3\r\n", "abc", "abc"),
        ("X: a: b: c\r\nContent-Length: 3\r\n", "abc", "abc"),
        ("!#$%&'*+-.^_`|~: x\r\nContent-Length: 3\r\n", "abc", "abc"),
        ("Connection: content-length\r\nContent-Length: 3\r\n", "abc", "abc"),
        ("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n", "abc"),
        ("TE: trailers, chunked\r\nContent-Length: 3\r\n", "abc", "abc"),
        ("X-Content-Length: 9\r\nContent-Lengths: 9\r\nContent-Length: 3\r\n", "abc", "abc"),
    ] {
        cases.push((post(fields, body), sent, true));
    }
    let closing = post("Connection: close\r\nContent-Length: 3\r\n", "abc");
    cases.push((closing, "abc", false));
    for head in [
        "GET /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /case HTTP/1.1\r\nhOST:a:80\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET http://a/case HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://A:80/case HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /case HTTP/1.1\r\nHost: a\r\nX: \u{e9}\r\n\r\n",
        "DELETE /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "M-SEARCH /case HTTP/1.1\r\nHost: a\r\n\r\n",
        "get /case HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        cases.push((head.to_owned(), "", true));
    }
    cases.push(("GET /case HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "abc", true));
    cases.push(("GET /case HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), "", false));
    cases.push(("GET /case HTTP/1.0\r\n\r\n".to_owned(), "", false));
    cases.push(("POST /case HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc".to_owned(), "abc", false));
    cases
}

#[test]
fn what_is_in_order_arrives_as_one_request_of_the_same_meaning() {
    let (_issuer, upstream, gateway) = scene();
    for (bytes, body, goes_on) in in_order() {
        for piece in [bytes.len() + NEXT.len(), 7, 1] {
            let answers = answers(&gateway, bytes.as_bytes(), piece);
            let messages = upstream.take_messages().unwrap_or_else(|why| panic!("{bytes:?}: {why}"));
            let Some((first, rest)) = messages.split_first() else { panic!("{bytes:?}: {answers}") };
            let method = bytes.trim_start().split(' ').next().unwrap_or_default();
            assert_eq!((first.method.as_str(), first.target.as_slice()), (method, b"/case".as_slice()), "{bytes:?}");
            assert_eq!(first.body, body.as_bytes(), "{bytes:?}");
            assert!(!first.is_old && first.trailers.iter().all(|(name, _)| name == "x"), "{bytes:?}");
            let targets: Vec<&[u8]> = rest.iter().map(|message: &Message| message.target.as_slice()).collect();
            let expected: &[&[u8]] = if goes_on { &[b"/next"] } else { &[] };
            assert_eq!(targets, expected, "{bytes:?}");
            assert_eq!(answers.matches(" 200 Status\r\n").count(), messages.len(), "{bytes:?}: {answers}");
        }
    }
}
