//! Listeners, workers, connections: bytes to requests.

mod address;
mod connection;
mod drain;
mod framing;
mod front;
mod http1;
mod http2;
mod inherited;
mod listener;
mod mode;
mod places;
mod stall;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod worker;

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::{Request, Response, http::request};

pub use self::{
    address::Address,
    drain::Alive,
    inherited::Inherited,
    mode::{ListenMode, RequestFrom},
    tls::{ClientCertificate, Tls, TlsFault, TlsSettings},
};
use self::{
    drain::{AllGone, Phase, PhaseSender},
    framing::Limits,
    listener::SocketFile,
    places::Places,
    worker::Worker,
};
use crate::{
    body::{Arriving, Body, BodyFault},
    headers::TrustedProxies,
    observe::{ListenerMetrics, Observer},
    refusal::Refusal,
    token::proof::Thumbprint,
};

/// Answers requests. Cloned for every request, so it should be cheap to clone.
pub trait Handler: Clone + Send + 'static {
    /// Answers a request. Where its `arrival.fault` is set, the request is a stand-in and the fault is the answer.
    fn handle(&self, asked: Box<Asked>) -> impl Future<Output = Response<Body>> + Send;
}

/// A request as it has arrived. In a box on its way, since each future that it goes through has room for it otherwise.
#[derive(Debug)]
pub struct Asked {
    /// Its head.
    pub head: request::Parts,
    /// Its body, as it comes.
    pub body: Arriving,
    /// What isn't in its head.
    pub arrival: Arrival,
}

impl Asked {
    pub(in crate::server) fn new(request: Request<Arriving>, arrival: Arrival) -> Box<Asked> {
        let (head, body) = request.into_parts();
        Box::new(Asked { head, body, arrival })
    }
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

/// Opens all listeners, or takes them from `inherited`, and starts the workers. `make_handler` is called once for each
/// worker, here and now; `listener_metrics` are in the order of `listen`.
///
/// # Errors
/// An address can't be listened on, a certificate can't be used, or a thread can't be had; nothing serves then.
pub fn start<H: Handler>(
    listen: &[ListenSettings],
    settings: &ServerSettings,
    make_handler: impl Fn(usize) -> H,
    listener_metrics: Vec<ListenerMetrics>,
    mut inherited: Inherited,
) -> Result<Running, StartError> {
    let workers = settings.workers.max(1);
    let mut addresses = Vec::with_capacity(listen.len());
    let mut files = Vec::new();
    let mut tls = Vec::with_capacity(listen.len());
    let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::with_capacity(listen.len())).collect();
    for settings in listen {
        let certificates = settings.tls.clone().map(Tls::load).transpose();
        tls.push(
            certificates.map_err(|fault| StartError::Tls { listener: settings.name.clone(), fault })?.map(Arc::new),
        );
        let failed = |source| StartError::Listen { address: settings.address.clone(), source };
        let bound = match inherited.take(&settings.name, &settings.address) {
            Some((address, socket)) => listener::share(address, socket, workers),
            None => listener::bind(&settings.address, workers),
        };
        let bound = bound.map_err(failed)?;
        // What is in the configuration was found good for this machine alone.
        if settings.address.is_local() && !bound.address.is_local() {
            return Err(StartError::Inherited(format!(
                "the service manager passes a socket at {} for the listener {}, of which the configuration says {}: \
                 one that others reach must be named there",
                bound.address, settings.name, settings.address
            )));
        }
        addresses.push(bound.address);
        files.extend(bound.file);
        for (of_worker, socket) in sockets.iter_mut().zip(bound.listeners) {
            of_worker.push(socket);
        }
    }
    inherited.all_taken().map_err(StartError::Inherited)?;
    let tls: Arc<[Option<Arc<Tls>>]> = tls.into();

    let (sender, phases) = drain::phases();
    let (alive, all_gone) = drain::alive();
    let metrics: Arc<[ListenerMetrics]> = listener_metrics.into();
    let places = Arc::new(Places::new(settings.max_connections));
    let limits = Arc::new(ArcSwap::from_pointee(limits(settings)));
    let mut threads = Vec::with_capacity(workers);
    for (number, listeners) in sockets.into_iter().enumerate() {
        let worker = Worker {
            number,
            listeners,
            tls: tls.clone(),
            handler: make_handler(number),
            limits: limits.clone(),
            places: places.clone(),
            metrics: metrics.clone(),
            phases: phases.clone(),
            alive: alive.clone(),
        };
        threads.push(worker.start().map_err(StartError::Worker)?);
    }
    let adjustable = Adjustable { tls, limits, places };
    Ok(Running { addresses, files: Mutex::new(files), adjustable, phases: sender, all_gone, threads })
}

fn limits(settings: &ServerSettings) -> Limits {
    Limits {
        max_header_bytes: settings.max_header_bytes,
        header_timeout: settings.header_timeout,
        idle_timeout: settings.idle_timeout,
    }
}

