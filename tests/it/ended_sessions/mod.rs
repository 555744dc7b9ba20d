//! Sessions that their issuer ends: back-channel logout and security events, at the places where anybody may knock.

mod attacks;
mod ends;
mod places;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::{
    gateway::{Gateway, configuration},
    issuer::Issuer,
    keys::Key,
    raw::{Client, Response},
    token::Token,
    upstream::Upstream,
};

const ROUTES: &str = "  - {name: closed, path: /closed, upstream: echo, allow: authenticated}\n";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";
const LOGOUT_PLACE: &str = "/.well-known/bearward/logout/main";
const EVENTS_PLACE: &str = "/.well-known/bearward/events/main";
const FORM: &str = "application/x-www-form-urlencoded";
const EVENT: &str = "application/secevent+jwt";
const BOTH: &str = "logout: {back_channel: true, events: true}";

struct Scene {
    issuer: Issuer,
    upstream: Upstream,
    gateway: Gateway,
}

fn yaml(issuer: &Issuer, upstream: &Upstream) -> String {
    configuration(issuer, upstream, ROUTES).replace("http_timeout: 30s", &format!("http_timeout: 30s, {BOTH}"))
}

fn scene() -> Scene {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let gateway = Gateway::start(&yaml(&issuer, &upstream));
    Scene { issuer, upstream, gateway }
}

#[track_caller]
fn post(address: SocketAddr, path: &str, fields: &str, body: &str) -> Response {
    let mut client = Client::connect(address);
    let length = body.len();
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: api\r\n{fields}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    client.receive()
}

#[track_caller]
fn log_out(gateway: &Gateway, token: &Token) -> Response {
    let body = format!("logout_token={}", token.build());
    post(gateway.address, LOGOUT_PLACE, &format!("Content-Type: {FORM}\r\n"), &body)
}

#[track_caller]
fn tell(gateway: &Gateway, token: &Token) -> Response {
    post(
        gateway.address,
        EVENTS_PLACE,
        &format!("Content-Type: {EVENT}\r\nAccept: application/json\r\n"),
        &token.build(),
    )
}

/// Of `u1`, unless told otherwise.
fn logout_token(issuer: &Issuer) -> Token {
    let token = issuer.token().header("typ", json!("logout+jwt")).without("client_id");
    token.claim("jti", json!("n1")).claim("events", json!({LOGOUT: {}}))
}

fn event(issuer: &Issuer, event: &str, subject: Value) -> Token {
    let token = issuer.token().header("typ", json!("secevent+jwt"));
    let token = token.without("client_id").without("exp").without("sub").claim("jti", json!("n1"));
    token.claim("sub_id", subject).claim("events", json!({event: {}}))
}

fn user(issuer: &Issuer, subject: &str) -> Value {
    json!({"format": "iss_sub", "iss": issuer.url(), "sub": subject})
}

#[track_caller]
fn taken(response: &Response, status: u16) {
    assert_eq!((response.status, response.text().as_str()), (status, ""), "{response:?}");
    assert_eq!(response.fields.get("cache-control"), Some("no-store"));
    assert_eq!(response.fields.get("content-length"), Some("0"));
}

#[track_caller]
fn revoked(response: &Response) {
    assert_eq!(response.status, 401, "{}", response.text());
    assert_eq!(response.challenge().unwrap().get("error_description"), Some("the token has been revoked"));
}

#[track_caller]
fn is_let_in(gateway: &Gateway, token: &str) -> bool {
    let response = gateway.get_with("/closed", token);
    if response.status != 200 {
        revoked(&response);
    }
    response.status == 200
}
