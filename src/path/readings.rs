//! How other servers may read a canonical path.

use std::collections::HashSet;

use super::{Reading, canonical, hex_digit, is_reserved, push_encoded};

/// More readings than any honest path has.
const MAX_READINGS: usize = 32;

/// Octets that may be written to find the readings of one path: what bounds the work for a hostile one.
const MAX_WORK: usize = 1 << 20;

const TOO_MANY: &str = "the path can be read in too many ways";

/// A way in which another server may change a path before it acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// Each segment's parameters go: servlet containers.
    StripParameters,
    /// Slashes in a row count as one: nginx, and servers that map paths to files.
    MergeSlashes,
    /// `%25` and two hex digits are decoded once more: a decoder behind a decoder.
    DecodeAgain,
    /// Reserved characters are decoded as well: nearly all, before they match, and proxies that write the path anew.
    DecodeReserved,
    /// What begins with two slashes is an address without its scheme, so that its first segment is a host: servers that
    /// read a target as they would a link (`new URL` in Node, `urlsplit` in Python).
    DropHost,
    /// Letters become small: servers on file systems that ignore case.
    LowerCase,
    /// Letters become capital and then small, which meets more of them (`ſ` is an `s` then): servers that compare so.
    FoldCase,
}

const HABITS: [Habit; 5] =
    [Habit::StripParameters, Habit::MergeSlashes, Habit::DecodeAgain, Habit::DecodeReserved, Habit::DropHost];
const HABITS_IGNORING_CASE: [Habit; 7] = [
    Habit::StripParameters,
    Habit::MergeSlashes,
    Habit::DecodeAgain,
    Habit::DecodeReserved,
    Habit::DropHost,
    Habit::LowerCase,
    Habit::FoldCase,
];

/// Every reading that a chain of habits leads to, each habit once at most, in any order. Dots may be resolved after each
/// step or not before a later one: `/a/;/..;/b` is `/a/b` if they are before slashes are merged, else `/b`.
/// The search ends at the first reading that has no canonical form, since the request is then refused.
pub(super) fn of(text: &str) -> Vec<Reading> {
    if !text.contains([';', '%']) && !text.contains("//") {
        return Vec::new();
    }
    all(text, &HABITS)
}

/// The same of servers that also ignore case.
pub(super) fn ignoring_case(text: &str) -> Vec<Reading> {
    all(text, &HABITS_IGNORING_CASE)
}

/// Whether servers that ignore case take this path as it is written.
pub(crate) fn is_in_small_letters(text: &str) -> bool {
    Habit::LowerCase.apply(text).is_none() && Habit::FoldCase.apply(text).is_none()
}

fn all(text: &str, habits: &[Habit]) -> Vec<Reading> {
    match search(text, habits) {
        Ok(found) => {
            let mut readings: Vec<Reading> = found.into_iter().map(Ok).collect();
            readings.sort_unstable();
            readings
        }
        Err(detail) => vec![Err(detail)],
    }
}

fn search(text: &str, habits: &[Habit]) -> Result<HashSet<String>, &'static str> {
    let mut found = HashSet::new();
    let mut seen = HashSet::new();
    let mut open = vec![(0_u8, text.to_owned())];
    let mut work = 0;
    while let Some((used, from)) = open.pop() {
        for (place, habit) in habits.iter().enumerate() {
            let used_now = used | 1 << place;
            if used_now == used {
                continue;
            }
            let Some(changed) = habit.apply(&from) else { continue };
            work += changed.len();
            if work > MAX_WORK {
                return Err(TOO_MANY);
            }
            let reading = canonical(&changed)?;
            if reading != text && !found.contains(&reading) {
                found.insert(reading.clone());
                if found.len() > MAX_READINGS {
                    return Err(TOO_MANY);
                }
            }
            let unresolved = (reading != changed).then_some(changed);
            for next in unresolved.into_iter().chain([reading]) {
                let state = (used_now, next);
                if !seen.contains(&state) {
                    seen.insert(state.clone());
                    open.push(state);
                }
            }
        }
    }
    Ok(found)
}

