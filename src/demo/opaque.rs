//! Opaque tokens as Docebo has them: 40 hex digits that say nothing, and an issuer that is asked what they mean
//! (RFC 7662).

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, Client};

/// Tokens that are known at the same time; older ones end.
const MOST: usize = 10_000;

/// The tokens that were given out.
#[derive(Default)]
pub(super) struct OpaqueTokens(Mutex<Given>);

#[derive(Default)]
struct Given {
    by_token: HashMap<String, Meaning>,
    /// The oldest first.
    in_order: VecDeque<String>,
}

#[derive(Clone, Copy)]
struct Meaning {
    client: &'static Client,
    /// Unix seconds.
    issued_at: u64,
    ends_at: u64,
}

impl OpaqueTokens {
    /// A new token for this client. None: the system has no random numbers.
    pub(super) fn give(&self, client: &'static Client, now: u64, lifetime: u64) -> Option<String> {
        let mut random = [0; 20];
        SystemRandom::new().fill(&mut random).ok()?;
        let token: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.in_order.len() >= MOST
            && let Some(oldest) = given.in_order.pop_front()
        {
            given.by_token.remove(&oldest);
        }
        given.in_order.push_back(token.clone());
        given.by_token.insert(token.clone(), Meaning { client, issued_at: now, ends_at: now + lifetime });
        Some(token)
    }

    /// What introspection says of a token (RFC 7662, section 2.2).
    pub(super) fn introspection(&self, token: &str, now: u64) -> Value {
        match self.meaning(token, now) {
            None => json!({"active": false}),
            Some(Meaning { client, issued_at, ends_at }) => json!({
                "active": true, "token_type": "Bearer", "sub": client.id, "client_id": client.id,
                "scope": client.scope, "aud": AUDIENCE, "iat": issued_at, "exp": ends_at,
            }),
        }
    }

    /// What userinfo says to who presents a token (OpenID Connect Core 1.0, section 5.3). None: it is no good.
    pub(super) fn userinfo(&self, token: &str, now: u64) -> Option<Value> {
        let client = self.meaning(token, now)?.client;
        Some(json!({"sub": client.id, "name": format!("The {} of the demo", client.id)}))
    }

    fn meaning(&self, token: &str, now: u64) -> Option<Meaning> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.by_token.get(token).filter(|meaning| now < meaning.ends_at).copied()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::{super::issuer::LEARNER, *};

    #[test]
    fn a_token_means_something_until_it_ends() {
        let tokens = OpaqueTokens::default();
        let token = tokens.give(&LEARNER, 100, 10).unwrap();
        assert!(token.len() == 40 && token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        assert_eq!(tokens.introspection(&token, 109)["sub"], "learner");
        assert_eq!(tokens.introspection(&token, 110), json!({"active": false}));
        assert_eq!(tokens.introspection("unknown", 100), json!({"active": false}));
        assert!(tokens.userinfo(&token, 109).is_some() && tokens.userinfo(&token, 110).is_none());
    }

    #[test]
    fn the_oldest_make_room() {
        let tokens = OpaqueTokens::default();
        let first = tokens.give(&LEARNER, 0, 10).unwrap();
        let last = (0..MOST).map(|_| tokens.give(&LEARNER, 0, 10).unwrap()).last().unwrap();
        assert_eq!(tokens.introspection(&first, 1), json!({"active": false}));
        assert_eq!(tokens.introspection(&last, 1)["active"], true);
    }
}
