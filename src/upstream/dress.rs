//! A request as an endpoint is to see it: its target, `Host`, version and framing.

use http_body::Body as _;
use hyper::{
    Request, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRAILER, TRANSFER_ENCODING},
    http::uri::Scheme,
};

use super::{
    Upstream,
    endpoint::Endpoint,
    exchange::{Try, UNSENDABLE},
};
use crate::{body::RequestBody, refusal::Refusal};

impl Upstream {
    /// Writes target, `Host`, version and framing as this endpoint is to see them.
    pub(super) fn address(
        &self,
        endpoint: &Endpoint,
        request: &mut Request<RequestBody>,
        this_try: &Try,
    ) -> Result<(), Refusal> {
        dress(request, false, endpoint.address.tls).ok_or(UNSENDABLE)?;
        *request.uri_mut() = endpoint.target(this_try.path.as_ref())?;
        *request.version_mut() = Version::HTTP_11;
        if let Some(host) = self.host_at(endpoint, request.headers()) {
            request.headers_mut().insert(HOST, host);
        }
        frame_for_http1(request);
        Ok(())
    }
}

/// Makes a request look as its connection's version wants it. HTTP/2 has an authority in the place of `Host`, and no
/// connection-specific fields (RFC 9113, sections 8.2.2 and 8.3.1). None where it can't be made to.
pub(super) fn dress(request: &mut Request<RequestBody>, http2: bool, tls: bool) -> Option<()> {
    let is_http2 = request.version() == Version::HTTP_2;
    if http2 && !is_http2 {
        let host = request.headers_mut().remove(HOST)?;
        let target = request.uri().path_and_query().cloned()?;
        let scheme = if tls { Scheme::HTTPS } else { Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target);
        *request.uri_mut() = uri.build().ok()?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().remove(TRANSFER_ENCODING);
        request.headers_mut().remove(CONNECTION);
    } else if !http2 && is_http2 {
        let authority = request.uri().authority()?.as_str();
        let host = HeaderValue::from_str(authority).ok()?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = request.uri().path_and_query().cloned()?.into();
        *request.version_mut() = Version::HTTP_11;
        frame_for_http1(request);
    }
    Some(())
}

/// A body of unknown length is chunked with every method: without this, hyper drops that of a GET. So is one that trailers
/// were announced for and no length.
fn frame_for_http1(request: &mut Request<RequestBody>) {
    let headers = request.headers();
    let has_trailers = headers.contains_key(TRAILER) && !headers.contains_key(CONTENT_LENGTH);
    if !request.body().is_end_stream() && (has_trailers || request.body().size_hint().exact().is_none()) {
        request.headers_mut().remove(CONTENT_LENGTH);
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    } else {
        request.headers_mut().remove(TRANSFER_ENCODING);
    }
}
