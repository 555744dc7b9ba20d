//! Which trace a request belongs to, and what goes on of that (W3C Trace Context, level 2).

use std::io::Write as _;

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};

use super::correlation::{hex, only, random, value_of};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
const TRACE_ID: std::ops::Range<usize> = 3..35;
const PARENT_ID: std::ops::Range<usize> = 36..52;
const FLAGS: std::ops::Range<usize> = 53..55;
const SAMPLED: u8 = 0b01;
/// Whoever began the trace says that its id is random. It goes on as it came.
const RANDOM: u8 = 0b10;
/// So many bits of a trace id are random (section 3.2.2.4), and decide whether it is sampled.
const RANDOM_BITS: u32 = 56;

/// The trace that a request belongs to: its client's, or a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    value: HeaderValue,
    /// Begun here. `tracestate` belongs to the client's trace, and goes with it.
    is_new: bool,
}

/// Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(u128);

/// Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId(u64);

/// The share of the traces begun here that are sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledShare {
    /// Below it the random part of a trace id isn't.
    least: u64,
}

impl TraceContext {
    /// The client's `traceparent` where it has one that is valid, else a new trace, of which this share is sampled.
    pub fn of(headers: &HeaderMap, share: SampledShare) -> TraceContext {
        match only(headers, &TRACEPARENT).and_then(continued) {
            Some(value) => TraceContext { value, is_new: false },
            None => TraceContext::new(share),
        }
    }

    fn new(share: SampledShare) -> TraceContext {
        let trace = TraceId(random().max(1));
        let flags = if share.takes(trace) { SAMPLED } else { 0 };
        TraceContext { value: value(trace, SpanId::random(), flags), is_new: true }
    }

    /// 32 hex digits.
    pub fn trace_id(&self) -> &str {
        self.part(TRACE_ID)
    }

    /// The same as a number.
    pub fn trace(&self) -> TraceId {
        TraceId(u128::from_str_radix(self.trace_id(), 16).unwrap_or(1))
    }

    /// Who sent the request; in a trace that begins here, the request itself.
    pub fn span(&self) -> SpanId {
        SpanId(u64::from_str_radix(self.part(PARENT_ID), 16).unwrap_or(1))
    }

    /// Whether the trace begins here.
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Whether the trace is recorded: its client says so, or our share of new ones.
    pub fn is_sampled(&self) -> bool {
        self.flags() & SAMPLED != 0
    }

    /// Those that are defined.
    pub fn flags(&self) -> u8 {
        u8::from_str_radix(self.part(FLAGS), 16).unwrap_or(0) & (SAMPLED | RANDOM)
    }

    /// Makes this the one `traceparent` of a request.
    pub fn write(&self, headers: &mut HeaderMap) {
        if self.is_new {
            headers.remove(TRACESTATE);
        }
        headers.insert(TRACEPARENT, self.value.clone());
    }

    fn part(&self, place: std::ops::Range<usize>) -> &str {
        self.value.to_str().ok().and_then(|text| text.get(place)).unwrap_or_default()
    }
}

impl TraceId {
    /// As it is sent in binary.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl SpanId {
    /// A new one.
    pub fn random() -> SpanId {
        SpanId((random() as u64).max(1))
    }

    /// As it is sent in binary.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Makes this span the sender of a request.
    pub fn write(self, trace: TraceId, flags: u8, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, value(trace, self, flags));
    }
}

impl SampledShare {
    /// None of them.
    pub const NONE: SampledShare = SampledShare { least: 1 << RANDOM_BITS };

    /// From 0 to 1.
    pub fn new(share: f64) -> SampledShare {
        let all = SampledShare::NONE.least;
        // Saturates, and takes what is no number for 0.
        SampledShare { least: all - ((share * all as f64) as u64).min(all) }
    }

