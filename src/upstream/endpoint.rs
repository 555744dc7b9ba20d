//! One server of an upstream: where it is, its connections, and how busy it is.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    ops::Deref,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use hyper::{Uri, header::HeaderValue, http::uri::PathAndQuery};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, sleep, timeout},
};

use super::{
    UpstreamSettings,
    addresses::{Addresses, Origin},
    connect::{self, Stream, TlsClient},
    connection::{Connection, Shared},
    pool::Pool,
    standing::Standing,
};
use crate::{
    observe::UpstreamMetrics,
    refusal::{Refusal, UpstreamFault},
};

/// How long an idle connection that is of no use stays open at most.
const SWEPT_EVERY: Duration = Duration::from_secs(5);

/// Where one server of an upstream is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointAddress {
    /// https.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Put before the request's path; without a final slash; mostly empty.
    pub base_path: String,
    /// A Unix socket in the place of host and port.
    pub socket: Option<PathBuf>,
}

impl EndpointAddress {
    /// What `Host` says: the port only where it isn't the scheme's own.
    pub fn authority(&self) -> String {
        let default_port = if self.tls { 443 } else { 80 };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port { host } else { format!("{host}:{}", self.port) }
    }

    /// How log and metrics name it: by its authority, or its socket.
    pub fn label(&self) -> String {
        self.socket.as_ref().map_or_else(|| self.authority(), |path| format!("unix:{}", path.display()))
    }
}

/// What an endpoint has that isn't its upstream's own: its metrics, and its standing, which may be older than this.
#[derive(Debug)]
pub struct EndpointParts {
    /// Bound to it.
    pub metrics: UpstreamMetrics,
    /// Whether it may be asked.
    pub standing: Arc<Standing>,
}

/// One server of an upstream at work.
pub(super) struct Endpoint {
    pub(super) address: EndpointAddress,
    pub(super) label: Box<str>,
    pub(super) authority: HeaderValue,
    pub(super) addresses: Arc<Addresses>,
    pub(super) pool: Pool,
    pub(super) standing: Arc<Standing>,
    /// What callers are hashed with: the same in every process that has this endpoint.
    pub(super) key: u64,
    /// None: plain HTTP, or no TLS to be had; see `connect`.
    pub(super) tls: Option<TlsClient>,
    /// None: no limit.
    slots: Option<Arc<Semaphore>>,
    /// Whether the last connection that could be asked did: with TLS the endpoint decides.
    speaks_http2: AtomicBool,
    /// In clear, where nothing is negotiated.
    http2: bool,
    connect_timeout: Duration,
    /// Requests that are at it.
    busy: AtomicUsize,
}

/// What a request goes out by.
pub(super) enum Entry {
    Place(Connection),
    /// Room for a connection of its own among `max_connections`; None: they aren't limited.
    Slot(Option<OwnedSemaphorePermit>),
}

/// A request's place at an endpoint, which is the busier for it until this is dropped.
pub(super) struct Seat(Arc<Endpoint>);

impl Endpoint {
    /// Nothing is connected yet. May read the machine's trust store.
    pub(super) fn new(
        address: EndpointAddress,
        settings: &UpstreamSettings,
        workers: usize,
        parts: EndpointParts,
    ) -> Endpoint {
        let label = address.label();
        let mut hasher = DefaultHasher::new();
        label.hash(&mut hasher);
        let tls = address.tls.then(|| TlsClient::new(&settings.tls, &address.host));
        let tls = tls.and_then(|made| {
            made.inspect_err(|error| tracing::error!(upstream = %settings.name, %error, "no TLS to be had")).ok()
        });
        let addresses = Arc::new(Addresses::new(&address));
        let slots = settings.max_connections.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
        Endpoint {
            authority: HeaderValue::try_from(address.authority()).unwrap_or(HeaderValue::from_static("upstream")),
            pool: Pool::new(workers, settings.idle_timeout, parts.metrics, addresses.clone()),
            addresses,
            standing: parts.standing,
            key: hasher.finish(),
            tls,
            slots,
            speaks_http2: AtomicBool::new(settings.http2),
            http2: settings.http2,
            connect_timeout: settings.connect_timeout,
            busy: AtomicUsize::new(0),
            label: label.into(),
            address,
        }
    }

    /// Closes connections that are of no use any more, until it is gone.
    pub(super) async fn keep_swept(this: Weak<Endpoint>) {
        loop {
            sleep(SWEPT_EVERY).await;
            let Some(endpoint) = this.upgrade() else { return };
            endpoint.pool.sweep();
        }
    }

    /// Requests that are at it now.
    pub(super) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether a request would probably not have to wait for a connection.
    pub(super) fn has_room(&self) -> bool {
        self.slots.as_ref().is_none_or(|slots| slots.available_permits() > 0) || self.is_shared()
    }

    /// Whether requests share connections.
    fn is_shared(&self) -> bool {
        self.speaks_http2.load(Ordering::Relaxed)
    }

    /// Origin form (RFC 9112, section 3.2.1), after the endpoint's own path.
    pub(super) fn target(&self, path: Option<&PathAndQuery>) -> Result<Uri, Refusal> {
        let Some(path) = path else { return Ok(Uri::from_static("/")) };
        let base = &self.address.base_path;
        if base.is_empty() {
            return Ok(path.clone().into());
        }
        let target = PathAndQuery::try_from(format!("{base}{path}"));
        target.map(Uri::from).map_err(|_| Refusal::Path("the path cannot be sent on"))
    }

