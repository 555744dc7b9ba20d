//! Listeners, workers, connections: bytes to requests.

mod connection;
mod drain;
mod framing;
mod listener;
#[cfg(test)]
mod tests;
mod worker;

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use hyper::{Request, Response, body::Incoming};
use tokio::sync::Semaphore;

use self::{
    drain::{AllGone, Phase, PhaseSender},
    framing::Limits,
    worker::Worker,
};
use crate::{
    body::{Body, BodyFault},
    headers::TrustedProxies,
    observe::ListenerMetrics,
    refusal::Refusal,
};

/// Answers requests. Cloned for every request, so it should be cheap to clone.
pub trait Handler: Clone + Send + 'static {
    /// Answers a request. Where `arrival.fault` is set, the request is a stand-in and the fault is the answer.
    fn handle(&self, request: Request<Incoming>, arrival: Arrival) -> impl Future<Output = Response<Body>> + Send;
}

/// Whether a request's target, path and query, passes the guard that reads connections.
///
/// # Errors
/// What the client would be told.
pub(crate) fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    framing::check_target(method, target)
}

/// Whether it is a host, perhaps with a port, as `Host` may have it.
pub(crate) fn is_authority(text: &str) -> bool {
    framing::is_authority(text)
}

/// Opens all listeners and starts the workers. `make_handler` is called once for each worker, here and now;
/// `listener_metrics` are in the order of `listen`.
///
/// # Errors
/// An address can't be listened on, or a thread can't be had; nothing serves then.
pub fn start<H: Handler>(
    listen: &[ListenSettings],
    settings: &ServerSettings,
    make_handler: impl Fn(usize) -> H,
    listener_metrics: Vec<ListenerMetrics>,
) -> Result<Running, StartError> {
    let workers = settings.workers.max(1);
    let mut addresses = Vec::with_capacity(listen.len());
    let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::with_capacity(listen.len())).collect();
    for settings in listen {
        let failed = |source| StartError::Listen { address: settings.address, source };
        let bound = listener::bind(settings.address, workers).map_err(failed)?;
        if let Some(first) = bound.first() {
            addresses.push(first.local_addr().map_err(failed)?);
        }
        for (of_worker, socket) in sockets.iter_mut().zip(bound) {
            of_worker.push(socket);
        }
    }

    let (sender, phases) = drain::phases();
    let (alive, all_gone) = drain::alive();
    let metrics: Arc<[ListenerMetrics]> = listener_metrics.into();
    let places = settings.max_connections.map(|most| Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))));
    let limits = Limits {
        max_header_bytes: settings.max_header_bytes,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
    };
    let mut threads = Vec::with_capacity(workers);
    for (number, listeners) in sockets.into_iter().enumerate() {
        let worker = Worker {
            number,
            listeners,
            handler: make_handler(number),
            limits,
            places: places.clone(),
            metrics: metrics.clone(),
            phases: phases.clone(),
            alive: alive.clone(),
        };
        threads.push(worker.start().map_err(StartError::Worker)?);
    }
    Ok(Running { addresses, phases: sender, all_gone, threads })
}

/// A server at work. Dropped, it stops at once and cuts off what is under way.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    phases: PhaseSender,
    all_gone: AllGone,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens, in the order of `listen`, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes no new connections, ends idle ones, and the others with the answer that is under way. Returns at once.
    pub fn begin_drain(&self) {
        self.phases.advance(Phase::Draining);
    }

    /// Drains, for as long as `timeout`, then cuts off what is left and ends the threads. Says whether all connections had
    /// ended by themselves. Needs a runtime with a timer.
    pub async fn wait(mut self, timeout: Duration) -> bool {
        self.begin_drain();
        let finished = tokio::time::timeout(timeout, self.all_gone.wait()).await.is_ok();
        self.phases.advance(Phase::Aborted);
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        finished && joined.await.unwrap_or(false)
    }
}

/// Why a server didn't start.
#[derive(Debug)]
pub enum StartError {
    /// An address can't be listened on.
    Listen {
        /// As it was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread or its runtime can't be had.
    Worker(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen { address, .. } => write!(formatter, "cannot listen on {address}"),
            StartError::Worker(_) => write!(formatter, "cannot start a worker"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Listen { source, .. } | StartError::Worker(source) => Some(source),
        }
    }
}

/// What a connection knows about a request that isn't in its head.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Index into `Policy::listen`.
    pub listener: usize,
    /// Which worker serves it: picks the connection pool.
    pub worker: usize,
    /// http or https.
    pub scheme: &'static str,
    /// Set where the head was refused before it was parsed: the request is then a stand-in and only its answer matters.
    pub fault: Option<Refusal>,
    /// What the framing guard finds wrong in the body, later.
    pub body_fault: BodyFault,
}

/// `server:`
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Threads that serve.
    pub workers: usize,
    /// Whose forwarding headers are believed.
    pub trusted_proxies: TrustedProxies,
    /// Bytes of a request head.
    pub max_header_bytes: usize,
    /// Bytes of a credential.
    pub max_token_bytes: usize,
    /// Open connections on all listeners together.
    pub max_connections: Option<usize>,
    /// Time to receive a head.
    pub header_timeout: Duration,
    /// A request body that brings no byte for so long ends.
    pub body_timeout: Duration,
    /// Keep-alive without a request.
    pub idle_timeout: Duration,
    /// How long `/readyz` waits for issuers at start.
    pub ready_timeout: Duration,
    /// Not ready and still accepting, on SIGTERM.
    pub drain_delay: Duration,
    /// Then how long running requests may take.
    pub drain_timeout: Duration,
}

/// One entry of `listen:`
#[derive(Clone, Debug)]
pub struct ListenSettings {
    /// The name, or the address as written.
    pub name: Arc<str>,
    /// Where.
    pub address: SocketAddr,
}
