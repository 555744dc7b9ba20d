//! Sessions that their issuer ends: back-channel logout and security events, at the places where anybody may knock.

use std::{fs, io::Write, net::SocketAddr, net::TcpStream, thread};

use serde_json::{Value, json};

use crate::support::{
    authorization_server::AuthorizationServer,
    eventually,
    gateway::{Gateway, configuration, configuration_of},
    http::Request,
    issuer::{Issuer, Mood},
    keys::Key,
    raw::{Client, Response},
    redis::Redis,
    token::{Token, encode, now},
    upstream::{After, Upstream},
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

#[test]
fn a_logout_ends_the_tokens_of_its_session_or_of_its_user() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let of = |sub: &str, sid: Option<&str>| {
        let token = issuer.token().sub(sub).claim("jti", json!(format!("{sub}{sid:?}")));
        sid.map_or_else(|| token.clone(), |sid| token.clone().claim("sid", json!(sid))).build()
    };
    // By sub, sid or both; which of joe's, of s1, s2 and of no session, and of ann's s1 are ended.
    let by_sub = logout_token(&issuer).sub("joe");
    let by_sid = logout_token(&issuer).without("sub").claim("sid", json!("s1"));
    let by_both = by_sub.clone().claim("sid", json!("s1"));
    for (notice, ended) in [
        (&by_sub, [true, true, true, false]),
        (&by_sid, [true, false, false, true]),
        (&by_both, [true, false, true, true]),
    ] {
        let tokens = [of("joe", Some("s1")), of("joe", Some("s2")), of("joe", None), of("ann", Some("s1"))];
        let other = of("sue", None);
        // Known before, all but the last.
        assert!(tokens.iter().take(3).all(|token| is_let_in(&gateway, token)));
        taken(&log_out(&gateway, notice), 200);
        for (token, ended) in tokens.iter().zip(ended) {
            assert_eq!(is_let_in(&gateway, token), !ended);
            assert_eq!(is_let_in(&gateway, token), !ended, "again");
        }
        assert!(is_let_in(&gateway, &other));
        for listed in gateway.admin("/revocations").json().as_array().unwrap() {
            assert_eq!((&listed["source"], &listed["issuer"]), (&json!("back_channel"), &json!("main")));
            let path = format!("/revocations/{}", listed["id"].as_str().unwrap());
            assert_eq!(gateway.admin_call("DELETE", &path, "", "").status, 204);
        }
        assert!(tokens.iter().all(|token| is_let_in(&gateway, token)), "lifted");
    }
}

#[test]
fn a_session_begun_later_is_not_ended_and_no_token_without_a_date_slips_through() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let issued = |at: i64| issuer.token().claim("iat", json!(at)).build();
    let told_at = now() - 20;
    let notice = logout_token(&issuer).claim("iat", json!(told_at));
    taken(&log_out(&gateway, &notice), 200);
    for (token, is_good) in [
        (issued(told_at - 100), false),
        (issued(told_at), false),
        (issued(told_at + 1), true),
        (issued(now()), true),
        (issuer.token().without("iat").build(), false),
    ] {
        assert_eq!(is_let_in(&gateway, &token), is_good);
    }
    // A replay, by whoever has kept it, is answered as before, and ends nothing more.
    taken(&log_out(&gateway, &notice), 200);
    assert!(is_let_in(&gateway, &issued(told_at + 1)));
    assert_eq!(gateway.metric("bearward_revocations{source=\"back_channel\"}"), 1.0);
    // A later one takes the place of the earlier.
    taken(&log_out(&gateway, &logout_token(&issuer)), 200);
    assert!(!is_let_in(&gateway, &issued(told_at + 1)));
    assert_eq!(gateway.metric("bearward_revocations{source=\"back_channel\"}"), 1.0);
    // Neither does an old one that comes late bring it back.
    taken(&log_out(&gateway, &notice.claim("jti", json!("late"))), 200);
    assert!(!is_let_in(&gateway, &issued(told_at + 1)));
    assert_eq!(gateway.metric("bearward_revocations{source=\"back_channel\"}"), 1.0);
}

