//! The proofs that were accepted lately: none is accepted twice (RFC 9449, section 11.1).
//!
//! A proof is forgotten once it is too old to be accepted by any issuer's settings, never before: where there is no room for
//! it, the request is refused. Settings change, and may then accept what is older: of proofs that are older than the last
//! one that was forgotten nothing is known, so none is taken. Keys share the room: one may fill an eighth of what is free, so that no client, nor many together, take all of it
//! from the others.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Thumbprint;

/// Of all keys together. An entry takes about 100 bytes.
const MOST: usize = 1 << 20;
/// What a key may take of what is free.
const SHARE: usize = 8;
/// Of what is over, with each proof that comes.
const FORGOTTEN_AT_ONCE: usize = 16;

/// Uses that replicas are to be told of; where their server is away for long, later ones are known here alone.
const MOST_UNTOLD: usize = 1 << 16;
/// Of a use, as replicas tell each other.
const USE_BYTES: usize = 16 + 32 + 8;

/// What can't be told apart from another proof of the same key: 128 bits of a SHA-256. Who finds two that collide has made
/// both, and one is refused.
type Mark = [u8; 16];

/// That a proof was used: what replicas tell each other of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    mark: Mark,
    key: Thumbprint,
    /// The proof's `iat`, in Unix seconds.
    issued: i64,
}

impl Use {
    /// For `all_of`.
    pub fn to_bytes(&self) -> [u8; USE_BYTES] {
        let mut bytes = [0; USE_BYTES];
        let parts = self.mark.iter().chain(self.key.bytes()).copied().chain(self.issued.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Those of a text that other replicas have written; what is left at its end is nothing.
    pub fn all_of(bytes: &[u8]) -> impl Iterator<Item = Use> + '_ {
        bytes.chunks_exact(USE_BYTES).filter_map(|bytes| {
            let (mark, rest) = bytes.split_first_chunk()?;
            let (key, issued) = rest.split_first_chunk()?;
            let (key, issued) = (Thumbprint::of_bytes(*key), i64::from_be_bytes(issued.try_into().ok()?));
            Some(Use { mark: *mark, key, issued })
        })
    }
}

/// The proofs of a process.
#[derive(Debug)]
pub(super) struct Seen {
    held: Mutex<Held>,
    most: usize,
}

#[derive(Debug)]
struct Held {
    marks: HashSet<Mark>,
    /// By their `iat`.
    issued: BTreeMap<i64, Vec<(Mark, Thumbprint)>>,
    /// How many of a key.
    of_key: HashMap<Thumbprint, usize>,
    /// What replicas are to be told; None: there are none.
    untold: Option<VecDeque<Use>>,
    /// In seconds: no older proof is accepted, whoever is asked. Grows with the settings.
    window: i64,
    /// The latest `iat` of one that was forgotten: of others as old nothing is known, whatever the clock says now.
    forgotten: i64,
}

/// Why a proof isn't taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was used before, or may have been.
    Known,
    /// There is no room to remember it.
    NoRoom,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen::of_size(MOST)
    }
}

impl Seen {
    fn of_size(most: usize) -> Seen {
        let (marks, issued, of_key) = (HashSet::new(), BTreeMap::new(), HashMap::new());
        let held = Held { marks, issued, of_key, untold: None, window: 0, forgotten: i64::MIN };
        Seen { held: Mutex::new(held), most }
    }

    /// From now on proofs are remembered for so many seconds from their `iat` at least.
    pub(super) fn remember_for(&self, window: i64) {
        let mut held = self.held();
        held.window = held.window.max(window);
    }

    /// Remembers a proof by this key and `jti`, issued then, that is accepted for `window` seconds from that on.
    ///
    /// # Errors
    /// It isn't to be accepted.
    pub(super) fn take(&self, key: Thumbprint, jti: &str, issued: i64, window: i64, now: i64) -> Result<(), Refused> {
        let mark = mark(key, jti);
        let mut held = self.held();
        held.window = held.window.max(window);
        held.forget(now, FORGOTTEN_AT_ONCE);
        if issued <= held.forgotten || held.marks.contains(&mark) {
            return Err(Refused::Known);
        }
        if !held.has_room(key, self.most) {
            held.forget(now, usize::MAX);
            if !held.has_room(key, self.most) {
                return Err(Refused::NoRoom);
            }
        }
        held.add(Use { mark, key, issued });
        if let Some(untold) = held.untold.as_mut().filter(|untold| untold.len() < MOST_UNTOLD) {
            untold.push_back(Use { mark, key, issued });
        }
        Ok(())
    }

    /// Notes that another replica has accepted a proof, as far as there is room.
    pub(super) fn learn(&self, used: Use, now: i64) {
        let mut held = self.held();
        held.forget(now, FORGOTTEN_AT_ONCE);
        let is_of_now = used.issued.abs_diff(now) <= held.window.unsigned_abs();
        if is_of_now && !held.marks.contains(&used.mark) && held.has_room(used.key, self.most) {
            held.add(used);
        }
    }

