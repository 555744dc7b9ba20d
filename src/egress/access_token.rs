//! A token as its endpoint gives it (RFC 6749, section 5.1), and how long it serves.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hyper::header::HeaderValue;
use serde_json::{Map, Value};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    form::secret_value,
    token::{json, secret::Secret},
};

/// How long a token is taken to be good whose endpoint doesn't say.
const UNSAID: Duration = Duration::from_secs(300);
/// No token is kept for longer, whatever is said.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// A token isn't sent so shortly before its end: it would be over when it arrives.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// A token to be sent as `Authorization`. Doesn't print; its memory is wiped when it goes.
pub(super) struct AccessToken {
    /// `Bearer …`
    pub(super) value: HeaderValue,
    /// From then on another one is asked for, while this one still serves.
    pub(super) renew_at: Instant,
    /// From then on it isn't sent.
    pub(super) ends_at: Instant,
    used: AtomicBool,
}

/// An endpoint's good answer.
pub(super) struct Granted {
    pub(super) token: AccessToken,
    /// What the next one can be asked for with.
    pub(super) refresh: Option<Secret>,
    /// As the endpoint says it, for the log.
    pub(super) lifetime: Duration,
}

impl Granted {
    /// Reads an answer to a question that was sent at `asked_at`. `margin`: so long before its end it is to be renewed.
    ///
    /// # Errors
    /// It isn't a token that can be sent; in words for the operator, with nothing of the answer.
    pub(super) fn read(answer: &[u8], asked_at: Instant, margin: Duration) -> Result<Granted, &'static str> {
        let mut members = json::parse_object(answer).map_err(|_| "the answer isn't a JSON object")?;
        let token = secret(&mut members, "access_token").ok_or("the answer has no `access_token`")?;
        match members.get("token_type") {
            None | Some(Value::Null) => {}
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
            Some(_) => return Err("the token isn't a bearer token (`token_type`)"),
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token has characters that can't stand in a header");
        }
        let value = secret_value(&["Bearer ", &token])?;
        let lifetime = lifetime(members.get("expires_in"));
        let (renew_after, ends_after) = (renewed_after(lifetime, margin), sent_for(lifetime));
        let token = AccessToken {
            value,
            renew_at: asked_at + renew_after.min(ends_after),
            ends_at: asked_at + ends_after,
            used: AtomicBool::new(false),
        };
        let refresh = secret(&mut members, "refresh_token").map(|text| Secret::new(text.as_bytes().to_vec()));
        Ok(Granted { token, refresh, lifetime })
    }
}

