//! TLS in front of a server that speaks none: what comes in is handed on as it is.

use std::net::SocketAddr;

use tokio::{
    net::{TcpListener, TcpStream},
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;

/// Ends with its value.
pub(crate) struct TlsFront {
    pub(crate) address: SocketAddr,
    /// Dropped, it ends the front.
    _end: oneshot::Sender<()>,
}

impl TlsFront {
    pub(crate) fn before(server: SocketAddr, config: rustls::ServerConfig) -> TlsFront {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(std::sync::Arc::new(config));
        let (end, ended) = oneshot::channel::<()>();
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // Handshakes that fail are part of the tests.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    let Ok(mut inside) = TcpStream::connect(server).await else { return };
                    tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
                });
            }
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = ended => {}
                }
            });
        });
        TlsFront { address, _end: end }
    }
}
