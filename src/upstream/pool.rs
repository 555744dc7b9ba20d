//! Connections to one endpoint: idle ones and shared ones, for each worker its own, so that no lock is contended and the
//! warmest connection is used first.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    addresses::Addresses,
    alarm::Alarm,
    connection::{Connection, Shared},
    endpoint::Seat,
    standing::Standing,
};
use crate::observe::UpstreamMetrics;

/// The connections to one endpoint that can be used.
pub(super) struct Pool {
    workers: Vec<Kept>,
    idle_timeout: Duration,
    metrics: UpstreamMetrics,
    addresses: Arc<Addresses>,
    /// Told when there is a place on a shared connection.
    place_freed: Arc<Notify>,
}

/// One worker's.
struct Kept {
    /// In HTTP/1.1.
    idle: Mutex<Vec<Idle>>,
    /// In HTTP/2.
    shared: Mutex<Vec<Arc<Shared>>>,
    /// Whoever opens a connection that others can share.
    turn: Arc<Semaphore>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection that serves an exchange. Dropped, it closes; `give_back` keeps it.
pub(super) struct Lease {
    /// None once it was given back.
    connection: Option<Connection>,
    seat: Seat,
    worker: usize,
    counted: bool,
    /// Its place among `max_connections`. Freed after the connection is back, so that whoever waits finds it there.
    slot: Option<OwnedSemaphorePermit>,
}

impl Pool {
    pub(super) fn new(
        workers: usize,
        idle_timeout: Duration,
        metrics: UpstreamMetrics,
        addresses: Arc<Addresses>,
    ) -> Pool {
        let kept = |_| Kept { idle: Mutex::default(), shared: Mutex::default(), turn: Arc::new(Semaphore::new(1)) };
        let workers = (0..workers).map(kept).collect();
        Pool { workers, idle_timeout, metrics, addresses, place_freed: Arc::default() }
    }

    pub(super) fn metrics(&self) -> &UpstreamMetrics {
        &self.metrics
    }

    /// The connection of this worker that was used last, if it is still good.
    pub(super) fn take(&self, worker: usize) -> Option<Connection> {
        let mut idle = self.lock(worker)?;
        let now = Instant::now();
        while let Some(mut last) = idle.pop() {
            self.metrics.connections(0, -1);
            if now.duration_since(last.since) >= self.idle_timeout {
                // All below are older.
                self.metrics.connections(0, -count(idle.len()));
                idle.clear();
                return None;
            }
            if last.connection.is_ready() && last.connection.is_current(&self.addresses) {
                return Some(last.connection);
            }
        }
        None
    }

    /// Any worker's, the own ones first: where connections are limited, another's idle one must not block this one.
    pub(super) fn take_any(&self, worker: usize) -> Option<Connection> {
        self.take(worker).or_else(|| {
            let mut connection = (0..self.workers.len()).find_map(|other| self.take(other))?;
            // Its timer is of the other's runtime, which may end before this one's does.
            connection.give_alarm(Alarm::default());
            Some(connection)
        })
    }

    /// A place on one of this worker's shared connections.
    pub(super) fn place(&self, worker: usize) -> Option<Connection> {
        let mut shared = self.shared(worker)?;
        let before = shared.len();
        shared.retain(|connection| connection.is_fresh(self.idle_timeout) && connection.is_current(&self.addresses));
        self.metrics.connections(count(shared.len()) - count(before), 0);
        shared.iter().find_map(Shared::place)
    }

    /// A place on any worker's, the own ones first: where connections are limited, others may have all of them.
    pub(super) fn place_any(&self, worker: usize) -> Option<Connection> {
        self.place(worker).or_else(|| (0..self.workers.len()).find_map(|other| self.place(other)))
    }

    /// Waits until there may be a place on a shared connection.
    pub(super) fn place_freed(&self) -> impl Future<Output = ()> {
        self.place_freed.notified()
    }

    /// What a shared connection tells of its places.
    pub(super) fn freed(&self) -> Arc<Notify> {
        self.place_freed.clone()
    }