#[test]
fn events_end_sessions_and_are_answered_as_rfc_8935_has_it() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = |sub: &str, sid: &str| issuer.token().sub(sub).claim("sid", json!(sid)).build();
    let session =
        json!({"format": "complex", "session": {"format": "opaque", "id": "s1"}, "user": user(&issuer, "joe")});
    taken(&tell(&gateway, &event(&issuer, REVOKED, session)), 202);
    assert!(!is_let_in(&gateway, &token("joe", "s1")));
    assert!(is_let_in(&gateway, &token("joe", "s2")));
    taken(&tell(&gateway, &event(&issuer, DISABLED, user(&issuer, "joe"))), 202);
    assert!(!is_let_in(&gateway, &token("joe", "s2")));
    assert!(is_let_in(&gateway, &token("ann", "s2")));
    let held = gateway.metric("bearward_revocations{source=\"events\"}");
    // Nothing ends by these.
    let stream = json!({"format": "opaque", "id": "stream"});
    for notice in [
        event(&issuer, VERIFICATION, stream).claim("events", json!({VERIFICATION: {"state": "abc"}})),
        event(&issuer, "https://example.com/unheard-of", user(&issuer, "ann")),
        event(&issuer, REVOKED, json!({"format": "iss_sub", "iss": "https://other.example", "sub": "ann"})),
    ] {
        taken(&tell(&gateway, &notice), 202);
    }
    assert!(is_let_in(&gateway, &token("ann", "s2")));
    assert_eq!(gateway.metric("bearward_revocations{source=\"events\"}"), held);

    // Sent again after it was lifted: answered, not done again.
    let notice = event(&issuer, REVOKED, user(&issuer, "ann"));
    taken(&tell(&gateway, &notice), 202);
    assert!(!is_let_in(&gateway, &token("ann", "s2")));
    let all = gateway.admin("/revocations").json();
    let anns = all.as_array().unwrap().iter().find(|one| one["sub"] == "ann").unwrap()["id"].as_str().unwrap();
    assert_eq!(gateway.admin_call("DELETE", &format!("/revocations/{anns}"), "", "").status, 204);
    taken(&tell(&gateway, &notice), 202);
    assert!(is_let_in(&gateway, &token("ann", "s2")));
    taken(&tell(&gateway, &notice.claim("jti", json!("n2"))), 202);
    assert!(!is_let_in(&gateway, &token("ann", "s2")));
}

