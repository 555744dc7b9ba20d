//! What ends sessions, and all that doesn't.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::token::{
    issuer::{Audiences, KeySource},
    tests::{ED, P256, RSA, ask, issuer_with, jwks, ready, settings, with},
};

const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 30;
const DAY: i64 = 24 * 3600;
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const DISABLED: &str = "https://schemas.openid.net/secevent/risc/event-type/account-disabled";
const VERIFICATION: &str = "https://schemas.openid.net/secevent/ssf/event-type/verification";

fn issuer() -> Arc<Issuer> {
    issuer_with(settings("a", KeySource::Inline(jwks(&[P256.jwk_of("p256"), RSA.jwk_of("rsa")]))))
}

fn logout_claims() -> Value {
    json!({"iss": "https://a.example", "aud": "api", "iat": NOW, "exp": NOW + 120, "jti": "n1", "sub": "joe",
           "events": {LOGOUT: {}}})
}

fn event_claims(event: &str, payload: Value) -> Value {
    json!({"iss": "https://a.example", "aud": "api", "iat": NOW, "jti": "n1",
           "sub_id": {"format": "iss_sub", "iss": "https://a.example", "sub": "joe"}, "events": {event: payload}})
}

fn logout_token(claims: Value) -> String {
    P256.token(json!({"alg": "ES256", "kid": "p256", "typ": "logout+jwt"}), claims)
}

fn event_token(claims: Value) -> String {
    P256.token(json!({"alg": "ES256", "kid": "p256", "typ": "secevent+jwt"}), claims)
}

fn read_by(issuer: &Arc<Issuer>, channel: Channel, token: &str) -> Result<Notice, Refused> {
    ready(Desk::default().read(token, issuer, channel, NOW))
}

fn log_out(claims: Value) -> Result<Notice, NoticeFault> {
    read_by(&issuer(), Channel::BackChannel, &logout_token(claims)).map_err(|refused| refused.fault)
}

fn tell(claims: Value) -> Result<Notice, NoticeFault> {
    read_by(&issuer(), Channel::Events, &event_token(claims)).map_err(|refused| refused.fault)
}

fn sub(sub: &str, without_sid: bool) -> Target {
    Target::Sub { sub: sub.to_owned(), without_sid }
}

fn sid(sid: &str) -> Target {
    Target::Sid(sid.to_owned())
}

#[track_caller]
fn ended(notice: Result<Notice, NoticeFault>) -> Vec<Target> {
    notice.unwrap().wishes.into_iter().map(|wish| wish.target).collect()
}

