//! Unary gRPC calls to one server, over one connection of HTTP/2 that stays open (gRPC over HTTP2, the protocol's own
//! description).

use std::{fmt, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http2::{self, SendRequest},
    header::{CONTENT_TYPE, HeaderName, HeaderValue, TE, USER_AGENT},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::{FetchError, FetchRules, reach, shake_hands, target::Target};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Whether the message is compressed, and its length.
const PREFIX_BYTES: usize = 5;
const UNKNOWN: u16 = 2;
const UNAVAILABLE: u16 = 14;
/// Of what a server says is wrong.
const MOST_SAID: usize = 200;

/// The way to one server.
pub struct GrpcLink {
    target: Target,
    rules: FetchRules,
    open: Option<SendRequest<Full<Bytes>>>,
}

/// Why there is no answer. Prints what an operator needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcFault {
    /// For the operator.
    pub message: String,
    /// The status that the server gave; None: it gave none.
    pub code: Option<u16>,
}

impl GrpcLink {
    /// To the server of this URL, whose path counts for nothing. Opens nothing yet.
    ///
    /// # Errors
    /// A URL that can't be called.
    pub fn new(url: &str, rules: FetchRules) -> Result<GrpcLink, FetchError> {
        Ok(GrpcLink { target: Target::parse(url)?, rules, open: None })
    }

    /// Calls a method (`/package.Service/Method`) with a message, which does no harm if it arrives twice: a connection may
    /// turn out to be closed.
    ///
    /// # Errors
    /// No whole answer, a status other than OK, and all that `FetchRules` forbid.
    pub async fn unary(&mut self, method: &'static str, message: &[u8]) -> Result<Bytes, GrpcFault> {
        let time = self.rules.timeout;
        let answer = match tokio::time::timeout(time, self.call(method, message)).await {
            Ok(answer) => answer,
            Err(_) => {
                // It may lead nowhere.
                self.open = None;
                Err(unanswered(format!("no answer within {time:?}")))
            }
        };
        answer.map_err(|fault| GrpcFault { message: format!("{}: {}", self.target, fault.message), ..fault })
    }

    async fn call(&mut self, method: &'static str, message: &[u8]) -> Result<Bytes, GrpcFault> {
        let framed = framed(message).ok_or_else(|| unanswered("the message is too long".to_owned()))?;
        if let Some(mut open) = self.open.take().filter(|open| !open.is_closed())
            && open.ready().await.is_ok()
            && let Ok(response) = open.send_request(self.request(method, framed.clone())?).await
        {
            self.open = Some(open);
            return read(response, self.rules.max_body_bytes).await;
        }
        let mut open = self.connect().await.map_err(unanswered)?;
        let response = open.send_request(self.request(method, framed)?).await;
        let response = response.map_err(|error| unanswered(format!("the answer can't be read: {error}")))?;
        self.open = Some(open);
        read(response, self.rules.max_body_bytes).await
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = reach(&self.target, &self.rules).await?;
        if !self.target.is_tls {
            return handshake(TokioIo::new(stream)).await;
        }
        let mut config = (*self.rules.trust.tls().await?).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = shake_hands(stream, &self.target, Arc::new(config)).await?;
        if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err("the server doesn't speak HTTP/2".to_owned());
        }
        handshake(TokioIo::new(tls)).await
    }

    fn request(&self, method: &'static str, framed: Bytes) -> Result<Request<Full<Bytes>>, GrpcFault> {
        let scheme = if self.target.is_tls { "https" } else { "http" };
        let uri = Uri::builder().scheme(scheme).authority(self.target.authority()).path_and_query(method).build();
        let mut request = Request::new(Full::new(framed));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.map_err(|error| unanswered(error.to_string()))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("bearward/", env!("CARGO_PKG_VERSION"))));
        Ok(request)
    }
}

impl fmt::Debug for GrpcLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GrpcLink({})", self.target)
    }
}

impl GrpcFault {
    /// Whether the same message may be taken later: nothing was said of it, or that something beside it is wrong.
    pub fn may_pass(&self) -> bool {
        const CANCELLED: u16 = 1;
        const DEADLINE_EXCEEDED: u16 = 4;
        const RESOURCE_EXHAUSTED: u16 = 8;
        const ABORTED: u16 = 10;
        const OUT_OF_RANGE: u16 = 11;
        const DATA_LOSS: u16 = 15;
        let passing = [CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS];
        self.code.is_none_or(|code| passing.contains(&code))
    }
}

