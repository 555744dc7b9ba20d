//! Where an endpoint's name leads: looked up again and again, so that connections follow it.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::time::{Duration, Instant, sleep};

use super::EndpointAddress;

/// How often a name is looked up. Resolvers don't say how long an answer is good.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(5);
/// An older answer is asked for again by whoever wants to connect: nobody has looked it up meanwhile.
const MUST_BE_LOOKED_UP_AFTER: Duration = Duration::from_secs(20);

/// The addresses of an endpoint, one for the process.
pub(super) struct Addresses {
    /// None where there is no name: an address, or a Unix socket.
    name: Option<Name>,
    known: ArcSwap<Known>,
    /// Goes up with every change after the first answer.
    epoch: AtomicU64,
    turn: AtomicUsize,
}

struct Name {
    host: String,
    port: u16,
    #[cfg(test)]
    zone: Option<tests::Zone>,
}

#[derive(Default)]
struct Known {
    /// In the resolver's order.
    all: Vec<SocketAddr>,
    /// None: for ever.
    at: Option<Instant>,
}

/// Where a connection leads to.
pub(super) struct Origin {
    /// None where the endpoint has no name.
    peer: Option<IpAddr>,
    /// The epoch in which it was last found among the addresses.
    epoch: AtomicU64,
}

impl Addresses {
    pub(super) fn new(endpoint: &EndpointAddress) -> Addresses {
        let (host, port) = (endpoint.host.clone(), endpoint.port);
        let (name, all) = match (&endpoint.socket, host.parse()) {
            (Some(_), _) => (None, Vec::new()),
            (None, Ok(address)) => (None, vec![SocketAddr::new(address, port)]),
            (None, Err(_)) => {
                let name = Name {
                    host,
                    port,
                    #[cfg(test)]
                    zone: None,
                };
                (Some(name), Vec::new())
            }
        };
        let known = ArcSwap::from_pointee(Known { all, at: None });
        Addresses { name, known, epoch: AtomicU64::new(0), turn: AtomicUsize::new(0) }
    }

    /// Looks the name up at an interval, on this runtime, until nobody uses the addresses any more.
    pub(super) async fn maintain(addresses: Weak<Addresses>) {
        while let Some(addresses) = addresses.upgrade() {
            if addresses.name.is_none() {
                return;
            }
            // What was known serves on; who connects and knows nothing sees the error.
            let _ = addresses.look_up().await;
            drop(addresses);
            sleep(LOOKED_UP_EVERY).await;
        }
    }

    /// In the order in which they are to be tried: those of the first one's family take turns at the front.
    ///
    /// # Errors
    /// The name can't be looked up, and nothing is known of it.
    pub(super) async fn in_turn(&self) -> io::Result<Vec<SocketAddr>> {
        let mut known = self.known.load_full();
        let is_old = known.at.is_none_or(|at| at.elapsed() > MUST_BE_LOOKED_UP_AFTER);
        if self.name.is_some() && (known.all.is_empty() || is_old) {
            match self.look_up().await {
                Err(error) if known.all.is_empty() => return Err(error),
                _ => known = self.known.load_full(),
            }
        }
        let mut all = known.all.clone();
        let is_first_ones =
            |address: &SocketAddr| Some(address.is_ipv4()) == known.all.first().map(SocketAddr::is_ipv4);
        let alike = all.iter().take_while(|address| is_first_ones(address)).count();
        if let Some(front) = all.get_mut(..alike)
            && alike > 1
        {
            front.rotate_left(self.turn.fetch_add(1, Ordering::Relaxed) % alike);
        }
        Ok(all)
    }

    /// Of a connection that is about to be opened.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub(super) fn origin(&self, epoch: u64, peer: Option<IpAddr>) -> Origin {
        Origin { peer: peer.filter(|_| self.name.is_some()), epoch: AtomicU64::new(epoch) }
    }

    pub(super) async fn look_up(&self) -> io::Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let all = name.look_up().await?;
        if all.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        let before = self.known.swap(Arc::new(Known { all: all.clone(), at: Some(Instant::now()) }));
        if !before.all.is_empty() && !is_same_set(&before.all, &all) {
            self.epoch.fetch_add(1, Ordering::Relaxed);
            tracing::info!(host = %name.host, addresses = ?all, "the addresses of an endpoint have changed");
        }
        Ok(())
    }

    fn has(&self, peer: IpAddr) -> bool {
        self.known.load().all.iter().any(|address| address.ip().to_canonical() == peer)
    }
}

impl Name {
    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        #[cfg(test)]
        if let Some(zone) = &self.zone {
            return Ok(zone.addresses(self.port));
        }
        Ok(tokio::net::lookup_host((&*self.host, self.port)).await?.collect())
    }
}

