//! Upstreams that are called with a token of the gateway's own: got once, renewed while the old one serves, got anew where
//! the upstream refuses it, and no request fails as long as the token endpoint can be asked.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::support::{
    ClosedPort,
    authorization_server::field,
    binary::Binary,
    eventually,
    gateway::Gateway,
    raw::{Client, Response, exchange},
    token_endpoint::TokenEndpoint,
    upstream::Upstream,
};

/// A sidecar before this API; `token` is put among the keys of `token`.
pub(crate) fn sidecar(api: &Upstream, endpoint: &str, token: &str) -> String {
    format!(
        "listen: [\"127.0.0.1:0\"]\n\
         admin: {{address: \"127.0.0.1:0\"}}\n\
         logging: {{level: error, access: false}}\n\
         server: {{workers: 2}}\n\
         upstreams:\n  api:\n    url: \"{}\"\n    token: {{endpoint: \"{endpoint}\", {token}}}\n\
         routes:\n  - {{name: all, path: /**, upstream: api, allow: public}}\n",
        api.url()
    )
}

pub(crate) const CLIENT: &str = "grant: client_credentials, client_id: app, client_secret: s3cret";

fn scene(more: &str) -> (TokenEndpoint, Upstream, Gateway) {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), &format!("{CLIENT}{more}")));
    (endpoint, api, gateway)
}

fn counted(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("bearward_egress_tokens_total{{result=\"{result}\",upstream=\"api\"}}"))
}

fn post(gateway: &Gateway, body: &str) -> Response {
    let mut client = gateway.client();
    client.send(format!("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    client.receive()
}

#[test]
fn requests_go_on_with_one_token() {
    let (endpoint, api, gateway) = scene("");
    assert_eq!(endpoint.asked(), 0, "nothing is asked before it is needed");
    for _ in 0..5 {
        assert_eq!(gateway.get("/v1/things").status, 200);
    }
    assert_eq!(endpoint.asked(), 1);
    let authorizations = |request: &crate::support::http::Request| {
        request.fields.all("authorization").map(str::to_owned).collect::<Vec<_>>()
    };
    for request in api.requests() {
        assert_eq!(
            (authorizations(&request), request.target.as_str()),
            (vec!["Bearer token-1".to_owned()], "/v1/things")
        );
    }
    assert_eq!((counted(&gateway, "ok"), counted(&gateway, "error")), (1.0, 0.0));
}

#[test]
fn many_first_requests_cause_one_question() {
    let (endpoint, _api, gateway) = scene("");
    endpoint.hold(true);
    std::thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| assert_eq!(gateway.get("/").status, 200));
        }
        let waiting = || gateway.metric("bearward_connections{listener=\"127.0.0.1:0\"}");
        eventually("all are there", || waiting() >= 50.0);
        endpoint.hold(false);
    });
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn one_who_goes_away_takes_nobodys_token_along() {
    let (endpoint, _api, gateway) = scene("");
    endpoint.hold(true);
    let mut first = gateway.client();
    first.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("the endpoint is asked", || endpoint.most_at_once() == 1);
    let mut second = gateway.client();
    second.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    drop(first);
    endpoint.hold(false);
    assert_eq!(second.receive().status, 200);
    assert_eq!(endpoint.asked(), 1);
}

/// A token of four seconds is renewed after one, while the endpoint takes its time.
#[test]
fn the_old_token_serves_while_the_next_one_is_asked_for() {
    let (endpoint, api, gateway) = scene(", expiry_margin: 3s");
    endpoint.gives(json!({"expires_in": 4}));
    assert_eq!(gateway.get("/").status, 200);
    endpoint.gives(json!({"expires_in": 3600}));
    endpoint.hold(true);
    eventually("it is being renewed", || {
        assert_eq!(gateway.get("/").status, 200, "a request waited for a renewal");
        endpoint.asked() == 2
    });
    for _ in 0..20 {
        assert_eq!(gateway.get("/").status, 200, "a request waited for a renewal");
    }
    assert_eq!((endpoint.asked(), endpoint.most_at_once()), (2, 1));
    assert_eq!(api.last_request().fields.get("authorization"), Some("Bearer token-1"));
    endpoint.hold(false);
    eventually("the new one is used", || {
        assert_eq!(gateway.get("/").status, 200);
        api.last_request().fields.get("authorization") == Some("Bearer token-2")
    });
    assert_eq!(endpoint.asked(), 2);
}