/// What new connections go by. Can change while a server runs.
#[derive(Clone, Debug)]
pub struct Adjustable {
    tls: Arc<[Option<Arc<Tls>>]>,
    limits: Arc<ArcSwap<Limits>>,
    places: Arc<Places>,
}

/// Certificates that were read and are good, with their listeners' names: `Adjustable::renew` puts them to work.
#[derive(Debug)]
pub struct Certificates(Vec<(Arc<str>, Arc<Tls>, Tls)>);

impl Adjustable {
    /// The certificates that it serves with.
    pub fn certificates(&self) -> impl Iterator<Item = Arc<Tls>> + '_ {
        self.tls.iter().flatten().cloned()
    }

    /// Reads the listeners' certificates, which may be in other files than before. The listeners are the same ones.
    ///
    /// # Errors
    /// Of the first that can't be used.
    pub fn read_certificates(&self, listen: &[ListenSettings]) -> Result<Certificates, StartError> {
        let mut read = Vec::new();
        for (listen, tls) in listen.iter().zip(&*self.tls) {
            if let Some((settings, tls)) = listen.tls.clone().zip(tls.clone()) {
                let new =
                    Tls::load(settings).map_err(|fault| StartError::Tls { listener: listen.name.clone(), fault })?;
                read.push((listen.name.clone(), tls, new));
            }
        }
        Ok(Certificates(read))
    }

    /// From now on new connections go by these. Connections that are open go on as they are.
    pub fn adjust(&self, settings: &ServerSettings) {
        self.limits.store(Arc::new(limits(settings)));
        self.places.resize(settings.max_connections);
    }

    /// The same of handshakes: the listeners that show something else now, or ask for something else.
    pub fn renew(&self, certificates: Certificates, observer: &Observer) -> Vec<Arc<str>> {
        let all = certificates.0.into_iter();
        let renewed = all.filter_map(|(name, tls, new)| tls.replace(new, observer).then_some(name)).collect();
        observer.certificates_are(&self.certificates().map(|tls| tls.file()).collect::<Vec<_>>());
        renewed
    }
}

/// A server at work. Dropped, it stops at once and cuts off what is under way.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<Address>,
    files: Mutex<Vec<SocketFile>>,
    adjustable: Adjustable,
    phases: PhaseSender,
    all_gone: AllGone,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Where it listens, in the order of `listen`, with the real ports.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What of it can change.
    pub fn adjustable(&self) -> Adjustable {
        self.adjustable.clone()
    }

    /// Takes no new connections, ends idle ones, and the others with the answer that is under way. Returns at once.
    pub fn begin_drain(&self) {
        self.phases.advance(Phase::Draining);
        // Whoever comes now is to find nobody there, or the one who listens next.
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
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
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// A listener's certificate, key or authorities can't be used.
    Tls {
        /// Its name.
        listener: Arc<str>,
        /// Which, and why.
        fault: TlsFault,
    },
    /// A socket that was passed is nobody's; in words for the operator.
    Inherited(String),
    /// A thread or its runtime can't be had.
    Worker(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Listen { address, .. } => write!(formatter, "cannot listen on {address}"),
            StartError::Tls { listener, fault } => write!(formatter, "listener {listener}: {fault}"),
            StartError::Inherited(why) => formatter.write_str(why),
            StartError::Worker(_) => write!(formatter, "cannot start a worker"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StartError::Listen { source, .. } | StartError::Worker(source) => Some(source),
            StartError::Tls { .. } | StartError::Inherited(_) => None,
        }
    }
}

/// What a connection knows about a request that isn't in its head.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The other end of the connection; 127.0.0.1 for a Unix socket's.
    pub peer: IpAddr,
    /// Index into `Policy::listen`.
    pub listener: usize,
    /// Which worker serves it: picks the connection pool.
    pub worker: usize,
    /// http or https.
    pub scheme: &'static str,
    /// What the client has proved to be; None without TLS or without a certificate.
    pub client_certificate: Option<Thumbprint>,
    /// Set where the head was refused before it was parsed: the request is then a stand-in and only its answer matters.
    pub fault: Option<Refusal>,
    /// What the framing guard finds wrong in the body, later.
    pub body_fault: BodyFault,
    /// Held by who goes on without the connection, so that the end of the process waits for it.
    pub alive: Alive,
}

impl Arrival {
    /// In clear, at the first listener.
    #[cfg(test)]
    pub(crate) fn for_test(peer: IpAddr) -> Arrival {
        Arrival {
            peer,
            listener: 0,
            worker: 0,
            scheme: "http",
            client_certificate: None,
            fault: None,
            body_fault: BodyFault::default(),
            alive: drain::alive().0,
        }
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSettings {
    /// The name, or the address as written.
    pub name: Arc<str>,
    /// Where.
    pub address: Address,
    /// None: in clear.
    pub tls: Option<TlsSettings>,
    /// What is done with its requests.
    pub mode: ListenMode,
}
