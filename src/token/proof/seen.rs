//! The proofs that were accepted lately: none is accepted twice (RFC 9449, section 11.1).
//!
//! A proof is forgotten once it is too old to be accepted, never before: where there is no room for it, the request is
//! refused. Keys share the room: one may fill an eighth of what is free, so that no client, nor many together, take all of it
//! from the others.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Thumbprint;

/// Of all keys together. An entry takes about 80 bytes.
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
    /// The last second, in Unix time, at which the proof would be accepted.
    end: i64,
}

impl Use {
    /// For `all_of`.
    pub fn to_bytes(&self) -> [u8; USE_BYTES] {
        let mut bytes = [0; USE_BYTES];
        let parts = self.mark.iter().chain(self.key.bytes()).copied().chain(self.end.to_be_bytes());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Those of a text that other replicas have written; what is left at its end is nothing.
    pub fn all_of(bytes: &[u8]) -> impl Iterator<Item = Use> + '_ {
        bytes.chunks_exact(USE_BYTES).filter_map(|bytes| {
            let (mark, rest) = bytes.split_first_chunk()?;
            let (key, end) = rest.split_first_chunk()?;
            Some(Use { mark: *mark, key: Thumbprint::of_bytes(*key), end: i64::from_be_bytes(end.try_into().ok()?) })
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
    /// By the last second, in Unix time, at which they would be accepted.
    ends: BTreeMap<i64, Vec<(Mark, Thumbprint)>>,
    /// How many of a key.
    of_key: HashMap<Thumbprint, usize>,
    /// What replicas are to be told; None: there are none.
    untold: Option<VecDeque<Use>>,
    /// The latest end of one that was forgotten: of others as old nothing is known, whatever the clock says now.
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
        let (marks, ends, of_key) = (HashSet::new(), BTreeMap::new(), HashMap::new());
        Seen { held: Mutex::new(Held { marks, ends, of_key, untold: None, forgotten: i64::MIN }), most }
    }

    /// Remembers a proof by this key, `jti` and last second at which it would be accepted.
    ///
    /// # Errors
    /// It isn't to be accepted.
    pub(super) fn take(&self, key: Thumbprint, jti: &str, end: i64, now: i64) -> Result<(), Refused> {
        let mark = mark(key, jti);
        let mut held = self.held();
        held.forget(now, FORGOTTEN_AT_ONCE);
        if end <= held.forgotten || held.marks.contains(&mark) {
            return Err(Refused::Known);
        }
        if !held.has_room(key, self.most) {
            held.forget(now, usize::MAX);
            if !held.has_room(key, self.most) {
                return Err(Refused::NoRoom);
            }
        }
        held.add(Use { mark, key, end });
        if let Some(untold) = held.untold.as_mut().filter(|untold| untold.len() < MOST_UNTOLD) {
            untold.push_back(Use { mark, key, end });
        }
        Ok(())
    }

    /// Notes that another replica has accepted a proof, as far as there is room.
    pub(super) fn learn(&self, used: Use, now: i64) {
        let mut held = self.held();
        held.forget(now, FORGOTTEN_AT_ONCE);
        if used.end >= now && !held.marks.contains(&used.mark) && held.has_room(used.key, self.most) {
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

    /// So many of them were told.
    pub(super) fn told(&self, count: usize) {
        if let Some(untold) = &mut self.held().untold {
            untold.drain(..count.min(untold.len()));
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

    fn add(&mut self, Use { mark, key, end }: Use) {
        self.marks.insert(mark);
        self.ends.entry(end).or_default().push((mark, key));
        *self.of_key.entry(key).or_default() += 1;
    }

    /// So many at most of those that would not be accepted any more.
    fn forget(&mut self, now: i64, most: usize) {
        for _ in 0..most {
            let Some(mut first) = self.ends.first_entry().filter(|first| *first.key() < now) else { return };
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
        assert_eq!(held.marks.len(), held.ends.values().map(Vec::len).sum::<usize>());
        assert_eq!(held.marks.len(), held.of_key.values().sum::<usize>());
        held.marks.len()
    }

    #[test]
    fn none_is_taken_twice_while_it_would_be_accepted() {
        let seen = Seen::default();
        assert_eq!(seen.take(key(1), "a", NOW + 90, NOW), Ok(()));
        for (jti, end, now) in [("a", NOW + 90, NOW), ("a", NOW + 90, NOW + 90), ("a", NOW + 150, NOW + 60)] {
            assert_eq!(seen.take(key(1), jti, end, now), Err(Refused::Known));
        }
        assert_eq!(seen.take(key(1), "b", NOW + 90, NOW), Ok(()));
        assert_eq!(seen.take(key(2), "a", NOW + 90, NOW), Ok(()), "another key's `jti` is another one");
        assert_eq!(count(&seen), 3);
    }

    #[test]
    fn what_is_over_makes_room() {
        let seen = Seen::default();
        for jti in ["a", "b", "c"] {
            seen.take(key(1), jti, NOW, NOW).unwrap();
        }
        assert_eq!(count(&seen), 3);
        seen.take(key(2), "d", NOW + 1, NOW + 1).unwrap();
        assert_eq!(count(&seen), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_brings_no_proof_back() {
        let seen = Seen::default();
        seen.take(key(1), "a", NOW, NOW).unwrap();
        seen.take(key(1), "b", NOW + 500, NOW + 500).unwrap();
        assert_eq!(seen.take(key(1), "a", NOW, NOW), Err(Refused::Known));
        assert_eq!(seen.take(key(1), "c", NOW + 1, NOW), Ok(()));
    }

    #[test]
    fn replicas_know_of_each_others_uses() {
        let (one, other) = (Seen::default(), Seen::default());
        one.take(key(1), "before", NOW + 90, NOW).unwrap();
        one.tell(true);
        for jti in ["a", "b", "c"] {
            one.take(key(1), jti, NOW + 90, NOW).unwrap();
        }
        let told = one.untold(2);
        assert_eq!((told.len(), one.untold(10).len()), (2, 3));
        one.told(2);
        assert_eq!(one.untold(10).len(), 1);
        let mut bytes = told.iter().flat_map(Use::to_bytes).collect::<Vec<_>>();
        bytes.extend([1; USE_BYTES - 1]);
        let read = Use::all_of(&bytes).collect::<Vec<_>>();
        assert_eq!(read, told);
        read.iter().for_each(|used| other.learn(*used, NOW));
        read.iter().for_each(|used| other.learn(*used, NOW));
        assert_eq!(count(&other), 2);
        assert_eq!(other.take(key(1), "a", NOW + 90, NOW), Err(Refused::Known));
        assert_eq!(other.take(key(1), "c", NOW + 90, NOW), Ok(()));
        // Nothing is kept of what is over, and what others tell takes no more room than what is used here.
        other.learn(Use { end: NOW - 1, ..told[0] }, NOW);
        let small = Seen::of_size(8);
        told.iter().for_each(|used| small.learn(*used, NOW));
        assert_eq!((count(&other), count(&small)), (3, 1));
        one.tell(false);
        one.take(key(1), "d", NOW + 90, NOW).unwrap();
        assert!(one.untold(10).is_empty());
    }

    #[test]
    fn a_flood_by_one_key_or_many_leaves_room_for_others_and_forgets_nothing() {
        let seen = Seen::of_size(9000);
        let flood = |key: Thumbprint| {
            (0..10_000).take_while(|number| seen.take(key, &number.to_string(), NOW + 90, NOW) == Ok(())).count()
        };
        assert_eq!(flood(key(0)), 1000);
        for number in 1..50 {
            flood(key(number));
        }
        assert_eq!(seen.take(key(99), "a", NOW + 90, NOW), Ok(()));
        assert_eq!(seen.take(key(0), "new", NOW + 90, NOW), Err(Refused::NoRoom));
        for number in 0..1000 {
            assert_eq!(seen.take(key(0), &number.to_string(), NOW + 90, NOW), Err(Refused::Known));
        }
        assert!(count(&seen) < 9000);
        // Once they are over there is room again.
        assert_eq!(seen.take(key(0), "new", NOW + 200, NOW + 91), Ok(()));
    }

    proptest! {
        #[test]
        fn what_was_taken_is_known_to_its_end(steps in proptest::collection::vec((0usize..3, 0u8..6, 0i64..4, -2i64..5), 1..60)) {
            let seen = Seen::of_size(1000);
            let (mut now, mut ends, mut taken) = (NOW, HashMap::new(), HashSet::new());
            for (number, jti, stay, pause) in steps {
                now += pause;
                let proof = (number, jti);
                let end = *ends.entry(proof).or_insert(now + stay);
                // Nobody asks about one that is too old.
                if now > end {
                    continue;
                }
                let result = seen.take(key(number), &jti.to_string(), end, now);
                prop_assert!(result.is_err() || taken.insert(proof), "{:?} twice", proof);
                count(&seen);
            }
        }
    }
}