/// So that who asks now and then doesn't wait each time; and a sidecar that nobody uses asks for nothing.
#[test]
fn a_token_that_was_used_is_renewed_by_itself_and_one_that_wasnt_ends() {
    let (endpoint, api, gateway) = scene(", expiry_margin: 1s");
    endpoint.gives(json!({"expires_in": 2}));
    assert_eq!(gateway.get("/").status, 200);
    eventually("it is renewed with no request", || counted(&gateway, "ok") == 2.0);
    endpoint.gives(json!({"expires_in": 3600}));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(endpoint.asked(), 2, "nobody had used it");
    assert_eq!(gateway.get("/").status, 200);
    assert_eq!((endpoint.asked(), api.last_request().fields.get("authorization")), (3, Some("Bearer token-3")));
}

#[test]
fn no_request_fails_across_renewals() {
    let (endpoint, _api, gateway) = scene(", expiry_margin: 1s");
    endpoint.gives(json!({"expires_in": 2, "refresh_token": ""}));
    let (is_over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !is_over.load(Ordering::SeqCst) {
                    client.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    assert_eq!(client.receive().status, 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        eventually("there were four renewals", || endpoint.asked() >= 5);
        is_over.store(true, Ordering::SeqCst);
    });
    assert!(answered.load(Ordering::SeqCst) > 50);
    assert_eq!(endpoint.most_at_once(), 1, "the endpoint was asked by two at a time");
}

#[test]
fn a_refresh_token_is_used_once_and_given_up_where_it_is_refused() {
    let (endpoint, _api, gateway) = scene(", expiry_margin: 1s");
    endpoint.gives(json!({"expires_in": 2, "refresh_token": ""}));
    let grants = || {
        let grant = |request: &crate::support::http::Request| String::from_utf8(request.body.clone()).unwrap();
        endpoint.questions().iter().map(grant).collect::<Vec<_>>()
    };
    eventually("it was renewed twice", || {
        assert_eq!(gateway.get("/").status, 200);
        endpoint.asked() >= 3
    });
    let own = "grant_type=client_credentials&client_id=app&client_secret=s3cret";
    let refresh =
        |number| format!("grant_type=refresh_token&refresh_token=refresh-{number}&client_id=app&client_secret=s3cret");
    assert_eq!(grants()[..3], [own.to_owned(), refresh(1), refresh(2)]);

    endpoint.refuse_grant("refresh_token");
    let (asked, failed) = (endpoint.asked(), counted(&gateway, "error"));
    eventually("it was renewed all the same", || {
        assert_eq!(gateway.get("/").status, 200, "a request failed by a refresh token");
        endpoint.asked() >= asked + 4
    });
    let all = grants();
    let first_refused = all.iter().skip(asked).position(|form| form.starts_with("grant_type=refresh")).unwrap() + asked;
    assert_eq!(all[first_refused + 1], own, "the grant itself is tried at once");
    assert_eq!(counted(&gateway, "error"), failed, "a token came, so nothing failed");
}

/// Not only where it is refused: a server may not know what to say of one.
#[test]
fn the_grant_itself_is_tried_whatever_the_answer_to_a_refresh_token() {
    for (status, body) in [(401, ""), (500, "oops"), (200, "<html>"), (302, "")] {
        let (endpoint, _api, gateway) = scene(", expiry_margin: 1s");
        endpoint.gives(json!({"expires_in": 2, "refresh_token": ""}));
        endpoint.refuse_grant_with("refresh_token", status, body);
        eventually("it was renewed", || {
            assert_eq!(gateway.get("/").status, 200, "a request failed by a refresh token");
            counted(&gateway, "ok") >= 2.0
        });
        assert_eq!(counted(&gateway, "error"), 0.0, "{status}");
    }
}

#[test]
fn a_token_that_was_taken_back_isnt_refreshed() {
    let (endpoint, _api, gateway) = scene("");
    endpoint.gives(json!({"expires_in": 3600, "refresh_token": ""}));
    assert_eq!(gateway.get("/").status, 200);
    endpoint.revoke_all();
    assert_eq!(gateway.get("/").status, 200);
    assert!(endpoint.questions().iter().all(|question| question.body.starts_with(b"grant_type=client_credentials")));
    assert_eq!(endpoint.asked(), 2);
}

#[test]
fn a_refresh_token_that_isnt_replaced_stays_good() {
    let (endpoint, _api, gateway) = scene(", expiry_margin: 1s");
    endpoint.gives(json!({"expires_in": 2, "refresh_token": ""}));
    assert_eq!(gateway.get("/").status, 200);
    endpoint.gives(json!({"expires_in": 2}));
    eventually("it was renewed twice", || {
        assert_eq!(gateway.get("/").status, 200);
        endpoint.asked() >= 3
    });
    for question in &endpoint.questions()[1..3] {
        assert!(question.body.starts_with(b"grant_type=refresh_token&refresh_token=refresh-1&"));
    }
}

#[test]
fn an_endpoint_that_is_down_is_503_until_it_is_back() {
    let port = ClosedPort::reserve();
    let elsewhere = TokenEndpoint::start();
    let api = Upstream::start();
    let gateway = Gateway::start(&sidecar(&api, &format!("http://{}/token", port.address), CLIENT));
    for _ in 0..3 {
        let response = gateway.get("/");
        assert_eq!((response.status, response.challenge()), (503, None), "{}", response.text());
        assert!(response.fields.get("retry-after").unwrap().parse::<u32>().unwrap() > 0);
        assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
    }
    assert_eq!((api.requests().len(), elsewhere.asked()), (0, 0));
    assert!(counted(&gateway, "error") >= 1.0);
    let endpoint = TokenEndpoint::at(port);
    eventually("it is back", || gateway.get("/").status == 200);
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn while_the_endpoint_is_down_the_old_token_serves_to_its_end() {
    let (endpoint, api, gateway) = scene(", expiry_margin: 3s");
    endpoint.gives(json!({"expires_in": 4}));
    assert_eq!(gateway.get("/").status, 200);
    endpoint.answer_instead(500, "", "oops");
    eventually("a renewal fails", || {
        assert_eq!(gateway.get("/").status, 200, "a token that is good was given up");
        endpoint.asked() >= 2
    });
    for _ in 0..5 {
        assert_eq!(gateway.get("/").status, 200, "a token that is good was given up");
    }
    let mut last = gateway.get("/");
    eventually("it has ended", || {
        last = gateway.get("/");
        last.status != 200
    });
    assert_eq!(last.status, 503);
    assert!(last.fields.get("retry-after").is_some());
    assert!(api.requests().iter().all(|request| request.fields.get("authorization") == Some("Bearer token-1")));
    endpoint.recover();
    eventually("it is back", || gateway.get("/").status == 200);
}

#[test]
fn an_endpoint_that_says_no_is_502_and_isnt_hammered() {
    let ours = TokenEndpoint::start();
    let elsewhere = ours.url();
    let redirect = format!("Location: {elsewhere}\r\n");
    for (status, fields, body, expected) in [
        (400, "", r#"{"error": "invalid_scope"}"#, 502),
        (401, "WWW-Authenticate: Basic\r\n", r#"{"error": "invalid_client"}"#, 502),
        (403, "", "no", 502),
        (404, "", "", 502),
        (201, "", r#"{"access_token": "x"}"#, 502),
        (204, "", "", 502),
        (200, "", "", 502),
        (200, "", "<html>login</html>", 502),
        (200, "", r#"{"token_type": "Bearer"}"#, 502),
        (200, "", r#"{"access_token": "x", "token_type": "mac"}"#, 502),
        (200, "", r#"{"access_token": "a b"}"#, 502),
        (302, redirect.as_str(), "", 502),
        (307, redirect.as_str(), "", 502),
        (500, "", "", 503),
        (502, "", "", 503),
        (429, "Retry-After: 7\r\n", "", 503),
    ] {
        let (endpoint, api, gateway) = scene("");
        endpoint.answer_instead(status, fields, body);
        let responses = (0..30).map(|_| gateway.get("/")).collect::<Vec<_>>();
        for response in &responses {
            assert_eq!((response.status, response.challenge()), (expected, None), "{status}: {}", response.text());
            assert_eq!(response.fields.get("retry-after").is_some(), expected == 503, "{status}");
        }
        if status == 429 {
            assert_eq!(responses[0].fields.get("retry-after"), Some("7"));
        }
        assert_eq!(api.requests().len(), 0, "{status}");
        assert!(endpoint.asked() < 15, "{status}: asked {} times", endpoint.asked());
        endpoint.recover();
        if status != 429 {
            eventually("it is over", || gateway.get("/").status == 200);
        }
    }
    assert_eq!(ours.asked(), 0, "a redirect was followed");
}

#[test]
fn a_token_that_the_upstream_refuses_is_replaced_and_the_request_sent_again() {
    let (endpoint, api, gateway) = scene("");
    assert_eq!(post(&gateway, "first").status, 200);
    endpoint.revoke_all();
    let response = post(&gateway, "second");
    assert_eq!((response.status, response.text().as_str()), (200, "hello"));
    let requests = api.requests();
    let sent =
        |place: usize| (requests[place].fields.get("authorization").unwrap().to_owned(), requests[place].body.clone());
    assert_eq!(sent(1), ("Bearer token-1".to_owned(), b"second".to_vec()));
    assert_eq!(sent(2), ("Bearer token-2".to_owned(), b"second".to_vec()));
    assert_eq!((requests.len(), endpoint.asked()), (3, 2));
    endpoint.revoke_all();
    assert_eq!(gateway.get("/").status, 200);
    let mut client = gateway.client();
    endpoint.revoke_all();
    client.send(
        "PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(client.receive().status, 200);
    assert_eq!(api.last_request().body, b"abcde");
}

#[test]
fn many_who_meet_a_refused_token_share_the_next_one() {
    let (endpoint, _api, gateway) = scene("");
    assert_eq!(gateway.get("/").status, 200);
    endpoint.revoke_all();
    std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| assert_eq!(gateway.get("/").status, 200));
        }
    });
    assert_eq!((endpoint.asked(), endpoint.most_at_once()), (2, 1));
}

#[test]
fn a_large_body_isnt_sent_again_and_the_token_is_replaced_all_the_same() {
    let (endpoint, api, gateway) = scene("");
    assert_eq!(gateway.get("/").status, 200);
    for body in ["x".repeat(64 * 1024), "x".repeat(64 * 1024 + 1)] {
        let is_kept = body.len() <= 64 * 1024;
        endpoint.revoke_all();
        let (before, response) = (api.requests().len(), post(&gateway, &body));
        assert_eq!(response.status, if is_kept { 200 } else { 401 });
        assert_eq!(api.requests().len() - before, if is_kept { 2 } else { 1 });
    }
    assert_eq!(gateway.get("/").status, 200, "the refused token was kept");
    endpoint.revoke_all();
    let mut client = gateway.client();
    client.send("PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..5 {
        client.send(format!("4000\r\n{}\r\n", "x".repeat(0x4000)));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.receive().status, 401);
    assert_eq!(gateway.get("/").status, 200);
}

/// Whoever can make an upstream say 401 must not have the endpoint asked each time.
#[test]
fn an_upstream_that_always_says_401_is_heard_and_the_endpoint_not_hammered() {
    let endpoint = TokenEndpoint::start();
    let api = Upstream::start();
    api.answer_with(401, "WWW-Authenticate: Bearer realm=\"api\", error=\"insufficient\"\r\n", b"never");
    let gateway = Gateway::start(&sidecar(&api, &endpoint.url(), CLIENT));
    for _ in 0..100 {
        let response = gateway.get("/");
        assert_eq!((response.status, response.text().as_str()), (401, "never"));
        assert_eq!(response.fields.get("www-authenticate"), Some("Bearer realm=\"api\", error=\"insufficient\""));
    }
    assert!(endpoint.asked() < 30, "asked {} times", endpoint.asked());
    assert!(api.requests().len() < 130);
}

#[test]
fn an_endpoint_that_is_down_when_a_token_is_refused_is_503() {
    let (endpoint, _api, gateway) = scene("");
    assert_eq!(gateway.get("/").status, 200);
    endpoint.revoke_all();
    endpoint.answer_instead(503, "", "");
    assert_eq!(gateway.get("/").status, 503);
    endpoint.recover();
    eventually("it is back", || gateway.get("/").status == 200);
}

/// A reload that changes nothing of the token keeps it; one that does has another.
#[test]
fn a_token_outlives_a_reload() {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let yaml = sidecar(&api, &endpoint.url(), CLIENT).replace("level: error", "level: info, format: json");
    std::fs::write(&file, &yaml).unwrap();
    let binary = Binary::run(&file);
    let admin = binary.line_where("the admin listener's line", |line| line["listener"] == "admin");
    let admin = admin["address"].as_str().unwrap().parse().unwrap();
    let reload = |yaml: &str| {
        std::fs::write(&file, yaml).unwrap();
        let mut client = Client::connect(admin);
        client.send(format!("POST /reload HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.receive();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let get = || exchange(binary.address(), "GET", "/", "").status;
    assert_eq!(get(), 200);
    let slower = yaml.replace("    token:", "    response_timeout: 5s\n    token:");
    assert_ne!(slower, yaml);
    reload(&slower);
    assert_eq!((get(), endpoint.asked()), (200, 1));
    reload(&slower.replace("client_id: app", "client_id: other"));
    assert_eq!((get(), endpoint.asked()), (200, 2));
    assert_eq!(field(&endpoint.questions()[1].body, "client_id").as_deref(), Some("other"));
}

#[test]
fn the_routes_time_bounds_the_wait_for_a_token() {
    let endpoint = TokenEndpoint::start();
    let api = endpoint.api();
    let yaml = sidecar(&api, &endpoint.url(), CLIENT).replace("allow: public", "allow: public, timeout: 200ms");
    let gateway = Gateway::start(&yaml);
    endpoint.hold(true);
    assert_eq!(gateway.get("/").status, 504);
    endpoint.hold(false);
    eventually("the token came all the same", || gateway.get("/").status == 200);
    assert_eq!(endpoint.asked(), 1);
}

#[test]
fn a_websocket_is_opened_with_the_apps_token() {
    let (endpoint, api, gateway) = scene("");
    api.answer(|request, stream| {
        use std::io::Write as _;
        let token = request.fields.get("authorization").unwrap_or_default();
        write!(stream, "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{token}")?;
        Ok(crate::support::upstream::After::Close)
    });
    let mut client = Client::connect(gateway.address);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(client.receive_head().unwrap().unwrap().status, 101);
    client.receive_until(b"Bearer token-1");
    assert_eq!(endpoint.asked(), 1);
}
