//! A request's head as the upstream is to see it: what a client may not send goes first, what we say is written last.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Uri, Version,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderValue, TRAILER, VIA},
    http::uri::PathAndQuery,
};

use crate::{
    headers::{self, RequestId, TraceContext},
    path::CanonicalPath,
    refusal::Refusal,
    snapshot::{Route, Snapshot},
};

/// Where a request came from, and what it is called.
#[derive(Debug)]
pub struct Sender<'s> {
    /// The other end of the connection.
    pub peer: IpAddr,
    /// Whether its forwarding headers are believed.
    pub is_trusted: bool,
    /// What it speaks.
    pub version: Version,
    /// `http` or `https`
    pub scheme: &'s str,
    /// Host and port that the request is for.
    pub authority: Option<HeaderValue>,
    /// X-Request-Id
    pub request_id: &'s RequestId,
    /// traceparent
    pub trace: &'s TraceContext,
}

/// The fields that go on, but for those that tell who asks: these are written after them. An upstream that is called with
/// a token of the gateway's own gets nothing of what is known of the caller, whoever says it.
pub fn fields(snapshot: &Snapshot, route: &Route, mut fields: HeaderMap, from: &Sender<'_>) -> HeaderMap {
    let is_anonymous = route.has_own_token();
    headers::remove_hop_by_hop(&mut fields);
    // In HTTP/1.1 only a body without a length has trailers; HTTP/2 knows both together.
    if from.version == Version::HTTP_2 && fields.contains_key(TRAILER) {
        fields.remove(CONTENT_LENGTH);
    }
    snapshot.reserved.strip(&mut fields, from.is_trusted && !is_anonymous);
    route.settings.token_from.strip(&mut fields);
    if is_anonymous {
        fields.remove(AUTHORIZATION);
        fields.remove(headers::DPOP);
        fields.remove(VIA);
    }
    route.settings.headers.request.change_request(&mut fields);

    if !is_anonymous {
        let via = headers::via(from.version);
        headers::add_forwarding(&mut fields, from.peer, from.is_trusted, from.scheme, from.authority.clone(), via);
    }
    from.request_id.write(&mut fields);
    from.trace.write(&mut fields);
    fields
}

/// The canonical path, which is the one that was decided, or what the route makes of it, with the query as it came but for a token in it.
///
/// # Errors
/// `Refusal::Path` where the route makes no path of it that can be sent.
pub fn target(path: &CanonicalPath, route: &Route, uri: &Uri) -> Result<Uri, Refusal> {
    let rewritten = route.settings.rewrite.as_ref().map(|rewrite| rewrite.apply(path)).transpose()?;
    let path = rewritten.as_ref().unwrap_or(path);
    let query = route.settings.token_from.strip_query(uri.query());
    if path.as_str() == uri.path() && uri.authority().is_none() && query.as_deref() == uri.query() {
        return Ok(uri.clone());
    }
    let target = match query {
        Some(query) => PathAndQuery::try_from(format!("{}?{query}", path.as_str())),
        None => PathAndQuery::try_from(path.as_str()),
    };
    target.map(Uri::from).map_err(|_| Refusal::Path("the path cannot be sent on"))
}
