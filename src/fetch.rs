//! Every call of our own: https only, no redirects, bounded in size and time, never link-local.

mod grpc;
mod idle;
mod target;

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::{
    HeaderMap, Method, Response, StatusCode, Version,
    body::{Body as _, Incoming},
    client::conn::http1,
    header::{CONTENT_LENGTH, HeaderName, HeaderValue, TRANSFER_ENCODING},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::CertificateDer, sign::CertifiedKey};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use self::grpc::{GrpcFault, GrpcLink};
use self::{
    idle::{Connection, Idle},
    target::Target,
};
use crate::upstream::connect::{native_tls, tls_with_extra_roots};

/// So much fits into the system's buffers, so that it is sent at once.
const SURELY_SENT_BYTES: usize = 16 * 1024;
/// For the body of an answer that isn't 200.
const SAID_WITHIN: Duration = Duration::from_millis(500);
const MOST_SAID_BYTES: usize = 16 * 1024;

/// What came back.
#[derive(Debug)]
pub struct Fetched {
    /// Never a redirection.
    pub status: StatusCode,
    /// The fields of the answer.
    pub headers: HeaderMap,
    /// The body: whole where the status is 200; else what came of it soon, if it is short.
    pub body: Bytes,
}

/// What is asked. Doesn't print: there may be a credential in it.
#[derive(Clone)]
pub struct Call {
    /// GET, or POST where there is a form.
    pub method: Method,
    /// Fields beside those of every call. `Accept` is JSON unless it is one of them.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Empty for GET.
    pub body: Bytes,
    /// What it is sent over.
    pub over: Over,
}

/// The connection of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// A new one, which ends with the call.
    NewConnection,
    /// One that is open already, or else a new one that stays open for a while. A server may close it at that very
    /// moment: then the call is sent once more, so it is one that does no harm if it arrives twice.
    OpenConnection,
}

/// What may be called and how long it may take.
#[derive(Clone, Debug)]
pub struct FetchRules {
    /// The whole call.
    pub timeout: Duration,
    /// Plain http off loopback.
    pub allow_http: bool,
    /// Bytes of the answer's body.
    pub max_body_bytes: usize,
    /// Who vouches for servers.
    pub trust: Arc<Trust>,
}

/// Who vouches for the servers that are called: the machine's own authorities, and these; and what vouches for the
/// gateway to them.
#[derive(Debug, Default)]
pub struct Trust {
    extra: Vec<CertificateDer<'static>>,
    identity: Option<Arc<CertifiedKey>>,
    with_extra: OnceLock<Arc<ClientConfig>>,
    /// Connections that were opened by this, and are used by nobody else.
    idle: Arc<Idle>,
}

impl Trust {
    /// These authorities besides the machine's own.
    pub fn with(extra: impl IntoIterator<Item = CertificateDer<'static>>) -> Trust {
        Trust { extra: extra.into_iter().collect(), ..Trust::default() }
    }

    /// The same, and this certificate is shown to whoever asks for one.
    pub fn showing(self, identity: Option<Arc<CertifiedKey>>) -> Trust {
        Trust { identity, ..self }
    }

    /// Off the runtime: the first call reads the trust store's files.
    async fn tls(self: &Arc<Trust>) -> Result<Arc<ClientConfig>, String> {
        let trust = self.clone();
        tokio::task::spawn_blocking(move || trust.read()).await.map_err(|error| error.to_string())?
    }

    fn read(&self) -> Result<Arc<ClientConfig>, String> {
        if self.extra.is_empty() && self.identity.is_none() {
            let native = native_tls().map_err(|error| error.to_string())?;
            let problem = "this machine has no trusted root certificates";
            return if native.has_roots { Ok(native.config) } else { Err(problem.to_owned()) };
        }
        if let Some(config) = self.with_extra.get() {
            return Ok(config.clone());
        }
        let config = tls_with_extra_roots(&self.extra, self.identity.as_ref()).map_err(|error| error.to_string())?;
        Ok(self.with_extra.get_or_init(|| config).clone())
    }
}

/// Why there is no answer. Prints what an operator needs; never a body or a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// For the operator.
    pub message: String,
    /// Whether the server has answered, and the answer is none that is taken.
    pub was_answered: bool,
}

/// GETs a JSON document.
///
/// # Errors
/// Any answer but a 200, any redirect, and all that `FetchRules` forbid.
pub async fn get_json(url: &str, rules: &FetchRules) -> Result<Fetched, FetchError> {
    let get = Call { method: Method::GET, fields: vec![], body: Bytes::new(), over: Over::NewConnection };
    match call(url, get, rules).await? {
        fetched if fetched.status == StatusCode::OK => Ok(fetched),
        other => Err(FetchError {
            message: format!("{}: status {}", Target::parse(url)?, other.status.as_u16()),
            was_answered: true,
        }),
    }
}

/// A URL that is called, as messages show it: without what may be secret in it.
pub fn shown(url: &str) -> String {
    Target::parse(url).map_or_else(|error| error.message, |target| target.to_string())
}