    /// An idle connection.
    pub(super) fn idle(&self, worker: usize) -> Option<Connection> {
        if self.slots.is_some() { self.pool.take_any(worker) } else { self.pool.take(worker) }
    }

    /// A connection that others use, too: one of this worker's, or any one where connections are limited.
    pub(super) fn place(&self, worker: usize) -> Option<Connection> {
        if self.slots.is_some() { self.pool.place_any(worker) } else { self.pool.place(worker) }
    }

    /// What it takes to send a request: a place on a connection that others use, unless `alone`, or room for one of its own.
    ///
    /// # Errors
    /// Nothing of it was to be had for `connect_timeout`.
    pub(super) async fn entry(&self, worker: usize, alone: bool) -> Result<Entry, Refusal> {
        if !alone && let Some(place) = self.place(worker) {
            return Ok(Entry::Place(place));
        }
        let Some(slots) = &self.slots else {
            return Ok(Entry::Slot(None));
        };
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Ok(Entry::Slot(Some(slot)));
        }
        match timeout(self.connect_timeout, self.room(slots, worker, alone)).await {
            Ok(Some(entry)) => Ok(entry),
            _ => Err(Refusal::Upstream(UpstreamFault::Unavailable)),
        }
    }

    /// Waits for a connection to end, or for a place on one.
    async fn room(&self, slots: &Arc<Semaphore>, worker: usize, alone: bool) -> Option<Entry> {
        let mut slot = pin!(slots.clone().acquire_owned());
        loop {
            let freed = self.pool.place_freed();
            tokio::select! {
                slot = &mut slot => return slot.ok().map(|slot| Entry::Slot(Some(slot))),
                () = freed, if !alone => {}
            }
            if let Some(place) = self.place(worker) {
                return Some(Entry::Place(place));
            }
        }
    }

    /// A new connection. A shared one takes the slot; while one is being opened, others wait for it instead of opening
    /// more. Sets no time limit: wrap it in one.
    pub(super) async fn connect(
        &self,
        worker: usize,
        slot: &mut Option<OwnedSemaphorePermit>,
        http1_alone: bool,
    ) -> Result<Connection, UpstreamFault> {
        let will_share = !http1_alone && self.is_shared();
        let turn = if will_share { self.pool.turn(worker).await } else { None };
        if will_share && let Some(place) = self.place(worker) {
            return Ok(place);
        }
        let (stream, origin) = self.open(http1_alone).await?;
        let http2 = self.speaks_http2_on(&stream, http1_alone);
        if !http1_alone {
            self.speaks_http2.store(http2, Ordering::Relaxed);
        }
        if !http2 {
            return Ok(Connection::http1(stream, origin));
        }
        let shared = Shared::http2(stream, origin, slot.take(), self.slots.as_ref().map(|_| self.pool.freed())).await?;
        hold_until_told(turn, &shared, self.connect_timeout);
        self.pool.share(worker, shared).ok_or(UpstreamFault::Broken)
    }

    /// A new connection that isn't counted, limited or kept. Sets no time limit: wrap it in one.
    pub(super) async fn connect_apart(&self) -> Result<Connection, UpstreamFault> {
        let (stream, origin) = self.open(false).await?;
        if !self.speaks_http2_on(&stream, false) {
            return Ok(Connection::http1(stream, origin));
        }
        Shared::http2(stream, origin, None, None).await?.place().ok_or(UpstreamFault::Broken)
    }

    async fn open(&self, http1_alone: bool) -> Result<(Stream, Origin), UpstreamFault> {
        if self.address.tls && self.tls.is_none() {
            return Err(UpstreamFault::Unavailable);
        }
        let epoch = self.addresses.epoch();
        let opening =
            connect::open(&self.address, &self.addresses, self.tls.as_ref(), http1_alone, self.connect_timeout);
        let stream = opening.await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => UpstreamFault::TimedOut,
            _ => UpstreamFault::Broken,
        })?;
        let origin = self.addresses.origin(epoch, stream.peer());
        Ok((stream, origin))
    }

    fn speaks_http2_on(&self, stream: &Stream, http1_alone: bool) -> bool {
        stream.has_agreed_on_http2().unwrap_or(self.http2 && !http1_alone)
    }
}

/// Whoever waits for the turn finds a connection that says how many requests it takes.
fn hold_until_told(turn: Option<OwnedSemaphorePermit>, shared: &Arc<Shared>, time: Duration) {
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        let told = shared.upgrade().map(|shared| shared.heard().clone());
        if let Some(heard) = told {
            // One that never says anything is expected to take many.
            let _ = timeout(time, heard.first()).await;
        }
        if let Some(shared) = shared.upgrade() {
            shared.set_told();
        }
        drop(turn);
    });
}

impl Seat {
    pub(super) fn new(endpoint: Arc<Endpoint>) -> Seat {
        endpoint.busy.fetch_add(1, Ordering::Relaxed);
        Seat(endpoint)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Deref for Seat {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.0
    }
}