    /// By the trace's id, so that all who go by it decide alike (OpenTelemetry's consistent probability sampling).
    fn takes(self, trace: TraceId) -> bool {
        (trace.0 as u64) & (SampledShare::NONE.least - 1) >= self.least
    }
}

/// What goes on of a `traceparent`, where it is valid: as it is in version 00; of a version to come, what 00 knows of it
/// (section 3.3).
fn continued(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.as_bytes();
    if !is_valid(text) {
        return None;
    }
    if text.starts_with(b"00") {
        return Some(value.clone());
    }
    let later = TraceContext { value: value.clone(), is_new: false };
    Some(self::value(later.trace(), later.span(), later.flags()))
}

/// Section 3.2 and, for versions to come, 3.3: these may have more after another dash.
fn is_valid(text: &[u8]) -> bool {
    let lower_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let shape = text.iter().take(LENGTH).enumerate().all(|(place, byte)| match place {
        2 | 35 | 52 => *byte == b'-',
        _ => lower_hex(byte),
    });
    let not_zero = |range| text.get(range).is_some_and(|id: &[u8]| id.iter().any(|byte| *byte != b'0'));
    let length = match text.get(..2) {
        Some(b"00") => text.len() == LENGTH,
        Some(b"ff") | None => false,
        Some(_) => text.len() == LENGTH || text.get(LENGTH) == Some(&b'-'),
    };
    length && shape && not_zero(TRACE_ID) && not_zero(PARENT_ID)
}

