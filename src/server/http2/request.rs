//! An HTTP/2 request made to look as one of HTTP/1.1 does behind the framing guard, or refused as there.

use hyper::{
    HeaderMap, Method, Request, Uri,
    header::{CONTENT_LENGTH, COOKIE, HOST, HeaderValue},
};

use super::super::framing::{
    authority::Authority,
    head::{MAX_FIELDS, is_or_resembles, is_token, parse_length},
    target,
};
use crate::refusal::Refusal;

/// What a field takes beside its name and value in HTTP/1.1: a colon, a space and the line's end.
const FIELD_MARKS: usize = 4;

/// Checks the head, gives it a `Host` and an origin-form target (RFC 9113, section 8.3.1), and joins the lines of `Cookie`
/// (section 8.2.3). Pseudo-fields and connection-specific fields that mustn't be there are hyper's to refuse.
///
/// # Errors
/// What HTTP/1.1 would be refused for, too.
pub(super) fn conform<B>(request: &mut Request<B>, max_header_bytes: usize) -> Result<(), Refusal> {
    check_size(request, max_header_bytes)?;
    check_names(request.headers())?;
    check_length(request.headers())?;
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    if *request.method() == Method::CONNECT {
        return Ok(());
    }
    target::check(request.method().as_str().as_bytes(), target.as_bytes())?;
    let default_port = if request.uri().scheme_str() == Some("https") { 443 } else { 80 };
    let host = host(request.uri(), request.headers(), default_port)?;
    request.headers_mut().insert(HOST, host);
    if let Some(target) = request.uri().path_and_query().cloned()
        && request.uri().authority().is_some()
    {
        *request.uri_mut() = Uri::from(target);
    }
    join_cookies(request.headers_mut());
    Ok(())
}

fn check_size<B>(request: &Request<B>, max_header_bytes: usize) -> Result<(), Refusal> {
    let headers = request.headers();
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_MARKS);
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let bytes = fields.sum::<usize>() + target + request.method().as_str().len();
    if headers.len() > MAX_FIELDS || bytes >= max_header_bytes {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// The library takes a quotation mark in a name, which HTTP/1.1 has no place for (RFC 9110, section 5.6.2).
fn check_names(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.keys().all(|name| name.as_str().bytes().all(is_token)) {
        true => Ok(()),
        false => Err(Refusal::Framing("a field name is malformed")),
    }
}

fn check_length(headers: &HeaderMap) -> Result<(), Refusal> {
    for name in headers.keys().map(|name| name.as_str().as_bytes()) {
        match name.len() {
            14 => is_or_resembles(name, b"content-length").map(drop)?,
            17 => is_or_resembles(name, b"transfer-encoding").map(drop)?,
            _ => {}
        }
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let first = lengths.next();
    if lengths.next().is_some() {
        return Err(Refusal::Framing("there are two Content-Length fields"));
    }
    if first.is_some_and(|length| parse_length(length.as_bytes()).is_none()) {
        return Err(Refusal::Framing("the Content-Length field is malformed"));
    }
    Ok(())
}

/// The host that both `:authority` and `Host` name, where both are there.
fn host(uri: &Uri, headers: &HeaderMap, default_port: u16) -> Result<HeaderValue, Refusal> {
    let mut fields = headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::Framing("there are two Host fields"));
    }
    let named = field.map(|field| Authority::parse(field.as_bytes()).ok_or(MALFORMED_HOST)).transpose()?;
    let Some(authority) = uri.authority() else {
        return field.cloned().ok_or(Refusal::Framing("there is neither an authority nor a Host field"));
    };
    if authority.as_str().contains('@') {
        return Err(Refusal::Path("the authority has user information in it"));
    }
    let parsed = Authority::parse(authority.as_str().as_bytes()).ok_or(MALFORMED_HOST)?;
    if named.is_some_and(|named| !parsed.equals(&named, default_port)) {
        return Err(Refusal::Path("the authority of the request is not that of the Host field"));
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| MALFORMED_HOST)
}

const MALFORMED_HOST: Refusal = Refusal::Framing("the host of the request is malformed");

fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&lines.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    type Field = (&'static str, &'static str);

    fn request(uri: &str, fields: &[Field]) -> Request<()> {
        let mut request = Request::builder().uri(uri).body(()).unwrap();
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn what_goes_on_looks_like_http_1() {
        let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("host", "API.example:443")];
        let mut request = request("https://api.example/a?b", &fields);
        conform(&mut request, 1000).unwrap();
        assert_eq!(request.uri(), "/a?b");
        assert_eq!(request.headers()["host"], "api.example");
        assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
    }

    #[test]
    fn what_is_refused() {
        let many: Vec<Field> = vec![("x", "y"); 101];
        let cases: [(&str, &[Field], &str); 12] = [
            ("https://a/", &[("host", "b")], "path"),
            ("http://a/", &[("host", "a:81")], "path"),
            ("http://u@a/", &[], "path"),
            ("/", &[], "framing"),
            ("/", &[("host", "a"), ("host", "a")], "framing"),
            ("/", &[("host", "a/b")], "framing"),
            ("http://a/", &[("content-length", "1"), ("content-length", "1")], "framing"),
            ("http://a/", &[("content-length", "+1")], "framing"),
            ("http://a/", &[("content_length", "1")], "framing"),
            ("http://a/", &[("transfer_encoding", "chunked")], "framing"),
            ("http://a/", &many, "size"),
            ("http://a/", &[("x", "a long value of a field that is over the limit, which is low here")], "size"),
        ];
        for (uri, fields, reason) in cases {
            let refused = conform(&mut request(uri, fields), if reason == "size" { 64 } else { 1000 }).unwrap_err();
            assert_eq!(refused.reason(), reason, "{uri} {fields:?}");
        }
        // As HTTP/2 reads names.
        let mut quoted = request("http://a/", &[]);
        quoted.headers_mut().insert(HeaderName::from_lowercase(b"x\"y").unwrap(), HeaderValue::from_static("1"));
        assert_eq!(conform(&mut quoted, 1000).unwrap_err().reason(), "framing");
    }
}
