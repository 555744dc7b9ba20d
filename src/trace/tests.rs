#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use hyper::{HeaderMap, header::HeaderValue};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value},
    trace::v1::{span::SpanKind, status::StatusCode},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::{headers::SpanId, observe::Observer};

const CLIENTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn sampled() -> TraceContext {
    let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), HeaderValue::from_static(CLIENTS))]);
    TraceContext::of(&headers, SampledShare::NONE)
}

/// Nobody sends what it is given.
fn at_rest(observer: &Observer) -> Tracing {
    Tracing::new(SampledShare::NONE, Some(Arc::new(Exporter::new("http://127.0.0.1:4317", observer).unwrap())))
}

fn dropped(observer: &Observer) -> u64 {
    let metrics = observer.render_metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("bearward_spans_total{result=\"dropped\"} "));
    line.unwrap().parse().unwrap()
}

#[test]
fn what_is_not_sampled_is_not_recorded() {
    let observer = Observer::silent();
    let unsampled = TraceContext::of(&HeaderMap::new(), SampledShare::NONE);
    let nowhere = Tracing::new(SampledShare::new(1.0), None);
    for mut span in [at_rest(&observer).begin(&unsampled), nowhere.begin(&sampled()), Span::none()] {
        assert!(!span.is_recorded());
        assert!(!span.child("a", Kind::Client).is_recorded());
        assert!(!span.as_parent().child("a", Kind::Client).is_recorded());
        span.name(|| panic!("nobody asks for it"));
        span.set("a", "b");
        span.failed("why");
        let mut headers = HeaderMap::new();
        span.sends(&mut headers);
        assert!(headers.is_empty());
    }
}

#[test]
fn a_queue_that_is_full_takes_nothing_more() {
    let observer = Observer::silent();
    let tracing = at_rest(&observer);
    for _ in 0..4096 {
        let span = tracing.begin(&sampled());
        drop(span.child("a", Kind::Internal));
    }
    assert_eq!(dropped(&observer), 0);
    for _ in 0..3 {
        let span = tracing.begin(&sampled());
        drop(span.child("a", Kind::Internal));
    }
    assert_eq!(dropped(&observer), 6);
}

#[test]
fn a_request_has_so_many_spans_and_its_own() {
    let observer = Observer::silent();
    let tracing = at_rest(&observer);
    let span = tracing.begin(&sampled());
    for _ in 0..70 {
        drop(span.child("a", Kind::Internal));
    }
    drop(span);
    assert_eq!(dropped(&observer), 6);
}

#[tokio::test]
async fn flushing_what_is_empty_ends() {
    let tracing = at_rest(&Observer::silent());
    tracing.maintain();
    tracing.flush().await;
    Tracing::new(SampledShare::NONE, None).flush().await;
}

fn recorded(name: String, values: Vec<Value>, kind: Kind, has_failed: bool) -> span::Recorded {
    let attributes = values.into_iter().map(|value| ("key", value)).collect();
    let step = span::Step {
        id: SpanId::random(),
        parent: (kind != Kind::Server).then(SpanId::random),
        is_continued: false,
        name: name.into(),
        kind,
        start: 1_700_000_000_000_000_000,
        took: std::time::Duration::from_micros(1500),
        attributes,
        has_failed,
    };
    span::Recorded { trace: sampled().trace(), flags: 1, steps: vec![step] }
}

proptest! {
    #[test]
    fn messages_read_as_opentelemetry_has_them(
        name in ".{0,50}",
        texts in proptest::collection::vec(".{0,20}", 0..4),
        number in any::<i64>(),
        flag in any::<bool>(),
        kind in prop_oneof![Just(Kind::Internal), Just(Kind::Server), Just(Kind::Client)],
        has_failed in any::<bool>(),
    ) {
        let mut values: Vec<_> = texts.into_iter().map(Value::from).collect();
        values.extend([Value::Number(number), Value::Flag(flag)]);
        let resource = otlp::Resource::new([("service.name".to_owned(), "x".to_owned())]);
        let sent = recorded(name.clone(), values.clone(), kind, has_failed);
        let (id, parent) = (sent.steps[0].id, sent.steps[0].parent);
        let message = otlp::request(&resource, vec![sent]);
        let read = ExportTraceServiceRequest::decode(&*message).unwrap();
        // Nothing that its types don't know.
        prop_assert_eq!(read.encode_to_vec(), message);
        let resource_spans = &read.resource_spans[0];
        prop_assert_eq!(&resource_spans.resource.as_ref().unwrap().attributes[0].key, "service.name");
        let scope = resource_spans.scope_spans[0].scope.as_ref().unwrap();
        prop_assert_eq!((scope.name.as_str(), scope.version.as_str()), ("bearward", env!("CARGO_PKG_VERSION")));
        let span = &resource_spans.scope_spans[0].spans[0];
        prop_assert_eq!(&span.trace_id[..], &sampled().trace().to_bytes()[..]);
        prop_assert_eq!(&span.span_id[..], &id.to_bytes()[..]);
        prop_assert_eq!(span.parent_span_id.clone(), parent.map_or(Vec::new(), |parent| parent.to_bytes().to_vec()));
        prop_assert_eq!(&span.name, &name);
        prop_assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_500_000);
        let kinds = [(Kind::Internal, SpanKind::Internal), (Kind::Server, SpanKind::Server), (Kind::Client, SpanKind::Client)];
        prop_assert!(kinds.contains(&(kind, span.kind())));
        let failed = span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
        prop_assert_eq!((failed, span.flags), (has_failed, 0x101));
        let expected: Vec<_> = values.into_iter().map(|value| {
            let value = match value {
                Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
                Value::Number(number) => any_value::Value::IntValue(number),
                Value::Flag(flag) => any_value::Value::BoolValue(flag),
            };
            KeyValue { key: "key".to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
        }).collect();
        prop_assert_eq!(&span.attributes, &expected);
    }

    #[test]
    fn any_answer_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        let _ = otlp::rejected(&bytes);
    }
}

#[test]
fn what_a_collector_rejects_is_read() {
    for (rejected_spans, expected) in [(0, 0), (7, 7), (-1, 0)] {
        let partial = ExportTracePartialSuccess { rejected_spans, error_message: "why".to_owned() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(otlp::rejected(&answer), expected);
    }
    assert_eq!(otlp::rejected(b""), 0);
}

#[test]
fn long_texts_end() {
    let Value::Text(text) = Value::from("é".repeat(1000)) else { panic!("not text") };
    assert_eq!(text.len(), 1024);
    let Value::Text(text) = Value::from(format!("a{}", "é".repeat(1000))) else { panic!("not text") };
    assert_eq!(text.len(), 1023);
}
