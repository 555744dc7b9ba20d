//! Who may ask for decisions.

use crate::{refusal::Refusal, server::Arrival, snapshot::Snapshot};

/// Trusted proxies and this machine may: whoever asks says whom a request comes from, and is told who that is.
///
/// # Errors
/// `Refusal::UntrustedPeer`, which the log tells with its address.
pub(super) fn check(snapshot: &Snapshot, arrival: &Arrival) -> Result<(), Refusal> {
    // A Unix socket's peer counts as 127.0.0.1.
    if snapshot.trusted_proxies.trusts(arrival.peer) || arrival.peer.to_canonical().is_loopback() {
        return Ok(());
    }
    let listener = snapshot.listeners.get(arrival.listener).map_or("", |name| name);
    tracing::warn!(peer = %arrival.peer.to_canonical(), listener, "a peer that is not in server.trusted_proxies asks for a decision");
    Err(Refusal::UntrustedPeer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::{config, observe::Observer, snapshot::LongLived};

    #[test]
    fn strangers_may_not_ask() {
        let yaml = "listen: [{address: \"127.0.0.1:1\", mode: forward_auth, request_from: self}]\n\
                    server: {trusted_proxies: [10.0.0.0/8, \"2001:db8::/32\"]}\nissuers: {}\n\
                    routes: [{name: r, path: /r, allow: public}]\n";
        let policy = config::load_str(yaml, "f").unwrap().policy;
        let snapshot = Snapshot::assemble(&policy, &LongLived::new(Observer::silent(), 1)).unwrap().0;
        for (peer, may) in [
            ("127.0.0.1", true),
            ("127.8.8.8", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::7", true),
            ("192.168.0.1", false),
            ("::ffff:192.168.0.1", false),
            ("2001:db9::7", false),
            ("0.0.0.0", false),
            ("::", false),
        ] {
            assert_eq!(check(&snapshot, &Arrival::for_test(peer.parse().unwrap())).is_ok(), may, "{peer}");
        }
    }
}
