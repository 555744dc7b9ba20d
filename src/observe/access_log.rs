//! The access log: one line for each request.

use std::{fmt::Display, time::SystemTime};

use tracing::Level;

use super::{
    LogFormat, RequestFinished,
    line::{Within, push_escaped, push_fmt, push_hex, push_json, push_millis, push_padded, push_word},
    log::{Style, push_coloured, push_head},
    query::{push_path, push_query},
};

/// Bytes of a text from outside that a line shows; the rest is `…`.
const SHOWN: usize = 8 * 1024;

/// Adds the line of a request.
pub(super) fn push_request(line: &mut String, request: &RequestFinished<'_>, style: Style, at: SystemTime) {
    push_head(line, Level::INFO, style, at);
    match style.format {
        LogFormat::Json => push_json_fields(line, request),
        LogFormat::Text => push_text_fields(line, request, style),
    }
    line.push('\n');
}

fn push_json_fields(line: &mut String, request: &RequestFinished<'_>) {
    text(line, ",\"request_id\":", Some(request.request_id));
    text(line, ",\"trace_id\":", Some(request.trace_id));
    push_fmt(line, format_args!(",\"client_ip\":\"{}\"", request.client_ip));
    text(line, ",\"method\":", Some(request.method));
    text(line, ",\"host\":", request.host);
    line.push_str(",\"path\":\"");
    push_target(line, request, Within::Json);
    line.push('"');
    text(line, ",\"route\":", Some(request.route));
    number(line, ",\"status\":", u64::from(request.status));
    line.push_str(",\"duration_ms\":");
    push_millis(line, request.duration);
    line.push_str(",\"overhead_ms\":");
    push_millis(line, request.overhead);
    number(line, ",\"bytes_in\":", request.bytes_in);
    number(line, ",\"bytes_out\":", request.bytes_out);
    text(line, ",\"upstream\":", request.upstream);
    text(line, ",\"endpoint\":", request.endpoint);
    number(line, ",\"attempts\":", u64::from(request.attempts));
    text(line, ",\"decision\":", Some(request.outcome()));
    text(line, ",\"reason\":", Some(request.reason));
    text(line, ",\"issuer\":", request.issuer);
    text(line, ",\"subject\":", request.subject);
    text(line, ",\"client\":", request.client);
    line.push_str(",\"token\":");
    match request.token {
        Some(token) => {
            line.push('"');
            push_hex(line, &token.0);
            line.push('"');
        }
        None => line.push_str("null"),
    }
    line.push_str(if request.enforced { ",\"enforced\":true" } else { ",\"enforced\":false" });
    if let Some(shadow) = request.shadow {
        text(line, ",\"shadow_route\":", Some(&shadow.route));
        text(line, ",\"shadow_decision\":", Some(shadow.outcome()));
        text(line, ",\"shadow_reason\":", Some(shadow.reason));
    }
    line.push('}');
}

fn text(line: &mut String, member: &str, value: Option<&str>) {
    line.push_str(member);
    match value.map(cut) {
        None => line.push_str("null"),
        Some((shown, false)) => push_json(line, shown),
        Some((shown, true)) => {
            line.push('"');
            push_escaped(line, shown, Within::Json);
            line.push_str("…\"");
        }
    }
}

fn number(line: &mut String, member: &str, value: u64) {
    line.push_str(member);
    push_padded(line, value, 1);
}

/// `GET api.example.com/path 200 1.234ms (0.100ms here) allow ok route=… …`
fn push_text_fields(line: &mut String, request: &RequestFinished<'_>, style: Style) {
    push_word(line, cut(request.method).0);
    line.push(' ');
    push_escaped(line, cut(request.host.unwrap_or_default()).0, Within::Word);
    push_target(line, request, Within::Word);
    line.push(' ');
    let colour = match request.status {
        500.. => "31",
        400.. => "33",
        _ => "32",
    };
    push_coloured(line, style, colour, format_args!("{}", request.status));
    line.push(' ');
    push_millis(line, request.duration);
    line.push_str("ms (");
    push_millis(line, request.overhead);
    push_fmt(line, format_args!("ms here) {} {}", request.outcome(), request.reason));
    if !request.enforced {
        line.push_str(" (not enforced)");
    }
    if let Some(shadow) = request.shadow {
        push_fmt(line, format_args!(" (shadow: {} {}", shadow.outcome(), shadow.reason));
        word(line, "route", Some(&shadow.route));
        line.push(')');
    }
    word(line, "route", Some(request.route));
    word(line, "upstream", request.upstream);
    word(line, "endpoint", request.endpoint);
    if request.attempts > 1 {
        shown(line, "attempts", request.attempts);
    }
    word(line, "issuer", request.issuer);
    word(line, "subject", request.subject);
    word(line, "client", request.client);
    if let Some(token) = request.token {
        shown(line, "token", token);
    }
    shown(line, "in", request.bytes_in);
    shown(line, "out", request.bytes_out);
    shown(line, "ip", request.client_ip);
    word(line, "id", Some(request.request_id));
    word(line, "trace", Some(request.trace_id));
}

