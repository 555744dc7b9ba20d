//! A request's body on its way to an upstream: counted, limited in size and time, its trailers cleaned.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::HeaderMap;
use tokio::time::{Instant, Sleep};

use super::{
    Arriving, BodyError, BodyFault,
    held::{self, Held, Waiting},
    kept::{Kept, MOST_KEPT},
    poll_timer,
};
use crate::{identity::ReservedNames, refusal::Refusal};

/// What a request's body may cost.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes; None: no limit (`max_body_bytes`).
    pub max_bytes: Option<u64>,
    /// How long the client may bring nothing while it is waited for (`server.body_timeout`).
    pub idle: Duration,
    /// When the whole exchange has to be over (the route's `timeout`).
    pub deadline: Option<Instant>,
}

/// The body of a request, as an upstream's connection reads it. What is wrong with it is noted in its `BodyFault`
/// and ends it with an error, so that the upstream's connection is cut and never sees an end that isn't one.
pub struct RequestBody {
    source: Source,
    /// Where what is read is kept, too.
    kept: Option<Kept>,
    limits: BodyLimits,
    fault: BodyFault,
    reserved: Arc<ReservedNames>,
    upload: Upload,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client is waited for.
    waiting_since: Option<Instant>,
    /// Set while the upstream's word is waited for.
    held: Option<Box<Waiting>>,
}

/// Where a request's body comes from.
enum Source {
    /// Nothing, or nothing more.
    Nothing,
    Client(Arriving),
    /// It was read before: its pieces, the last one first, then its trailers.
    Kept(Vec<Bytes>, Option<HeaderMap>),
}

/// How far a request's body has come; a handle that outlives the body. Costs nothing for requests without one.
#[derive(Clone, Debug, Default)]
pub struct Upload(Option<Arc<Progress>>);

#[derive(Debug)]
struct Progress {
    begin: Instant,
    bytes: AtomicU64,
    /// Microseconds from `begin` to the last frame.
    last: AtomicU64,
    /// The client is being waited for, and not the upstream.
    waiting: AtomicBool,
    /// Nothing more will come.
    ended: AtomicBool,
    /// It ended before its end: the client's fault.
    broke_off: AtomicBool,
}

impl RequestBody {
    /// A client's body under limits. `reserved` says what its trailers may not bring.
    pub fn new(
        incoming: impl Into<Arriving>,
        limits: BodyLimits,
        fault: BodyFault,
        reserved: Arc<ReservedNames>,
    ) -> RequestBody {
        let incoming = incoming.into();
        let (source, upload) = match incoming.is_end_stream() {
            true => (Source::Nothing, Upload::default()),
            false => (Source::Client(incoming), Upload::begin()),
        };
        RequestBody {
            source,
            kept: None,
            limits,
            fault,
            reserved,
            upload,
            timer: None,
            waiting_since: None,
            held: None,
        }
    }

    /// None at all, for a request of our own.
    pub(crate) fn nothing() -> RequestBody {
        let limits = BodyLimits { max_bytes: None, idle: Duration::MAX, deadline: None };
        RequestBody {
            source: Source::Nothing,
            kept: None,
            limits,
            fault: BodyFault::default(),
            reserved: Arc::new(ReservedNames::new([])),
            upload: Upload::default(),
            timer: None,
            waiting_since: None,
            held: None,
        }
    }

    /// Refuses a body whose declared length is over the limit, before any of it is asked for (so also before
    /// `100 Continue` is sent).
    ///
    /// # Errors
    /// `Refusal::BodyTooLarge`
    pub fn check_declared(&self) -> Result<(), Refusal> {
        match (self.limits.max_bytes, self.size_hint().lower()) {
            (Some(most), declared) if declared > most => Err(Refusal::BodyTooLarge),
            _ => Ok(()),
        }
    }

    /// How far it has come, to be asked while and after it is sent.
    pub fn upload(&self) -> Upload {
        self.upload.clone()
    }

