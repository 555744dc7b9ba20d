//! Requests in HTTP/2 whose parts would be read otherwise once they are written as HTTP/1.1: none comes upstream but as one
//! well-formed request of the same meaning.

use crate::support::{
    gateway::{Gateway, public_configuration},
    h2::{Connection, END_HEADERS, END_STREAM, Outcome, block, get, kind, post},
    raw::find,
    strict::Message,
    upstream::Upstream,
};

struct Setting {
    upstream: Upstream,
    gateway: Gateway,
}

fn start() -> Setting {
    let upstream = Upstream::start();
    let gateway = Gateway::start_unready(&public_configuration(&upstream.url(), ""));
    Setting { upstream, gateway }
}

type Fields<'f> = Vec<(&'f str, &'f str)>;

fn with<'f>(head: &[(&'f str, &'f str)], more: &[(&'f str, &'f str)]) -> Fields<'f> {
    [head, more].concat()
}

/// The pseudo-fields of a POST with one of them changed.
fn instead<'f>(name: &str, value: &'f str) -> Fields<'f> {
    post("/a").into_iter().map(|(field, before)| (field, if field == name { value } else { before })).collect()
}

fn without(name: &str) -> Fields<'static> {
    post("/a").into_iter().filter(|(field, _)| *field != name).collect()
}

impl Setting {
    /// Sends it, and looks what became of it and what came upstream.
    #[track_caller]
    fn is_refused(&self, fields: &[(&str, &str)], data: &[&str], trailers: Option<&[(&str, &str)]>) {
        let shown = format!("{fields:?} {data:?} {trailers:?}");
        let mut connection = Connection::connect(self.gateway.address);
        let last = data.is_empty() && trailers.is_none();
        connection.request(1, last, fields);
        for (place, piece) in data.iter().enumerate() {
            let last = place + 1 == data.len() && trailers.is_none();
            connection.try_send(kind::DATA, if last { END_STREAM } else { 0 }, 1, piece.as_bytes()).ok();
        }
        if let Some(trailers) = trailers {
            connection.try_send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers)).ok();
        }
        // What came of it may have been whole by its length before the frame came that makes it wrong: no more than that goes on.
        let whole = whole_before_its_end(fields, data);
        match connection.outcome(1) {
            Outcome::Answer { status, .. } => {
                assert!((400..500).contains(&status) || whole.is_some() && status == 200, "{shown}: {status}");
            }
            Outcome::Reset(_) | Outcome::Ended => {}
        }
        drop(connection);
        // Whatever is left of it on an upstream's connection, the next client's request comes alone.
        assert_eq!(self.gateway.get("/after").status, 200, "{shown}");
        let messages = self.upstream.take_messages().unwrap_or_else(|wrong| panic!("{shown}: {wrong}"));
        // On a connection of its own, it may be read late.
        let is_whole = |message: &&Message| {
            message.target == b"/a" && whole.as_ref().is_some_and(|body| message.body == body.as_bytes())
        };
        let rest = messages.iter().filter(|message| !is_whole(message));
        let targets: Vec<_> = rest.map(|message| String::from_utf8_lossy(&message.target)).collect();
        assert_eq!(targets, ["/after"], "{shown}");
    }
}

/// The body of a request that says one length in its plain form, where a frame ends with it and more is to come.
fn whole_before_its_end(fields: &[(&str, &str)], data: &[&str]) -> Option<String> {
    let mut said = fields.iter().filter(|(name, _)| *name == "content-length").map(|(_, value)| *value);
    let (Some(length), None) = (said.next(), said.next()) else { return None };
    let length = length.parse::<usize>().ok().filter(|number| number.to_string() == length)?;
    let until = (0..data.len()).map(|count| data[..count].concat()).find(|body| body.len() == length)?;
    (length < data.concat().len()).then_some(until)
}