fn without(mut object: Value, name: &str) -> Value {
    object.as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn a_logout_ends_what_was_issued_up_to_it() {
    let notice = log_out(logout_claims()).unwrap();
    let [wish] = &notice.wishes[..] else { panic!("{notice:?}") };
    assert_eq!(wish.target, sub("joe", false));
    assert_eq!((wish.issued_before, wish.source), (Some(NOW + 1), Source::BackChannel));
    assert_eq!(wish.issuer.as_ref().unwrap().authority, "https://a.example");
    // 30 days, the skew, and the day that revocations stay longer.
    assert_eq!(wish.expires_at, Some(NOW + 31 * DAY + SKEW));
    let with_sid = with(logout_claims(), "sid", json!("s1"));
    assert_eq!(ended(log_out(with_sid.clone())), [sid("s1"), sub("joe", true)]);
    assert_eq!(ended(log_out(without(with_sid, "sub"))), [sid("s1")]);

    let mut short = settings("a", KeySource::Inline(jwks(&[P256.jwk_of("p256")])));
    short.jwt.max_token_age = Some(Duration::from_secs(600));
    let notice = read_by(&issuer_with(short), Channel::BackChannel, &logout_token(logout_claims())).unwrap();
    assert_eq!(notice.wishes[0].expires_at, Some(NOW + 600 + SKEW + DAY));
}

#[test]
fn what_is_no_logout_token() {
    use NoticeFault::Token;
    let events = |events: Value| with(logout_claims(), "events", events);
    let content = NoticeFault::Content;
    let no_logout = content("the events claim does not tell of a logout");
    let no_events = content("there is no events claim that is an object");
    let no_name = content("a name in it is empty, too long, or not a text");
    for (claims, fault) in [
        (with(logout_claims(), "iss", json!("https://b.example")), Token(TokenFault::Issuer)),
        (without(logout_claims(), "iss"), Token(TokenFault::Issuer)),
        (with(logout_claims(), "aud", json!("other")), Token(TokenFault::Audience)),
        (with(logout_claims(), "aud", json!([])), Token(TokenFault::Audience)),
        (without(logout_claims(), "aud"), Token(TokenFault::Audience)),
        (without(logout_claims(), "iat"), Token(TokenFault::MissingClaim)),
        (with(logout_claims(), "iat", json!("1800000000")), Token(TokenFault::Malformed)),
        (with(logout_claims(), "iat", json!(NOW + SKEW + 1)), Token(TokenFault::IssuedInFuture)),
        (with(logout_claims(), "iat", json!(NOW - 300 - SKEW - 1)), Token(TokenFault::TooOld)),
        (with(logout_claims(), "exp", json!(NOW - SKEW)), Token(TokenFault::Expired)),
        (with(logout_claims(), "nbf", json!(NOW + SKEW + 1)), Token(TokenFault::NotYetValid)),
        (without(logout_claims(), "jti"), Token(TokenFault::MissingClaim)),
        (with(logout_claims(), "jti", json!(5)), no_name),
        (with(logout_claims(), "jti", json!("")), no_name),
        (without(logout_claims(), "sub"), Token(TokenFault::MissingClaim)),
        (with(logout_claims(), "sub", json!(5)), no_name),
        (with(logout_claims(), "sid", json!(["s1"])), no_name),
        (with(logout_claims(), "sid", json!("s".repeat(1025))), no_name),
        (with(logout_claims(), "nonce", json!("n")), content("a logout token has no nonce")),
        (with(logout_claims(), "nonce", json!(null)), content("a logout token has no nonce")),
        (without(logout_claims(), "events"), no_events),
        (events(json!(null)), no_events),
        (events(json!([LOGOUT])), no_events),
        (events(json!(LOGOUT)), no_events),
        (events(json!({})), no_logout),
        (events(json!({LOGOUT: null})), no_logout),
        (events(json!({LOGOUT: true})), no_logout),
        (events(json!({LOGOUT: []})), no_logout),
        (events(json!({REVOKED: {}})), no_logout),
        (events(json!({"backchannel-logout": {}})), no_logout),
    ] {
        assert_eq!(log_out(claims.clone()).unwrap_err(), fault, "{claims}");
    }
    for claims in [
        with(logout_claims(), "aud", json!(["other", "api-2"])),
        with(logout_claims(), "iat", json!(NOW - 300 - SKEW)),
        without(logout_claims(), "exp"),
        events(json!({LOGOUT: {"more": 1}, REVOKED: 5})),
    ] {
        assert!(log_out(claims.clone()).is_ok(), "{claims}");
    }
}

#[test]
fn only_the_issuers_signature_counts() {
    let issuer = issuer();
    let asked = |header: Value, claims: Value, by: &crate::token::tests::Signer| {
        read_by(&issuer, Channel::BackChannel, &by.token(header, claims))
            .map(|_| ())
            .map_err(|refused| (refused.fault, refused.is_issuers))
    };
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid, "typ": "logout+jwt"});
    let fault = |fault| Err((NoticeFault::Token(fault), false));
    for (given, by, result) in [
        (header("ES256", "p256"), &P256, Ok(())),
        (header("RS256", "rsa"), &RSA, Ok(())),
        (json!({"alg": "ES256"}), &P256, Ok(())),
        (with(header("ES256", "p256"), "typ", json!("JWT")), &P256, Ok(())),
        (with(header("ES256", "p256"), "typ", json!("application/Logout+JWT")), &P256, Ok(())),
        (header("ES256", "gone"), &P256, fault(TokenFault::Key)),
        (header("EdDSA", "p256"), &ED, fault(TokenFault::Key)),
        (header("none", "p256"), &P256, fault(TokenFault::Algorithm)),
        (header("HS256", "p256"), &P256, fault(TokenFault::Algorithm)),
        (with(header("ES256", "p256"), "crit", json!(["b64"])), &P256, fault(TokenFault::Critical)),
        (with(header("ES256", "p256"), "typ", json!("at+jwt")), &P256, fault(TokenFault::Type)),
        (with(header("ES256", "p256"), "typ", json!("secevent+jwt")), &P256, fault(TokenFault::Type)),
        (with(header("ES256", "p256"), "typ", json!("id_token")), &P256, fault(TokenFault::Type)),
    ] {
        assert_eq!(asked(given.clone(), logout_claims(), by), result, "{given}");
    }
    // Whose it is isn't known before the signature is good.
    let unsigned = logout_token(logout_claims());
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    let (_, other) = logout_token(with(logout_claims(), "sub", json!("ann")))
        .rsplit_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    for (text, expected) in [
        (format!("{signed}.{other}"), TokenFault::Signature),
        (format!("{signed}."), TokenFault::Signature),
        (signed.to_owned(), TokenFault::Malformed),
        (String::new(), TokenFault::Malformed),
        ("a.b.c.d.e".to_owned(), TokenFault::Malformed),
        (format!("{unsigned} "), TokenFault::Malformed),
    ] {
        let refused = read_by(&issuer, Channel::BackChannel, &text).unwrap_err();
        assert_eq!(refused, Refused { fault: NoticeFault::Token(expected), is_issuers: false }, "{text}");
    }
    let refused =
        read_by(&issuer, Channel::BackChannel, &logout_token(without(logout_claims(), "events"))).unwrap_err();
    assert!(refused.is_issuers);
}