    /// Lets this worker's requests share a connection; the first place on it.
    pub(super) fn share(&self, worker: usize, connection: Arc<Shared>) -> Option<Connection> {
        let place = connection.place();
        self.shared(worker)?.push(connection);
        self.metrics.connections(1, 0);
        place
    }

    /// Waits until nobody else of this worker opens a connection to be shared.
    pub(super) async fn turn(&self, worker: usize) -> Option<OwnedSemaphorePermit> {
        self.workers.get(worker)?.turn.clone().acquire_owned().await.ok()
    }

    fn shared(&self, worker: usize) -> Option<MutexGuard<'_, Vec<Arc<Shared>>>> {
        Some(self.workers.get(worker)?.shared.lock().unwrap_or_else(PoisonError::into_inner))
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

    /// Closes what can't be used again: connections that have idled for too long, that the upstream has ended, or that lead where
    /// it isn't any more. No task of their own sees to that.
    pub(super) fn sweep(&self) {
        for worker in 0..self.workers.len() {
            let Some(mut idle) = self.lock(worker) else { continue };
            let now = Instant::now();
            let is_over = |idle: &mut Idle| {
                now.duration_since(idle.since) >= self.idle_timeout
                    || !idle.connection.is_ready()
                    || !idle.connection.is_current(&self.addresses)
            };
            let over: Vec<Idle> = idle.extract_if(.., is_over).collect();
            drop(idle);
            self.metrics.connections(0, -count(over.len()));
        }
    }

    /// Nothing that holds it can panic; were it poisoned all the same, the stack is sound.
    fn lock(&self, worker: usize) -> Option<MutexGuard<'_, Vec<Idle>>> {
        Some(self.workers.get(worker)?.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether all idle connections of this worker are known to be closed.
    #[cfg(test)]
    pub(super) fn all_closed(&self, worker: usize) -> bool {
        self.lock(worker).is_some_and(|mut idle| idle.iter_mut().all(|idle| idle.connection.is_closed()))
    }

    #[cfg(test)]
    pub(super) fn idle(&self, worker: usize) -> usize {
        self.lock(worker).map_or(0, |idle| idle.len())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for kept in &mut self.workers {
            let idle = kept.idle.get_mut().map_or(0, |idle| idle.len());
            let shared = kept.shared.get_mut().map_or(0, |shared| shared.len());
            self.metrics.connections(-count(shared), -count(idle));
        }
    }
}

impl Lease {
    pub(super) fn new(connection: Connection, seat: Seat, worker: usize, slot: Option<OwnedSemaphorePermit>) -> Lease {
        // A shared one is counted as long as it is open.
        let counted = !connection.is_http2();
        seat.pool.metrics.connections(i64::from(counted), 0);
        Lease { connection: Some(connection), seat, worker, counted, slot }
    }

    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Of the endpoint that it leads to.
    pub(super) fn standing(&self) -> &Standing {
        &self.seat.standing
    }

    /// Closes the connection and hands over its place among `max_connections`.
    pub(super) fn into_slot(mut self) -> Option<OwnedSemaphorePermit> {
        self.slot.take()
    }

    /// The answer was read to its end: the connection is free again, or will be once the request is through. A connection's
    /// task, where it has one, has mostly said so before the answer's end got here; another waits only where it hasn't.
    pub(super) fn give_back(mut self) {
        let Some(connection) = self.connection.as_mut().filter(|connection| !connection.is_http2()) else { return };
        if connection.is_ready() {
            self.put();
        } else if !connection.is_closed()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move {
                if let Some(connection) = &mut self.connection
                    && connection.ready().await
                {
                    self.put();
                }
            });
        }
    }

    fn put(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.seat.pool.put(self.worker, connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.seat.pool.metrics.connections(-i64::from(self.counted), 0);
    }
}

fn count(connections: usize) -> i64 {
    i64::try_from(connections).unwrap_or(i64::MAX)
}