    /// Whether uses are noted for replicas, from now on.
    pub(super) fn tell(&self, is_told: bool) {
        self.held().untold = is_told.then(VecDeque::new);
    }

    /// The first of those that replicas are to be told, so many at most.
    pub(super) fn untold(&self, most: usize) -> Vec<Use> {
        self.held().untold.iter().flatten().take(most).copied().collect()
    }

    /// These were told: the first ones, unless others are to be told since.
    pub(super) fn told(&self, uses: &[Use]) {
        if let Some(untold) = &mut self.held().untold {
            for told in uses {
                if untold.front() == Some(told) {
                    untold.pop_front();
                }
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn has_room(&self, key: Thumbprint, most: usize) -> bool {
        let free = most.saturating_sub(self.marks.len());
        self.of_key.get(&key).copied().unwrap_or(0) < free / SHARE
    }

    /// Whether a proof of then is too old to be accepted.
    fn is_over(&self, issued: i64, now: i64) -> bool {
        issued.saturating_add(self.window) < now
    }

    fn add(&mut self, Use { mark, key, issued }: Use) {
        self.marks.insert(mark);
        self.issued.entry(issued).or_default().push((mark, key));
        *self.of_key.entry(key).or_default() += 1;
    }

    /// So many at most of those that would not be accepted any more.
    fn forget(&mut self, now: i64, most: usize) {
        for _ in 0..most {
            let Some(first) = self.issued.first_key_value().map(|(first, _)| *first) else { return };
            if !self.is_over(first, now) {
                return;
            }
            let Some(mut first) = self.issued.first_entry() else { return };
            self.forgotten = self.forgotten.max(*first.key());
            match first.get_mut().pop() {
                None => drop(first.remove()),
                Some((mark, key)) => {
                    self.marks.remove(&mark);
                    if let Some(count) = self.of_key.get_mut(&key) {
                        *count -= 1;
                        if *count == 0 {
                            self.of_key.remove(&key);
                        }
                    }
                }
            }
        }
    }
}

fn mark(key: Thumbprint, jti: &str) -> Mark {
    let hash = Thumbprint::of(&[key.bytes().as_slice(), jti.as_bytes()].concat());
    let mut mark = [0; 16];
    mark.iter_mut().zip(hash.bytes()).for_each(|(to, from)| *to = *from);
    mark
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn key(number: usize) -> Thumbprint {
        Thumbprint::of(&number.to_be_bytes())
    }

    fn count(seen: &Seen) -> usize {
        let held = seen.held();
        assert_eq!(held.marks.len(), held.issued.values().map(Vec::len).sum::<usize>());
        assert_eq!(held.marks.len(), held.of_key.values().sum::<usize>());
        held.marks.len()
    }

    const WINDOW: i64 = 90;

    fn take(seen: &Seen, number: usize, jti: &str, issued: i64, now: i64) -> Result<(), Refused> {
        seen.take(key(number), jti, issued, WINDOW, now)
    }

    #[test]
    fn none_is_taken_twice_while_it_would_be_accepted() {
        let seen = Seen::default();
        assert_eq!(take(&seen, 1, "a", NOW, NOW), Ok(()));
        for (jti, issued, now) in [("a", NOW, NOW), ("a", NOW, NOW + WINDOW), ("a", NOW + 60, NOW + 60)] {
            assert_eq!(take(&seen, 1, jti, issued, now), Err(Refused::Known));
        }
        assert_eq!(take(&seen, 1, "b", NOW, NOW), Ok(()));
        assert_eq!(take(&seen, 2, "a", NOW, NOW), Ok(()), "another key's `jti` is another one");
        assert_eq!(count(&seen), 3);
    }

    #[test]
    fn what_is_over_makes_room() {
        let seen = Seen::default();
        for jti in ["a", "b", "c"] {
            take(&seen, 1, jti, NOW, NOW).unwrap();
        }
        take(&seen, 2, "d", NOW + WINDOW, NOW + WINDOW).unwrap();
        assert_eq!(count(&seen), 4);
        take(&seen, 2, "e", NOW + WINDOW, NOW + WINDOW + 1).unwrap();
        assert_eq!(count(&seen), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_no_proof_back() {
        let seen = Seen::default();
        take(&seen, 1, "a", NOW, NOW).unwrap();
        take(&seen, 1, "b", NOW + 500, NOW + 500).unwrap();
        assert_eq!(take(&seen, 1, "a", NOW, NOW), Err(Refused::Known));
        assert_eq!(take(&seen, 1, "c", NOW + 1, NOW), Ok(()));
    }

    /// A reload gives proofs more time than they had when they were used and forgotten.
    #[test]
    fn settings_that_accept_older_proofs_bring_none_back() {
        let seen = Seen::default();
        for (jti, issued) in [("forgotten", NOW), ("held", NOW + 60)] {
            take(&seen, 1, jti, issued, issued).unwrap();
        }
        take(&seen, 2, "x", NOW + 100, NOW + 100).unwrap();
        assert_eq!(count(&seen), 2);
        let longer = |jti: &str, issued: i64, now: i64| seen.take(key(1), jti, issued, 600, now);
        for later in [NOW + 100, NOW + 500] {
            assert_eq!(longer("forgotten", NOW, later), Err(Refused::Known));
            assert_eq!(longer("held", NOW + 60, later), Err(Refused::Known));
        }
        assert_eq!(longer("new", NOW + 1, NOW + 500), Ok(()));
        // Those of other issuers, which are no good for so long, are forgotten with them.
        take(&seen, 3, "short", NOW + 500, NOW + 500).unwrap();
        seen.remember_for(WINDOW);
        assert_eq!(longer("short", NOW + 500, NOW + 1100), Ok(()), "another key's");
        assert_eq!(seen.take(key(3), "short", NOW + 500, 600, NOW + 1100), Err(Refused::Known));
    }

    #[test]
    fn replicas_know_of_each_others_uses() {
        let (one, other) = (Seen::default(), Seen::default());
        other.remember_for(WINDOW);
        take(&one, 1, "before", NOW, NOW).unwrap();
        one.tell(true);
        for jti in ["a", "b", "c"] {
            take(&one, 1, jti, NOW, NOW).unwrap();
        }
        let told = one.untold(2);
        assert_eq!((told.len(), one.untold(10).len()), (2, 3));
        one.told(&told);
        assert_eq!(one.untold(10).len(), 1);
        one.told(&told);
        assert_eq!(one.untold(10).len(), 1, "those that are to be told yet aren't told by that");
        let mut bytes = told.iter().flat_map(Use::to_bytes).collect::<Vec<_>>();
        bytes.extend([1; USE_BYTES - 1]);
        let read = Use::all_of(&bytes).collect::<Vec<_>>();
        assert_eq!(read, told);
        read.iter().for_each(|used| other.learn(*used, NOW));
        read.iter().for_each(|used| other.learn(*used, NOW));
        assert_eq!(count(&other), 2);
        assert_eq!(take(&other, 1, "a", NOW, NOW), Err(Refused::Known));
        assert_eq!(take(&other, 1, "c", NOW, NOW), Ok(()));
        // Nothing is kept of what nobody would accept, and what others tell takes no more room than what is used here.
        for issued in [NOW - WINDOW - 1, NOW + WINDOW + 1, i64::MIN, i64::MAX] {
            other.learn(Use { mark: [9; 16], issued, ..told[0] }, NOW);
        }
        let small = Seen::of_size(8);
        small.remember_for(WINDOW);
        told.iter().for_each(|used| small.learn(*used, NOW));
        assert_eq!((count(&other), count(&small)), (3, 1));
        one.tell(false);
        take(&one, 1, "d", NOW, NOW).unwrap();
        assert!(one.untold(10).is_empty());
    }

    #[test]
    fn a_flood_by_one_key_or_many_leaves_room_for_others_and_forgets_nothing() {
        let seen = Seen::of_size(9000);
        let flood = |number: usize| {
            (0..10_000).take_while(|jti| take(&seen, number, &jti.to_string(), NOW, NOW) == Ok(())).count()
        };
        assert_eq!(flood(0), 1000);
        for number in 1..50 {
            flood(number);
        }
        assert_eq!(take(&seen, 99, "a", NOW, NOW), Ok(()));
        assert_eq!(take(&seen, 0, "new", NOW, NOW), Err(Refused::NoRoom));
        for number in 0..1000 {
            assert_eq!(take(&seen, 0, &number.to_string(), NOW, NOW), Err(Refused::Known));
        }
        assert!(count(&seen) < 9000);
        // Once they are over there is room again.
        assert_eq!(take(&seen, 0, "new", NOW + 91, NOW + 91), Ok(()));
    }

    proptest! {
        #[test]
        fn what_was_taken_is_known_as_long_as_anybody_accepts_it(
            steps in proptest::collection::vec((0usize..3, 0u8..6, 0i64..9, -2i64..5), 1..60),
        ) {
            let seen = Seen::of_size(1000);
            let (mut now, mut issued, mut taken) = (NOW, HashMap::new(), HashSet::new());
            for (number, jti, window, pause) in steps {
                now += pause;
                let proof = (number, jti);
                let issued = *issued.entry(proof).or_insert(now);
                // Nobody asks about one that is too old.
                if now > issued + window {
                    continue;
                }
                let result = seen.take(key(number), &jti.to_string(), issued, window, now);
                prop_assert!(result.is_err() || taken.insert(proof), "{:?} twice", proof);
                count(&seen);
            }
        }
    }
}