#[test]
fn one_kind_of_token_does_not_pass_for_another() {
    let issuer = issuer();
    let access =
        json!({"iss": "https://a.example", "aud": "api", "iat": NOW, "exp": NOW + 100, "sub": "joe", "jti": "t"});
    let id = with(access.clone(), "nonce", json!("n"));
    for claims in [&access, &id] {
        for typ in ["JWT", "at+jwt", "logout+jwt", "secevent+jwt"] {
            let token = P256.token(json!({"alg": "ES256", "kid": "p256", "typ": typ}), claims.clone());
            for channel in [Channel::BackChannel, Channel::Events] {
                assert!(read_by(&issuer, channel, &token).is_err(), "{typ} {channel:?}");
            }
        }
    }
    let event = with(event_claims(REVOKED, json!({})), "exp", json!(NOW + 100));
    for claims in [with(logout_claims(), "scope", json!("x")), with(event, "sub", json!("joe"))] {
        for typ in ["JWT", "at+jwt", "logout+jwt", "secevent+jwt"] {
            let token = P256.token(json!({"alg": "ES256", "kid": "p256", "typ": typ}), claims.clone());
            let refused = ask(&token, std::slice::from_ref(&issuer), NOW).unwrap_err();
            assert_eq!(refused, crate::refusal::Refusal::Token(TokenFault::Type), "{typ}: {claims}");
        }
    }
    // A claim of that name which is no object is somebody's own.
    let token = P256.token(json!({"alg": "ES256", "kid": "p256"}), with(access, "events", json!(["concert"])));
    assert!(ask(&token, std::slice::from_ref(&issuer), NOW).is_ok());
}

