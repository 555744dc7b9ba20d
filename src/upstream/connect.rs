//! Connections out: names to addresses, TCP, TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    time::{Duration, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{EndpointAddress, PemFile, UpstreamTls, addresses::Addresses};

/// A connection to a server, with TLS or without.
#[derive(Debug)]
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// On this machine.
    Unix(UnixStream),
    /// Encrypted, the server's certificate verified.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How TLS is spoken to an upstream.
#[derive(Clone)]
pub(super) struct TlsClient {
    /// HTTP/2 or HTTP/1.1, as the upstream likes.
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// # Errors
    /// What is in the settings' files, or the machine's trust store, can't be used.
    pub(super) fn new(settings: &UpstreamTls, host: &str) -> io::Result<TlsClient> {
        let invalid = |error: rustls::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let roots = match &settings.authorities {
            None => native_roots().clone(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(invalid)?;
                }
                roots
            }
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_root_certificates(roots);
        let mut config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.text.as_bytes()).map_err(io::Error::other)?;
                builder.with_client_auth_cert(certificates(certificate)?, key).map_err(invalid)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut any = config.clone();
        any.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsClient { any: Arc::new(any), http1: Arc::new(config), name })
    }
}

fn certificates(file: &PemFile) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(file.text.as_bytes()).collect::<Result<_, _>>().map_err(io::Error::other)
}

/// Connects to an endpoint. `http1_alone`: HTTP/2 isn't offered. `time` is shared out among its addresses; the handshake's
/// isn't limited: wrap it in a limit.
///
/// # Errors
/// Of the last address tried; `InvalidData` from a failed handshake.
pub(super) async fn open(
    endpoint: &EndpointAddress,
    addresses: &Addresses,
    tls: Option<&TlsClient>,
    http1_alone: bool,
    time: Duration,
) -> io::Result<Stream> {
    if let Some(path) = &endpoint.socket {
        return UnixStream::connect(path).await.map(Stream::Unix);
    }
    let tcp = connect_first(&addresses.in_turn().await?, time).await?;
    let Some(tls) = tls else {
        return Ok(Stream::Plain(tcp));
    };
    let config = if http1_alone { &tls.http1 } else { &tls.any };
    let stream = TlsConnector::from(config.clone()).connect(tls.name.clone(), tcp).await?;
    Ok(Stream::Tls(Box::new(stream)))
}

/// The first of these addresses that answers.
async fn connect_first(addresses: &[SocketAddr], time: Duration) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no address");
    let share = time / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

impl Stream {
    /// Who is at its other end; None at a Unix socket.
    pub(super) fn peer(&self) -> Option<IpAddr> {
        let tcp = match self {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => stream.get_ref().0,
            Stream::Unix(_) => return None,
        };
        tcp.peer_addr().ok().map(|address| address.ip().to_canonical())
    }

    /// Whether HTTP/2 was agreed on (RFC 7301); None in clear, where nothing is said of it.
    pub(super) fn has_agreed_on_http2(&self) -> Option<bool> {
        match self {
            Stream::Plain(_) | Stream::Unix(_) => None,
            Stream::Tls(stream) => Some(stream.get_ref().1.alpn_protocol() == Some(b"h2")),
        }
    }
}

/// TLS 1.2 and 1.3 with the machine's own trust store, HTTP/1.1 alone. Reads the store once in a process's life: the
/// first call may take milliseconds.
///
/// # Errors
/// If the cryptography has no usable protocol version.
pub fn native_tls() -> io::Result<NativeTls> {
    static NATIVE: OnceLock<NativeTls> = OnceLock::new();
    if let Some(native) = NATIVE.get() {
        return Ok(native.clone());
    }
    let roots = native_roots();
    let native = NativeTls { config: tls_with_roots(roots.clone())?, has_roots: !roots.is_empty() };
    Ok(NATIVE.get_or_init(|| native).clone())
}

fn native_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        // What can't be read can't vouch for anybody: servers that need it are refused at the handshake.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

/// TLS as `native_tls`, with these roots besides the machine's own, and this certificate for servers that ask for one.
/// May read the machine's store.
///
/// # Errors
/// A certificate that can't be a root, or no usable protocol version.
pub fn tls_with_extra_roots(
    extra: &[CertificateDer<'static>],
    identity: Option<&Arc<CertifiedKey>>,
) -> io::Result<Arc<ClientConfig>> {
    let mut roots = native_roots().clone();
    for certificate in extra {
        roots.add(certificate.clone()).map_err(io::Error::other)?;
    }
    let config = tls_with_roots(roots)?;
    let Some(identity) = identity else { return Ok(config) };
    let mut config = (*config).clone();
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity.clone()));
    Ok(Arc::new(config))
}

/// TLS with the machine's own trust store.
#[derive(Clone)]
pub struct NativeTls {
    /// Ready to connect with.
    pub config: Arc<ClientConfig>,
    /// Whether anything is in the store; if not, every server is refused.
    pub has_roots: bool,
}

/// TLS as `native_tls`, with these roots.
///
/// # Errors
/// If the cryptography has no usable protocol version.
pub fn tls_with_roots(roots: RootCertStore) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use rustls::ServerConfig;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// A server whose certificate is for `localhost`, and the roots that vouch for it.
    async fn tls_server() -> (u16, RootCertStore) {
        let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(signed.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let _ = stream.write_all(b"secret").await;
                    let _ = stream.shutdown().await;
                }
            }
        });
        (port, roots)
    }

    #[tokio::test]
    async fn a_certificate_must_be_vouched_for_and_for_the_host() {
        let (port, roots) = tls_server().await;
        let trusting = tls_with_roots(roots).unwrap();
        let native = native_tls().unwrap().config;
        let connect = async |host: &str, config: &Arc<ClientConfig>| {
            let endpoint =
                EndpointAddress { tls: true, host: host.to_owned(), port, base_path: String::new(), socket: None };
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let tls = TlsClient { any: config.clone(), http1: config.clone(), name };
            open(&endpoint, &Addresses::new(&endpoint), Some(&tls), false, Duration::from_secs(10)).await
        };
        let mut stream = connect("localhost", &trusting).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "secret");
        assert!(connect("127.0.0.1", &trusting).await.is_err(), "another name");
        assert!(connect("localhost", &native).await.is_err(), "unknown issuer");
    }
}