#[test]
fn fields_that_hold_more_than_one() {
    let setting = start();
    let head = post("/a");
    for value in [
        "a\r\nTransfer-Encoding: chunked",
        "a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "a\nTransfer-Encoding: chunked",
        "a\rTransfer-Encoding: chunked",
        "a\0b",
        "\r",
        "\n",
        "a\r",
        "a\u{7f}b",
        "a\u{1}b",
    ] {
        for name in ["x", "cookie", "content-length", "user-agent", "authorization"] {
            setting.is_refused(&with(&head, &[(name, value)]), &[], None);
        }
        setting.is_refused(&head, &["abc"], Some(&[("x", value)]));
    }
    for name in [
        "x: y\r\nz",
        "x\r\nTransfer-Encoding: chunked\r\nz",
        "transfer-encoding: chunked",
        "x y",
        "x\n",
        "x\0",
        "x:",
        "",
        " x",
        "x\t",
        "X",
        "Transfer-Encoding",
        "(x)",
    ] {
        setting.is_refused(&with(&head, &[(name, "y")]), &[], None);
        setting.is_refused(&head, &["abc"], Some(&[(name, "y")]));
    }
    for name in ["x\"y", "\"transfer-encoding\"", "con\"nection"] {
        setting.is_refused(&with(&head, &[(name, "y")]), &[], None);
    }
    assert_eq!(find(&setting.upstream.wire(), b"smuggled"), None);
}

#[test]
fn pseudo_fields_that_hold_more_than_one() {
    let setting = start();
    for (name, values) in [
        (
            ":path",
            &[
                "/a HTTP/1.1\r\nHost: a\r\n\r\nGET /smuggled",
                "/a\r\nX: y",
                "/a\nX: y",
                "/a b",
                "/a\tb",
                "/a\0",
                "/a\u{7f}",
                "",
                "a",
                "a:80",
                "*",
                "http://evil.example/a",
                "\\a",
                "?a",
            ][..],
        ),
        (
            ":method",
            &[
                "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET",
                "POST\r\nX: y",
                "GE T",
                "POST\t",
                "",
                " POST",
                "P(ST",
                "P\"ST",
                "POST\0",
            ],
        ),
        (
            ":authority",
            &[
                "a\r\nTransfer-Encoding: chunked",
                "a\nX: y",
                "a b",
                "a/b",
                "a?b",
                "a#b",
                "u@a",
                "a\0",
                "a,b",
                "a:b",
                "[::1",
                "",
                "a\\b",
            ],
        ),
        (":scheme", &["http://a/?", "http\r\nX: y", "ht tp", "http:"]),
    ] {
        for value in values {
            setting.is_refused(&instead(name, value), &[], None);
            setting.is_refused(&instead(name, value), &["abc"], None);
        }
    }
    assert_eq!(find(&setting.upstream.wire(), b"smuggled"), None);
}

#[test]
fn pseudo_fields_that_are_out_of_place() {
    let setting = start();
    let head = post("/a");
    for more in [
        (":path", "/b"),
        (":method", "GET"),
        (":authority", "b"),
        (":scheme", "https"),
        (":status", "200"),
        (":unknown", "x"),
        (":", "x"),
        (":protocol", "websocket"),
        (":host", "b"),
    ] {
        setting.is_refused(&with(&head, &[more]), &[], None);
        setting.is_refused(&with(&head, &[("x", "y"), more]), &[], None);
        setting.is_refused(&with(&[more], &head), &[], None);
    }
    for name in [":method", ":path", ":scheme", ":authority"] {
        setting.is_refused(&without(name), &[], None);
        let late = head.iter().find(|(field, _)| *field == name).unwrap();
        setting.is_refused(&with(&without(name), &[("x", "y"), *late]), &[], None);
    }
}

/// The HTTP library passes over those that it knows; none says anything. Nor do names that HTTP/1.1 has no place for.
#[test]
fn what_has_no_place_in_trailers_says_nothing() {
    let setting = start();
    for more in [
        (":path", "/b"),
        (":method", "DELETE"),
        (":authority", "b"),
        (":status", "200"),
        (":unknown", "x"),
        ("x\"y", "1"),
    ] {
        let mut connection = Connection::connect(setting.gateway.address);
        connection.request(1, false, &with(&post("/a"), &[("trailer", "x-sum, x\"y")]));
        connection.send(kind::DATA, 0, 1, b"abc");
        connection.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[more, ("x-sum", "1")]));
        let outcome = connection.outcome(1);
        let messages = setting.upstream.take_messages().unwrap();
        match outcome {
            Outcome::Answer { status, .. } => {
                assert_eq!(status, 200);
                let [message] = messages.as_slice() else { panic!("{more:?}: {messages:?}") };
                assert_eq!((&*message.target, &*message.method, &*message.body), (&b"/a"[..], "POST", &b"abc"[..]));
                assert!(message.trailers.iter().all(|(name, _)| name == "x-sum"), "{messages:?}");
            }
            Outcome::Reset(_) | Outcome::Ended => assert_eq!(messages.len(), 0, "{messages:?}"),
        }
    }
}

