//! Where spans are sent: by gRPC, or as protobuf over HTTP.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hyper::{
    Method, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};

use super::otlp;
use crate::fetch::{self, Call, FetchRules, GrpcLink, Over, Trust};

/// The port that OTLP has for HTTP.
const HTTP_PORT: u16 = 4318;
const HTTP_PATH: &str = "/v1/traces";
const GRPC_METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// A message takes no longer.
const WITHIN: Duration = Duration::from_secs(10);
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// A collector's endpoint.
#[derive(Debug)]
pub(super) enum Collector {
    Grpc(GrpcLink),
    Http(String, FetchRules),
}

/// Why a message wasn't taken.
#[derive(Debug)]
pub(super) struct NotTaken {
    /// For the operator.
    pub(super) message: String,
    /// Whether it may be taken later.
    pub(super) may_pass: bool,
}

impl Collector {
    /// The endpoint of `tracing.otlp`: a URL with a path is called over HTTP just there, one with the port that OTLP has for HTTP
    /// at the path that it has for spans, any other by gRPC.
    pub(super) fn new(url: &str) -> Result<Collector, String> {
        // Spans hold no secrets, and collectors beside the gateway mostly speak no TLS.
        let rules = FetchRules {
            timeout: WITHIN,
            allow_http: true,
            max_body_bytes: MAX_ANSWER_BYTES,
            trust: Arc::new(Trust::default()),
        };
        match http_url(url) {
            Some(url) => Ok(Collector::Http(url, rules)),
            None => GrpcLink::new(url, rules).map(Collector::Grpc).map_err(|error| error.to_string()),
        }
    }

    /// Sends a message; how many of its spans weren't taken.
    pub(super) async fn send(&mut self, message: Vec<u8>) -> Result<usize, NotTaken> {
        match self {
            Collector::Grpc(link) => match link.unary(GRPC_METHOD, &message).await {
                Ok(answer) => Ok(otlp::rejected(&answer)),
                Err(fault) => Err(NotTaken { may_pass: fault.may_pass(), message: fault.message }),
            },
            Collector::Http(url, rules) => post(url, message, rules).await,
        }
    }
}

async fn post(url: &str, message: Vec<u8>, rules: &FetchRules) -> Result<usize, NotTaken> {
    const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
    let call = Call {
        method: Method::POST,
        fields: vec![(CONTENT_TYPE, PROTOBUF), (ACCEPT, PROTOBUF)],
        body: Bytes::from(message),
        over: Over::OpenConnection,
    };
    match fetch::call(url, call, rules).await {
        Ok(fetched) if fetched.status.is_success() => Ok(otlp::rejected(&fetched.body)),
        Ok(fetched) => Err(NotTaken {
            message: format!("the collector answers with status {}", fetched.status.as_u16()),
            may_pass: matches!(
                fetched.status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
        }),
        Err(error) => Err(NotTaken { may_pass: !error.was_answered, message: error.message }),
    }
}

/// Where a message is POSTed; None: gRPC is spoken there.
fn http_url(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    match uri.path_and_query().map_or("/", |path| path.as_str()) {
        "/" if uri.port_u16() == Some(HTTP_PORT) => Some(format!("{}{HTTP_PATH}", url.trim_end_matches('/'))),
        "/" => None,
        _ => Some(url.to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_url_tells_the_protocol() {
        for (url, over_http) in [
            ("http://127.0.0.1:4317", None),
            ("http://127.0.0.1:4317/", None),
            ("https://otlp.example", None),
            ("https://otlp.example:443", None),
            ("http://collector", None),
            ("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4318/", Some("http://127.0.0.1:4318/v1/traces")),
            ("https://[::1]:4318", Some("https://[::1]:4318/v1/traces")),
            ("http://127.0.0.1:4318/v1/traces", Some("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4317/v1/traces", Some("http://127.0.0.1:4317/v1/traces")),
            ("https://otlp.example/in/traces?tenant=a", Some("https://otlp.example/in/traces?tenant=a")),
        ] {
            assert_eq!(http_url(url).as_deref(), over_http, "{url}");
            assert_eq!(matches!(Collector::new(url).unwrap(), Collector::Http(..)), over_http.is_some(), "{url}");
        }
    }
}
