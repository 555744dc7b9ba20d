//! What ties the log lines of several servers together: `X-Request-Id` and `traceparent`.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const LONGEST_REQUEST_ID: usize = 128;
/// `00-` trace id `-` parent id `-` flags.
const TRACEPARENT_LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;

/// The name of a request in logs, answers and the upstream's headers: `[A-Za-z0-9._:-]{1,128}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// The trace that a request belongs to (W3C Trace Context).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    parent: HeaderValue,
    /// Made here, and not taken from the client.
    new: bool,
}

/// The client's `X-Request-Id` where it has one that is sound, else a new random one of 32 hex digits.
pub fn request_id(headers: &HeaderMap) -> RequestId {
    match only(headers, &X_REQUEST_ID) {
        Some(value) if is_request_id(value.as_bytes()) => RequestId(value.clone()),
        _ => RequestId(value_of(&hex(random()))),
    }
}

/// The client's `traceparent` where it has one that is valid, else a new trace that isn't sampled.
pub fn trace_context(headers: &HeaderMap) -> TraceContext {
    match only(headers, &TRACEPARENT) {
        Some(value) if is_traceparent(value.as_bytes()) => TraceContext { parent: value.clone(), new: false },
        _ => TraceContext { parent: new_traceparent(), new: true },
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

impl TraceContext {
    /// 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.parent.to_str().ok().and_then(|text| text.get(TRACE_ID)).unwrap_or_default()
    }

    /// Makes this the one `traceparent` of a request. `tracestate` belongs to the client's trace and goes with it
    /// (W3C Trace Context, section 3.4).
    pub fn write(&self, headers: &mut HeaderMap) {
        if self.new {
            headers.remove(TRACESTATE);
            headers.insert(TRACEPARENT, self.parent.clone());
        }
    }
}

/// A field's value, if it has one line.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.next().is_none().then_some(first)
}

fn is_request_id(text: &[u8]) -> bool {
    (1..=LONGEST_REQUEST_ID).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(byte))
}

/// Section 3.2 and, for versions to come, 4: these may have more after another dash.
fn is_traceparent(text: &[u8]) -> bool {
    let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let shape = text.iter().take(TRACEPARENT_LENGTH).enumerate().all(|(place, byte)| match place {
        2 | 35 | 52 => *byte == b'-',
        _ => lower_hex(byte),
    });
    let not_zero = |range| text.get(range).is_some_and(|id: &[u8]| id.iter().any(|byte| *byte != b'0'));
    let length = match text.get(..2) {
        Some(b"00") => text.len() == TRACEPARENT_LENGTH,
        Some(b"ff") | None => false,
        Some(_) => text.len() == TRACEPARENT_LENGTH || text.get(TRACEPARENT_LENGTH) == Some(&b'-'),
    };
    length && shape && not_zero(TRACE_ID) && not_zero(PARENT_ID)
}

fn new_traceparent() -> HeaderValue {
    let trace = hex(random() | 1);
    let parent = hex(random() | 1 << 64);
    let mut text = Vec::with_capacity(TRACEPARENT_LENGTH);
    text.extend_from_slice(b"00-");
    text.extend_from_slice(&trace);
    text.push(b'-');
    text.extend(parent.iter().take(16));
    text.extend_from_slice(b"-00");
    value_of(&text)
}

fn value_of(ascii: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(ascii).unwrap_or(HeaderValue::from_static("0"))
}

fn hex(number: u128) -> [u8; 32] {
    let mut digits = [b'0'; 32];
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = (number >> (4 * place) & 0xf) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    digits
}

/// Unique and unguessable enough for names: a keyed hash (keys from the operating system) of a counter, per thread.
fn random() -> u128 {
    thread_local! {
        static NAMES: (RandomState, Cell<u64>) = (RandomState::new(), const { Cell::new(0) });
    }
    NAMES.with(|(keyed, counter)| {
        let next = counter.get().wrapping_add(1);
        counter.set(next);
        u128::from(keyed.hash_one((0_u8, next))) << 64 | u128::from(keyed.hash_one((1_u8, next)))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

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

    #[test]
    fn a_valid_traceparent_is_kept() {
        for text in [
            VALID,
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-else",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let mut headers = with(TRACEPARENT, &[text]);
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            let trace = trace_context(&headers);
            assert_eq!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
            trace.write(&mut headers);
            assert_eq!(headers[TRACEPARENT], text);
            assert_eq!(headers[TRACESTATE], "a=b");
        }
    }

    #[test]
    fn others_start_a_new_trace() {
        for lines in [
            &[][..],
            &[""],
            &["00"],
            &[VALID, VALID],
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"],
            &["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"],
            &["00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01"],
        ] {
            let mut headers = with(TRACEPARENT, lines);
            headers.insert(TRACESTATE, HeaderValue::from_static("a=b"));
            let trace = trace_context(&headers);
            trace.write(&mut headers);
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1, "{lines:?}");
            assert!(is_traceparent(headers[TRACEPARENT].as_bytes()), "{lines:?}");
            assert_eq!(trace.trace_id(), &headers[TRACEPARENT].to_str().unwrap()[TRACE_ID]);
            assert!(!headers.contains_key(TRACESTATE));
            assert_ne!(trace.trace_id(), "0af7651916cd43dd8448eb211c80319c");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_sound_id_and_trace(bytes in proptest::collection::vec(32_u8..=255, 0..150)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, value.clone());
            headers.insert(TRACEPARENT, value);
            prop_assert!(is_request_id(request_id(&headers).as_str().as_bytes()));
            prop_assert_eq!(trace_context(&headers).trace_id().len(), 32);
        }

        #[test]
        fn made_ones_are_valid(_ in 0..100) {
            prop_assert!(is_traceparent(new_traceparent().as_bytes()));
        }
    }
}