#[test]
fn events_end_sessions_and_accounts() {
    let about = |subject: Value| with(event_claims(REVOKED, json!({})), "sub_id", subject);
    let user = json!({"format": "iss_sub", "iss": "https://a.example", "sub": "joe"});
    let session = json!({"format": "opaque", "id": "s1"});
    let others = json!({"format": "iss_sub", "iss": "https://b.example", "sub": "joe"});
    let email = json!({"format": "email", "email": "joe@a.example"});
    let both = json!({"format": "complex", "session": session, "user": user});
    for (claims, targets) in [
        (about(user.clone()), vec![sub("joe", false)]),
        (about(session.clone()), vec![sid("s1"), sub("s1", false)]),
        (about(both.clone()), vec![sid("s1"), sub("joe", true)]),
        (about(json!({"format": "complex", "session": session})), vec![sid("s1")]),
        (about(json!({"format": "complex", "user": user, "device": session})), vec![sub("joe", false)]),
        (about(json!({"format": "complex", "user": email, "session": session})), vec![sid("s1")]),
        (about(json!({"format": "complex", "user": user, "session": email})), vec![sub("joe", false)]),
        (about(json!({"user": user, "session": session})), vec![sid("s1"), sub("joe", true)]),
        (about(json!({"format": "jwt_id", "iss": "https://a.example", "jti": "t"})), vec![Target::Jti("t".to_owned())]),
        (about(json!({"format": "aliases", "identifiers": [email, user]})), vec![sub("joe", false)]),
        (about(json!({"subject_type": "iss-sub", "iss": "https://a.example", "sub": "joe"})), vec![sub("joe", false)]),
        (about(others.clone()), vec![]),
        (with(event_claims(DISABLED, json!({})), "sub_id", both), vec![sid("s1"), sub("joe", false)]),
        (
            without(with(event_claims(REVOKED, json!({"subject": user})), "x", json!(1)), "sub_id"),
            vec![sub("joe", false)],
        ),
        (without(with(event_claims(REVOKED, json!({})), "sub", json!("joe")), "sub_id"), vec![sub("joe", false)]),
        (event_claims(VERIFICATION, json!({"state": "x"})), vec![]),
        (without(event_claims(VERIFICATION, json!({})), "sub_id"), vec![]),
        (event_claims("https://example.com/another", json!({})), vec![]),
    ] {
        assert_eq!(ended(tell(claims.clone())), targets, "{claims}");
    }
}

