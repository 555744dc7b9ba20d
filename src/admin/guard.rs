//! Who may ask. What is no probe's needs `admin.token`, if there is one, and loopback if there is none.
//!
//! On loopback no web page may. A browser on this machine reaches the listener for any page that is open in
//! it; the page's name, rebound to 127.0.0.1, is then in `Host`, or the page's origin in `Origin`. What a page only has loaded
//! (an image, a script) has no `Origin`, and `Sec-Fetch-Site` instead. A link to the console may be anywhere.

use std::net::{IpAddr, Ipv6Addr};

use aws_lc_rs::{constant_time, digest};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{HOST, HeaderName, HeaderValue, ORIGIN, WWW_AUTHENTICATE},
};

use super::{console, nothing_here};
use crate::{
    body::Body,
    respond::problem,
    token::{credential::Credential, secret::Secret},
};

/// Who makes a browser ask, and what for (Fetch Metadata Request Headers, section 2).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// What probes and scrapers read; none of it is a secret.
const FOR_EVERYBODY: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Whether this may be asked.
///
/// # Errors
/// The answer that it gets instead.
pub(super) fn admit<B>(
    request: &Request<B>,
    token: Option<&Secret>,
    on_loopback: bool,
) -> Result<(), Box<Response<Body>>> {
    let head_only = request.method() == Method::HEAD;
    if on_loopback {
        check(request).map_err(|why| problem(StatusCode::FORBIDDEN, why, None, head_only))?;
    }
    match token {
        _ if FOR_EVERYBODY.contains(&request.uri().path()) => Ok(()),
        None if on_loopback => Ok(()),
        None => Err(nothing_here(head_only).into()),
        // A shell without data, which asks for the token.
        Some(_) if console::file(request.uri().path()).is_some() => Ok(()),
        Some(token) if has_token(request.headers(), token) => Ok(()),
        Some(_) => {
            let mut refusal = problem(StatusCode::UNAUTHORIZED, "the admin token is needed", None, head_only);
            refusal.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"admin\""));
            Err(refusal.into())
        }
    }
}

/// Compared by hashes, so that neither how long nor how nearly right a guess is shows in the time.
fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let Ok(presented) = Credential::from_headers(headers, usize::MAX) else { return false };
    let hash = |bytes| digest::digest(&digest::SHA256, bytes);
    let (presented, token) = (hash(presented.expose().as_bytes()), hash(token.expose()));
    constant_time::verify_slices_are_equal(presented.as_ref(), token.as_ref()).is_ok()
}

/// Whether the request names a loopback host, and comes from no foreign page.
///
/// # Errors
/// Why it is refused.
fn check<B>(request: &Request<B>) -> Result<(), &'static str> {
    let host = single(request.headers(), &HOST).map_err(|()| "there is more than one Host")?;
    let named = [host, request.uri().authority().map(|authority| authority.as_str())];
    if named.iter().all(Option::is_none) || !named.into_iter().flatten().all(is_loopback) {
        return Err("the Host is not a loopback address");
    }
    match single(request.headers(), &ORIGIN) {
        Ok(None) => {}
        Ok(Some(origin)) if host.is_some_and(|host| is_own_origin(origin, host)) => {}
        _ => return Err("the Origin is a foreign one"),
    }
    match single(request.headers(), &SEC_FETCH_SITE) {
        Ok(None | Some("same-origin" | "none")) => Ok(()),
        Ok(Some(_)) if is_link_to_the_page(request) => Ok(()),
        _ => Err("a page of another origin asks"),
    }
}

/// Whether somebody follows a link to what holds no data.
fn is_link_to_the_page<B>(request: &Request<B>) -> bool {
    request.method() == Method::GET
        && console::file(request.uri().path()).is_some()
        && single(request.headers(), &SEC_FETCH_MODE) == Ok(Some("navigate"))
}

/// The one value of a field. Err: there are more, or it isn't text.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        _ => Err(()),
    }
}

