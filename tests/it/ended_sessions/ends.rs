//! What ends, and where it holds.

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use super::*;
use crate::support::{
    authorization_server::AuthorizationServer,
    eventually,
    gateway::{Gateway, configuration_of},
    http::Request,
    issuer::Issuer,
    keys::Key,
    redis::Redis,
    relay::{Relay, Way},
    token::{Token, now},
    upstream::{After, Upstream},
};

#[test]
fn a_logout_ends_the_tokens_of_its_session_or_of_its_user() {
    let Scene { issuer, upstream: _upstream, gateway } = scene();
    let of = |sub: &str, sid: Option<&str>| {
        // Well before what ends them, whatever the clock does meanwhile.
        let token = issuer.token().sub(sub).claim("iat", json!(now() - 5)).claim("jti", json!(format!("{sub}{sid:?}")));
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
    let token =
        |sub: &str, sid: &str| issuer.token().claim("iat", json!(now() - 5)).sub(sub).claim("sid", json!(sid)).build();
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
fn whatever_is_made_the_subject_a_logout_is_about_sub() {
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let yaml = yaml(&issuer, &upstream).replace("http_timeout: 30s", "http_timeout: 30s, claims: {subject: email}");
    let gateway = Gateway::start(&yaml);
    let token = |sub: &str, email: &str| {
        issuer.token().claim("iat", json!(now() - 5)).sub(sub).claim("email", json!(email)).build()
    };
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
    let token =
        |sub: &str, sid: &str| issuer.token().claim("iat", json!(now() - 5)).sub(sub).claim("sid", json!(sid)).build();
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
    assert!(!is_let_in(&gateway, &issuer.token().claim("iat", json!(now() - 5)).sub("joe").build()));
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
    let token =
        |sub: &str, sid: &str| issuer.token().claim("iat", json!(now() - 5)).sub(sub).claim("sid", json!(sid)).build();
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

/// One that shares what it knows through Redis at this address.
fn replica(issuer: &Issuer, upstream: &Upstream, address: SocketAddr) -> Gateway {
    Gateway::start(&format!("{}\nstate: {{redis: \"redis://{address}\"}}\n", yaml(issuer, upstream)))
}

/// Who was cut off and is cut off again, while it reads what has changed, lets nothing in that it didn't before.
#[test]
fn what_a_later_logout_replaced_stays_ended_wherever_the_way_to_redis_breaks() {
    let Some(redis) = Redis::start() else { return };
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let way = Relay::to(redis.address());
    let (one, other) = (replica(&issuer, &upstream, redis.address()), replica(&issuer, &upstream, way.address));
    let until_up = |up: f64| eventually("bearward_state_up", || other.metric("bearward_state_up") == up);
    let joes = issuer.token().sub("joe").claim("iat", json!(now() - 200)).build();
    let log_joe_out = |before: i64| {
        let token = logout_token(&issuer).sub("joe").claim("iat", json!(now() - before));
        taken(&log_out(&one, &token.claim("jti", json!(format!("n{before}")))), 200);
    };
    assert!(is_let_in(&other, &joes));
    log_joe_out(100);
    eventually("the other knows of the logout", || !is_let_in(&other, &joes));

    way.be(Way::Cut);
    until_up(0.0);
    log_joe_out(1);
    let held = one.admin("/revocations").json();
    assert_eq!(held.as_array().unwrap().len(), 1);
    eventually("Redis has the later one alone", || redis.ask::<usize>(&["HLEN", "{bearward:revocations}"]) == 1);
    // A later logout lifts nothing, so that nothing of it has to be remembered.
    assert_eq!(redis.ask::<usize>(&["ZCARD", "{bearward:revocations}:lifted"]), 0);

    for word in ["XREVRANGE", "ZRANGE", "HSCAN"] {
        let before = way.ended();
        way.be(Way::Until(word));
        eventually(word, || {
            assert!(!is_let_in(&other, &joes), "the way breaks at {word}");
            way.ended() > before + 1
        });
        assert!(!is_let_in(&other, &joes), "the way broke at {word}");
    }
    way.be(Way::Open);
    eventually("bearward_state_up", || {
        assert!(!is_let_in(&other, &joes));
        other.metric("bearward_state_up") == 1.0
    });
    assert!(!is_let_in(&other, &joes));
    assert_eq!(other.admin("/revocations").json(), held, "the later one alone, and nothing came back to Redis");
    assert_eq!(one.admin("/revocations").json(), held);
}

/// What an operator lifts and an issuer ends anew is ended, also where both are read at once.
#[test]
fn what_was_lifted_and_ended_anew_meanwhile_is_ended() {
    let Some(redis) = Redis::start() else { return };
    let (issuer, upstream) = (Issuer::start(&Key::es256("k1")), Upstream::start());
    let way = Relay::to(redis.address());
    let (one, other) = (replica(&issuer, &upstream, redis.address()), replica(&issuer, &upstream, way.address));
    let joes = issuer.token().sub("joe").claim("iat", json!(now() - 200)).build();
    let log_joe_out = |jti: &str| {
        let token = logout_token(&issuer).sub("joe").claim("iat", json!(now() - 100));
        taken(&log_out(&one, &token.claim("jti", json!(jti))), 200);
        one.admin("/revocations").json()
    };
    let first = log_joe_out("n1");
    eventually("the other knows of the logout", || !is_let_in(&other, &joes));
    way.be(Way::Cut);
    eventually("it is cut off", || other.metric("bearward_state_up") == 0.0);
    let path = format!("/revocations/{}", first[0]["id"].as_str().unwrap());
    assert_eq!(one.admin_call("DELETE", &path, "", "").status, 204);
    assert!(is_let_in(&one, &joes));
    let second = log_joe_out("n2");
    assert_ne!(first[0]["id"], second[0]["id"]);
    let before = way.ended();
    way.be(Way::Until("HSCAN"));
    eventually("it is cut off again", || {
        assert!(!is_let_in(&other, &joes));
        way.ended() > before + 1
    });
    way.be(Way::Open);
    eventually("both have the second alone", || {
        assert!(!is_let_in(&other, &joes));
        other.admin("/revocations").json() == second
    });
    assert_eq!(one.admin("/revocations").json(), second);
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
