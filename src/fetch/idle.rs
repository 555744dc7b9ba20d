//! Connections that are open and wait for the next call: bounded in number and time, apart by where they lead.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::SendRequest;
use tokio::time::Instant;

/// To one place.
const MOST_IDLE: usize = 16;
/// Many servers close a connection that has idled for longer.
const IDLE: Duration = Duration::from_secs(15);
/// However busy it is: the name may lead elsewhere by then.
const LONGEST_LIFE: Duration = Duration::from_secs(300);
/// A connection that isn't through with its last call by then is closed.
const THROUGH_WITHIN: Duration = Duration::from_secs(1);

/// Where a connection leads, and what was asked of it before it was opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// Without brackets, lower-case.
    pub(super) host: String,
    pub(super) port: u16,
    /// Whether it would have been opened in clear off loopback.
    pub(super) allow_http: bool,
}

/// A connection in HTTP/1.1. Its task drives it; dropped, it closes.
pub(super) struct Connection {
    pub(super) sender: SendRequest<Full<Bytes>>,
    opened: Instant,
}

/// The idle connections of whoever has the same TLS settings.
#[derive(Default)]
pub(super) struct Idle {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    by_origin: HashMap<Origin, Vec<(Connection, Instant)>>,
    /// Somebody closes what idles for too long.
    is_swept: bool,
}

impl Connection {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>) -> Connection {
        Connection { sender, opened: Instant::now() }
    }
}

impl Idle {
    /// The connection that was used last, if it is still good.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        let now = Instant::now();
        let mut kept = self.kept();
        let connections = kept.by_origin.get_mut(origin)?;
        while let Some((connection, since)) = connections.pop() {
            if is_fresh(&connection, since, now) && connection.sender.is_ready() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was read to its end, once it is through with it.
    pub(super) fn give_back(self: &Arc<Idle>, origin: Origin, mut connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        if connection.sender.is_ready() {
            return self.put(origin, connection);
        }
        let idle = Arc::downgrade(self);
        tokio::spawn(async move {
            let through = tokio::time::timeout(THROUGH_WITHIN, connection.sender.ready()).await;
            if let (Ok(Ok(())), Some(idle)) = (through, idle.upgrade()) {
                idle.put(origin, connection);
            }
        });
    }

    /// Closes what is there: one has turned out to lead nowhere.
    pub(super) fn forget(&self, origin: &Origin) {
        self.kept().by_origin.remove(origin);
    }

    fn put(self: &Arc<Idle>, origin: Origin, connection: Connection) {
        let mut kept = self.kept();
        let connections = kept.by_origin.entry(origin).or_default();
        if connections.len() >= MOST_IDLE {
            return;
        }
        connections.push((connection, Instant::now()));
        if !kept.is_swept {
            kept.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has idled for too long. Whether anything is left.
    fn drop_stale(&self) -> bool {
        let now = Instant::now();
        let mut kept = self.kept();
        for connections in kept.by_origin.values_mut() {
            connections
                .retain(|(connection, since)| is_fresh(connection, *since, now) && !connection.sender.is_closed());
        }
        kept.by_origin.retain(|_, connections| !connections.is_empty());
        kept.is_swept = !kept.by_origin.is_empty();
        kept.is_swept
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.kept().by_origin.values().map(Vec::len).sum()
    }
}

fn is_fresh(connection: &Connection, since: Instant, now: Instant) -> bool {
    now.duration_since(since) < IDLE && now.duration_since(connection.opened) < LONGEST_LIFE
}

/// Ends with the last connection.
async fn sweep(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(IDLE).await;
        if !idle.upgrade().is_some_and(|idle| idle.drop_stale()) {
            return;
        }
    }
}

impl fmt::Debug for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Idle(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::client::conn::http1;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    use super::*;

    fn origin(host: &str) -> Origin {
        Origin { is_tls: true, host: host.to_owned(), port: 443, allow_http: false }
    }

    /// A connection, and its server's end.
    async fn connection() -> (Connection, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1024);
        let (mut sender, task) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        tokio::spawn(task);
        sender.ready().await.unwrap();
        (Connection::new(sender), theirs)
    }

    async fn is_closed(mut server: DuplexStream) -> bool {
        tokio::time::timeout(Duration::from_millis(1), server.read_u8()).await.is_ok_and(|read| read.is_err())
    }

    #[tokio::test(start_paused = true)]
    async fn what_idles_for_too_long_is_closed_by_itself() {
        let idle = Arc::new(Idle::default());
        let ((one, one_end), (other, other_end)) = (connection().await, connection().await);
        idle.give_back(origin("a"), one);
        tokio::time::sleep(Duration::from_secs(10)).await;
        idle.give_back(origin("b"), other);
        assert_eq!(idle.count(), 2);
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert_eq!(idle.count(), 1);
        assert!(is_closed(one_end).await);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(idle.count(), 0);
        assert!(is_closed(other_end).await);
        let (again, end) = connection().await;
        idle.give_back(origin("a"), again);
        tokio::time::sleep(Duration::from_secs(16)).await;
        assert!(is_closed(end).await, "the next one is looked after, too");
    }

    #[tokio::test(start_paused = true)]
    async fn no_connection_is_used_for_ever() {
        let idle = Arc::new(Idle::default());
        let (connection, _end) = connection().await;
        idle.give_back(origin("a"), connection);
        for _ in 0..29 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let connection = idle.take(&origin("a")).expect("it is in use");
            idle.give_back(origin("a"), connection);
        }
        tokio::time::sleep(Duration::from_secs(11)).await;
        assert!(idle.take(&origin("a")).is_none());
    }

    #[tokio::test]
    async fn so_many_are_kept_and_those_that_are_closed_arent_used() {
        let idle = Arc::new(Idle::default());
        let mut ends = Vec::new();
        for _ in 0..MOST_IDLE + 5 {
            let (connection, end) = connection().await;
            idle.give_back(origin("a"), connection);
            ends.push(end);
        }
        assert_eq!(idle.count(), MOST_IDLE);
        drop(ends);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(idle.take(&origin("a")).is_none());
    }

    #[tokio::test]
    async fn one_leads_where_it_led_before() {
        let idle = Arc::new(Idle::default());
        let (connection, _end) = connection().await;
        idle.give_back(origin("a"), connection);
        for other in [
            origin("b"),
            Origin { is_tls: false, ..origin("a") },
            Origin { port: 8443, ..origin("a") },
            Origin { allow_http: true, ..origin("a") },
        ] {
            assert!(idle.take(&other).is_none(), "{other:?}");
        }
        idle.forget(&origin("b"));
        assert_eq!(idle.count(), 1);
        idle.forget(&origin("a"));
        assert_eq!(idle.count(), 0);
    }
}
