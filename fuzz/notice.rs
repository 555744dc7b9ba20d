//! Notices: whatever ends something is signed by the key, made for that, lately and for us, and names what it ends; and none of it
//! is let in.

use std::{cell::RefCell, sync::Arc};

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bearward::{
    config,
    observe::Observer,
    snapshot::{LongLived, Snapshot},
    token::{
        issuer::Issuer,
        notice::{Channel, Notice},
        revocation::Target,
    },
};
use serde_json::Value;

use super::{
    Checked, fuzz,
    jwt::{object, signed_token},
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 30;
const ISSUER: &str = "https://issuer.example";

struct Scene {
    snapshot: Snapshot,
    runtime: tokio::runtime::Runtime,
    key: hmac::Key,
}

impl Scene {
    fn new() -> Scene {
        let yaml = format!(
            "issuers:\n  main: {{issuer: \"{ISSUER}\", audiences: [api], jwt: {{secret: {SECRET}}}, logout: {{back_channel: true, events: true}}}}\n\
             routes:\n  - {{name: a, path: \"/**\", upstream: \"http://127.0.0.1:1\", allow: authenticated}}\n"
        );
        let policy = config::load_str(&yaml, "gateway.yaml").unwrap_or_else(|found| panic!("{found:?}")).policy;
        let (snapshot, _) = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Scene { snapshot, runtime, key: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()) }
    }

    fn issuer(&self) -> &Arc<Issuer> {
        &self.snapshot.issuers[0]
    }

    fn check(&self, input: &[u8]) -> Checked {
        let token = signed_token(input, &self.key);
        let mut outcome = String::new();
        for channel in [Channel::BackChannel, Channel::Events] {
            let read = self.runtime.block_on(self.snapshot.desk.read(&token, self.issuer(), channel, NOW));
            outcome += &match read {
                Ok(notice) => {
                    self.is_good(&token, channel, &notice)?;
                    format!(
                        "{channel:?} ends {:?}; ",
                        notice.wishes.iter().map(|wish| word(&wish.target)).collect::<Vec<_>>()
                    )
                }
                Err(refused) => format!("{}; ", refused.fault.detail()),
            };
        }
        Ok(outcome)
    }

    /// By another reader of JSON and base64.
    fn is_good(&self, token: &str, channel: Channel, notice: &Notice) -> Result<(), String> {
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { return Err("not three parts".to_owned()) };
        let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|error| error.to_string());
        let signed = format!("{header}.{claims}");
        hmac::verify(&self.key, signed.as_bytes(), &decode(signature)?).map_err(|_| "the signature".to_owned())?;
        let (header, claims) = (object(&decode(header)?)?, object(&decode(claims)?)?);
        let kind = header["typ"].as_str().unwrap_or("jwt").to_ascii_lowercase();
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        let kinds: &[&str] = if channel == Channel::Events { &["secevent+jwt"] } else { &["logout+jwt", "jwt"] };
        if header["alg"] != "HS256" || header.get("crit").is_some() || !kinds.contains(&kind) {
            return Err(format!("the header {header}"));
        }
        let audience = &claims["aud"];
        let for_us = audience == "api" || audience.as_array().is_some_and(|all| all.contains(&"api".into()));
        if claims["iss"] != ISSUER || !for_us || claims["jti"].as_str().is_none_or(str::is_empty) {
            return Err(format!("whose it is: {claims}"));
        }
        let longest = if channel == Channel::Events { 24 * 3600 } else { 300 };
        let issued = claims["iat"].as_f64().ok_or("no iat")?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
        if issued > (NOW + SKEW) as f64 || issued + 1.0 < (NOW - longest - SKEW) as f64 {
            return Err(format!("iat in {claims}"));
        }
        let events = claims["events"].as_object().ok_or("no events")?;
        let logs_out = events.get("http://schemas.openid.net/event/backchannel-logout").is_some_and(Value::is_object);
        if channel == Channel::BackChannel && (!logs_out || claims.get("nonce").is_some()) {
            return Err(format!("no logout: {claims}"));
        }
        if notice.wishes.len() > 16 {
            return Err(format!("{} are ended", notice.wishes.len()));
        }
        for wish in &notice.wishes {
            let its = wish.issuer.as_ref().map(|issuer| issuer.authority.as_str());
            #[expect(clippy::cast_possible_truncation, reason = "it was compared above")]
            let before = wish.issued_before.is_some_and(|before| before <= issued.floor() as i64 + 1);
            let name = match &wish.target {
                Target::Sid(name) | Target::Jti(name) | Target::Sub { sub: name, .. } => name,
                other => return Err(format!("{other:?}")),
            };
            if its != Some(ISSUER) || !before || wish.expires_at.is_none() || !says(&claims, name) {
                return Err(format!("{wish:?} by {claims}"));
            }
        }
        Ok(())
    }
}

