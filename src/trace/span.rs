//! What is recorded of one step of a request.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hyper::HeaderMap;

use super::exporter::Exporter;
use crate::headers::{SpanId, TraceContext, TraceId};

/// Of one request. More are counted as dropped.
const MOST_SPANS: usize = 64;
/// Bytes of a value that a client or a file determines; the rest is left out.
const LONGEST_TEXT: usize = 1024;

/// A step that is under way; it ends when its value is dropped. Empty where the request isn't recorded: then nothing
/// is done by any of its functions.
#[derive(Debug)]
pub struct Span(Option<Box<Open>>);

/// A step in which others begin, maybe after its end.
#[derive(Clone, Debug)]
pub struct Parent(Option<(Arc<Recording>, SpanId)>);

/// Who does a step, as OpenTelemetry tells steps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Within the gateway.
    Internal,
    /// An answer to a request.
    Server,
    /// A request to somebody else.
    Client,
}

/// Of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
    /// Yes or no.
    Flag(bool),
}

#[derive(Debug)]
struct Open {
    request: Arc<Recording>,
    began: Instant,
    step: Step,
}

/// A step that is over.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    /// Whether the parent is another process's.
    pub(super) is_continued: bool,
    pub(super) name: Cow<'static, str>,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) has_failed: bool,
}

/// One request's steps, sent together when the last one is over: also what goes on when its client has gone.
#[derive(Debug)]
pub(super) struct Recording {
    trace: TraceId,
    flags: u8,
    exporter: Arc<Exporter>,
    over: Mutex<Vec<Step>>,
}

/// All steps of a request.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) trace: TraceId,
    pub(super) flags: u8,
    pub(super) steps: Vec<Step>,
}

impl Span {
    /// Nothing is recorded.
    pub const fn none() -> Span {
        Span(None)
    }

    pub(super) fn of_request(context: &TraceContext, exporter: &Arc<Exporter>) -> Span {
        let request = Arc::new(Recording {
            trace: context.trace(),
            flags: context.flags(),
            exporter: exporter.clone(),
            over: Mutex::default(),
        });
        // The upstream was told of a new trace's first span, whoever gets that far.
        let (id, parent) = match context.is_new() {
            true => (context.span(), None),
            false => (SpanId::random(), Some(context.span())),
        };
        Span::begin(request, id, parent, "request", Kind::Server)
    }

    fn begin(request: Arc<Recording>, id: SpanId, parent: Option<SpanId>, name: &'static str, kind: Kind) -> Span {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let step = Step {
            id,
            parent,
            is_continued: kind == Kind::Server && parent.is_some(),
            name: Cow::Borrowed(name),
            kind,
            start: u64::try_from(start.as_nanos()).unwrap_or(u64::MAX),
            took: Duration::ZERO,
            attributes: Vec::new(),
            has_failed: false,
        };
        Span(Some(Box::new(Open { request, began: Instant::now(), step })))
    }

    /// A step within this one.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        self.as_parent().child(name, kind)
    }

    /// To begin steps within this one where it can't be borrowed.
    pub fn as_parent(&self) -> Parent {
        Parent(self.0.as_ref().map(|open| (open.request.clone(), open.step.id)))
    }

    /// Whether anything is recorded.
    pub fn is_recorded(&self) -> bool {
        self.0.is_some()
    }

    /// Names it anew.
    pub fn name(&mut self, name: impl FnOnce() -> Cow<'static, str>) {
        if let Some(open) = &mut self.0 {
            open.step.name = shortened(name());
        }
    }

    /// Says something of it. Nothing of a token, and nothing that a client could put one into.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.step.attributes.push((key, value.into()));
        }
    }

    /// The same where there is something to say.
    pub fn set_some(&mut self, key: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(key, value);
        }
    }

    /// It went wrong; `why` is one of few words or numbers.
    pub fn failed(&mut self, why: impl Into<Value>) {
        if let Some(open) = &mut self.0 {
            open.step.has_failed = true;
            open.step.attributes.push(("error.type", why.into()));
        }
    }

    /// Makes it the sender of a request (`traceparent`).
    pub fn sends(&self, headers: &mut HeaderMap) {
        if let Some(open) = &self.0 {
            open.step.id.write(open.request.trace, open.request.flags, headers);
        }
    }

    /// Takes back that it began.
    pub fn forget(mut self) {
        self.0 = None;
    }
}

impl Parent {
    /// A step within this one.
    pub fn child(&self, name: &'static str, kind: Kind) -> Span {
        match &self.0 {
            Some((request, id)) => Span::begin(request.clone(), SpanId::random(), Some(*id), name, kind),
            None => Span::none(),
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let Open { request, began, step } = *open;
            request.ended(Step { took: began.elapsed(), ..step });
        }
    }
}

impl Recording {
    fn ended(&self, step: Step) {
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        // The request's own comes last.
        if over.len() < MOST_SPANS || step.kind == Kind::Server {
            over.push(step);
        } else {
            drop(over);
            self.exporter.dropped(1);
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let steps = std::mem::take(self.over.get_mut().unwrap_or_else(PoisonError::into_inner));
        if !steps.is_empty() {
            self.exporter.send(Recorded { trace: self.trace, flags: self.flags, steps });
        }
    }
}

fn shortened(text: Cow<'static, str>) -> Cow<'static, str> {
    match text {
        Cow::Owned(mut owned) if owned.len() > LONGEST_TEXT => {
            owned.truncate(owned.floor_char_boundary(LONGEST_TEXT));
            Cow::Owned(owned)
        }
        other => other,
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Value {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(shortened(Cow::Owned(text)))
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Value {
        Value::from(text.to_string())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Value {
        Value::Number(number.into())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Value {
        Value::Flag(flag)
    }
}
