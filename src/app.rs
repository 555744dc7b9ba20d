//! The process: a control thread for keys and admin, workers for requests, and their common end.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{sync::oneshot, time::timeout};

use crate::{
    admin::{self, About, AdminState, Health, ListenerShown},
    config::{FileRead, Loaded, Origin, Policy},
    decide::ByMode,
    gateway::Gateway,
    observe::Observer,
    reload::{DrainTimes, InForce, Parts, ReloadHandle, Reloader, ShadowReloader},
    server::{self, Address, Inherited, Tls, TlsFault},
    shadow::Shadow,
    shared_state::SharedState,
    snapshot::{LongLived, Snapshot},
    state_dir::StateDir,
    token::{issuer::Issuer, jwks::KeyStore},
};

/// How long the end of the process waits until the last spans are sent.
const SPANS_WITHIN: Duration = Duration::from_secs(3);

/// A gateway that serves. Dropping it ends it at once; `drain` and `wait` end it in good order.
#[derive(Debug)]
pub struct App {
    running: Option<server::Running>,
    addresses: Vec<Address>,
    admin_address: Option<SocketAddr>,
    readiness: Arc<Readiness>,
    drain_asked: (mpsc::Sender<()>, mpsc::Receiver<()>),
    times: Arc<ArcSwap<DrainTimes>>,
    control: Option<Control>,
    reloads: Option<ReloadHandle>,
    ready: Option<oneshot::Receiver<()>>,
}

/// A configuration as it was read: from where, what it says, and from which files.
type Read = (Origin, Loaded, Vec<FileRead>);

/// What the control thread works at.
struct Work {
    admin: Option<std::net::TcpListener>,
    state: AdminState,
    stores: Vec<Arc<KeyStore>>,
    certificates: Vec<Arc<Tls>>,
    readiness: Arc<Readiness>,
    ready: oneshot::Sender<()>,
    reloader: Option<Reloader>,
}

/// The control thread, and how it is told to end.
#[derive(Debug)]
struct Control {
    thread: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

/// Asks an app to drain, from another thread.
#[derive(Clone, Debug)]
pub struct Drainer {
    readiness: Arc<Readiness>,
    ask: mpsc::Sender<()>,
}

/// Why a gateway can't start.
#[derive(Debug)]
pub enum StartError {
    /// The policy can't be put to work, in words for its author.
    Policy(String),
    /// The same of the shadow.
    Shadow {
        /// Its file.
        file: String,
        /// In words for its author.
        why: String,
    },
    /// An address can't be listened at.
    Listen {
        /// Which.
        address: Address,
        /// Why not.
        error: io::Error,
    },
    /// A listener's certificate, key or authorities can't be used.
    Tls {
        /// The listener's name.
        listener: Arc<str>,
        /// Which, and why.
        fault: TlsFault,
    },
    /// A thread or its runtime can't be had.
    Thread(io::Error),
    /// The service manager can't be told anything.
    Notify(io::Error),
}

impl App {
    /// Starts serving; counts, and logs nowhere.
    ///
    /// # Errors
    /// A policy that can't be put to work, an address that is taken.
    pub fn start(policy: Policy) -> Result<App, StartError> {
        App::start_observed(&policy, Observer::silent())
    }

    /// Starts serving under an observer of the caller's.
    ///
    /// # Errors
    /// A policy that can't be put to work, an address that is taken.
    pub fn start_observed(policy: &Policy, observer: Arc<Observer>) -> Result<App, StartError> {
        App::start_with(policy, observer, None, None, Inherited::default())
    }

    /// The same by a configuration that is read again whenever it changes, at sockets that are open already. `files` are
    /// those that it was read from. `shadow`: the same of another configuration, which decides beside it and is read again, too.
    ///
    /// # Errors
    /// As `start`.
    pub fn start_from(
        origin: Origin,
        loaded: &Loaded,
        files: Vec<FileRead>,
        shadow: Option<(Origin, Loaded, Vec<FileRead>)>,
        observer: Arc<Observer>,
        inherited: Inherited,
    ) -> Result<App, StartError> {
        App::start_with(&loaded.policy, observer, Some((origin, loaded.clone(), files)), shadow, inherited)
    }