/// Makes a call, and tells its status, whatever that is.
///
/// # Errors
/// No whole answer, any redirect, and all that `FetchRules` forbid.
pub async fn call(url: &str, call: Call, rules: &FetchRules) -> Result<Fetched, FetchError> {
    let target = Target::parse(url)?;
    match tokio::time::timeout(rules.timeout, make(call, &target, rules)).await {
        Ok(Ok(fetched)) => Ok(fetched),
        Ok(Err(error)) => Err(FetchError { message: format!("{target}: {}", error.message), ..error }),
        Err(_) => {
            // Others that were opened to this server may lead nowhere, too.
            rules.trust.idle.forget(&target.origin(rules));
            Err(FetchError::unanswered(format!("{target}: no answer within {:?}", rules.timeout)))
        }
    }
}

/// Over an open connection, and where that turns out to be closed, over a new one.
async fn make(call: Call, target: &Target, rules: &FetchRules) -> Result<Fetched, FetchError> {
    let open_one = match call.over {
        Over::OpenConnection => rules.trust.idle.take(&target.origin(rules)),
        Over::NewConnection => None,
    };
    if let Some(connection) = open_one
        && let Ok(result) = exchange(connection, call.clone(), target, rules).await
    {
        return result;
    }
    let answer = exchange(open(target, rules).await?, call, target, rules).await;
    answer.map_err(|error| format!("the answer can't be read: {error}"))?
}

/// A connection to one of the target's addresses, if all of them may be called.
async fn open(target: &Target, rules: &FetchRules) -> Result<Connection, FetchError> {
    let stream = reach(target, rules).await?;
    if !target.is_tls {
        return handshake(TokioIo::new(stream)).await;
    }
    let tls = shake_hands(stream, target, rules.trust.tls().await?).await?;
    handshake(TokioIo::new(tls)).await
}

async fn reach(target: &Target, rules: &FetchRules) -> Result<TcpStream, String> {
    let addresses = target.resolve(rules).await?;
    connect(&addresses, rules.timeout).await
}

async fn shake_hands(
    stream: TcpStream,
    target: &Target,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, String> {
    let name = rustls::pki_types::ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| "not a host name".to_owned())?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| format!("TLS: {error}"))
}

async fn handshake<S: Read + Write + Unpin + Send + 'static>(stream: S) -> Result<Connection, FetchError> {
    let made = http1::handshake(stream).await;
    let (sender, connection) = made.map_err(|error| format!("the connection can't be used: {error}"))?;
    // Its errors reach whoever waits for the answer. It ends when nobody has the other half any more.
    tokio::spawn(connection);
    Ok(Connection::new(sender))
}

/// Sends the request and reads all of the answer. The error is that of a connection on which no answer began.
async fn exchange(
    mut connection: Connection,
    call: Call,
    target: &Target,
    rules: &FetchRules,
) -> Result<Result<Fetched, FetchError>, hyper::Error> {
    let (over, is_long) = (call.over, call.body.len() > SURELY_SENT_BYTES);
    let response = connection.sender.send_request(target.request(call)).await?;
    // What follows a head that speaks of a body that can't be would be taken for the next answer; and a server that
    // answers before it has read everything may take the rest for the next request.
    let is_clean = response.version() == Version::HTTP_11
        && !(response.body().is_end_stream() && announces_body(response.headers()))
        && (response.status() == StatusCode::OK || !is_long);
    Ok(read(response, rules.max_body_bytes).await.map(|(fetched, is_whole)| {
        if over == Over::OpenConnection && is_clean && is_whole {
            rules.trust.idle.give_back(target.origin(rules), connection);
        }
        fetched
    }))
}

fn announces_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// The answer, and whether it was read to its end.
async fn read(response: Response<Incoming>, max_body_bytes: usize) -> Result<(Fetched, bool), FetchError> {
    let (head, body) = response.into_parts();
    if head.status.is_redirection() {
        let message = format!("status {}; redirects are not followed", head.status.as_u16());
        return Err(FetchError { message, was_answered: true });
    }
    let body = if head.status == StatusCode::OK {
        let body = Limited::new(body, max_body_bytes).collect().await;
        Some(body.map_err(|error| format!("the body broke off or is over {max_body_bytes} bytes: {error}"))?.to_bytes())
    } else {
        said(body).await
    };
    let is_whole = body.is_some();
    Ok((Fetched { status: head.status, headers: head.headers, body: body.unwrap_or_default() }, is_whole))
}

/// What an answer says beside its status, if that is short and comes soon. Nothing depends on it.
async fn said(body: Incoming) -> Option<Bytes> {
    let body = tokio::time::timeout(SAID_WITHIN, Limited::new(body, MOST_SAID_BYTES).collect()).await;
    Some(body.ok()?.ok()?.to_bytes())
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} …)", self.method)
    }
}

/// Connects to the first address that answers within its share of the time.
async fn connect(addresses: &[SocketAddr], time: Duration) -> Result<TcpStream, String> {
    let share = time / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut problem = "the host name has no address".to_owned();
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // A small question needn't wait until the one before is acknowledged.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => problem = format!("no connection: {error}"),
            Err(_) => problem = "no connection in time".to_owned(),
        }
    }
    Err(problem)
}

impl FetchError {
    fn unanswered(message: String) -> FetchError {
        FetchError { message, was_answered: false }
    }
}

/// What goes wrong before there is an answer.
impl From<String> for FetchError {
    fn from(message: String) -> FetchError {
        FetchError::unanswered(message)
    }
}

impl std::fmt::Display for FetchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod open_connections;
#[cfg(test)]
pub(crate) mod tests;