fn value(trace: TraceId, span: SpanId, flags: u8) -> HeaderValue {
    let mut text = [0; LENGTH];
    let mut rest = &mut text[..];
    let (span, flags) = (hex(u128::from(span.0)), hex(u128::from(flags)));
    let last = |digits: &'_ [u8; 32], count: usize| digits.len() - count;
    let parts = [
        &b"00-"[..],
        &hex(trace.0),
        b"-",
        span.get(last(&span, PARENT_ID.len())..).unwrap_or_default(),
        b"-",
        flags.get(last(&flags, FLAGS.len())..).unwrap_or_default(),
    ];
    // They fill it exactly.
    parts.iter().for_each(|part| drop(rest.write_all(part)));
    value_of(&text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    /// Section 3.2.3: the specification's own examples.
    const EXAMPLE_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const EXAMPLE_NOT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn with(lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        headers.append(TRACESTATE, HeaderValue::from_static("rojo=00f067aa0ba902b7"));
        headers.append(TRACESTATE, HeaderValue::from_static("congo=t61rcWkgMzE"));
        headers
    }

    fn all(share: f64) -> SampledShare {
        SampledShare::new(share)
    }

    #[test]
    fn the_examples_of_the_specification() {
        for (text, is_sampled) in [(EXAMPLE_SAMPLED, true), (EXAMPLE_NOT, false)] {
            for share in [all(0.0), all(1.0)] {
                let mut headers = with(&[text]);
                let trace = TraceContext::of(&headers, share);
                assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
                assert_eq!(trace.trace().to_bytes()[..4], [0x4b, 0xf9, 0x2f, 0x35]);
                assert_eq!(trace.span().to_bytes(), [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
                assert_eq!((trace.is_sampled(), trace.is_new()), (is_sampled, false), "the client's word counts");
                trace.write(&mut headers);
                assert_eq!(headers.get_all(TRACEPARENT).iter().collect::<Vec<_>>(), [text]);
                assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2);
            }
        }
    }

    #[test]
    fn what_is_valid_goes_on() {
        for (version, more, flags, sent, is_sampled) in [
            ("00", "", "00", "00", false),
            ("00", "", "01", "01", true),
            ("00", "", "02", "02", false),
            ("00", "", "03", "03", true),
            // As it came, though nobody knows what these mean.
            ("00", "", "ff", "ff", true),
            ("00", "", "fe", "fe", false),
            // Of a version to come, what is known of it.
            ("01", "", "01", "01", true),
            ("01", "", "ff", "03", true),
            ("01", "-", "00", "00", false),
            ("cc", "-what-else", "01", "01", true),
            ("cc", "-what-else", "0a", "02", false),
            ("fe", "-.", "09", "01", true),
        ] {
            let text = format!("{version}-{TRACE}-{SPAN}-{flags}{more}");
            let mut headers = with(&[&text]);
            let trace = TraceContext::of(&headers, all(1.0));
            assert_eq!(trace.trace_id(), TRACE, "{text}");
            assert_eq!((trace.is_sampled(), trace.is_new()), (is_sampled, false), "{text}");
            trace.write(&mut headers);
            assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
            assert_eq!(headers[TRACEPARENT], format!("00-{TRACE}-{SPAN}-{sent}"));
            assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2, "{text}");
        }
    }

    #[test]
    fn what_is_not_starts_a_new_trace() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        for lines in [
            &[][..],
            &[""],
            &["00"],
            &["00-"],
            &[&valid, &valid],
            &[&valid, "00"],
            &[&format!("{valid},{valid}")],
            &[&valid.to_uppercase()],
            &[&format!("00-{}-{SPAN}-01", TRACE.to_uppercase())],
            &[&format!("00-{TRACE}-{}-01", SPAN.to_uppercase())],
            &[&format!("00-{TRACE}-{SPAN}-0A")],
            &[&format!("0A-{TRACE}-{SPAN}-01")],
            &[&format!("00-{}-{SPAN}-01", "0".repeat(32))],
            &[&format!("00-{TRACE}-{}-01", "0".repeat(16))],
            &[&format!("01-{}-{SPAN}-01", "0".repeat(32))],
            &[&format!("ff-{TRACE}-{SPAN}-01")],
            &[&format!("ff-{TRACE}-{SPAN}-01-x")],
            &[&format!("00-{TRACE}-{SPAN}-01-x")],
            &[&format!("00-{TRACE}-{SPAN}-01-")],
            &[&format!("00-{TRACE}-{SPAN}-010")],
            &[&format!("cc-{TRACE}-{SPAN}-01x")],
            &[&format!("cc-{TRACE}-{SPAN}-01.x")],
            &[&format!("cc-{TRACE}-{SPAN}-0")],
            &[&format!("cc-{TRACE}-{SPAN}")],
            &[&format!("0-{TRACE}-{SPAN}-01")],
            &[&format!("000-{TRACE}-{SPAN}-01")],
            &[&format!("00-{TRACE}-{SPAN}-0")],
            &[&format!("00-{TRACE}-{SPAN}-")],
            &[&format!("00-{TRACE}-{SPAN}")],
            &[&format!("00-{TRACE}-{SPAN}-.1")],
            &[&format!("00-{TRACE}_{SPAN}-01")],
            &[&format!("00-{TRACE}-{SPAN}_01")],
            &[&format!("00_{TRACE}-{SPAN}-01")],
            &[&format!("00-{}-{SPAN}-01", &TRACE[1..])],
            &[&format!("00-{TRACE}0-{SPAN}-01")],
            &[&format!("00-{TRACE}-{}-01", &SPAN[1..])],
            &[&format!("00-{}g-{SPAN}-01", &TRACE[1..])],
            &[&format!("{valid}\u{e9}")],
        ] {
            for (share, is_sampled) in [(0.0, false), (1.0, true)] {
                let mut headers = with(lines);
                let trace = TraceContext::of(&headers, all(share));
                assert_ne!(trace.trace_id(), TRACE, "{lines:?}");
                assert_eq!((trace.is_sampled(), trace.is_new()), (is_sampled, true), "{lines:?}");
                trace.write(&mut headers);
                assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1, "{lines:?}");
                assert!(is_valid(headers[TRACEPARENT].as_bytes()), "{lines:?}");
                assert_eq!(&headers[TRACEPARENT].as_bytes()[..3], b"00-");
                assert_eq!(trace.trace_id(), &headers[TRACEPARENT].to_str().unwrap()[TRACE_ID]);
                assert!(!headers.contains_key(TRACESTATE), "{lines:?}");
            }
        }
    }

    #[test]
    fn a_span_is_the_sender_of_what_it_sends() {
        let mut headers = with(&[EXAMPLE_SAMPLED]);
        let trace = TraceContext::of(&headers, SampledShare::NONE);
        SpanId(0xab).write(trace.trace(), trace.flags(), &mut headers);
        assert_eq!(headers[TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-01");
        assert_eq!(headers.get_all(TRACESTATE).iter().count(), 2);
    }

    #[test]
    fn new_traces_differ_and_their_share_is_sampled() {
        for (share, least, most) in [(0.0, 0, 0), (0.25, 2200, 2800), (1.0, 10_000, 10_000)] {
            let traces: Vec<_> = (0..10_000).map(|_| TraceContext::new(all(share))).collect();
            let different: HashSet<_> = traces.iter().map(TraceContext::trace_id).collect();
            assert_eq!(different.len(), traces.len());
            // Ten standard deviations to each side of 2500.
            let sampled = traces.iter().filter(|trace| trace.is_sampled()).count();
            assert!((least..=most).contains(&sampled), "{share}: {sampled}");
        }
    }

    #[test]
    fn shares_decide_by_the_random_part_of_the_id() {
        let id = |random: u64| TraceId(u128::MAX << 56 | u128::from(random));
        let all_ones = (1 << 56) - 1;
        for (share, random, is_sampled) in [
            (0.0, all_ones, false),
            (1.0, 0, true),
            (0.5, 1 << 55, true),
            (0.5, (1 << 55) - 1, false),
            (0.25, 0b11 << 54, true),
            (0.25, (0b11 << 54) - 1, false),
            (f64::NAN, all_ones, false),
            (-1.0, all_ones, false),
            (7.0, 0, true),
        ] {
            assert_eq!(SampledShare::new(share).takes(id(random)), is_sampled, "{share} {random:x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_valid_trace(bytes in proptest::collection::vec(32_u8..=255, 0..80)) {
            let Ok(value) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, value);
            let trace = TraceContext::of(&headers, all(0.5));
            trace.write(&mut headers);
            prop_assert!(is_valid(headers[TRACEPARENT].as_bytes()));
        }

        #[test]
        fn nearly_valid_ones_are_read_as_the_grammar_has_them(
            version in "[0-9a-fA-F]{2}", trace in "[0-9a-f]{31,33}|0{32}", span in "[0-9a-f]{15,17}|0{16}",
            flags in "[0-9a-f]{1,3}", more in "|-|-x|x",
        ) {
            let text = format!("{version}-{trace}-{span}-{flags}{more}");
            let lower = version.chars().all(|digit| !digit.is_ascii_uppercase());
            let may_have_more = version != "00" && more.starts_with('-') || more.is_empty();
            let is_good = lower && version != "ff" && trace.len() == 32 && span.len() == 16 && flags.len() == 2
                && trace.contains(|digit| digit != '0') && span.contains(|digit| digit != '0') && may_have_more;
            let read = TraceContext::of(&with(&[&text]), SampledShare::NONE);
            prop_assert_eq!(!read.is_new(), is_good, "{}", text);
            if is_good {
                prop_assert_eq!(read.trace_id(), trace);
                prop_assert_eq!(hex(u128::from(read.span().0))[16..].to_vec(), span.into_bytes());
            }
        }

        #[test]
        fn what_is_written_reads_back(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
            let mut headers = HeaderMap::new();
            SpanId(span).write(TraceId(trace), flags, &mut headers);
            let read = TraceContext::of(&headers, SampledShare::NONE);
            prop_assert_eq!((read.trace(), read.span(), read.flags()), (TraceId(trace), SpanId(span), flags));
        }
    }
}
