//! What a shadow decided otherwise, by kind: names of the configuration and fixed words, so that no client adds to it
//! without bound.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};

use crate::observe::{ShadowSays, rfc_3339};

/// Kinds that are listed; more are only counted.
const MOST_KINDS: usize = 512;
/// Between two lines of one kind in the log, and the time that `MOST_LINES` are for.
const PAUSE: Duration = Duration::from_secs(1);
/// Lines of all kinds together.
const MOST_LINES: u32 = 20;
/// Characters that are shown of an example's method and path.
const LONGEST_METHOD: usize = 32;
const LONGEST_PATH: usize = 512;

/// Counts by kind.
#[derive(Debug, Default)]
pub(super) struct Differences(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    kinds: HashMap<Kind, Seen>,
    /// Of whatever kind.
    all: u64,
    /// Of kinds that aren't listed.
    unlisted: u64,
    lines_since: Option<Instant>,
    lines: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    in_force: ShadowSays,
    shadow: ShadowSays,
}

#[derive(Debug)]
struct Seen {
    count: u64,
    last_at: SystemTime,
    told: Instant,
    method: Box<str>,
    path: Box<str>,
}

impl Differences {
    /// Adds one. How often there was just this, where that is worth a line of the log: once in a second, so that a flood
    /// of differences doesn't become one of lines.
    pub(super) fn add(&self, in_force: &ShadowSays, shadow: &Arc<ShadowSays>, method: &str, path: &str) -> Option<u64> {
        self.add_at(Instant::now(), in_force, shadow, method, path)
    }

    fn add_at(
        &self,
        now: Instant,
        in_force: &ShadowSays,
        shadow: &ShadowSays,
        method: &str,
        path: &str,
    ) -> Option<u64> {
        let table = &mut *self.table();
        table.all += 1;
        let kind = Kind { in_force: in_force.clone(), shadow: shadow.clone() };
        let has_room = table.kinds.len() < MOST_KINDS;
        let count = match table.kinds.get_mut(&kind) {
            Some(seen) => {
                seen.count += 1;
                seen.last_at = SystemTime::now();
                if now.saturating_duration_since(seen.told) < PAUSE {
                    return None;
                }
                seen.told = now;
                (seen.method, seen.path) = example(method, path);
                seen.count
            }
            None if has_room => {
                let (method, path) = example(method, path);
                table.kinds.insert(kind, Seen { count: 1, last_at: SystemTime::now(), told: now, method, path });
                1
            }
            None => {
                table.unlisted += 1;
                return None;
            }
        };
        table.may_tell(now).then_some(count)
    }

    /// How many there were, how many of these aren't listed, and the list, the most frequent first.
    pub(super) fn to_json(&self) -> (u64, u64, Vec<Value>) {
        let table = self.table();
        let mut kinds: Vec<_> = table.kinds.iter().collect();
        kinds.sort_by_key(|(kind, seen)| {
            (std::cmp::Reverse(seen.count), kind.in_force.route.clone(), kind.shadow.route.clone())
        });
        let listed = kinds.into_iter().map(|(Kind { in_force, shadow }, seen)| {
            json!({
                "route": &*in_force.route,
                "shadow_route": &*shadow.route,
                "outcome": in_force.outcome(),
                "reason": in_force.reason,
                "shadow_outcome": shadow.outcome(),
                "shadow_reason": shadow.reason,
                "count": seen.count,
                "last_at": rfc_3339(seen.last_at),
                "example": {"method": &*seen.method, "path": &*seen.path},
            })
        });
        (table.all, table.unlisted, listed.collect())
    }

    /// Nothing that holds it can panic; were it poisoned all the same, counts are sound.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn may_tell(&mut self, now: Instant) -> bool {
        if self.lines_since.is_none_or(|since| now.saturating_duration_since(since) >= PAUSE) {
            (self.lines_since, self.lines) = (Some(now), 0);
        }
        self.lines += 1;
        self.lines <= MOST_LINES
    }
}

fn example(method: &str, path: &str) -> (Box<str>, Box<str>) {
    (cut(method, LONGEST_METHOD), cut(path, LONGEST_PATH))
}

fn cut(text: &str, longest: usize) -> Box<str> {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn says(route: &str, allowed: bool, reason: &'static str) -> ShadowSays {
        ShadowSays { route: route.into(), allowed, reason }
    }

    #[test]
    fn kinds_are_counted_and_told_once_in_a_while() {
        let (differences, begin) = (Differences::default(), Instant::now());
        let (yes, no) = (says("a", true, "ok"), says("a", false, "scope"));
        let add = |path, after| differences.add_at(begin + after, &yes, &no, "GET", path);
        assert_eq!(add("/1", Duration::ZERO), Some(1));
        assert_eq!(add("/2", PAUSE / 2), None);
        assert_eq!(add("/3", PAUSE), Some(3));
        assert_eq!(add("/4", PAUSE), None);
        differences.add_at(begin, &no, &yes, "PUT", "/5");
        let (all, unlisted, listed) = differences.to_json();
        assert_eq!((all, unlisted, listed.len()), (5, 0, 2));
        let first = &listed[0];
        assert_eq!(
            (&first["count"], &first["outcome"], &first["shadow_outcome"]),
            (&json!(4), &json!("allow"), &json!("deny"))
        );
        assert_eq!((&first["reason"], &first["shadow_reason"]), (&json!("ok"), &json!("scope")));
        assert_eq!(first["example"], json!({"method": "GET", "path": "/3"}));
    }

    #[test]
    fn floods_are_bounded() {
        let (differences, now) = (Differences::default(), Instant::now());
        let no = says("", false, "no_route");
        let told = (0..2000).filter(|number| {
            let yes = says(&format!("r{number}"), true, "ok");
            differences.add_at(now, &yes, &no, &"M".repeat(1000), &"/é".repeat(10_000)).is_some()
        });
        assert_eq!(told.count(), MOST_LINES as usize);
        let (all, unlisted, listed) = differences.to_json();
        assert_eq!((all, unlisted, listed.len()), (2000, 2000 - MOST_KINDS as u64, MOST_KINDS));
        assert!(serde_json::to_string(&listed).unwrap().len() < MOST_KINDS * 1400);
    }
}