async fn handshake<S: Read + Write + Unpin + Send + 'static>(stream: S) -> Result<SendRequest<Full<Bytes>>, String> {
    let made = http2::handshake(TokioExecutor::new(), stream).await;
    let (sender, connection) = made.map_err(|error| format!("the connection can't be used: {error}"))?;
    // Its errors reach whoever waits for the answer. It ends when nobody has the other half any more.
    tokio::spawn(connection);
    Ok(sender)
}

async fn read(response: Response<Incoming>, max_body_bytes: usize) -> Result<Bytes, GrpcFault> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        let message = format!("status {} in the place of an answer", head.status.as_u16());
        return Err(GrpcFault { message, code: Some(code_of(head.status)) });
    }
    // Whoever has nothing else to say says it in the head.
    if head.headers.contains_key(GRPC_STATUS) {
        return Err(said(&head.headers).err().unwrap_or_else(|| unanswered("an answer without a message".to_owned())));
    }
    let body = Limited::new(body, max_body_bytes).collect().await;
    let body = body.map_err(|error| unanswered(format!("the answer broke off or is too long: {error}")))?;
    said(body.trailers().ok_or_else(|| unanswered("an answer without a status".to_owned()))?)?;
    message(body.to_bytes()).ok_or_else(|| unanswered("an answer that isn't one message".to_owned()))
}

/// What a status of HTTP is to gRPC, as far as it tells whether to come again.
fn code_of(status: StatusCode) -> u16 {
    match status.as_u16() {
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// # Errors
/// Any status but OK.
fn said(fields: &HeaderMap) -> Result<(), GrpcFault> {
    let code = fields.get(GRPC_STATUS).and_then(|code| code.to_str().ok()?.parse().ok());
    match code {
        Some(0) => Ok(()),
        Some(code) => {
            let said = fields.get(GRPC_MESSAGE).and_then(|said| said.to_str().ok()).unwrap_or_default();
            let said: String = said.chars().take(MOST_SAID).collect();
            Err(GrpcFault { message: format!("gRPC status {code} {said}").trim_end().to_owned(), code: Some(code) })
        }
        None => Err(unanswered("an answer without a status".to_owned())),
    }
}

fn unanswered(message: String) -> GrpcFault {
    GrpcFault { message, code: None }
}

fn framed(message: &[u8]) -> Option<Bytes> {
    let length = u32::try_from(message.len()).ok()?;
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    Some(framed.freeze())
}

/// The one message, which isn't compressed: nobody was asked to.
fn message(mut framed: Bytes) -> Option<Bytes> {
    let [0, a, b, c, d] = *framed.get(..PREFIX_BYTES)? else { return None };
    let message = framed.split_off(PREFIX_BYTES);
    (message.len() == usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()?).then_some(message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_found_again() {
        for text in [&b""[..], b"a", &[0; 70_000]] {
            let framed = framed(text).unwrap();
            assert_eq!(framed.len(), text.len() + 5);
            assert_eq!(message(framed).as_deref(), Some(text));
        }
        for broken in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\0a", b"\x01\0\0\0\x01a"] {
            assert_eq!(message(Bytes::copy_from_slice(broken)), None, "{broken:?}");
        }
    }

    #[test]
    fn statuses() {
        for (code, said_more, message, may_pass) in [
            ("14", "try later", "gRPC status 14 try later", true),
            ("14", "", "gRPC status 14", true),
            ("8", "", "gRPC status 8", true),
            ("3", "what", "gRPC status 3 what", false),
            ("16", "", "gRPC status 16", false),
            ("12", "", "gRPC status 12", false),
            ("", "", "an answer without a status", true),
            ("x", "", "an answer without a status", true),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert(GRPC_STATUS, code.parse().unwrap());
            fields.insert(GRPC_MESSAGE, said_more.parse().unwrap());
            let fault = said(&fields).unwrap_err();
            assert_eq!((fault.message.as_str(), fault.may_pass()), (message, may_pass), "{code}");
        }
        let ok = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))]);
        assert_eq!(said(&ok), Ok(()));
        assert!(said(&HeaderMap::new()).is_err());
    }
}