fn word(line: &mut String, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|value| !value.is_empty()) {
        push_fmt(line, format_args!(" {name}="));
        push_word(line, cut(value).0);
    }
}

fn shown(line: &mut String, name: &str, value: impl Display) {
    push_fmt(line, format_args!(" {name}={value}"));
}

/// Path and query. A target that has no canonical form may hold its query in `path`.
fn push_target(line: &mut String, request: &RequestFinished<'_>, within: Within) {
    let (path, rest) = request.path.split_once('?').map_or((request.path, None), |(path, rest)| (path, Some(rest)));
    push_path(line, path, request.token_parameters, SHOWN, within);
    for query in [rest, request.query].into_iter().flatten() {
        line.push('?');
        push_query(line, query, request.token_parameters, SHOWN, within);
    }
}

/// What is shown of a text, and whether that isn't all of it.
fn cut(text: &str) -> (&str, bool) {
    let shown = text.get(..text.floor_char_boundary(SHOWN)).unwrap_or_default();
    (shown, shown.len() < text.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use insta::assert_snapshot;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{
        observe::{ShadowSays, tests::a_request},
        token::credential::Fingerprint,
    };

    fn line(request: &RequestFinished<'_>, format: LogFormat, colour: bool) -> String {
        let mut line = String::new();
        push_request(
            &mut line,
            request,
            Style { format, colour },
            UNIX_EPOCH + Duration::from_millis(1_764_021_300_123),
        );
        line
    }

    #[test]
    fn json_line_of_an_authorised_request() {
        assert_snapshot!(line(&a_request(), LogFormat::Json, false), @r#"{"time":"2025-11-24T21:55:00.123Z","level":"info","request_id":"req-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","client_ip":"192.0.2.7","method":"GET","host":"api.example.com","path":"/rest/campaigns/7?full=1&access_token=…","route":"campaigns","status":200,"duration_ms":12.345,"overhead_ms":0.090,"bytes_in":0,"bytes_out":512,"upstream":"campaigns","endpoint":"127.0.0.1:9000","attempts":1,"decision":"allow","reason":"ok","issuer":"keycloak","subject":"alice","client":"web","token":"0123456789ab","enforced":true}"#);
    }

    #[test]
    fn json_line_of_a_refused_request() {
        let request = RequestFinished {
            client_ip: "2001:db8::1".parse().unwrap(),
            host: None,
            path: "/nowhere",
            query: None,
            route: "",
            status: 404,
            upstream: None,
            endpoint: None,
            attempts: 0,
            allowed: false,
            reason: "no_route",
            issuer: None,
            subject: None,
            client: None,
            token: None,
            ..a_request()
        };
        assert_snapshot!(line(&request, LogFormat::Json, false), @r#"{"time":"2025-11-24T21:55:00.123Z","level":"info","request_id":"req-1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","client_ip":"2001:db8::1","method":"GET","host":null,"path":"/nowhere","route":"","status":404,"duration_ms":12.345,"overhead_ms":0.090,"bytes_in":0,"bytes_out":512,"upstream":null,"endpoint":null,"attempts":0,"decision":"deny","reason":"no_route","issuer":null,"subject":null,"client":null,"token":null,"enforced":true}"#);
    }

    #[test]
    fn text_line() {
        assert_snapshot!(line(&a_request(), LogFormat::Text, false), @"2025-11-24T21:55:00.123Z info  GET api.example.com/rest/campaigns/7?full=1&access_token=… 200 12.345ms (0.090ms here) allow ok route=campaigns upstream=campaigns endpoint=127.0.0.1:9000 issuer=keycloak subject=alice client=web token=0123456789ab in=0 out=512 ip=192.0.2.7 id=req-1 trace=4bf92f3577b34da6a3ce929d0e0e4736");
        let refused = RequestFinished { status: 503, ..a_request() };
        assert!(line(&refused, LogFormat::Text, true).contains(" \u{1b}[31m503\u{1b}[0m "));
        let tried = RequestFinished { allowed: false, enforced: false, reason: "scope", ..a_request() };
        assert!(line(&tried, LogFormat::Text, false).contains(" deny scope (not enforced) route=campaigns "));
        assert!(line(&tried, LogFormat::Json, false).ends_with(",\"enforced\":false}\n"));
    }

    #[test]
    fn what_a_shadow_says_otherwise() {
        let says = ShadowSays { route: "all".into(), allowed: false, reason: "scope" };
        let request = RequestFinished { shadow: Some(&says), ..a_request() };
        let json = line(&request, LogFormat::Json, false);
        let end =
            ",\"enforced\":true,\"shadow_route\":\"all\",\"shadow_decision\":\"deny\",\"shadow_reason\":\"scope\"}\n";
        assert!(json.ends_with(end), "{json}");
        serde_json::from_str::<Value>(&json).unwrap();
        let text = line(&request, LogFormat::Text, false);
        assert!(text.contains(" allow ok (shadow: deny scope route=all) route=campaigns "), "{text}");
    }

    #[test]
    fn a_query_in_the_path_is_cleaned_too() {
        let request = RequestFinished { path: "/a%00?access_token=SECRET", query: Some("token=SECRET"), ..a_request() };
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = line(&request, format, false);
            assert!(line.contains("/a%00?access_token=…?token=…") && !line.contains("SECRET"), "{line}");
        }
    }

    #[test]
    fn a_token_in_the_path_is_left_out() {
        let path = "/a/eyJhbGciOiJIUzI1NiJ9.SECRET.SECRET/7";
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = line(&RequestFinished { path, ..a_request() }, format, false);
            assert!(line.contains("/a/…/7?full=1") && !line.contains("SECRET"), "{line}");
        }
    }

    #[test]
    fn a_host_or_path_with_spaces_forges_no_field() {
        let request =
            RequestFinished { host: Some("x 200 allow"), path: "/ ok token=1", query: Some("a b"), ..a_request() };
        let line = line(&request, LogFormat::Text, false);
        let target = r" x\u0020200\u0020allow/\u0020ok\u0020token=1?a\u0020b 200 ";
        assert!(line.contains(target), "{line}");
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "é".repeat(50_000);
        let request = RequestFinished { path: &long, subject: Some(&long), query: None, ..a_request() };
        let value: Value = serde_json::from_str(&line(&request, LogFormat::Json, false)).unwrap();
        for field in ["path", "subject"] {
            let shown = value[field].as_str().unwrap();
            assert_eq!((shown.chars().count(), shown.chars().last()), (SHOWN / 2 + 1, Some('…')));
        }
    }

    #[test]
    fn the_line_itself_is_all_that_is_allocated() {
        let mut line = String::with_capacity(1024);
        let before = line.as_ptr();
        push_request(&mut line, &a_request(), Style { format: LogFormat::Json, colour: false }, UNIX_EPOCH);
        assert_eq!(line.as_ptr(), before);
    }

    proptest! {
        #[test]
        fn whatever_comes_in_one_whole_line_comes_out(
            method in any::<String>(), host in any::<String>(), path in "[^?]*", subject in any::<String>(), client in any::<String>(), id in any::<String>(),
        ) {
            let request = RequestFinished {
                request_id: &id, method: &method, host: Some(&host), path: &path, query: None, subject: Some(&subject), client: Some(&client),
                token: Some(Fingerprint([0; 6])), ..a_request()
            };
            let json = line(&request, LogFormat::Json, false);
            let value: Value = serde_json::from_str(&json).unwrap();
            for (field, text) in [("request_id", &id), ("method", &method), ("host", &host), ("path", &path), ("subject", &subject), ("client", &client)] {
                prop_assert_eq!(value[field].as_str().unwrap(), text);
            }
            for format in [LogFormat::Json, LogFormat::Text] {
                let line = line(&request, format, false);
                prop_assert!(line.ends_with('\n') && !line.trim_end_matches('\n').contains(char::is_control));
            }
        }
    }
}
