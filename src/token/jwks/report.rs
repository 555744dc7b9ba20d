//! How an issuer stands with its keys, for whoever shows it. Nothing here that isn't public: names, kinds, ages.

use std::time::Duration;

use super::{KeyStore, Origin};
use crate::token::key_set::{Key, KeySet};

/// An issuer's keys as they serve now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysReport {
    /// By kid; those without one last.
    pub keys: Vec<KeyReport>,
    /// Since they were fetched or read. None: there are none, or they stand in the configuration.
    pub age: Option<Duration>,
    /// Whether they can be relied on.
    pub state: KeysState,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyReport {
    /// None: it fits any token.
    pub kid: Option<String>,
    /// The only algorithm that it is for (`RS256`). None: there are several.
    pub algorithm: Option<&'static str>,
    /// `kty` (RFC 7518, section 6.1).
    pub kind: &'static str,
}

/// How an issuer stands with its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeysState {
    /// They are there, and the last look for them went well.
    Ok,
    /// They are there, and the last look for them failed.
    Stale,
    /// There are none, or none that are new enough.
    Missing,
    /// None are needed: nothing that it signs is verified here.
    None,
}

impl KeysState {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            KeysState::Ok => "ok",
            KeysState::Stale => "stale",
            KeysState::Missing => "missing",
            KeysState::None => "none",
        }
    }
}

impl KeyStore {
    /// The keys that serve now, and how it stands with them.
    pub fn report(&self) -> KeysReport {
        let at_hand = self.at_hand();
        let keys = at_hand.as_deref().map(reports).unwrap_or_default();
        let state = match &at_hand {
            None => KeysState::Missing,
            Some(_) if keys.is_empty() => KeysState::None,
            Some(_) if self.is_degraded() => KeysState::Stale,
            Some(_) => KeysState::Ok,
        };
        let is_renewed = !matches!(self.origin, Origin::InPlace);
        let held = self.keys.load();
        let age = held.as_ref().filter(|_| is_renewed).map(|held| held.age_now());
        KeysReport { keys, age, state }
    }
}

fn reports(keys: &KeySet) -> Vec<KeyReport> {
    let report = |(kid, key): (Option<&str>, &Key)| KeyReport {
        kid: kid.map(str::to_owned),
        algorithm: key.only_algorithm().map(|algorithm| algorithm.name()),
        kind: key.kind(),
    };
    let mut keys = keys.all().map(report).collect::<Vec<_>>();
    keys.sort_by(|one, other| (one.kid.is_none(), one).cmp(&(other.kid.is_none(), other)));
    keys
}
