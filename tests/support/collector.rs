//! A collector of spans, made of OpenTelemetry's own types and gRPC's own server.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use tokio::{
    net::TcpListener,
    sync::{Notify, oneshot},
};
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use super::eventually;

/// How it takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// Refuses with this status.
    Refuses(Code),
    /// Takes all spans but so many.
    Rejects(i64),
    /// Answers once `release` is called.
    Held,
}

/// The collector. Ends with its value.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    /// Its end is the server's, too.
    _end: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    mood: Mutex<Option<Mood>>,
    arrived: AtomicUsize,
    taken: Mutex<Vec<ExportTraceServiceRequest>>,
    released: Notify,
}

/// A span, and who it is from.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) span: Span,
    pub(crate) resource: Vec<KeyValue>,
}

impl Collector {
    pub(crate) fn start() -> Collector {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Collector::on(listener)
    }

    pub(crate) fn on(listener: std::net::TcpListener) -> Collector {
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::new(State::default());
        let serving = TraceServiceServer::new(Serving(state.clone()));
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
                tokio::select! {
                    served = Server::builder().serve_with_incoming(serving, incoming) => served.unwrap(),
                    _ = ended => {}
                }
            });
        });
        Collector { address, state, _end: end }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = Some(mood);
    }

    /// Answers one message that it holds.
    pub(crate) fn release(&self) {
        self.state.released.notify_one();
    }

    /// Messages that have arrived, whatever came of them.
    pub(crate) fn arrived(&self) -> usize {
        self.state.arrived.load(Ordering::SeqCst)
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        seen(&self.state.taken.lock().unwrap())
    }

    /// The spans of the request with this id, once they are there.
    #[track_caller]
    pub(crate) fn request(&self, id: &str) -> Trace {
        let mut found = None;
        eventually(&format!("spans of request {id}"), || {
            found = Trace::of(&self.spans(), id);
            found.is_some()
        });
        found.unwrap()
    }
}

struct Serving(Arc<State>);

#[tonic::async_trait]
impl TraceService for Serving {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.arrived.fetch_add(1, Ordering::SeqCst);
        let mood = self.0.mood.lock().unwrap().unwrap_or(Mood::Good);
        match mood {
            Mood::Refuses(code) => return Err(Status::new(code, "not now")),
            Mood::Held => self.0.released.notified().await,
            Mood::Good | Mood::Rejects(_) => {}
        }
        self.0.taken.lock().unwrap().push(request.into_inner());
        let partial_success = match mood {
            Mood::Rejects(rejected_spans) => {
                Some(ExportTracePartialSuccess { rejected_spans, error_message: "too old".to_owned() })
            }
            _ => None,
        };
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

/// The spans of messages as they are sent over HTTP.
pub(crate) fn decoded<'m>(messages: impl IntoIterator<Item = &'m [u8]>) -> Vec<Seen> {
    let messages = messages.into_iter().map(|message| ExportTraceServiceRequest::decode(message).unwrap());
    seen(&messages.collect::<Vec<_>>())
}

fn seen(messages: &[ExportTraceServiceRequest]) -> Vec<Seen> {
    let mut spans = Vec::new();
    for resource_spans in messages.iter().flat_map(|message| &message.resource_spans) {
        let resource = resource_spans.resource.clone().unwrap().attributes;
        for scope in &resource_spans.scope_spans {
            assert_eq!(scope.scope.as_ref().unwrap().name, "bearward");
            spans.extend(scope.spans.iter().map(|span| Seen { span: span.clone(), resource: resource.clone() }));
        }
    }
    spans
}

/// What is said under this name, as text.
pub(crate) fn said(attributes: &[KeyValue], key: &str) -> Option<String> {
    let mut found = attributes.iter().filter(|attribute| attribute.key == key);
    let value = found.next()?.value.clone()?.value?;
    assert!(found.next().is_none(), "{key} is there twice: {attributes:?}");
    Some(match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

impl Seen {
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        said(&self.span.attributes, key)
    }

    #[track_caller]
    pub(crate) fn is(&self, expected: &[(&str, &str)]) -> &Seen {
        for (key, value) in expected {
            assert_eq!(self.get(key).as_deref(), Some(*value), "{key} in {:#?}", self.span);
        }
        self
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The spans of one request.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) server: Seen,
    pub(crate) children: Vec<Seen>,
}

impl Trace {
    /// A request's are sent together, so that they are all there or none.
    pub(crate) fn of(spans: &[Seen], id: &str) -> Option<Trace> {
        let own = |seen: &&Seen| seen.get("bearward.request_id").as_deref() == Some(id);
        let server = spans.iter().find(own)?.clone();
        assert_eq!(server.span.kind(), SpanKind::Server);
        let mut children = vec![server.clone()];
        // Children of children, too.
        loop {
            let more: Vec<_> = spans
                .iter()
                .filter(|seen| !children.iter().any(|known| known.id() == seen.id()))
                .filter(|seen| children.iter().any(|known| known.id() == seen.parent()))
                .cloned()
                .collect();
            if more.is_empty() {
                break;
            }
            children.extend(more);
        }
        children.remove(0);
        for child in &children {
            assert_eq!(child.trace(), server.trace());
            assert!(child.span.start_time_unix_nano <= child.span.end_time_unix_nano);
            assert_eq!(child.span.flags & 0x300, 0x100, "the parent is known to be ours");
        }
        Some(Trace { server, children })
    }

    /// The steps of this name, in the order in which they began.
    pub(crate) fn all(&self, name: &str) -> Vec<&Seen> {
        let mut found: Vec<_> = self.children.iter().filter(|child| child.span.name == name).collect();
        found.sort_by_key(|child| child.span.start_time_unix_nano);
        found
    }

    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> &Seen {
        match self.all(name)[..] {
            [only] => only,
            _ => panic!("not one {name} in {self:#?}"),
        }
    }
}