fn is_own_origin(origin: &str, host: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// `localhost`, 127.0.0.0/8 or `[::1]`, with or without a port.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority.ends_with(']') => authority.split_at(colon),
        _ => (authority, ""),
    };
    let is_port = port.strip_prefix(':').unwrap_or_default().bytes().all(|byte| byte.is_ascii_digit());
    let is_host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').and_then(|ip| ip.parse().ok()) == Some(Ipv6Addr::LOCALHOST),
        None => {
            host.eq_ignore_ascii_case("localhost") || matches!(host.parse(), Ok(IpAddr::V4(ip)) if ip.is_loopback())
        }
    };
    is_port && is_host
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn checked(target: &str, fields: &[(&str, &str)]) -> Result<(), &'static str> {
        let mut request = Request::builder().uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap())
    }

    #[test]
    fn loopback_hosts() {
        for host in [
            "localhost",
            "LOCALHOST:9901",
            "127.0.0.1",
            "127.0.0.1:9901",
            "127.1.2.3:1",
            "[::1]",
            "[::1]:9901",
            "localhost:",
        ] {
            assert_eq!(checked("/", &[("host", host)]), Ok(()), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example#localhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::2]",
            "[::ffff:127.0.0.1]",
            "::1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "localhost:80:80",
            "localhost:evil",
            "localhost.",
            "[localhost]",
            "[::1",
            "::1]",
            "[::1]evil",
            "[::1].evil:80",
            " localhost",
            "localhost ",
        ] {
            assert!(checked("/", &[("host", host)]).is_err(), "{host:?}");
        }
    }

    #[test]
    fn one_host_and_no_other_authority() {
        assert!(checked("/", &[]).is_err());
        assert!(checked("/", &[("host", "localhost"), ("host", "localhost")]).is_err());
        assert!(checked("/", &[("host", "localhost"), ("host", "evil.example")]).is_err());
        assert!(checked("http://evil.example/", &[("host", "localhost")]).is_err());
        assert!(checked("http://localhost/", &[("host", "evil.example")]).is_err());
        assert_eq!(checked("http://localhost/", &[("host", "localhost")]), Ok(()));
    }

    #[test]
    fn foreign_origins() {
        let with = |origin| checked("/", &[("host", "localhost:9901"), ("origin", origin)]);
        assert_eq!(with("http://localhost:9901"), Ok(()));
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:9901",
            "https://localhost:9901",
            "http://localhost:9901.evil.example",
            "http://localhost:9901/",
            "http://localhost:9901 http://evil.example",
            "file://",
        ] {
            assert!(with(origin).is_err(), "{origin:?}");
        }
        let two = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
        assert!(checked("/", &two).is_err());
    }

    #[test]
    fn what_foreign_pages_have_loaded() {
        let with = |target, fields: &[(&str, &str)]| {
            checked(target, &[&[("host", "localhost:9901")], fields].concat()).is_ok()
        };
        for site in ["same-origin", "none"] {
            assert!(with("/routes", &[("sec-fetch-site", site), ("sec-fetch-mode", "cors")]), "{site}");
        }
        for site in ["cross-site", "same-site", "", "same-origin, none", "anything"] {
            for target in ["/routes", "/metrics", "/livez", "/"] {
                assert!(!with(target, &[("sec-fetch-site", site)]), "{site} {target}");
                assert!(!with(target, &[("sec-fetch-site", site), ("sec-fetch-mode", "no-cors")]), "{site} {target}");
                let link = [("sec-fetch-site", site), ("sec-fetch-mode", "navigate")];
                assert_eq!(with(target, &link), target == "/", "{site} {target}");
            }
        }
        assert!(!with("/", &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]));
        let form = Request::post("/").header("host", "localhost").header("sec-fetch-site", "cross-site");
        assert!(check(&form.header("sec-fetch-mode", "navigate").body(()).unwrap()).is_err());
    }
}
