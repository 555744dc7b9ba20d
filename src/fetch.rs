//! Every call of our own: https only, no redirects, bounded in size and time, never link-local.

mod idle;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Body as _, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::CertificateDer, sign::CertifiedKey};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use self::idle::{Connection, Idle, Origin};
use crate::upstream::connect::{native_tls, tls_with_extra_roots};

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
    let addresses = target.resolve(rules).await?;
    let stream = connect(&addresses, rules.timeout).await?;
    if !target.is_tls {
        return handshake(TokioIo::new(stream)).await;
    }
    let name = rustls::pki_types::ServerName::try_from(target.host.clone());
    let name = name.map_err(|_| "not a host name".to_owned())?;
    let tls = TlsConnector::from(rules.trust.tls().await?).connect(name, stream).await;
    handshake(TokioIo::new(tls.map_err(|error| format!("TLS: {error}"))?)).await
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

/// A URL that may be called, in parts.
struct Target {
    is_tls: bool,
    /// Without brackets.
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Target, FetchError> {
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

    fn origin(&self, rules: &FetchRules) -> Origin {
        let host = self.host.to_ascii_lowercase();
        Origin { is_tls: self.is_tls, host, port: self.port, allow_http: rules.allow_http }
    }

    /// Where the host is, if all of its addresses may be called.
    async fn resolve(&self, rules: &FetchRules) -> Result<Vec<SocketAddr>, String> {
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
    fn may_be_called(&self, addresses: &[SocketAddr], rules: &FetchRules) -> Result<(), String> {
        if addresses.iter().any(|address| is_link_local(address.ip())) {
            return Err("it resolves to a link-local address, which is never called".to_owned());
        }
        let is_loopback = addresses.iter().all(|address| address.ip().to_canonical().is_loopback());
        if !self.is_tls && !rules.allow_http && !is_loopback {
            return Err(NOT_PLAIN.to_owned());
        }
        Ok(())
    }

    fn request(&self, call: Call) -> Request<Full<Bytes>> {
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

/// So much fits into the system's buffers, so that it is sent at once.
const SURELY_SENT_BYTES: usize = 16 * 1024;
const SAID_WITHIN: Duration = Duration::from_millis(500);
const MOST_SAID_BYTES: usize = 16 * 1024;
const NOT_PLAIN: &str = "plain http off loopback needs `allow_http: true`";

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Call({} …)", self.method)
    }
}

/// Without the query, which may hold a secret.
impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

/// 169.254.0.0/16 and fe80::/10 in each form that an operating system or a translator sends there (RFC 4291, section
/// 2.5.5; RFC 6052, section 2.1): cloud metadata services live there.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
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