    fn start_with(
        policy: &Policy,
        observer: Arc<Observer>,
        origin: Option<Read>,
        shadow_read: Option<Read>,
        mut inherited: Inherited,
    ) -> Result<App, StartError> {
        let state = policy.state_dir.as_deref().map(StateDir::open).transpose().map_err(StartError::Policy)?;
        let long_lived = LongLived::new(observer.clone(), policy.server.workers);
        let shadow =
            shadow_read.as_ref().map(|(origin, ..)| Shadow::new(&origin.path.display().to_string(), &observer));
        let long_lived = long_lived.with_state(state).map_err(StartError::Policy)?.with_shadow(shadow.clone());
        let long_lived = Arc::new(long_lived);
        let (snapshot, mut stores) = Snapshot::assemble(policy, &long_lived).map_err(StartError::Policy)?;
        observer.client_certificates_are(&snapshot.client_certificates());
        let gateway = Arc::new(Gateway::new(snapshot, observer.clone()));
        let shadow =
            shadow_read.zip(shadow).map(|(read, shadow)| start_shadow(read, shadow, policy, &gateway, &long_lived));
        let (shadow, shadow_stores) = shadow.transpose()?.unzip();
        stores.extend(shadow_stores.into_iter().flatten());
        let in_force = match &origin {
            Some((origin, loaded, _)) => InForce::new(Some(&origin.path.display().to_string()), &loaded.hash),
            None => InForce::new(None, ""),
        };
        let readiness = Arc::new(Readiness {
            gateway: gateway.clone(),
            in_force: Arc::new(ArcSwap::from_pointee(in_force)),
            has_been_ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            began: Instant::now(),
            ready_timeout: policy.server.ready_timeout,
        });

        let admin = policy.admin.map(|address| listen_for_admin(address, &mut inherited)).transpose()?;
        let admin_address = admin.as_ref().and_then(|listener| listener.local_addr().ok());
        let metrics = policy.listen.iter().map(|listen| observer.listener(&listen.name)).collect();
        let make_handler = |_worker| ByMode::new(gateway.clone());
        let running = server::start(&policy.listen, &policy.server, make_handler, metrics, inherited);
        let running = running.map_err(from_server)?;
        let addresses = running.addresses().to_vec();
        let adjustable = running.adjustable();
        let certificates = adjustable.certificates().collect();
        let times = Arc::new(ArcSwap::from_pointee(DrainTimes::of(&policy.server)));
        let parts = Parts {
            gateway: gateway.clone(),
            long_lived,
            server: adjustable,
            times: times.clone(),
            observer: observer.clone(),
            in_force: readiness.in_force.clone(),
        };
        let reloader = origin.map(|(origin, loaded, files)| Reloader::new(origin, loaded, files, parts));
        let (reloader, reloads) = reloader.unzip();
        let reloader = reloader.map(|reloader: Reloader| reloader.with_shadow(shadow));

        for (listen, address) in policy.listen.iter().zip(&addresses) {
            tracing::info!(listener = %listen.name, address = %address, "listening");
        }
        if let Some(address) = admin_address {
            tracing::info!(listener = "admin", address = %address, "listening");
        }
        let shown = policy.listen.iter().zip(&addresses).map(|(listen, address)| ListenerShown {
            name: listen.name.clone(),
            address: address.clone(),
            mode: listen.mode,
            tls: listen.tls.is_some(),
            metrics: observer.listener(&listen.name),
        });
        let about = About { began: readiness.began, listeners: shown.collect(), state_dir: policy.state_dir.clone() };
        let state = AdminState { health: readiness.clone(), observer, gateway, about, reloads: reloads.clone() };
        let (ready, when_ready) = oneshot::channel();
        let work = Work { admin, state, stores, certificates, readiness: readiness.clone(), ready, reloader };
        let control = Control::start(work)?;
        Ok(App {
            running: Some(running),
            addresses,
            admin_address,
            readiness,
            drain_asked: mpsc::channel(),
            times,
            control: Some(control),
            reloads,
            ready: Some(when_ready),
        })
    }

    /// The real addresses, in the order of `listen`.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// The real address of the admin listener.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Tells once when it is ready for the first time. None: it was asked before.
    pub fn when_ready(&mut self) -> Option<oneshot::Receiver<()>> {
        self.ready.take()
    }

    /// To have the configuration read again; None where it isn't from a file.
    pub fn reloads(&self) -> Option<ReloadHandle> {
        self.reloads.clone()
    }

    /// To drain it from elsewhere (a signal's handler).
    pub fn drainer(&self) -> Drainer {
        Drainer { readiness: self.readiness.clone(), ask: self.drain_asked.0.clone() }
    }

    /// Not ready from now on; `wait` does the rest.
    pub fn drain(&self) {
        self.drainer().drain();
    }

    /// Waits until it is asked to drain, then for `drain_delay`, closes the listeners and waits for what runs, at
    /// most for `drain_timeout`. Tells whether everything had ended by then.
    pub fn wait(mut self) -> bool {
        // The sender is in self: this can't fail while we wait.
        let _ = self.drain_asked.1.recv();
        thread::sleep(self.times.load().delay);
        let Some(running) = self.running.take() else { return true };
        running.begin_drain();
        tracing::info!("no new connections are taken");
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(running.wait(self.times.load().timeout)),
            Err(_) => false,
        }
    }
}

impl Drop for App {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(control) = self.control.take() {
            // An error says that the thread has ended already.
            let _ = control.end.send(());
            let _ = control.thread.join();
        }
    }
}

impl Drainer {
    /// Not ready from now on, and `App::wait` goes on.
    pub fn drain(&self) {
        self.readiness.draining.store(true, Ordering::Relaxed);
        // An error says that nobody waits any more.
        let _ = self.ask.send(());
    }
}

fn from_server(error: server::StartError) -> StartError {
    match error {
        server::StartError::Listen { address, source } => StartError::Listen { address, error: source },
        server::StartError::Tls { listener, fault } => StartError::Tls { listener, fault },
        server::StartError::Inherited(why) => StartError::Policy(why),
        server::StartError::Worker(error) => StartError::Thread(error),
    }
}

