//! A worker: one thread with its own runtime, listening sockets and connections, which share nothing with other workers'.

use std::{
    io,
    net::IpAddr,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::io::unix::AsyncFd;

use super::{
    Arrival, Handler, connection,
    drain::{Alive, Phase, Phases, alive},
    framing::Limits,
    listener::Listener,
    places::{Place, Places},
    tls::Tls,
    transport::Socket,
};
use crate::{body::BodyFault, observe::ListenerMetrics};

/// After a failed accept (no file descriptors left, say).
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);
/// How often a failing accept is logged, at most.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What a worker serves by.
pub(super) struct Worker<H> {
    pub(super) number: usize,
    /// In the order of `listen`.
    pub(super) listeners: Vec<Listener>,
    /// In the same order.
    pub(super) tls: Arc<[Option<Arc<Tls>>]>,
    pub(super) handler: H,
    pub(super) limits: Arc<ArcSwap<Limits>>,
    /// Connections that all workers together may take.
    pub(super) places: Arc<Places>,
    pub(super) metrics: Arc<[ListenerMetrics]>,
    pub(super) phases: Phases,
    /// Dropped with the worker's last connection.
    pub(super) alive: Alive,
}

impl<H: Handler> Worker<H> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The runtime or the thread can't be had.
    pub(super) fn start(mut self) -> io::Result<JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let sockets: Vec<_> = {
            let _entered = runtime.enter();
            std::mem::take(&mut self.listeners).into_iter().map(watched).collect::<io::Result<_>>()?
        };
        let name = format!("worker-{}", self.number);
        std::thread::Builder::new().name(name).spawn(move || runtime.block_on(self.run(sockets)))
    }

    async fn run(mut self, sockets: Vec<AsyncFd<Listener>>) {
        let (connections, mut all_gone) = alive();
        for (listener, socket) in sockets.into_iter().enumerate() {
            let acceptor = Acceptor {
                listener,
                worker: self.number,
                tls: self.tls.get(listener).cloned().flatten(),
                handler: self.handler.clone(),
                limits: self.limits.clone(),
                places: self.places.clone(),
                metrics: self.metrics.clone(),
                phases: self.phases.clone(),
                alive: connections.clone(),
            };
            tokio::spawn(acceptor.run(socket));
        }
        drop(connections);
        tokio::select! {
            () = all_gone.wait() => drop(self.alive),
            // What is still running ends with the runtime.
            () = self.phases.reached(Phase::Aborted) => {}
        }
    }
}

/// Takes the connections of one listening socket.
struct Acceptor<H> {
    listener: usize,
    worker: usize,
    tls: Option<Arc<Tls>>,
    handler: H,
    limits: Arc<ArcSwap<Limits>>,
    places: Arc<Places>,
    metrics: Arc<[ListenerMetrics]>,
    phases: Phases,
    alive: Alive,
}

impl<H: Handler> Acceptor<H> {
    async fn run(self, socket: AsyncFd<Listener>) {
        let mut phases = self.phases.clone();
        let mut said = None;
        loop {
            tokio::select! {
                accepted = accept(&socket, &self.places) => match accepted {
                    Ok((stream, peer, place)) => self.spawn(stream, peer, place),
                    Err(error) if is_of_the_connection(&error) => {}
                    Err(error) => {
                        if said.is_none_or(|said: Instant| said.elapsed() >= SAID_EVERY) {
                            tracing::warn!(%error, "new connections can't be accepted");
                            said = Some(Instant::now());
                        }
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                },
                () = phases.reached(Phase::Draining) => break,
            }
        }
        // Clients whose connections wait in the queue believe to be connected: they are served too.
        while let Ok(place) = self.places.try_take() {
            match socket.get_ref().accept() {
                Ok((stream, peer)) => self.spawn(stream, peer, place),
                Err(error) if is_of_the_connection(&error) => {}
                Err(_) => break,
            }
        }
    }

    /// A task of its own: a panic in it ends that connection only.
    fn spawn(&self, socket: Socket, peer: IpAddr, place: Place) {
        let arrival = Arrival {
            peer,
            listener: self.listener,
            worker: self.worker,
            scheme: "http",
            client_certificate: None,
            fault: None,
            body_fault: BodyFault::default(),
            alive: self.alive.clone(),
        };
        let open =
            Open { metrics: self.metrics.clone(), listener: self.listener, _place: place, _alive: self.alive.clone() };
        open.count(1);
        let tls = self.tls.as_ref().map(|tls| tls.config());
        let (handler, limits, phases) = (self.handler.clone(), **self.limits.load(), self.phases.clone());
        tokio::spawn(connection::serve(socket, open, tls, arrival, handler, limits, phases));
    }
}

/// tokio's own listener can't wait for a connection without accepting it.
#[allow(deprecated, reason = "the call that replaces it is unsafe; a Listener owns its descriptor and keeps it")]
fn watched(socket: Listener) -> io::Result<AsyncFd<Listener>> {
    AsyncFd::new(socket)
}

/// A place is taken only for a connection that is there: a worker without any must not hold one back.
async fn accept(socket: &AsyncFd<Listener>, places: &Arc<Places>) -> io::Result<(Socket, IpAddr, Place)> {
    loop {
        let mut ready = socket.readable().await?;
        let place = places.take().await.ok_or(io::ErrorKind::Other)?;
        match ready.try_io(|socket| socket.get_ref().accept()) {
            Ok(accepted) => return accepted.map(|(stream, peer)| (stream, peer, place)),
            Err(_would_block) => continue,
        }
    }
}

/// An open connection, counted.
pub(super) struct Open {
    metrics: Arc<[ListenerMetrics]>,
    listener: usize,
    _place: Place,
    _alive: Alive,
}

impl Open {
    fn count(&self, change: i64) {
        if let Some(metrics) = self.metrics.get(self.listener) {
            metrics.connections(change);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count(-1);
    }
}

/// The connection failed before it was taken, not the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
