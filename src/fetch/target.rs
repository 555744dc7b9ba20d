//! What is called: a URL in parts, and whether it may be.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Uri,
    header::{ACCEPT, HOST, HeaderValue, USER_AGENT},
};
use tokio::net::lookup_host;

use super::{Call, FetchError, FetchRules, idle::Origin};

const NOT_PLAIN: &str = "plain http off loopback needs `allow_http: true`";

const WELL_KNOWN: [&str; 3] =
    ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks.json"];

/// A URL that may be called, in parts.
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// Without brackets.
    pub(super) host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Target, FetchError> {
        let wrong = |what: &str| FetchError::unanswered(format!("a URL that can't be called: {what}"));
        let uri: Uri = url.parse().map_err(|_| wrong("it doesn't read as a URL"))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong("neither https nor http")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("it has a user name or password in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        Ok(Target {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn origin(&self, rules: &FetchRules) -> Origin {
        let host = self.host.to_ascii_lowercase();
        Origin { is_tls: self.is_tls, host, port: self.port, allow_http: rules.allow_http }
    }

    /// Where the host is, if all of its addresses may be called.
    pub(super) async fn resolve(&self, rules: &FetchRules) -> Result<Vec<SocketAddr>, String> {
        let literal: Option<IpAddr> = self.host.parse().ok();
        let may_be_plain = rules.allow_http || literal.is_some() || self.host.eq_ignore_ascii_case("localhost");
        if !self.is_tls && !may_be_plain {
            return Err(NOT_PLAIN.to_owned());
        }
        let addresses: Vec<SocketAddr> = match literal {
            Some(address) => vec![SocketAddr::new(address, self.port)],
            None => {
                let found = lookup_host((self.host.as_str(), self.port)).await;
                found.map_err(|error| format!("the host name doesn't resolve: {error}"))?.collect()
            }
        };
        self.may_be_called(&addresses, rules)?;
        Ok(addresses)
    }

    /// These addresses are then called as they are: the name isn't looked up again, whatever it says by then.
    pub(super) fn may_be_called(&self, addresses: &[SocketAddr], rules: &FetchRules) -> Result<(), String> {
        if addresses.iter().any(|address| is_link_local(address.ip())) {
            return Err("it resolves to a link-local address, which is never called".to_owned());
        }
        let is_loopback = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
        if !self.is_tls && !rules.allow_http && !is_loopback {
            return Err(NOT_PLAIN.to_owned());
        }
        Ok(())
    }

    pub(super) fn request(&self, call: Call) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body));
        *request.method_mut() = call.method;
        // Both were parts of a `Uri`, so neither can fail.
        *request.uri_mut() = self.path.parse().unwrap_or_default();
        let headers = request.headers_mut();
        if let Ok(host) = self.authority.parse() {
            headers.insert(HOST, host);
        }
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("bearward/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in call.fields {
            headers.insert(name, value);
        }
        request
    }
}

/// Where it is, and not what is asked for there: paths and queries may hold secrets. The places of metadata are known to
/// everybody.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority, Hidden(path))
    }
}

/// A path of which only what is well known is shown.
struct Hidden<'p>(&'p str);

impl fmt::Display for Hidden<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = |part: &str| if matches!(part, "" | "/") { "" } else { "/…" };
        let known = WELL_KNOWN.iter().find_map(|known| Some((known, self.0.split_once(known)?)));
        match known {
            Some((known, (before, after))) if after.is_empty() || after.starts_with('/') => {
                write!(f, "{}{known}{}", rest(before), rest(after))
            }
            _ if self.0 == "/" => f.write_str("/"),
            _ => f.write_str(rest(self.0)),
        }
    }
}

/// 169.254.0.0/16 and fe80::/10 in each form that an operating system or a translator sends there (RFC 4291, section
/// 2.5.5; RFC 6052, section 2.1): cloud metadata services live there.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || embedded_v4(v6).is_some_and(|v4| v4.is_link_local()),
    }
}

fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        _ => None,
    }
}