fn start_shadow(
    read: Read,
    shadow: Arc<Shadow>,
    policy: &Policy,
    gateway: &Gateway,
    long_lived: &LongLived,
) -> Result<(ShadowReloader, Vec<Arc<KeyStore>>), StartError> {
    let file = read.0.path.display().to_string();
    let started = ShadowReloader::start(read, shadow, (policy, &gateway.snapshot()), long_lived);
    started.map_err(|why| StartError::Shadow { file, why })
}

fn listen_for_admin(address: SocketAddr, inherited: &mut Inherited) -> Result<std::net::TcpListener, StartError> {
    if let Some(listener) = inherited.take_admin(address) {
        return Ok(listener);
    }
    let listen = || {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|error| StartError::Listen { address: address.into(), error })
}

impl Control {
    fn start(work: Work) -> Result<Control, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (end, ended) = oneshot::channel();
        let Work { admin, state, stores, certificates, readiness, ready, reloader } = work;
        let gateway = state.gateway.clone();
        let state = Arc::new(state);
        let work = move || {
            runtime.block_on(async move {
                for store in stores {
                    tokio::spawn(store.maintain());
                }
                for certificate in certificates {
                    tokio::spawn(certificate.maintain(state.observer.clone()));
                }
                let snapshot = state.gateway.snapshot();
                tokio::spawn(snapshot.revocations.clone().maintain());
                snapshot.maintain();
                drop(snapshot);
                if let Some(listener) = admin {
                    match tokio::net::TcpListener::from_std(listener) {
                        Ok(listener) => drop(tokio::spawn(admin::serve(listener, state))),
                        Err(error) => tracing::error!(%error, "the admin listener can't be served"),
                    }
                }
                tokio::spawn(say_when_ready(readiness, ready));
                if let Some(reloader) = reloader {
                    tokio::spawn(reloader.run());
                }
                // An error says that the app is gone without a word: the end all the same.
                let _ = ended.await;
                let shared = gateway.snapshot().shared.clone();
                if let Some(shared) = shared
                    && !shared.tell_the_last().await
                {
                    tracing::warn!("what this process did last could not be told to the other replicas");
                }
                if timeout(SPANS_WITHIN, gateway.snapshot().tracing.flush()).await.is_err() {
                    tracing::warn!("the last spans could not be sent in time");
                }
            });
        };
        let thread = thread::Builder::new().name("control".into()).spawn(work).map_err(StartError::Thread)?;
        Ok(Control { thread, end })
    }
}

async fn say_when_ready(readiness: Arc<Readiness>, ready: oneshot::Sender<()>) {
    while !readiness.waiting_for().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tracing::info!("ready");
    // An error says that nobody waits for it.
    let _ = ready.send(());
}

/// What `/readyz` goes by.
#[derive(Debug)]
struct Readiness {
    gateway: Arc<Gateway>,
    in_force: Arc<ArcSwap<InForce>>,
    /// Then issuers that a reload brings aren't waited for.
    has_been_ready: AtomicBool,
    draining: AtomicBool,
    began: Instant,
    ready_timeout: Duration,
}

impl Health for Readiness {
    fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn waiting_for(&self) -> Vec<String> {
        if self.has_been_ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut waiting = self.issuers(|issuer| !issuer.keys.is_ready());
        waiting.extend(self.shared_state(|shared| !shared.is_read()));
        if waiting.is_empty() || self.began.elapsed() >= self.ready_timeout {
            self.has_been_ready.store(true, Ordering::Relaxed);
            return Vec::new();
        }
        waiting
    }

    fn in_force(&self) -> InForce {
        InForce::clone(&self.in_force.load())
    }

    fn degraded(&self) -> Vec<String> {
        let mut names = self.issuers(Issuer::is_degraded);
        names.extend(self.shared_state(|shared| !shared.is_up()));
        names
    }
}

impl Readiness {
    /// Its name, where it is there and such.
    fn shared_state(&self, is_such: impl Fn(&SharedState) -> bool) -> Option<String> {
        let snapshot = self.gateway.snapshot();
        snapshot.shared.as_deref().filter(|shared| is_such(shared)).map(|_| "state.redis".to_owned())
    }

    fn issuers(&self, which: impl Fn(&Issuer) -> bool) -> Vec<String> {
        let snapshot = self.gateway.snapshot();
        let chosen = snapshot.issuers.iter().filter(|issuer| which(issuer));
        chosen.map(|issuer| issuer.settings.name.to_string()).collect()
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Policy(why) => f.write_str(why),
            StartError::Shadow { file, why } => write!(f, "{file}: {why}"),
            StartError::Listen { address, error } => write!(f, "can't listen at {address}: {error}"),
            StartError::Tls { listener, fault } => write!(f, "listener {listener}: {fault}"),
            StartError::Thread(error) => write!(f, "can't start a thread: {error}"),
            StartError::Notify(error) => write!(f, "NOTIFY_SOCKET can't be used: {error}"),
        }
    }
}

impl std::error::Error for StartError {}
