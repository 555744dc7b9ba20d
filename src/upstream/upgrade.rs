//! Connections that change their protocol (RFC 9110, section 7.8): a client asks, the upstream agrees, then bytes go both
//! ways until one of the two ends, or until nobody vouches for the client any more.

use std::{
    fmt,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use hyper::{
    HeaderMap, Version,
    header::{CONNECTION, HeaderValue, UPGRADE},
    http::request,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{self, AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, timeout_at},
};

use super::pool::Lease;

/// What a client asks to be switched to.
#[derive(Debug)]
pub struct Upgrade {
    protocols: HeaderValue,
    client: OnUpgrade,
}

impl Upgrade {
    /// None where nothing is asked for that goes on: HTTP/1.1 alone can be switched, by `Upgrade` that `Connection` names,
    /// after a request without a body. HTTP/2 (`h2c`) is each connection's own, and never asked of an upstream so.
    pub fn asked(head: &mut request::Parts, has_body: bool) -> Option<Upgrade> {
        if head.version != Version::HTTP_11 || has_body || !names_upgrade(&head.headers) {
            return None;
        }
        let wanted: Vec<&str> = tokens(&head.headers, UPGRADE)?
            .into_iter()
            .filter(|protocol| !["h2c", "h2"].iter().any(|http2| protocol.eq_ignore_ascii_case(http2)))
            .collect();
        let protocols = HeaderValue::try_from(wanted.join(", ")).ok().filter(|protocols| !protocols.is_empty())?;
        let client = head.extensions.remove::<OnUpgrade>()?;
        Some(Upgrade { protocols, client })
    }

    /// Asks the upstream for the same.
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocols.clone());
    }
}

/// The protocol that an answer switches to, if it is one of those that were asked for.
pub(super) fn agreed(answer: &HeaderMap, asked: Option<&HeaderValue>) -> Option<HeaderValue> {
    let mut lines = answer.get_all(UPGRADE).iter();
    let (Some(protocol), None) = (lines.next(), lines.next()) else { return None };
    let mut wanted = asked?.to_str().ok()?.split(',');
    let is_wanted = wanted.any(|wanted| protocol.as_bytes().eq_ignore_ascii_case(wanted.trim().as_bytes()));
    (is_wanted && names_upgrade(answer)).then(|| protocol.clone())
}

fn names_upgrade(headers: &HeaderMap) -> bool {
    tokens(headers, CONNECTION)
        .is_some_and(|options| options.iter().any(|option| option.eq_ignore_ascii_case("upgrade")))
}

/// The elements of all lines of a field; None where one isn't text.
fn tokens(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<Vec<&str>> {
    let lines = headers.get_all(name).iter().map(|line| line.to_str().ok()).collect::<Option<Vec<_>>>()?;
    Some(lines.into_iter().flat_map(|line| line.split(',')).map(str::trim).filter(|token| !token.is_empty()).collect())
}

/// An upstream that has switched.
pub struct Tunnel {
    upstream: OnUpgrade,
    /// Keeps the connection's place among `max_connections`.
    _lease: Lease,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tunnel(…)")
    }
}

/// How many bytes a tunnel has carried from the client and to it.
#[derive(Debug, Default)]
pub struct Carried {
    from_client: AtomicU64,
    to_client: AtomicU64,
}

impl Tunnel {
    pub(super) fn new(upstream: OnUpgrade, lease: Lease) -> Tunnel {
        Tunnel { upstream, _lease: lease }
    }

    /// Carries bytes until both sides have ended, one has failed, or the time is over.
    pub async fn carry(self, upgrade: Upgrade, until: Option<Instant>, carried: &Carried) {
        let both_ways = async {
            let (client, upstream) = tokio::try_join!(upgrade.client, self.upstream).map_err(io::Error::other)?;
            let mut client = Counted { io: TokioIo::new(client), read: &carried.from_client };
            let mut upstream = Counted { io: TokioIo::new(upstream), read: &carried.to_client };
            io::copy_bidirectional(&mut client, &mut upstream).await
        };
        // However it ends, it is over: who breaks off has no answer to get.
        let _ = match until {
            Some(until) => timeout_at(until, both_ways).await,
            None => Ok(both_ways.await),
        };
    }
}

impl Carried {
    /// Bytes that came from the client.
    pub fn from_client(&self) -> u64 {
        self.from_client.load(Ordering::Relaxed)
    }

    /// Bytes that came for the client.
    pub fn to_client(&self) -> u64 {
        self.to_client.load(Ordering::Relaxed)
    }
}

/// One side of a tunnel, what it brings counted.
struct Counted<'c> {
    io: TokioIo<Upgraded>,
    read: &'c AtomicU64,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read.fetch_add(buf.filled().len().saturating_sub(before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_switches_to_what_was_asked_for_or_not_at_all() {
        let asked = HeaderValue::from_static("websocket, Foo/2");
        for (connection, protocols, agreed_on) in [
            ("upgrade", &["WebSocket"][..], true),
            ("keep-alive, Upgrade", &["foo/2"], true),
            ("upgrade", &["foo"], false),
            ("upgrade", &["h2c"], false),
            ("upgrade", &["websocket, foo/2"], false),
            ("upgrade", &["websocket", "websocket"], false),
            ("upgrade", &[], false),
            ("keep-alive", &["websocket"], false),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert(CONNECTION, HeaderValue::from_str(connection).unwrap());
            for protocol in protocols {
                answer.append(UPGRADE, HeaderValue::from_static(protocol));
            }
            assert_eq!(agreed(&answer, Some(&asked)).is_some(), agreed_on, "{connection} {protocols:?}");
            assert_eq!(agreed(&answer, None), None);
        }
    }
}