fn is_same_set(one: &[SocketAddr], other: &[SocketAddr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

impl Origin {
    /// Whether the name still leads there. Costs one read while nothing changes.
    pub(super) fn is_current(&self, addresses: &Addresses) -> bool {
        let epoch = addresses.epoch();
        if self.epoch.load(Ordering::Relaxed) == epoch {
            return true;
        }
        let is_current = self.peer.is_none_or(|peer| addresses.has(peer));
        if is_current {
            self.epoch.store(epoch, Ordering::Relaxed);
        }
        is_current
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub(super) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What a name leads to, in the place of the system's resolver.
    #[derive(Clone, Default)]
    pub(in crate::upstream) struct Zone(Arc<Mutex<Vec<IpAddr>>>);

    impl Zone {
        pub(in crate::upstream) fn set(&self, addresses: &[&str]) {
            *self.0.lock().unwrap() = addresses.iter().map(|address| address.parse().unwrap()).collect();
        }

        pub(super) fn addresses(&self, port: u16) -> Vec<SocketAddr> {
            self.0.lock().unwrap().iter().map(|address| SocketAddr::new(*address, port)).collect()
        }
    }

    impl Addresses {
        pub(in crate::upstream) fn of_zone(port: u16, zone: &Zone) -> Addresses {
            let endpoint = EndpointAddress {
                tls: false,
                host: "api.test".to_owned(),
                port,
                base_path: String::new(),
                socket: None,
            };
            let mut addresses = Addresses::new(&endpoint);
            addresses.name.as_mut().unwrap().zone = Some(zone.clone());
            addresses
        }
    }

    async fn in_turn(addresses: &Addresses) -> Vec<String> {
        addresses.in_turn().await.unwrap().iter().map(|address| address.ip().to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_take_turns_within_the_first_ones_family() {
        let zone = Zone::default();
        zone.set(&["10.0.0.1", "10.0.0.2", "::1"]);
        let addresses = Addresses::of_zone(80, &zone);
        assert_eq!(in_turn(&addresses).await, ["10.0.0.1", "10.0.0.2", "::1"]);
        assert_eq!(in_turn(&addresses).await, ["10.0.0.2", "10.0.0.1", "::1"]);
        assert_eq!(in_turn(&addresses).await, ["10.0.0.1", "10.0.0.2", "::1"]);
        // As `localhost` mostly is: the second is for when the first doesn't answer.
        zone.set(&["::1", "127.0.0.1"]);
        addresses.look_up().await.unwrap();
        for _ in 0..3 {
            assert_eq!(in_turn(&addresses).await, ["::1", "127.0.0.1"]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_followed_and_a_resolver_that_fails_changes_nothing() {
        let zone = Zone::default();
        let addresses = Arc::new(Addresses::of_zone(80, &zone));
        assert!(addresses.in_turn().await.is_err());
        zone.set(&["10.0.0.1", "10.0.0.2"]);
        let maintained = tokio::spawn(Addresses::maintain(Arc::downgrade(&addresses)));
        sleep(LOOKED_UP_EVERY).await;
        let origin = addresses.origin(addresses.epoch(), Some("10.0.0.1".parse().unwrap()));
        assert!(origin.is_current(&addresses));

        zone.set(&["10.0.0.2", "10.0.0.1"]);
        sleep(LOOKED_UP_EVERY).await;
        assert_eq!(addresses.epoch(), 0, "another order is no change");
        zone.set(&["10.0.0.1", "10.0.0.3"]);
        sleep(LOOKED_UP_EVERY).await;
        assert_eq!((addresses.epoch(), origin.is_current(&addresses)), (1, true));
        zone.set(&[]);
        sleep(MUST_BE_LOOKED_UP_AFTER * 2).await;
        assert_eq!(in_turn(&addresses).await.len(), 2);
        zone.set(&["10.0.0.3"]);
        sleep(LOOKED_UP_EVERY).await;
        assert!(!origin.is_current(&addresses));
        drop(addresses);
        maintained.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn without_anybody_to_look_it_up_whoever_connects_does() {
        let zone = Zone::default();
        zone.set(&["10.0.0.1"]);
        let addresses = Addresses::of_zone(80, &zone);
        assert_eq!(in_turn(&addresses).await, ["10.0.0.1"]);
        zone.set(&["10.0.0.2"]);
        assert_eq!(in_turn(&addresses).await, ["10.0.0.1"]);
        sleep(MUST_BE_LOOKED_UP_AFTER + Duration::from_secs(1)).await;
        assert_eq!(in_turn(&addresses).await, ["10.0.0.2"]);
    }
}