impl AccessToken {
    /// Notes that a request is sent with it. Mostly a look: all workers would write to the same place.
    pub(super) fn note_use(&self) {
        if !self.was_used() {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn was_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }
}

/// A member that isn't to stay in memory.
fn secret(members: &mut Map<String, Value>, name: &str) -> Option<Zeroizing<String>> {
    match members.remove(name)? {
        Value::String(text) if !text.is_empty() => Some(Zeroizing::new(text)),
        _ => None,
    }
}

/// Some servers write the number as a string. What says nothing clear counts as not said: an upstream's 401 ends the token
/// anyway.
fn lifetime(expires_in: Option<&Value>) -> Duration {
    let seconds = match expires_in {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse::<u64>().ok().map(|seconds| seconds as f64),
        _ => None,
    };
    let said = seconds.filter(|seconds| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match (said, seconds) {
        (Some(said), _) => said.min(LONGEST),
        (None, Some(seconds)) if seconds > 0.0 => LONGEST,
        (None, _) => UNSAID,
    }
}

/// A margin as long as the whole life would have a new token asked for at once, again and again.
fn renewed_after(lifetime: Duration, margin: Duration) -> Duration {
    if margin < lifetime { lifetime - margin } else { lifetime / 2 }
}

fn sent_for(lifetime: Duration) -> Duration {
    lifetime - ON_ITS_WAY.min(lifetime / 10)
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const MARGIN: Duration = Duration::from_secs(30);

    fn read(answer: &str) -> Result<(Granted, Instant), &'static str> {
        let asked_at = Instant::now();
        Granted::read(answer.as_bytes(), asked_at, MARGIN).map(|granted| (granted, asked_at))
    }

    #[test]
    fn an_answer_as_the_standard_has_it() {
        let (granted, asked_at) = read(
            r#"{"access_token": "2YotnFZFEjr1zCsicMWpAA", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "tGz", "scope": "a"}"#,
        )
        .unwrap();
        assert_eq!(granted.token.value, "Bearer 2YotnFZFEjr1zCsicMWpAA");
        assert!(granted.token.value.is_sensitive());
        assert_eq!(granted.token.renew_at - asked_at, Duration::from_secs(3570));
        assert_eq!(granted.token.ends_at - asked_at, Duration::from_secs(3599));
        assert_eq!(granted.refresh.unwrap().expose(), b"tGz");
    }

    #[test]
    fn when_a_token_is_renewed_and_ends() {
        let millis = |millis| Duration::from_millis(millis);
        for (expires_in, renewed, ends) in [
            (r#""expires_in": 3600"#, millis(3_570_000), millis(3_599_000)),
            (r#""expires_in": 31"#, millis(1_000), millis(30_000)),
            (r#""expires_in": 30"#, millis(15_000), millis(29_000)),
            (r#""expires_in": 2"#, millis(1_000), millis(1_800)),
            (r#""expires_in": "3600""#, millis(3_570_000), millis(3_599_000)),
            (r#""expires_in": 3600.5"#, millis(3_570_500), millis(3_599_500)),
            (r#""expires_in": null"#, millis(270_000), millis(299_000)),
            (r#""expires_in": 0"#, millis(270_000), millis(299_000)),
            (r#""expires_in": -1"#, millis(270_000), millis(299_000)),
            (r#""expires_in": "soon""#, millis(270_000), millis(299_000)),
            (r#""x": 1"#, millis(270_000), millis(299_000)),
            (r#""expires_in": 1e300"#, LONGEST - MARGIN, LONGEST - ON_ITS_WAY),
            (r#""expires_in": 18446744073709551615"#, LONGEST - MARGIN, LONGEST - ON_ITS_WAY),
        ] {
            let (granted, asked_at) = read(&format!(r#"{{"access_token": "a", {expires_in}}}"#)).unwrap();
            assert_eq!(granted.token.renew_at - asked_at, renewed, "{expires_in}");
            assert_eq!(granted.token.ends_at - asked_at, ends, "{expires_in}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_without_a_word_of_it() {
        for answer in [
            "",
            "null",
            "[]",
            "{}",
            "<html>swordfish",
            r#"{"access_token": ""}"#,
            r#"{"access_token": 7}"#,
            r#"{"access_token": null}"#,
            r#"{"access_token": "sword fish"}"#,
            r#"{"access_token": "sword\r\nfish: x"}"#,
            r#"{"access_token": "swordfish\u0000"}"#,
            r#"{"access_token": "swordfißh"}"#,
            r#"{"access_token": "swordfish", "access_token": "x"}"#,
            r#"{"access_token": "swordfish", "token_type": "DPoP"}"#,
            r#"{"access_token": "swordfish", "token_type": "N_A"}"#,
            r#"{"access_token": "swordfish", "token_type": 1}"#,
            r#"{"error": "invalid_client", "error_description": "swordfish"}"#,
            r#"{"access_token": "swordfish"} x"#,
        ] {
            let error = read(answer).err().unwrap_or_else(|| panic!("{answer} was taken"));
            assert!(!error.contains("sword"), "{error}");
        }
        for kind in ["bearer", "BEARER", "Bearer"] {
            assert!(read(&format!(r#"{{"access_token": "a", "token_type": "{kind}"}}"#)).is_ok());
        }
        let long = "a".repeat(50_000);
        assert!(read(&format!(r#"{{"access_token": "{long}"}}"#)).is_ok());
    }

    #[test]
    fn nothing_prints() {
        let (granted, _) = read(r#"{"access_token": "swordfish"}"#).unwrap();
        assert!(!format!("{:?} {:?}", granted.token, granted.token.value).contains("swordfish"));
    }
}