#[test]
fn all_that_is_refused_says_why_and_ends_nothing() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let token = issuer.token().build();
    let good = logout_token(&issuer);
    let other = Key::es256("k1");
    let form = format!("Content-Type: {FORM}\r\n");
    let as_form = |token: &Token| format!("logout_token={}", token.build());
    for (fields, body, words) in [
        (&*form, String::new(), "not exactly one logout_token"),
        (&*form, "logout_token=".to_owned(), "malformed"),
        (&*form, "logout_token=abc".to_owned(), "malformed"),
        (&*form, good.build(), "not exactly one logout_token"),
        (&*form, format!("token={}", good.build()), "not exactly one logout_token"),
        (&*form, format!("{0}&{0}", as_form(&good)), "not exactly one logout_token"),
        (&*form, format!("{}&logout%5Ftoken=x", as_form(&good)), "not exactly one logout_token"),
        ("", as_form(&good), "not of the type"),
        ("Content-Type: application/json\r\n", as_form(&good), "not of the type"),
        ("Content-Type: text/plain\r\n", as_form(&good), "not of the type"),
        (&*format!("{form}{form}"), as_form(&good), "not of the type"),
        (&*form, as_form(&good.clone().signed_by(&other)), "signature"),
        (&*form, as_form(&good.clone().kid("gone")), "does not publish"),
        (&*form, as_form(&good.clone().alg("none")), "algorithm"),
        (&*form, format!("logout_token={}.", good.clone().alg("none").signing_input()), "algorithm"),
        (
            &*form,
            format!("logout_token={}", good.clone().alg("HS256").with_hmac(issuer.jwks().as_bytes())),
            "algorithm",
        ),
        (&*form, as_form(&good.clone().header("jwk", other.jwk()).signed_by(&other)), "signature"),
        (&*form, as_form(&issuer.token()), "of a type"),
        (&*form, as_form(&issuer.token().header("typ", json!("JWT")).claim("jti", json!("t"))), "no events"),
        (&*form, as_form(&good.clone().claim("nonce", json!("n"))), "nonce"),
        (&*form, as_form(&good.clone().aud("other")), "another audience"),
        (&*form, as_form(&good.clone().claim("iss", json!("https://other.example"))), "from an issuer"),
        (&*form, as_form(&good.clone().exp_in(-100)), "expired"),
        (&*form, as_form(&good.clone().claim("iat", json!(now() - 1000))), "too old"),
        (&*form, as_form(&good.clone().claim("iat", json!(now() + 100))), "in the future"),
        (&*form, as_form(&good.clone().without("jti")), "lacks a claim"),
        (&*form, as_form(&good.clone().without("sub")), "lacks a claim"),
        (&*form, as_form(&event(&issuer, REVOKED, user(&issuer, "u1"))), "of a type"),
    ] {
        let response = post(gateway.address, LOGOUT_PLACE, fields, &body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        let document = response.json();
        assert_eq!(document["error"], "invalid_request");
        assert!(document["error_description"].as_str().unwrap().contains(words), "{words}: {document}");
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
        assert_eq!(response.fields.get("content-type"), Some("application/json"));
    }
    let good = event(&issuer, REVOKED, user(&issuer, "u1"));
    let said = format!("Content-Type: {EVENT}\r\n");
    for (fields, body, err) in [
        (&*said, String::new(), "invalid_request"),
        (&*said, "{}".to_owned(), "invalid_request"),
        ("", good.build(), "invalid_request"),
        (&*form, good.build(), "invalid_request"),
        (&*said, good.clone().kid("gone").build(), "invalid_key"),
        (&*said, good.clone().alg("none").build(), "invalid_key"),
        (&*said, good.clone().signed_by(&other).build(), "authentication_failed"),
        (&*said, good.clone().aud("other").build(), "invalid_audience"),
        (&*said, good.clone().claim("iss", json!("https://other.example")).build(), "invalid_issuer"),
        (&*said, good.clone().without("jti").build(), "invalid_request"),
        (&*said, good.clone().without("sub_id").build(), "invalid_request"),
        (
            &*said,
            good.clone().claim("sub_id", json!({"format": "email", "email": "a@b.example"})).build(),
            "invalid_request",
        ),
        (&*said, good.clone().claim("events", json!({REVOKED: 5})).build(), "invalid_request"),
        (&*said, good.clone().header("typ", json!("JWT")).build(), "invalid_request"),
        (&*said, logout_token(&issuer).build(), "invalid_request"),
        (&*said, issuer.token().build(), "invalid_request"),
    ] {
        let response = post(gateway.address, EVENTS_PLACE, fields, &body);
        assert_eq!(response.status, 400, "{body}: {}", response.text());
        assert_eq!(response.json()["err"], err, "{body}");
        assert!(!response.json()["description"].as_str().unwrap().is_empty());
        assert_eq!(response.fields.get("content-language"), Some("en"));
        assert_eq!(response.fields.get("cache-control"), Some("no-store"));
    }
    for path in [LOGOUT_PLACE, EVENTS_PLACE] {
        let response = post(gateway.address, path, &form, &"a".repeat(64 * 1024 + 1));
        assert_eq!(response.status, 413);
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "FOO"] {
            let response = gateway.call(method, path, "Content-Length: 0\r\n");
            assert_eq!((response.status, response.fields.get("allow")), (405, Some("POST")), "{method}");
        }
    }
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    assert!(is_let_in(&gateway, &token));
}

#[test]
fn what_tells_of_an_end_lets_nobody_in() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let logout = logout_token(&issuer);
    for typ in ["logout+jwt", "JWT", "at+jwt", "secevent+jwt"] {
        let token = logout.clone().header("typ", json!(typ)).build();
        let response = gateway.get_with("/closed", &token);
        assert_eq!(response.status, 401, "{typ}");
        assert_eq!(response.challenge().unwrap().error(), Some("invalid_token"));
    }
}

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
fn no_issuer_ends_anothers_sessions() {
    let (main, other) = (Issuer::start(&Key::es256("k1")), Issuer::start(&Key::eddsa("k2")));
    let upstream = Upstream::start();
    let issuers = ["main", "other"].map(|name| {
        let url = if name == "main" { main.url() } else { other.url() };
        format!("  {name}: {{issuer: \"{url}\", audiences: [api], http_timeout: 30s, {BOTH}}}\n")
    });
    let gateway = Gateway::start(&configuration_of(&issuers.concat(), &upstream.url(), ROUTES));
    let form = format!("Content-Type: {FORM}\r\n");
    let at =
        |place: &str, token: &Token| post(gateway.address, place, &form, &format!("logout_token={}", token.build()));
    // Its token at another's place, in another's name, about another's subject.
    assert_eq!(at(LOGOUT_PLACE, &logout_token(&other)).status, 400);
    let in_its_name = logout_token(&other).claim("iss", json!(main.url()));
    assert_eq!(at(LOGOUT_PLACE, &in_its_name).status, 400);
    assert_eq!(at("/.well-known/bearward/logout/other", &in_its_name).status, 400);
    let about = event(&other, REVOKED, user(&main, "u1"));
    let said = format!("Content-Type: {EVENT}\r\n");
    taken(&post(gateway.address, "/.well-known/bearward/events/other", &said, &about.build()), 202);
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    // Of one name with two issuers, the one who logs out.
    taken(&at("/.well-known/bearward/logout/other", &logout_token(&other)), 200);
    assert!(is_let_in(&gateway, &main.token().build()));
    assert!(!is_let_in(&gateway, &other.token().build()));
}

