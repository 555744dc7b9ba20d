//! What an answer's trailers may not say.

use hyper::{HeaderMap, header::*};

use super::{KEEP_ALIVE, PROXY_CONNECTION};

/// Framing, routing, content, caching, cookies and challenges are a head's to tell (RFC 9110, section 6.5.1). A client that
/// merged them would take them for what was said there; and HTTP/2 resets a stream for some.
const NOT_IN_TRAILERS: [HeaderName; 22] = [
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_ORIGIN,
    CACHE_CONTROL,
    CONNECTION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_SECURITY_POLICY,
    CONTENT_TYPE,
    EXPIRES,
    KEEP_ALIVE,
    LOCATION,
    PROXY_AUTHENTICATE,
    PROXY_CONNECTION,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    VARY,
    WWW_AUTHENTICATE,
];

/// Removes from an answer's trailers what only its head may say.
pub fn clean_answer_trailers(trailers: &mut HeaderMap) {
    for name in &NOT_IN_TRAILERS {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_head_says_stays_there() {
        let mut trailers = HeaderMap::new();
        for name in ["connection", "set-cookie", "grpc-status", "content-length", "x-sum", "set-cookie", "grpc-message"]
        {
            trailers.append(name, HeaderValue::from_static("1"));
        }
        clean_answer_trailers(&mut trailers);
        let mut left: Vec<&str> = trailers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["grpc-message", "grpc-status", "x-sum"]);
    }
}
