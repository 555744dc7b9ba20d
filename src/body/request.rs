//! A request's body on its way to an upstream: counted, limited in size and time, its trailers cleaned.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::{HeaderMap, body::Incoming};
use tokio::time::{Instant, Sleep};

use super::{
    BodyError, BodyFault,
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
}

/// Where a request's body comes from.
enum Source {
    /// Nothing, or nothing more.
    Nothing,
    Client(Incoming),
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
    pub fn new(incoming: Incoming, limits: BodyLimits, fault: BodyFault, reserved: Arc<ReservedNames>) -> RequestBody {
        let (source, upload) = match incoming.is_end_stream() {
            true => (Source::Nothing, Upload::default()),
            false => (Source::Client(incoming), Upload::begin()),
        };
        RequestBody { source, kept: None, limits, fault, reserved, upload, timer: None, waiting_since: None }
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
        }
    }

    /// The same with what was kept of it. None where that isn't all of it.
    pub(crate) fn refilled(self, kept: &Kept) -> Option<RequestBody> {
        let (mut data, trailers) = kept.whole()?;
        data.reverse();
        Some(RequestBody { source: Source::Kept(data, trailers), upload: Upload::begin(), ..self })
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
                Some(Err(BodyError::Connection(error)))
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub(crate) mod tests {
    use http_body_util::BodyExt as _;
    use hyper::{Request, Response, service::service_fn};
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt as _, DuplexStream};

    use super::*;

    pub(crate) const GENEROUS: BodyLimits =
        BodyLimits { max_bytes: None, idle: Duration::from_secs(30), deadline: None };

    /// What a server gives its service for these bytes. The other end stays with the caller; more can be written.
    pub(crate) async fn received(bytes: &[u8]) -> (Request<Incoming>, DuplexStream) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (give, mut take) = tokio::sync::mpsc::unbounded_channel();
        let service = service_fn(move |request: Request<Incoming>| {
            let _ = give.send(request);
            std::future::pending::<Result<Response<crate::body::Body>, hyper::Error>>()
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
        client.write_all(bytes).await.unwrap();
        (take.recv().await.unwrap(), client)
    }

    pub(crate) async fn request(bytes: &[u8], limits: BodyLimits) -> (Request<RequestBody>, BodyFault, DuplexStream) {
        let (request, client) = received(bytes).await;
        let fault = BodyFault::default();
        let reserved = Arc::new(ReservedNames::new([]));
        let request = request.map(|incoming| RequestBody::new(incoming, limits, fault.clone(), reserved));
        (request, fault, client)
    }

    async fn body(bytes: &str, limits: BodyLimits) -> (RequestBody, BodyFault, DuplexStream) {
        let (request, fault, client) = request(bytes.as_bytes(), limits).await;
        (request.into_body(), fault, client)
    }

    const CHUNKED: &str = "POST / HTTP/1.1\r\nhost: h\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n";

    #[tokio::test]
    async fn a_body_is_counted() {
        let (body, fault, _client) =
            body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhello", GENEROUS).await;
        let upload = body.upload();
        assert_eq!((upload.bytes(), upload.ended()), (0, false));
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
        assert_eq!((upload.bytes(), upload.ended()), (5, true));
        assert_eq!(fault.get(), None);
    }

    #[tokio::test]
    async fn no_body_costs_nothing() {
        let (body, _fault, _client) = body("GET / HTTP/1.1\r\nhost: h\r\n\r\n", GENEROUS).await;
        assert!(body.is_end_stream() && body.upload().0.is_none() && body.upload().ended());
    }

    #[tokio::test]
    async fn a_declared_length_over_the_limit_is_refused_at_once() {
        for (most, refused) in [(Some(4), true), (Some(5), false), (None, false)] {
            let limits = BodyLimits { max_bytes: most, ..GENEROUS };
            let (body, _fault, _client) = body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n", limits).await;
            assert_eq!(body.check_declared().is_err(), refused, "{most:?}");
        }
    }

    #[tokio::test]
    async fn chunks_over_the_limit_end_the_body() {
        let limits = BodyLimits { max_bytes: Some(5), ..GENEROUS };
        let (mut body, fault, mut client) = body(CHUNKED, limits).await;
        assert!(body.check_declared().is_ok());
        client.write_all(b"5\r\nhello\r\n").await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello");
        client.write_all(b"1\r\n!\r\n").await.unwrap();
        let error = body.frame().await.unwrap().unwrap_err();
        assert!(matches!(error, BodyError::Fault(Refusal::BodyTooLarge)), "{error}");
        assert_eq!(fault.get(), Some(&Refusal::BodyTooLarge));
        assert!(body.upload().ended());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_brings_nothing_is_too_slow() {
        let (mut body, fault, mut client) = body(CHUNKED, GENEROUS).await;
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(29)).await;
            client.write_all(b"1\r\nx\r\n").await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
        }
        let start = Instant::now();
        assert!(body.frame().await.unwrap().is_err());
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(fault.get(), Some(&Refusal::BodyTooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_asks_is_not_the_clients() {
        let (mut body, fault, mut client) = body(CHUNKED, GENEROUS).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        client.write_all(b"1\r\nx\r\n").await.unwrap();
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(fault.get(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_routes_time_is_over_during_the_upload() {
        let limits = BodyLimits { deadline: Some(Instant::now() + Duration::from_secs(45)), ..GENEROUS };
        let (mut body, fault, mut client) = body(CHUNKED, limits).await;
        let feed = async {
            for _ in 0..10 {
                client.write_all(b"1\r\nx\r\n").await.unwrap();
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        };
        let read = async { while let Some(Ok(_)) = body.frame().await {} };
        tokio::select! { () = feed => panic!("it goes on"), () = read => {} }
        assert_eq!(fault.get(), Some(&Refusal::UploadTimedOut));
    }

    #[tokio::test]
    async fn trailers_are_cleaned() {
        let (body, _fault, mut client) = body(CHUNKED, GENEROUS).await;
        client
            .write_all(b"1\r\nx\r\n0\r\nx-sum: 1\r\nX_Auth_Subject: root\r\nauthorization: Bearer t\r\n\r\n")
            .await
            .unwrap();
        let collected = body.collect().await.unwrap();
        let trailers = collected.trailers().unwrap();
        assert_eq!(trailers.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["x-sum"]);
    }

    #[tokio::test]
    async fn a_client_that_goes_away_is_an_error_and_no_end() {
        let (mut body, _fault, client) =
            body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhel", GENEROUS).await;
        drop(client);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(matches!(body.frame().await, Some(Err(BodyError::Connection(_)))));
    }

    #[tokio::test]
    async fn what_was_kept_can_be_sent_again_and_again() {
        let (mut first, _fault, mut client) = body(CHUNKED, GENEROUS).await;
        client.write_all(b"3\r\none\r\n3\r\ntwo\r\n0\r\nx-sum: 1\r\n\r\n").await.unwrap();
        let mut kept = first.keep().unwrap();
        let mut spare = first.emptied();
        assert!(spare.refilled(&kept).is_none(), "it was not read yet");
        spare = first.emptied();
        first.collect().await.unwrap();
        for _ in 0..2 {
            let mut again = spare.refilled(&kept).unwrap();
            assert!(!again.is_end_stream() && again.size_hint().exact().is_none());
            kept = again.keep().unwrap();
            spare = again.emptied();
            let upload = again.upload();
            let collected = again.collect().await.unwrap();
            assert_eq!(collected.trailers().unwrap()["x-sum"], "1");
            assert_eq!(collected.to_bytes(), "onetwo");
            assert!(upload.ended() && !upload.broke_off());
        }
    }

    #[tokio::test]
    async fn no_more_is_kept_than_may_be() {
        for (length, is_kept) in [(MOST_KEPT, true), (MOST_KEPT + 1, false)] {
            let (mut body, _fault, mut client) = body(CHUNKED, GENEROUS).await;
            client.write_all(format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)).as_bytes()).await.unwrap();
            let (kept, spare) = (body.keep().unwrap(), body.emptied());
            assert_eq!(body.collect().await.unwrap().to_bytes().len(), length);
            assert_eq!(spare.refilled(&kept).is_some(), is_kept, "{length}");
        }
        let declared = format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", MOST_KEPT + 1);
        let (mut body, _fault, _client) = body(&declared, GENEROUS).await;
        assert!(body.keep().is_none());
    }

    #[tokio::test]
    async fn half_a_body_is_never_sent_again() {
        let (mut body, _fault, client) =
            body("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\nhel", GENEROUS).await;
        let (kept, spare, upload) = (body.keep().unwrap(), body.emptied(), body.upload());
        drop(client);
        assert!(body.collect().await.is_err());
        assert!(upload.broke_off());
        assert!(spare.refilled(&kept).is_none());
    }
}