#[test]
fn whatever_is_made_the_subject_a_logout_is_about_sub() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = yaml(&issuer, &upstream).replace("http_timeout: 30s", "http_timeout: 30s, claims: {subject: email}");
    let gateway = Gateway::start(&yaml);
    let token = |sub: &str, email: &str| issuer.token().sub(sub).claim("email", json!(email)).build();
    taken(&log_out(&gateway, &logout_token(&issuer).sub("joe")), 200);
    assert!(!is_let_in(&gateway, &token("joe", "joe@a.example")));
    // Who names himself so isn't joe.
    assert!(is_let_in(&gateway, &token("ann", "joe")));
}

#[test]
fn a_logout_ends_tokens_that_the_issuer_is_asked_about() {
    let (server, upstream) = (AuthorizationServer::start(), Upstream::start());
    let key = Key::es256("k1");
    server.publish(&json!({"keys": [key.jwk()]}).to_string());
    let issuers = format!(
        "  main: {{issuer: \"{}\", audiences: [api], introspection: {{client_id: gw, client_secret: s3cret, timeout: 30s, cache_ttl: 1h}}, \
         http_timeout: 30s, {BOTH}}}\n",
        server.url()
    );
    let gateway = Gateway::start(&configuration_of(&issuers, &upstream.url(), ROUTES));
    for (token, claims) in [
        ("t1", json!({"sub": "joe", "sid": "s1"})),
        ("t2", json!({"sub": "joe"})),
        ("t3", json!({"sub": "joe", "iat": now() + 5, "sid": "s2"})),
        ("t4", json!({"sub": "ann"})),
    ] {
        server.active(token, claims);
    }
    assert!(["t1", "t2", "t3", "t4"].iter().all(|token| is_let_in(&gateway, token)));
    let notice = |audience: &str| {
        let token = Token::new(server.url(), &key).aud(audience).sub("joe").header("typ", json!("logout+jwt"));
        token.claim("jti", json!("n1")).claim("events", json!({LOGOUT: {}}))
    };
    // For the gateway as the issuer knows it.
    assert_eq!(log_out(&gateway, &notice("another")).status, 400);
    taken(&log_out(&gateway, &notice("gw")), 200);
    let good = ["t1", "t2", "t3", "t4"].map(|token| is_let_in(&gateway, token));
    assert_eq!(good, [false, false, true, true]);
}

