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
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::{
    BodyError, BodyFault, poll_timer,
    recording::{Parts, Recording},
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
    /// None: nothing, or nothing more.
    incoming: Option<Incoming>,
    /// One that has been here before, and is sent once more.
    held: Option<Bytes>,
    /// Notes what goes by.
    record: Option<Arc<Parts>>,
    limits: BodyLimits,
    fault: BodyFault,
    reserved: Arc<ReservedNames>,
    upload: Upload,
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client is waited for.
    waiting_since: Option<Instant>,
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
}

impl RequestBody {
    /// A client's body under limits. `reserved` says what its trailers may not bring.
    pub fn new(incoming: Incoming, limits: BodyLimits, fault: BodyFault, reserved: Arc<ReservedNames>) -> RequestBody {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        let upload = if incoming.is_some() { Upload::begin() } else { Upload::default() };
        RequestBody {
            incoming,
            held: None,
            record: None,
            limits,
            fault,
            reserved,
            upload,
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

    /// The same request without its body, to be sent again where that body was empty.
    pub(crate) fn again(&self) -> RequestBody {
        RequestBody {
            incoming: None,
            held: None,
            record: None,
            limits: self.limits,
            fault: self.fault.clone(),
            reserved: self.reserved.clone(),
            upload: Upload::default(),
            timer: None,
            waiting_since: None,
        }
    }

    /// Notes from now on what goes by, so that it can be sent again if all of it is no more than so many bytes.
    pub fn record(&mut self, most: usize) -> Recording {
        let again = RequestBody { upload: self.upload.clone(), ..self.again() };
        if self.is_end_stream() {
            return Recording::empty(again);
        }
        if self.size_hint().lower() > most as u64 {
            return Recording::too_large();
        }
        let parts = Parts::up_to(most);
        self.record = Some(parts.clone());
        Recording::begin(parts, again)
    }

    /// The same with all of its bytes at hand.
    pub(super) fn holding(self, bytes: Bytes) -> RequestBody {
        RequestBody { held: Some(bytes).filter(|bytes| !bytes.is_empty()), ..self }
    }

    fn check_frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyError> {
        let frame = match frame.into_data() {
            Ok(data) => {
                let bytes = self.upload.add(data.len() as u64);
                if self.limits.max_bytes.is_some_and(|most| bytes > most) {
                    return Err(self.fail(Refusal::BodyTooLarge));
                }
                if let Some(record) = &self.record {
                    record.push(&data);
                }
                Frame::data(data)
            }
            Err(frame) => frame,
        };
        Ok(match frame.into_trailers() {
            Ok(mut trailers) => {
                if let Some(record) = &self.record {
                    record.spoil();
                }
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
        self.end();
        BodyError::Fault(fault)
    }

    /// All of it has gone by.
    fn recorded(&self) {
        if let Some(record) = &self.record {
            record.end();
        }
    }

    fn end(&mut self) {
        self.incoming = None;
        self.upload.set_ended();
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let Some(incoming) = &mut this.incoming else {
            return Poll::Ready(this.held.take().map(|bytes| Ok(Frame::data(bytes))));
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting_since = None;
                let checked = this.check_frame(frame);
                if this.incoming.as_ref().is_some_and(Incoming::is_end_stream) {
                    this.upload.set_ended();
                    this.recorded();
                }
                Poll::Ready(Some(checked))
            }
            Poll::Ready(Some(Err(error))) => {
                this.end();
                Poll::Ready(Some(Err(BodyError::Connection(error))))
            }
            Poll::Ready(None) => {
                this.recorded();
                this.end();
                Poll::Ready(None)
            }
            Poll::Pending => match this.check_time(cx) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Some(Err(error))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.as_ref().map_or(0, |bytes| bytes.len() as u64);
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(held), Incoming::size_hint)
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
}