#[test]
fn what_is_no_event() {
    use NoticeFault::Token;
    let content = NoticeFault::Content;
    let about = |subject: Value| with(event_claims(REVOKED, json!({})), "sub_id", subject);
    let events = |events: Value| with(event_claims(REVOKED, json!({})), "events", events);
    let no_name = content("a name in it is empty, too long, or not a text");
    let no_format = content(
        "the subject is in a format that is not understood here: iss_sub, opaque, jwt_id, aliases and complex are",
    );
    let user = json!({"format": "iss_sub", "iss": "https://a.example", "sub": "joe"});
    let many = (0..17).map(|n| json!({"format": "iss_sub", "iss": "https://a.example", "sub": n.to_string()}));
    let flood: serde_json::Map<_, _> = (0..17).map(|n| (format!("https://example.com/{n}"), json!({}))).collect();
    for (claims, fault) in [
        (events(json!({})), content("there is no event, or there are too many")),
        (events(flood.into()), content("there is no event, or there are too many")),
        (events(json!({REVOKED: null})), content("an event is not an object")),
        (events(json!({"https://example.com/x": 5})), content("an event is not an object")),
        (without(event_claims(REVOKED, json!({})), "sub_id"), Token(TokenFault::MissingClaim)),
        (about(json!("joe")), content("the subject is not an object")),
        (about(json!({})), no_format),
        (about(json!({"format": "email", "email": "joe@a.example"})), no_format),
        (about(json!({"format": "complex", "tenant": {"format": "opaque", "id": "t"}})), no_format),
        (about(json!({"format": "aliases", "identifiers": []})), no_format),
        (about(json!({"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [user]}]})), no_format),
        (
            about(json!({"format": "aliases", "identifiers": many.collect::<Vec<_>>()})),
            content("there are too many subjects"),
        ),
        (about(json!({"format": "aliases"})), no_name),
        (about(json!({"format": "complex", "user": "joe"})), no_name),
        (about(json!({"format": 5})), no_name),
        (about(json!({"format": "iss_sub", "sub": "joe"})), no_name),
        (about(json!({"format": "iss_sub", "iss": "https://a.example"})), no_name),
        (about(json!({"format": "opaque", "id": ""})), no_name),
        (with(event_claims(REVOKED, json!({})), "iat", json!(NOW - DAY - SKEW - 1)), Token(TokenFault::TooOld)),
        (with(event_claims(REVOKED, json!({})), "aud", json!("other")), Token(TokenFault::Audience)),
        (without(event_claims(REVOKED, json!({})), "aud"), Token(TokenFault::Audience)),
        (without(event_claims(REVOKED, json!({})), "jti"), Token(TokenFault::MissingClaim)),
    ] {
        assert_eq!(tell(claims.clone()).unwrap_err(), fault, "{claims}");
    }
    for typ in ["JWT", "logout+jwt", "at+jwt"] {
        let token = P256.token(json!({"alg": "ES256", "kid": "p256", "typ": typ}), event_claims(REVOKED, json!({})));
        let refused = read_by(&issuer(), Channel::Events, &token).unwrap_err();
        assert_eq!(refused.fault, Token(TokenFault::Type), "{typ}");
    }
}

#[test]
fn an_event_ends_what_was_issued_until_it_happened() {
    for (payload, toe, at) in [
        (json!({}), json!(null), NOW),
        (json!({"event_timestamp": NOW - 50}), json!(null), NOW - 50),
        (json!({"event_timestamp": NOW - 50}), json!(NOW - 90), NOW - 50),
        (json!({}), json!(NOW - 90), NOW - 90),
        (json!({"event_timestamp": (NOW - 50) as f64 + 0.5}), json!(null), NOW - 50),
        // Milliseconds; later than what tells of it; a text; long before.
        (json!({"event_timestamp": (NOW - 50) * 1000}), json!(null), NOW),
        (json!({"event_timestamp": NOW + 1}), json!(null), NOW),
        (json!({"event_timestamp": "1799999950"}), json!(null), NOW),
        (json!({"event_timestamp": 0}), json!(null), NOW),
        (json!({"event_timestamp": -1e300}), json!(null), NOW),
    ] {
        let claims = with(event_claims(REVOKED, payload.clone()), "toe", toe);
        assert_eq!(tell(claims).unwrap().wishes[0].issued_before, Some(at + 1), "{payload}");
    }
}

#[test]
fn whom_it_is_for() {
    let mut settings = settings("a", KeySource::Inline(jwks(&[P256.jwk_of("p256")])));
    settings.audiences = Audiences::Any;
    let any = issuer_with(settings.clone());
    let good = |issuer: &Arc<Issuer>, channel, token: &str| read_by(issuer, channel, token).is_ok();
    let (nobodys, others) = (without(logout_claims(), "aud"), with(logout_claims(), "aud", json!("other")));
    assert!(good(&any, Channel::BackChannel, &logout_token(others)));
    assert!(!good(&any, Channel::BackChannel, &logout_token(nobodys)));
    assert!(good(&any, Channel::Events, &event_token(without(event_claims(REVOKED, json!({})), "aud"))));

    use crate::token::introspection::{ClientAuth, ClientSettings, IntrospectionSettings, Way};
    settings.audiences = Audiences::OneOf(vec!["api".to_owned()]);
    settings.introspection = Some(IntrospectionSettings {
        way: Way::Introspection(ClientSettings {
            id: Some("gateway".to_owned()),
            auth: ClientAuth::None,
            signed: false,
        }),
        endpoint: Some("https://a.example/ask".to_owned()),
        tokens: None,
        timeout: Duration::from_secs(1),
        cache_ttl: Duration::ZERO,
        negative_ttl: Duration::ZERO,
        max_concurrent: 1,
        certificate: None,
    });
    let asked = issuer_with(settings);
    for (audience, is_good) in [("gateway", true), ("api", true), ("client", false)] {
        let token = logout_token(with(logout_claims(), "aud", json!(audience)));
        assert_eq!(good(&asked, Channel::BackChannel, &token), is_good, "{audience}");
    }
}

#[test]
fn who_logs_out_without_end_takes_no_more_room() {
    let (desk, issuer) = (Desk::default(), issuer());
    let log_out = |sub: &str, number: u32| {
        let claims = with(with(logout_claims(), "sub", json!(sub)), "sid", json!(format!("s{number}")));
        let notice = ready(desk.read(&logout_token(claims), &issuer, Channel::BackChannel, NOW)).unwrap();
        desk.wishes(&notice).into_iter().map(|wish| wish.target).collect::<Vec<_>>()
    };
    for number in 0..SESSIONS_A_DAY {
        assert_eq!(log_out("joe", number), [sid(&format!("s{number}")), sub("joe", true)]);
    }
    assert_eq!(log_out("joe", 100), [sub("joe", false)]);
    assert_eq!(log_out("joe", 101), [sub("joe", false)]);
    assert_eq!(log_out("ann", 100), [sid("s100"), sub("ann", true)]);
}

#[test]
fn a_notice_is_known_by_all_that_is_signed() {
    let (desk, issuer) = (Desk::default(), issuer());
    let read = |claims| ready(desk.read(&logout_token(claims), &issuer, Channel::BackChannel, NOW)).unwrap();
    let first = read(logout_claims());
    assert!(!desk.knows(&first));
    desk.remember(&first);
    assert!(desk.knows(&read(logout_claims())), "another signature of the same");
    assert!(!desk.knows(&read(with(logout_claims(), "sub", json!("ann")))), "another notice of the same jti");
}

proptest! {
    #[test]
    fn what_the_issuer_has_not_signed_ends_nothing(text in "[A-Za-z0-9_.{}\":, -]{0,200}", claims in "\\PC{0,80}") {
        let issuer = issuer();
        let forged = ED.token_of_text("EdDSA", r#"{"alg":"EdDSA","kid":"p256","typ":"secevent+jwt"}"#, &claims);
        for channel in [Channel::BackChannel, Channel::Events] {
            prop_assert!(read_by(&issuer, channel, &text).is_err());
            prop_assert!(read_by(&issuer, channel, &forged).is_err());
        }
    }

    #[test]
    fn what_it_has_signed_is_read_without_panic_and_ends_its_own_tokens_alone(
        events in "\\{\"(http://schemas.openid.net/event/backchannel-logout|https://schemas.openid.net/secevent/caep/event-type/session-revoked|x)\":(\\{\\}|\\{\"subject\":\\{\"format\":\"(opaque|iss_sub|complex|aliases)\",\"id\":\"i\"\\}\\}|5|null)\\}",
        subject in "(null|5|\\{\\}|\\{\"format\":\"(opaque|iss_sub|complex|aliases|jwt_id)\",\"(id|iss|user|identifiers)\":(\"x\"|\\{\\}|\\[\\]|\\[5\\])\\})",
        iat in any::<i64>(),
    ) {
        let issuer = issuer();
        for iat in [iat, NOW] {
            let claims = format!(r#"{{"iss":"https://a.example","aud":"api","iat":{iat},"jti":"j","sub":"joe","sub_id":{subject},"events":{events}}}"#);
            for (channel, typ) in [(Channel::BackChannel, "logout+jwt"), (Channel::Events, "secevent+jwt")] {
                let token = P256.token_of_text("ES256", &format!(r#"{{"alg":"ES256","kid":"p256","typ":"{typ}"}}"#), &claims);
                let Ok(notice) = read_by(&issuer, channel, &token) else { continue };
                prop_assert!(iat == NOW || (iat - NOW).abs() <= DAY + SKEW);
                for wish in notice.wishes {
                    prop_assert_eq!(wish.issuer.unwrap().authority, "https://a.example");
                    prop_assert!(wish.issued_before.unwrap() <= iat + 1 && wish.expires_at.is_some());
                }
            }
        }
    }
}
