//! The part of OTLP that spans need (opentelemetry-proto 1.x: collector/trace/v1, trace/v1, resource/v1, common/v1): field
//! numbers and types are the protocol's.

use prost::{Enumeration, Message, Oneof};

use super::span::{Kind, Recorded, Step, Value};

/// `ExportTraceServiceRequest`
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// Who the spans are from.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

/// `InstrumentationScope`
#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum SpanKind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(enumeration = "StatusCode", tag = "3")]
    code: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum StatusCode {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "AnyOf", tags = "1, 2, 3")]
    value: Option<AnyOf>,
}

#[derive(Clone, PartialEq, Oneof)]
enum AnyOf {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// `ExportTraceServiceResponse`
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
}

/// Of `Span.flags`: whether the parent is another process's is known, and it is.
const KNOWN_WHETHER_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

impl Resource {
    pub(super) fn new(attributes: impl IntoIterator<Item = (String, String)>) -> Resource {
        let attributes = attributes.into_iter().map(|(key, text)| key_value(key, AnyOf::Text(text)));
        Resource { attributes: attributes.collect() }
    }
}

/// A message for a collector.
pub(super) fn request(resource: &Resource, requests: Vec<Recorded>) -> Vec<u8> {
    let scope = Scope { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = requests.into_iter().flat_map(|Recorded { trace, flags, steps }| {
        steps.into_iter().map(move |step| span(trace.to_bytes().to_vec(), flags, step))
    });
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: spans.collect() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource.clone()), scope_spans }];
    Request { resource_spans }.encode_to_vec()
}

/// How many spans a collector says that it didn't take. What can't be read says nothing of that.
pub(super) fn rejected(answer: &[u8]) -> usize {
    let partial = Response::decode(answer).ok().and_then(|response| response.partial_success);
    partial.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}

fn span(trace_id: Vec<u8>, flags: u8, step: Step) -> Span {
    let took = u64::try_from(step.took.as_nanos()).unwrap_or(u64::MAX);
    let kind = match step.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    Span {
        trace_id,
        span_id: step.id.to_bytes().to_vec(),
        parent_span_id: step.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        name: step.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: step.start,
        end_time_unix_nano: step.start.saturating_add(took),
        attributes: step.attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        status: step.has_failed.then(|| Status { code: StatusCode::Error.into() }),
        flags: u32::from(flags) | KNOWN_WHETHER_REMOTE | if step.is_continued { REMOTE } else { 0 },
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyOf::Text(text.into_owned()),
        Value::Number(number) => AnyOf::Number(number),
        Value::Flag(flag) => AnyOf::Flag(flag),
    };
    key_value(key.to_owned(), value)
}

fn key_value(key: String, value: AnyOf) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(value) }) }
}
