//! Which endpoint gets a request.

use std::{
    cell::Cell,
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Balance, Upstream,
    endpoint::{Endpoint, Seat},
    standing::Admission,
};

/// An endpoint for a request.
pub(super) struct Chosen<'u> {
    pub(super) index: usize,
    pub(super) endpoint: &'u Arc<Endpoint>,
    pub(super) seat: Seat,
    pub(super) admission: Admission,
}

/// The endpoints that a request was at; those beyond the 64th are forgotten, and may be asked twice.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tried(u64);

/// Which endpoints a request may go to.
#[derive(Clone, Copy)]
enum Among {
    /// Any that it wasn't at and that have a connection to spare.
    Roomy,
    /// Any that it wasn't at.
    Untried,
    All,
}

impl Tried {
    pub(super) fn add(&mut self, index: usize) {
        self.0 |= bit(index);
    }

    fn has(self, index: usize) -> bool {
        self.0 & bit(index) != 0
    }
}

fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1u64.checked_shl(index)).unwrap_or(0)
}

impl Upstream {
    /// One that may be asked, where possible none that was tried. `caller` stands for whom the request speaks for.
    pub(super) fn choose(&self, tried: Tried, caller: Option<u64>) -> Option<Chosen<'_>> {
        self.choose_among(&[Among::Roomy, Among::Untried, Among::All], tried, caller).or_else(|| self.choose_anyway())
    }

    /// All of several rest, or aren't well: one of those that rest.
    fn choose_anyway(&self) -> Option<Chosen<'_>> {
        let count = self.endpoints.len();
        let first = if count > 1 { below(count)? } else { return None };
        let in_turn = self.endpoints.iter().enumerate().cycle().skip(first).take(count);
        in_turn.into_iter().find_map(|(index, endpoint)| {
            let admission = endpoint.standing.enter_anyway()?;
            Some(Chosen { index, endpoint, seat: Seat::new(endpoint.clone()), admission })
        })
    }

    /// One that may be asked and wasn't.
    pub(super) fn choose_another(&self, tried: Tried, caller: Option<u64>) -> Option<Chosen<'_>> {
        self.choose_among(&[Among::Roomy, Among::Untried], tried, caller)
    }

    fn choose_among(&self, ranks: &[Among], tried: Tried, caller: Option<u64>) -> Option<Chosen<'_>> {
        if let [only] = &*self.endpoints {
            let may_repeat = matches!(ranks.last(), Some(Among::All));
            return if may_repeat || !tried.has(0) { self.enter(0, only) } else { None };
        }
        // Another request may be let in between the choice and the door: then the next best one is looked for.
        for _ in 0..self.endpoints.len() {
            let (index, endpoint) = ranks.iter().find_map(|among| self.pick(*among, tried, caller))?;
            if let Some(chosen) = self.enter(index, endpoint) {
                return Some(chosen);
            }
        }
        None
    }

    fn enter<'u>(&'u self, index: usize, endpoint: &'u Arc<Endpoint>) -> Option<Chosen<'u>> {
        let admission = endpoint.standing.enter(self.settings.eject.as_ref())?;
        Some(Chosen { index, endpoint, seat: Seat::new(endpoint.clone()), admission })
    }

    fn pick(&self, among: Among, tried: Tried, caller: Option<u64>) -> Option<(usize, &Arc<Endpoint>)> {
        let hashed = self.settings.balance == Balance::Hash && caller.is_some();
        let fits = || {
            self.endpoints.iter().enumerate().filter(move |(index, endpoint)| {
                let fits = match among {
                    // Whom a caller belongs to doesn't depend on how busy that one is.
                    Among::Roomy => !tried.has(*index) && (hashed || endpoint.has_room()),
                    Among::Untried => !tried.has(*index),
                    Among::All => true,
                };
                fits && endpoint.standing.may_enter()
            })
        };
        match (self.settings.balance, caller) {
            (Balance::Hash, Some(caller)) => fits().max_by_key(|(_, endpoint)| mixed(caller ^ endpoint.key)),
            (Balance::RoundRobin, _) => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                fits().nth(turn.checked_rem(fits().count())?)
            }
            (Balance::Random, _) => fits().nth(below(fits().count())?),
            (Balance::LeastRequest | Balance::Hash, _) => {
                let count = fits().count();
                let one = below(count)?;
                // Another one, each as likely. The first of two as busy is any of them.
                let other = below(count - 1).map(|other| if other < one { other } else { other + 1 });
                let one = fits().nth(one)?;
                let other = other.and_then(|other| fits().nth(other));
                Some(other.filter(|other| other.1.busy() < one.1.busy()).unwrap_or(one))
            }
        }
    }
}

/// A random number below that; None below 0.
fn below(count: usize) -> Option<usize> {
    usize::try_from(random() % u64::try_from(count).ok().filter(|count| *count > 0)?).ok()
}

/// Good enough to spread load with; nothing secret comes of it.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    STATE.with(|state| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        mixed(next)
    })
}

/// Every bit depends on every bit (the finalizer of SplitMix64).
fn mixed(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