fn word(target: &Target) -> &'static str {
    match target {
        Target::Sid(_) => "sid",
        Target::Jti(_) => "jti",
        Target::Sub { without_sid: true, .. } => "sub without sid",
        Target::Sub { .. } => "sub",
        _ => "another",
    }
}

/// Whether this text is a value somewhere in it.
fn says(value: &Value, text: &str) -> bool {
    match value {
        Value::String(said) => said == text,
        Value::Array(items) => items.iter().any(|item| says(item, text)),
        Value::Object(members) => members.values().any(|member| says(member, text)),
        _ => false,
    }
}

#[test]
fn notice() {
    #[rustfmt::skip]
    let words = [
        "{", "}", "[", "]", ":", ",", "\"", "\\", "\\u0061", "\0", ".", "=", "null", "true", "0", "-1", "1e400", "1800000000",
        "1799999990", "1799913600", "1e10", "\"alg\":\"HS256\"", "\"alg\":\"none\"", "\"typ\":\"logout+jwt\"",
        "\"typ\":\"secevent+jwt\"", "\"typ\":\"JWT\"", "\"typ\":\"at+jwt\"", "\"crit\":[]", "\"kid\":\"x\"",
        "\"iss\":\"https://issuer.example\"", "\"aud\":\"api\"", "\"aud\":[\"x\",\"api\"]", "\"iat\":1800000000",
        "\"exp\":1800000100", "\"jti\":\"j\"", "\"nonce\":\"n\"", "\"sub\":\"u\"", "\"sub\":7", "\"sid\":\"s\"", "\"sid\":[]",
        "\"events\":{\"http://schemas.openid.net/event/backchannel-logout\":{}}",
        "\"http://schemas.openid.net/event/backchannel-logout\":{}",
        "\"https://schemas.openid.net/secevent/caep/event-type/session-revoked\":{}",
        "\"https://schemas.openid.net/secevent/risc/event-type/account-disabled\":{}",
        "\"https://schemas.openid.net/secevent/ssf/event-type/verification\":{}",
        "\"event_timestamp\":1799999000", "\"toe\":1799999000", "\"sub_id\":", "\"subject\":", "\"format\":\"iss_sub\"",
        "\"format\":\"opaque\"", "\"format\":\"complex\"", "\"format\":\"aliases\"", "\"format\":\"jwt_id\"", "\"format\":\"email\"",
        "\"id\":\"o\"", "\"user\":{\"format\":\"iss_sub\",\"iss\":\"https://issuer.example\",\"sub\":\"u\"}",
        "\"session\":{\"format\":\"opaque\",\"id\":\"s\"}", "\"identifiers\":[]", "\u{e9}", " ", "\n",
    ];
    let scene = RefCell::new(Scene::new());
    let outcomes = fuzz("notice", &words, 4_000, |input| scene.borrow().check(input));
    assert!(outcomes.keys().any(|outcome| outcome.contains("BackChannel ends [\"sub\"]")), "{outcomes:?}");
    assert!(
        outcomes.keys().any(|outcome| outcome.contains("Events ends [\"sid\", \"sub without sid\"]")),
        "{outcomes:?}"
    );
    assert!(outcomes.len() >= 20, "{outcomes:?}");
}