#[test]
fn what_an_issuer_ended_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let state = folder.path().join("state");
    let yaml = format!("state: {{dir: \"{}\"}}\n{}", state.display(), yaml(&issuer, &upstream));
    let token = |sub: &str, sid: &str| issuer.token().sub(sub).claim("sid", json!(sid)).build();
    let gateway = Gateway::start(&yaml);
    taken(&log_out(&gateway, &logout_token(&issuer).sub("joe").claim("sid", json!("s1"))), 200);
    taken(&tell(&gateway, &event(&issuer, REVOKED, user(&issuer, "ann"))), 202);
    // On disk when it is answered.
    let kept = fs::read_to_string(state.join("revocations.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 3, "{kept}");
    drop(gateway);
    // Also where nobody listens for more.
    let gateway = Gateway::start(&yaml.replace(BOTH, "logout: {}"));
    assert!(!is_let_in(&gateway, &token("joe", "s1")));
    assert!(is_let_in(&gateway, &token("joe", "s2")));
    assert!(!is_let_in(&gateway, &issuer.token().sub("joe").build()));
    assert!(!is_let_in(&gateway, &token("ann", "s2")));
    assert_eq!(gateway.metric("bearward_revocations{source=\"back_channel\"}"), 2.0);
    assert_eq!(gateway.metric("bearward_revocations{source=\"events\"}"), 1.0);
}

#[test]
fn what_one_replica_is_told_all_know() {
    let Some(redis) = Redis::start() else { return };
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = format!("{}\nstate: {{redis: \"{}\"}}\n", yaml(&issuer, &upstream), redis.url());
    let (one, other) = (Gateway::start(&yaml), Gateway::start(&yaml));
    let token = |sub: &str, sid: &str| issuer.token().sub(sub).claim("sid", json!(sid)).build();
    let (joes, anns) = (token("joe", "s1"), token("ann", "s2"));
    assert!([&joes, &anns].iter().all(|token| is_let_in(&other, token)));
    taken(&log_out(&one, &logout_token(&issuer).without("sub").claim("sid", json!("s1"))), 200);
    eventually("the other knows of the logout", || !is_let_in(&other, &joes));
    taken(&tell(&other, &event(&issuer, REVOKED, user(&issuer, "ann"))), 202);
    eventually("the first knows of the event", || !is_let_in(&one, &anns));
    // A later logout of the same takes the earlier's place everywhere.
    taken(
        &log_out(
            &other,
            &logout_token(&issuer).without("sub").claim("sid", json!("s1")).claim("iat", json!(now() + 1)),
        ),
        200,
    );
    let held = || one.admin("/revocations").json().as_array().unwrap().len();
    eventually("the first has the later one alone", || held() == 2);
    assert!(!is_let_in(&one, &joes) && !is_let_in(&other, &joes));
    let late = Gateway::start(&yaml);
    assert!(!is_let_in(&late, &joes) && !is_let_in(&late, &anns));
}

#[test]
fn a_new_key_is_fetched_once_and_a_flood_of_unknown_ones_fetches_no_more() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let fetches = issuer.fetches();
    let (new, known) = (Key::es256("k2"), issuer.token().build());
    issuer.publish(new.jwk());
    taken(&log_out(&gateway, &logout_token(&issuer).sub("joe").kid("k2").signed_by(&new)), 200);
    assert_eq!(issuer.fetches(), fetches + 1);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (gateway, issuer, known) = (&gateway, &issuer, &known);
            scope.spawn(move || {
                for number in 0..20 {
                    let flood = logout_token(issuer).kid(&format!("{thread}-{number}"));
                    assert_eq!(log_out(gateway, &flood).status, 400);
                    assert!(is_let_in(gateway, known));
                }
            });
        }
    });
    // One in 5 s at most, however long this took.
    assert!(issuer.fetches() <= fetches + 20);
    let claims = [logout_token(&issuer).aud("x"), logout_token(&issuer).claim("events", json!({}))];
    let before = issuer.fetches();
    for notice in claims {
        assert_eq!(log_out(&gateway, &notice.kid("gone")).status, 400);
    }
    assert_eq!(issuer.fetches(), before, "nothing is fetched for what is refused anyway");
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
    assert!(!is_let_in(&gateway, &issuer.token().build()));
}

#[test]
fn a_tunnel_ends_with_its_session() {
    let Scene { issuer, upstream, gateway } = scene();
    upstream.answer(|_: &Request, stream: &mut TcpStream| {
        stream
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")?;
        let mut rest = Vec::new();
        std::io::Read::read_to_end(stream, &mut rest)?;
        Ok(After::Close)
    });
    let token = issuer.token().claim("sid", json!("s1")).build();
    let mut client = gateway.client();
    client.send(format!(
        "GET /closed HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    ));
    assert_eq!(client.receive().status, 101);
    client.receive_until(b"hello");
    taken(&log_out(&gateway, &logout_token(&issuer).without("sub").claim("sid", json!("s1"))), 200);
    assert!(client.is_closed(), "without another byte");
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
fn nothing_that_anybody_sends_ends_anything() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let thief = Key::es256("k1");
    let good = logout_token(&issuer).build();
    let parts = good.split('.').collect::<Vec<_>>();
    let changed = encode(
        json!({"iss": issuer.url(), "aud": "api", "iat": now(), "jti": "x", "sub": "u1", "events": {LOGOUT: {}}})
            .to_string(),
    );
    let forms = [
        format!("{}.{changed}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{}", parts[0], parts[1], parts[2].to_lowercase()),
        format!("{}.{}.{}=", parts[0], parts[1], parts[2]),
        format!("{} {}", parts[0], parts[1]),
        "\u{0}".repeat(100),
        "%".repeat(1000),
        "a.".repeat(10_000),
        format!("{{{}", "[".repeat(10_000)),
        logout_token(&issuer)
            .signed_by(&thief)
            .header("x5c", json!(["x"]))
            .header("jku", json!("http://127.0.0.1:1"))
            .build(),
    ];
    for text in forms {
        for (place, fields, body) in [
            (LOGOUT_PLACE, format!("Content-Type: {FORM}\r\n"), format!("logout_token={text}")),
            (EVENTS_PLACE, format!("Content-Type: {EVENT}\r\n"), text.clone()),
        ] {
            assert_eq!(post(gateway.address, place, &fields, &body).status, 400, "{text}");
        }
    }
    assert_eq!(gateway.admin("/revocations").json(), json!([]));
    assert!(is_let_in(&gateway, &issuer.token().build()));
}
