//! Where issuers knock, and when.

use std::fs;

use super::*;
use crate::support::{
    binary::Binary,
    eventually,
    gateway::{Gateway, configuration},
    h2::{Connection, END_STREAM, kind},
    issuer::{Issuer, Mood},
    keys::Key,
    raw::exchange,
    upstream::Upstream,
};

#[test]
fn without_the_keys_the_places_are_any_other_path() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let routes = format!(
        "{ROUTES}  - {{name: open, path: \"/.well-known/bearward/events/**\", upstream: echo, allow: public}}\n"
    );
    let own = configuration(&issuer, &upstream, &routes);
    let body = format!("logout_token={}", logout_token(&issuer).build());
    let fields = format!("Content-Type: {FORM}\r\n");
    let listen = "listen: [{address: \"127.0.0.1:0\"}, {address: \"127.0.0.1:0\", mode: forward_auth, request_from: self}, {address: \"127.0.0.1:0\", mode: ext_authz}]";
    for (logout, [at_logout, at_events]) in [
        ("{}", [404, 200]),
        ("{back_channel: false, events: false}", [404, 200]),
        ("{back_channel: true}", [200, 200]),
        ("{events: true}", [404, 400]),
    ] {
        let yaml = own.replace("http_timeout: 30s", &format!("http_timeout: 30s, logout: {logout}"));
        let gateway = Gateway::start(&yaml.replace("listen: [\"127.0.0.1:0\"]", listen));
        let status = |path: &str| post(gateway.address_of(0), path, &fields, &body).status;
        assert_eq!([status(LOGOUT_PLACE), status(EVENTS_PLACE)], [at_logout, at_events], "{logout}");
        assert_eq!([status(&format!("{LOGOUT_PLACE}/")), status(&format!("{EVENTS_PLACE}/"))], [at_logout, at_events]);
        assert_eq!(status("/.well-known/bearward/logout/nobody"), 404);
        assert_eq!(status("/.well-known/bearward/logout/main/x"), 404);
        // Where only decisions are given, and at the admin listener, nobody listens for them.
        let is_there = gateway.metric("bearward_revocations{source=\"back_channel\"}");
        assert_ne!(post(gateway.address_of(1), LOGOUT_PLACE, &fields, &body).status, 200);
        assert_ne!(post(gateway.admin, LOGOUT_PLACE, &fields, &body).status, 200);
        assert_eq!(gateway.metric("bearward_revocations{source=\"back_channel\"}"), is_there);
    }
}

#[test]
fn the_places_come_and_go_with_the_configuration_and_what_was_ended_stays() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.yaml");
    let with = yaml(&issuer, &upstream).replace("level: error", "level: info");
    let without = with.replace(BOTH, "logout: {}");
    fs::write(&file, &without).unwrap();
    let binary = Binary::run(&file);
    let (address, token) = (binary.address(), issuer.token().build());
    let closed = || exchange(address, "GET", "/closed", &format!("Authorization: Bearer {token}\r\n")).status;
    let log_out = || {
        let body = format!("logout_token={}", logout_token(&issuer).build());
        post(address, LOGOUT_PLACE, &format!("Content-Type: {FORM}\r\n"), &body).status
    };
    assert_eq!((log_out(), closed()), (404, 200));
    fs::write(&file, &with).unwrap();
    eventually("the place is there", || log_out() == 200);
    assert_eq!(closed(), 401);
    fs::write(&file, &without).unwrap();
    eventually("the place is gone", || log_out() == 404);
    assert_eq!(closed(), 401);
}

#[test]
fn where_the_keys_cannot_be_had_it_is_to_be_sent_again() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    issuer.be(Mood::Status(500));
    for response in [
        log_out(&gateway, &logout_token(&issuer).kid("new")),
        tell(&gateway, &event(&issuer, REVOKED, user(&issuer, "u1")).kid("new")),
    ] {
        assert_eq!(response.status, 503, "{}", response.text());
        assert!(response.fields.get("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    }
    // What is signed by a key at hand waits for nothing.
    taken(&log_out(&gateway, &logout_token(&issuer)), 200);
    assert!(!is_let_in(&gateway, &issuer.token().claim("iat", json!(crate::support::token::now() - 5)).build()));
}

#[test]
fn a_body_comes_as_it_likes_and_says_nothing_twice() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = logout_token(&issuer).build();
    let mut client = gateway.client();
    let (first, second) = token.split_at(token.len() / 2);
    client.send(format!(
        "POST {LOGOUT_PLACE}?logout_token=x HTTP/1.1\r\nHost: api\r\nContent-Type: {FORM}; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\nlogout%5Ftoken={first}\r\n",
        first.len() + 15
    ));
    client.send(format!("{:x}\r\n{second}&state=1\r\n0\r\n\r\n", second.len() + 8));
    taken(&client.receive(), 200);
    // The connection goes on.
    client.send("GET /nowhere HTTP/1.1\r\nHost: api\r\n\r\n");
    assert_eq!(client.receive().status, 404);
    // In the query alone it isn't there.
    let in_query = format!("{LOGOUT_PLACE}?logout_token={token}");
    assert_eq!(post(gateway.address, &in_query, &format!("Content-Type: {FORM}\r\n"), "").status, 400);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream).replace("workers: 2", "workers: 2, body_timeout: 200ms"));
    for place in [LOGOUT_PLACE, EVENTS_PLACE] {
        let mut client = gateway.client();
        client.send(format!(
            "POST {place} HTTP/1.1\r\nHost: api\r\nContent-Type: {FORM}\r\nContent-Length: 1000\r\n\r\nlogout_token="
        ));
        assert_eq!(client.receive().status, 408);
        assert!(client.is_closed());
    }
}

#[test]
fn metrics_tell_of_notices_without_anything_of_them() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    taken(&log_out(&gateway, &logout_token(&issuer)), 200);
    assert_eq!(log_out(&gateway, &logout_token(&issuer).aud("x")).status, 400);
    assert_eq!(tell(&gateway, &event(&issuer, REVOKED, user(&issuer, "u1")).signed_by(&Key::es256("k1"))).status, 400);
    assert_eq!(gateway.get(LOGOUT_PLACE).status, 405);
    for (outcome, reason) in [("allow", "ok"), ("deny", "audience"), ("deny", "signature"), ("deny", "method")] {
        let series =
            format!(r#"bearward_decisions_total{{issuer="main",outcome="{outcome}",reason="{reason}",route=""}}"#);
        assert_eq!(gateway.metric(&series), 1.0, "{series}");
    }
    for (result, count) in [("ok", 1.0), ("audience", 1.0), ("signature", 1.0)] {
        let series = format!(r#"bearward_verifications_total{{algorithm="ES256",issuer="main",result="{result}"}}"#);
        assert_eq!(gateway.metric(&series), count, "{series}");
    }
}

#[test]
fn a_notice_comes_over_http_2_as_well() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let mut connection = Connection::connect(gateway.address);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "api"),
        (":path", EVENTS_PLACE),
        ("content-type", EVENT),
    ];
    connection.request(1, false, &fields);
    let body = event(&issuer, REVOKED, user(&issuer, "u1")).build();
    let (first, second) = body.split_at(100);
    connection.send(kind::DATA, 0, 1, first.as_bytes());
    connection.send(kind::DATA, END_STREAM, 1, second.as_bytes());
    assert_eq!(connection.outcome(1).status(), 202);
    assert!(!is_let_in(&gateway, &issuer.token().build()));
}
