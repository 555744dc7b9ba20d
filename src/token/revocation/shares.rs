//! How much of the room is whose: what one issuer asks for keeps neither another nor who runs the gateway from ending a token.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Revocation, Source, Wish};

/// Of ten places, those that are for what issuers end.
const OF_TEN: usize = 9;

/// How many revocations each issuer has asked for, by its authority. Whoever changes it holds the ledger's lock.
#[derive(Default)]
pub(super) struct Shares(Mutex<HashMap<String, usize>>);

impl Shares {
    /// There is one more.
    pub(super) fn add(&self, revocation: &Revocation) {
        if let Some(authority) =
            of_issuer(revocation.source, revocation.issuer.as_ref().map(|issuer| &*issuer.authority))
        {
            *self.counts().entry(authority.to_owned()).or_default() += 1;
        }
    }

    /// It is gone.
    pub(super) fn remove(&self, revocation: &Revocation) {
        let Some(authority) = of_issuer(revocation.source, revocation.issuer.as_ref().map(|issuer| &*issuer.authority))
        else {
            return;
        };
        let mut counts = self.counts();
        if let Some(count) = counts.get_mut(authority) {
            *count -= 1;
            if *count == 0 {
                counts.remove(authority);
            }
        }
    }

    /// Whether there is room for a wish where `held` of so many places are taken and so many issuers may ask.
    pub(super) fn have_room(&self, wish: &Wish, held: usize, places: usize, issuers: usize) -> bool {
        let Some(authority) = of_issuer(wish.source, wish.issuer.as_ref().map(|issuer| &*issuer.authority)) else {
            return held < places;
        };
        let theirs = places / 10 * OF_TEN;
        let own = self.counts().get(authority).copied().unwrap_or(0);
        held < theirs && own < theirs / issuers.max(1)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whose share it is of, if an issuer asks.
fn of_issuer(source: Source, authority: Option<&str>) -> Option<&str> {
    source.is_issuers().then(|| authority.unwrap_or_default())
}