#[test]
fn fields_of_the_connection_have_no_place() {
    let setting = start();
    let head = post("/a");
    for more in [
        ("connection", "close"),
        ("connection", "x-auth-subject"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("transfer-encoding", ""),
        ("upgrade", "websocket"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("te", "trailers, chunked"),
        ("transfer_encoding", "chunked"),
        ("transfer.encoding", "chunked"),
        ("content_length", "3"),
        ("content~length", "3"),
        ("host", "b"),
        ("host", "api.example:81"),
        ("host", "api.example\r\nX: y"),
        ("host", ""),
    ] {
        setting.is_refused(&with(&head, &[more]), &[], None);
        setting.is_refused(&with(&head, &[more]), &["0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"], None);
    }
    setting.is_refused(&with(&head, &[("host", "api.example"), ("host", "api.example")]), &[], None);
    assert_eq!(find(&setting.upstream.wire(), b"smuggled HTTP"), None);
}

#[test]
fn lengths_that_are_not_those_of_the_body() {
    let setting = start();
    let head = post("/a");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for second in ["3", "4", "0"] {
        setting.is_refused(&with(&head, &[("content-length", "3"), ("content-length", second)]), &["abc"], None);
    }
    for (length, data) in [
        ("3", &[][..]),
        ("3", &[""]),
        ("3", &["ab"]),
        ("3", &["abcd"]),
        ("18446744073709551615", &["abc"]),
        ("18446744073709551616", &["abc"]),
        ("+3", &["abc"]),
        ("-3", &["abc"]),
        ("3 ", &["abc"]),
        (" 3", &["abc"]),
        ("3,3", &["abc"]),
        ("3, 3", &["abc"]),
        ("0x3", &["abc"]),
        ("3.0", &["abc"]),
        ("", &["abc"]),
        ("3\t", &["abc"]),
        ("3", &["a", "b", ""]),
        // Last, since what is whole of these may be read while the next is under way.
        ("0", &["abc"]),
        ("3", &["abc", smuggled]),
        ("3", &["abc", "", "d"]),
    ] {
        let fields = with(&head, &[("content-length", length)]);
        setting.is_refused(&fields, data, None);
        if !data.is_empty() {
            setting.is_refused(&fields, data, Some(&[("x-sum", "1")]));
            setting.is_refused(&with(&fields, &[("trailer", "x-sum")]), data, Some(&[("x-sum", "1")]));
        }
        setting.is_refused(&with(&get("/a"), &[("content-length", length)]), data, None);
    }
    assert_eq!(find(&setting.upstream.wire(), b"smuggled"), None);
}

#[test]
fn bodies_of_every_framing_come_as_one_message() {
    let setting = start();
    let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = smuggled.len().to_string();
    let cases: [(Fields<'_>, &[&str]); 7] = [
        (get("/a").to_vec(), &[smuggled]),
        (post("/a").to_vec(), &[smuggled]),
        (with(&post("/a"), &[("content-length", &length)]), &[smuggled]),
        (with(&get("/a"), &[("content-length", &length)]), &[&smuggled[..9], &smuggled[9..], ""]),
        (with(&post("/a"), &[("trailer", "x")]), &[smuggled]),
        (with(&post("/a"), &[("trailer", "x"), ("content-length", &length)]), &["", smuggled]),
        (with(&post("/a"), &[("expect", "100-continue"), ("content-length", &length)]), &[smuggled]),
    ];
    for (fields, data) in cases {
        let mut connection = Connection::connect(setting.gateway.address);
        connection.request(1, false, &fields);
        for (place, piece) in data.iter().enumerate() {
            let flags = if place + 1 == data.len() { END_STREAM } else { 0 };
            connection.send(kind::DATA, flags, 1, piece.as_bytes());
        }
        assert_eq!(connection.outcome(1).status(), 200, "{fields:?}");
        let messages = setting.upstream.take_messages().unwrap();
        let [message] = messages.as_slice() else { panic!("{fields:?}: {messages:?}") };
        assert_eq!((&*message.target, &*message.body), (&b"/a"[..], smuggled.as_bytes()), "{fields:?}");
    }
}