impl Habit {
    /// The path as this habit leaves it, not made canonical; None if it changes nothing.
    fn apply(self, text: &str) -> Option<String> {
        match self {
            Habit::StripParameters => strip_parameters(text),
            Habit::MergeSlashes => merge_slashes(text),
            Habit::DecodeAgain => replace_encoded(text, |octet, rest| {
                let [high, low, ..] = rest else { return None };
                let encoded = octet == b'%' && hex_digit(*high).is_some() && hex_digit(*low).is_some();
                encoded.then_some('%')
            }),
            Habit::DecodeReserved => decode_reserved(text),
            Habit::DropHost => drop_host(text),
            Habit::LowerCase => change_letters(text, |letter| letter.to_lowercase().collect()),
            Habit::FoldCase => {
                change_letters(text, |letter| letter.to_uppercase().flat_map(char::to_lowercase).collect())
            }
        }
    }
}

fn strip_parameters(text: &str) -> Option<String> {
    if !text.contains(';') {
        return None;
    }
    let mut stripped = String::with_capacity(text.len());
    for (place, segment) in text.split('/').enumerate() {
        if place > 0 {
            stripped.push('/');
        }
        stripped.push_str(segment.split_once(';').map_or(segment, |(name, _)| name));
    }
    Some(stripped)
}

fn merge_slashes(text: &str) -> Option<String> {
    if !text.contains("//") {
        return None;
    }
    let mut merged = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    Some(merged)
}

fn drop_host(text: &str) -> Option<String> {
    let rest = text.strip_prefix("//")?.trim_start_matches('/');
    Some(rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/").to_owned())
}

/// The path with other letters, also in the place of those that are encoded; None if it stays the same.
fn change_letters(text: &str, change: impl Fn(char) -> String) -> Option<String> {
    let mut changed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (letter, after) = match encoded_character(rest) {
            Some((letter, after)) => (letter, after),
            // An encoded octet of ASCII is no letter in a canonical path; its digits aren't either.
            None if first == '%' => {
                let (octet, after) = rest.split_at_checked(3)?;
                changed.push_str(octet);
                rest = after;
                continue;
            }
            None => (first, rest.get(first.len_utf8()..)?),
        };
        for character in change(letter).chars() {
            if character.is_ascii() {
                changed.push(character);
            } else {
                character.encode_utf8(&mut [0; 4]).bytes().for_each(|octet| push_encoded(&mut changed, octet));
            }
        }
        rest = after;
    }
    (changed != text).then_some(changed)
}

/// The character beyond ASCII that `text` begins with in encoded form, and what follows it.
fn encoded_character(text: &str) -> Option<(char, &str)> {
    let (first, _) = encoded_octet(text.strip_prefix('%')?)?;
    let length = usize::try_from(first.leading_ones()).ok().filter(|length| *length > 1)?;
    let mut octets = Vec::with_capacity(length);
    let mut rest = text;
    for _ in 0..length {
        let (octet, after) = encoded_octet(rest.strip_prefix('%')?)?;
        octets.push(octet);
        rest = after;
    }
    Some((std::str::from_utf8(&octets).ok()?.chars().next()?, rest))
}

/// The path with its encoded reserved characters decoded; None if it has none.
pub(crate) fn decode_reserved(text: &str) -> Option<String> {
    replace_encoded(text, |octet, _| is_reserved(octet).then_some(char::from(octet)))
}

/// Puts what `decode` says in place of each encoded octet; it is given the octet and what follows.
fn replace_encoded(text: &str, decode: impl Fn(u8, &[u8]) -> Option<char>) -> Option<String> {
    let (before, mut rest) = text.split_once('%')?;
    let mut replaced = String::with_capacity(text.len());
    replaced.push_str(before);
    let mut changed = false;
    loop {
        match encoded_octet(rest).and_then(|(octet, after)| Some((decode(octet, after.as_bytes())?, after))) {
            Some((character, after)) => {
                replaced.push(character);
                rest = after;
                changed = true;
            }
            None => replaced.push('%'),
        }
        let Some((before, after)) = rest.split_once('%') else { break };
        replaced.push_str(before);
        rest = after;
    }
    replaced.push_str(rest);
    changed.then_some(replaced)
}

/// The octet whose two digits `rest` begins with, and what follows them.
fn encoded_octet(rest: &str) -> Option<(u8, &str)> {
    let (digits, after) = rest.split_at_checked(2)?;
    let mut digits = digits.bytes().filter_map(hex_digit);
    Some((digits.next()? << 4 | digits.next()?, after))
}