    /// When the whole exchange has to be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.limits.deadline
    }

    /// Keeps what will be read of it, so that it can be sent again; whoever asks so, too, gets the same. None where it is known to be too large for that, or
    /// some of it was read already.
    pub(crate) fn keep(&mut self) -> Option<Kept> {
        if self.size_hint().lower() > MOST_KEPT as u64 || self.upload.bytes() > 0 {
            return None;
        }
        Some(self.kept.get_or_insert_default().clone())
    }

    /// The same without anything in it, for a request whose body was empty.
    pub(crate) fn emptied(&self) -> RequestBody {
        RequestBody {
            source: Source::Nothing,
            kept: None,
            limits: self.limits,
            fault: self.fault.clone(),
            reserved: self.reserved.clone(),
            upload: Upload::default(),
            timer: None,
            waiting_since: None,
            held: None,
        }
    }

    /// The same with what was kept of it. None where that isn't all of it.
    pub(crate) fn refilled(self, kept: &Kept) -> Option<RequestBody> {
        let (mut data, trailers) = kept.whole()?;
        data.reverse();
        Some(RequestBody { source: Source::Kept(data, trailers), upload: Upload::begin(), ..self })
    }

    /// Keeps it back where the client waits to be asked for it, until the upstream has its word. None: it goes at once.
    pub(crate) fn hold_back(&mut self, headers: &HeaderMap) -> Option<Held> {
        let is_client_s = matches!(self.source, Source::Client(_)) && !self.is_end_stream();
        if !is_client_s || !held::is_expected(headers) {
            return None;
        }
        let held = Held::new();
        self.held = Some(Box::new(held.waiting()));
        Some(held)
    }

    /// It goes whatever was waited for.
    pub(crate) fn let_go(&mut self) {
        self.held = None;
    }

    /// Ready once it goes.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(held) = &mut self.held else {
            return Poll::Ready(Ok(()));
        };
        self.upload.set_waiting(true);
        let goes = ready!(held.poll_goes(cx));
        self.held = None;
        if goes {
            return Poll::Ready(Ok(()));
        }
        self.end();
        Poll::Ready(Err(BodyError::Unasked))
    }

    fn check_frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let frame = match frame.into_data() {
            Ok(data) => {
                let bytes = self.upload.add(data.len() as u64);
                if self.limits.max_bytes.is_some_and(|most| bytes > most) {
                    return Err(self.fail(Refusal::BodyTooLarge));
                }
                Frame::data(data)
            }
            Err(frame) => frame,
        };
        Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                self.reserved.strip_trailers(&mut trailers);
                Frame::trailers(trailers)
            }
            Err(frame) => frame,
        })
    }

    /// No frame is there: is the client still in time?
    fn check_time(&mut self, cx: &mut Context<'_>) -> Result<(), BodyError> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        self.upload.set_waiting(true);
        let idle_until = since + self.limits.idle;
        let until = self.limits.deadline.map_or(idle_until, |deadline| deadline.min(idle_until));
        if !poll_timer(&mut self.timer, until, cx) {
            return Ok(());
        }
        Err(self.fail(if until < idle_until { Refusal::UploadTimedOut } else { Refusal::BodyTooSlow }))
    }

    fn fail(&mut self, fault: Refusal) -> BodyError {
        self.fault.set(fault.clone());
        self.upload.set_broken_off();
        self.end();
        BodyError::Fault(fault)
    }

    fn end(&mut self) {
        self.source = Source::Nothing;
        self.upload.set_ended();
    }

    /// The body was read to its end.
    fn end_whole(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.finish();
        }
        self.upload.set_ended();
    }

    fn poll_client(
        &mut self,
        polled: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        match polled {
            Some(Ok(frame)) => {
                self.waiting_since = None;
                // Nothing follows trailers, and nobody asks.
                let is_last = frame.is_trailers();
                let checked = self.check_frame(frame);
                if let (Some(kept), Ok(frame)) = (&self.kept, &checked) {
                    kept.add(frame);
                }
                if matches!(&self.source, Source::Client(incoming) if is_last || incoming.is_end_stream()) {
                    self.end_whole();
                }
                Some(checked)
            }
            Some(Err(error)) => {
                self.upload.set_broken_off();
                self.end();
                Some(Err(BodyError::Connection(error.into())))
            }
            None => {
                self.end_whole();
                self.end();
                None
            }
        }
    }

    /// The next piece of a body that was kept.
    fn next_kept(&mut self) -> Option<Frame<Bytes>> {
        let Source::Kept(data, trailers) = &mut self.source else { return None };
        let frame = data.pop().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
        if let (Some(kept), Some(frame)) = (&self.kept, &frame) {
            kept.add(frame);
        }
        if data.is_empty() && trailers.is_none() {
            self.end_whole();
        }
        frame
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Err(error) = ready!(this.poll_held(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        let incoming = match &mut this.source {
            Source::Nothing => return Poll::Ready(None),
            Source::Kept(..) => return Poll::Ready(this.next_kept().map(Ok)),
            Source::Client(incoming) => incoming,
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(polled) => Poll::Ready(this.poll_client(polled)),
            Poll::Pending => match this.check_time(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Nothing => true,
            Source::Client(incoming) => incoming.is_end_stream(),
            Source::Kept(data, trailers) => data.is_empty() && trailers.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Client(incoming) => incoming.size_hint(),
            // What ends with trailers is sent in chunks.
            Source::Kept(_, Some(_)) => SizeHint::default(),
            Source::Kept(data, None) => SizeHint::with_exact(data.iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Upload {
    fn begin() -> Upload {
        Upload(Some(Arc::new(Progress {
            begin: Instant::now(),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            broke_off: AtomicBool::new(false),
        })))
    }

    /// Bytes that came from the client so far.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |progress| progress.bytes.load(Ordering::Relaxed))
    }

    /// Whether nothing more is to come.
    pub fn ended(&self) -> bool {
        self.0.as_ref().is_none_or(|progress| progress.ended.load(Ordering::Relaxed))
    }

    /// Whether it ended before its end, by the client's fault.
    pub(crate) fn broke_off(&self) -> bool {
        self.0.as_ref().is_some_and(|progress| progress.broke_off.load(Ordering::Relaxed))
    }

    /// From when on it is the upstream that is waited for: the last byte's arrival, or now while the client is
    /// being waited for. None: there is no body.
    pub(crate) fn upstream_turn(&self) -> Option<Instant> {
        let progress = self.0.as_ref()?;
        if progress.waiting.load(Ordering::Relaxed) && !progress.ended.load(Ordering::Relaxed) {
            return Some(Instant::now());
        }
        Some(progress.begin + Duration::from_micros(progress.last.load(Ordering::Relaxed)))
    }

    /// Counts, notes the time, and says how many bytes there are now.
    fn add(&self, bytes: u64) -> u64 {
        let Some(progress) = &self.0 else {
            return bytes;
        };
        self.touch();
        progress.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    fn touch(&self) {
        if let Some(progress) = &self.0 {
            let micros = progress.begin.elapsed().as_micros();
            progress.last.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
            progress.waiting.store(false, Ordering::Relaxed);
        }
    }

    fn set_waiting(&self, waiting: bool) {
        if let Some(progress) = &self.0 {
            progress.waiting.store(waiting, Ordering::Relaxed);
        }
    }

    fn set_broken_off(&self) {
        if let Some(progress) = &self.0 {
            progress.broke_off.store(true, Ordering::Relaxed);
        }
    }

    fn set_ended(&self) {
        if let Some(progress) = &self.0
            && !progress.ended.swap(true, Ordering::Relaxed)
        {
            self.touch();
        }
    }
}
