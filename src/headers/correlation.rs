//! What ties the log lines of several servers together: `X-Request-Id`.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_REQUEST_ID: usize = 128;

/// The name of a request in logs, answers and the upstream's headers: `[A-Za-z0-9._:-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// The client's `X-Request-Id` where it has one that is sound, else a new random one of 32 hex digits.
pub fn request_id(headers: &HeaderMap) -> RequestId {
    match only(headers, &X_REQUEST_ID) {
        Some(value) if is_request_id(value.as_bytes()) => RequestId(value.clone()),
        _ => RequestId(value_of(&hex(random()))),
    }
}

impl RequestId {
    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The value for an `X-Request-Id` field.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// Makes this the one `X-Request-Id` of a message.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(X_REQUEST_ID, self.0.clone());
    }
}

/// A field's value, if it has one line.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

fn is_request_id(text: &[u8]) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
}

pub(super) fn value_of(ascii: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(ascii).unwrap_or(HeaderValue::from_static("0"))
}

pub(super) fn hex(number: u128) -> [u8; 32] {
    // All nibbles apart, each in a byte, eight digits at a time: without a branch or a table.
    let mut digits = [b'0'; 32];
    for (eight, part) in digits.as_chunks_mut::<8>().0.iter_mut().zip(number.to_be_bytes().as_chunks::<4>().0) {
        let mut nibbles = u64::from(u32::from_be_bytes(*part));
        nibbles = (nibbles << 16 | nibbles) & 0x0000_ffff_0000_ffff;
        nibbles = (nibbles << 8 | nibbles) & 0x00ff_00ff_00ff_00ff;
        nibbles = (nibbles << 4 | nibbles) & 0x0f0f_0f0f_0f0f_0f0f;
        // 1 in each byte above 9.
        let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        let text = nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10);
        *eight = text.to_be_bytes();
    }
    digits
}

/// Unique enough for names, which are no secrets: xoshiro256++ (Blackman and Vigna, 2018), begun by each thread with what the
/// operating system gives.
pub(super) fn random() -> u128 {
    thread_local! {
        static STATE: Cell<[u64; 4]> = Cell::new(seed());
    }
    STATE.with(|state| {
        let mut numbers = state.get();
        let (high, low) = (next(&mut numbers), next(&mut numbers));
        state.set(numbers);
        u128::from(high) << 64 | u128::from(low)
    })
}

/// Never all 0.
fn seed() -> [u64; 4] {
    // Keys from the operating system, of which each thread's maps have their own.
    let keyed = RandomState::new();
    [0_u8, 1, 2, 3].map(|place| keyed.hash_one((place, std::process::id())) | u64::from(place == 3))
}

fn next([a, b, c, d]: &mut [u64; 4]) -> u64 {
    let number = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
    let shifted = *b << 17;
    *c ^= *a;
    *d ^= *b;
    *b ^= *c;
    *a ^= *d;
    *c ^= shifted;
    *d = d.rotate_left(45);
    number
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn with(name: HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn a_sound_request_id_is_kept() {
        let longest = "a".repeat(128);
        for id in ["a", "A.b_c:d-9", "00000000-0000-0000-0000-000000000000", &longest] {
            assert_eq!(request_id(&with(X_REQUEST_ID, &[id])).as_str(), id);
        }
    }

    #[test]
    fn others_are_replaced() {
        let too_long = "a".repeat(129);
        for lines in
            [&[][..], &[""], &["a b"], &["a\u{e9}"], &["a,b"], &["a\"b"], &["{x}"], &[&too_long], &["a", "a"], &["a/b"]]
        {
            let mut headers = with(X_REQUEST_ID, lines);
            let id = request_id(&headers);
            assert_eq!(id.as_str().len(), 32, "{lines:?}");
            assert!(id.as_str().bytes().all(|byte| byte.is_ascii_hexdigit()));
            id.write(&mut headers);
            assert_eq!(headers.get_all(X_REQUEST_ID).iter().collect::<Vec<_>>(), [id.value()]);
        }
    }

    #[test]
    fn numbers_are_written_as_by_the_library() {
        for number in [0, 1, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX, 0x9a << 60, random()] {
            assert_eq!(hex(number), format!("{number:032x}").as_bytes());
        }
    }

    #[test]
    fn new_ids_differ() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..1000).map(|_| request_id(&HeaderMap::new()).as_str().to_owned()).collect::<Vec<_>>()
                })
            })
            .collect();
        let ids: HashSet<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.len(), 4000);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_sound_id(bytes in proptest::collection::vec(32_u8..=255, 0..150)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, value);
            prop_assert!(is_request_id(request_id(&headers).as_str().as_bytes()));
        }
    }
}
