//! Tokens that were given out, and what they mean: for those that say nothing by themselves, and for those that can end
//! before their time.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// Tokens that are known at the same time; older ones end.
const MOST: usize = 10_000;

/// Unix seconds.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// So many random octets as hex digits. None: the system has no random numbers.
pub(super) fn hex<const OCTETS: usize>() -> Option<String> {
    let mut random = [0; OCTETS];
    SystemRandom::new().fill(&mut random).ok()?;
    Some(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The tokens of one kind.
pub(super) struct Tokens<M>(Mutex<Given<M>>);

struct Given<M> {
    by_token: HashMap<String, Kept<M>>,
    /// The oldest first; some have ended.
    in_order: VecDeque<String>,
}

/// What a token means, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept<M> {
    pub(super) meaning: M,
    /// Unix seconds.
    pub(super) issued_at: u64,
    pub(super) ends_at: u64,
}

impl<M> Default for Tokens<M> {
    fn default() -> Self {
        Tokens(Mutex::new(Given { by_token: HashMap::new(), in_order: VecDeque::new() }))
    }
}

impl<M: Clone> Tokens<M> {
    /// From now on this token means this, for so many seconds.
    pub(super) fn keep(&self, token: &str, meaning: M, issued_at: u64, lifetime: u64) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if given.in_order.len() >= MOST
            && let Some(oldest) = given.in_order.pop_front()
        {
            given.by_token.remove(&oldest);
        }
        given.in_order.push_back(token.to_owned());
        given.by_token.insert(token.to_owned(), Kept { meaning, issued_at, ends_at: issued_at + lifetime });
    }

    /// What it means; None where it is unknown or over.
    pub(super) fn find(&self, token: &str, now: u64) -> Option<Kept<M>> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.by_token.get(token).filter(|kept| now < kept.ends_at).cloned()
    }

    /// The same, and it ends.
    pub(super) fn take(&self, token: &str, now: u64) -> Option<Kept<M>> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.by_token.remove(token).filter(|kept| now < kept.ends_at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_token_means_something_until_it_ends() {
        let tokens = Tokens::default();
        tokens.keep("a", 'x', 100, 10);
        assert_eq!(tokens.find("a", 109), Some(Kept { meaning: 'x', issued_at: 100, ends_at: 110 }));
        assert_eq!((tokens.find("a", 110), tokens.find("b", 100)), (None, None));
        assert_eq!(tokens.take("a", 109).map(|kept| kept.meaning), Some('x'));
        assert_eq!((tokens.find("a", 109), tokens.take("a", 109)), (None, None));
    }

    #[test]
    fn the_oldest_make_room() {
        let tokens = Tokens::default();
        for number in 0..=MOST {
            tokens.keep(&number.to_string(), (), 0, 10);
        }
        assert_eq!((tokens.find("0", 1), tokens.find("1", 1).is_some()), (None, true));
    }

    #[test]
    fn random_digits_are_digits_and_random() {
        let (one, other) = (hex::<20>().unwrap(), hex::<20>().unwrap());
        assert!(one.len() == 40 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, other);
    }
}
