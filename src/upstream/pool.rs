//! Idle connections to one endpoint: a stack for each worker, so that no lock is contended and the warmest connection
//! is used first.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::http1::SendRequest;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use crate::{body::RequestBody, observe::UpstreamMetrics};

/// An open connection, as those see it who use it; its task drives it.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    pub(super) heard: Heard,
}

/// How many bytes a connection has brought, ever: tells an upstream that said nothing from one that broke off.
#[derive(Clone, Default)]
pub(super) struct Heard(Arc<AtomicU64>);

/// All idle connections to one endpoint.
pub(super) struct Pool {
    workers: Vec<Mutex<Vec<Idle>>>,
    idle_timeout: Duration,
    metrics: UpstreamMetrics,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection that serves an exchange. Dropped, it closes; `give_back` keeps it.
pub(super) struct Lease {
    /// None once it was given back.
    connection: Option<Connection>,
    pool: Arc<Pool>,
    worker: usize,
    /// Its place among `max_connections`. Freed after the connection is back, so that whoever waits finds it there.
    slot: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(workers: usize, idle_timeout: Duration, metrics: UpstreamMetrics) -> Pool {
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Pool { workers, idle_timeout, metrics }
    }

    pub(super) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// The connection of this worker that was used last, if it is still good.
    pub(super) fn take(&self, worker: usize) -> Option<Connection> {
        let mut idle = self.lock(worker)?;
        let now = Instant::now();
        while let Some(last) = idle.pop() {
            self.metrics.connections(0, -1);
            if now.duration_since(last.since) >= self.idle_timeout {
                // All below are older.
                self.metrics.connections(0, -count(idle.len()));
                idle.clear();
                return None;
            }
            if last.connection.sender.is_ready() {
                return Some(last.connection);
            }
        }
        None
    }

    /// Any worker's, the own ones first: where connections are limited, another's idle one must not block this one.
    pub(super) fn take_any(&self, worker: usize) -> Option<Connection> {
        self.take(worker).or_else(|| (0..self.workers.len()).find_map(|other| self.take(other)))
    }

    fn put(&self, worker: usize, connection: Connection) {
        let Some(mut idle) = self.lock(worker) else {
            return;
        };
        let now = Instant::now();
        let stale = idle.iter().take_while(|idle| now.duration_since(idle.since) >= self.idle_timeout).count();
        idle.drain(..stale);
        idle.push(Idle { connection, since: now });
        self.metrics.connections(0, 1 - count(stale));
    }

    /// Nothing that holds it can panic; were it poisoned all the same, the stack is sound.
    fn lock(&self, worker: usize) -> Option<MutexGuard<'_, Vec<Idle>>> {
        Some(self.workers.get(worker)?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether all idle connections of this worker are known to be closed.
    #[cfg(test)]
    pub(super) fn all_closed(&self, worker: usize) -> bool {
        self.lock(worker).is_some_and(|idle| idle.iter().all(|idle| idle.connection.sender.is_closed()))
    }

    #[cfg(test)]
    pub(super) fn idle(&self, worker: usize) -> usize {
        self.lock(worker).map_or(0, |idle| idle.len())
    }
}

impl Heard {
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let left: usize = self.workers.iter_mut().map(|idle| idle.get_mut().map_or(0, |idle| idle.len())).sum();
        self.metrics.connections(0, -count(left));
    }
}

impl Lease {
    pub(super) fn new(
        connection: Connection,
        pool: Arc<Pool>,
        worker: usize,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Lease {
        pool.metrics.connections(1, 0);
        Lease { connection: Some(connection), pool, worker, slot }
    }

    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Closes the connection and hands over its place among `max_connections`.
    pub(super) fn into_slot(mut self) -> Option<OwnedSemaphorePermit> {
        self.slot.take()
    }

    /// The answer was read to its end: the connection is free again, or will be once the request is through. The
    /// connection's task has mostly said so before the answer's end got here; a task waits only where it hasn't.
    pub(super) fn give_back(mut self) {
        match &self.connection {
            Some(connection) if connection.sender.is_ready() => self.put(),
            Some(connection) if !connection.sender.is_closed() => {
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move {
                        if let Some(connection) = &mut self.connection
                            && connection.sender.ready().await.is_ok()
                        {
                            self.put();
                        }
                    });
                }
            }
            _ => {}
        }
    }

    fn put(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.put(self.worker, connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.pool.metrics.connections(-1, 0);
    }
}

fn count(connections: usize) -> i64 {
    i64::try_from(connections).unwrap_or(i64::MAX)
}
