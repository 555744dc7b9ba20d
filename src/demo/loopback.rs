//! A small HTTP/1.1 server on a loopback port of its own.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

/// A token of the longest kind in a form fits.
const MAX_BODY_BYTES: usize = 256 * 1024;

pub(super) struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

impl Server {
    pub(super) fn bind() -> io::Result<Server> {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Server { listener, address })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers requests for as long as the listener lives.
    pub(super) async fn serve<A>(self, answer: A)
    where
        A: Fn(&Request<Bytes>) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let Ok(listener) = tokio::net::TcpListener::from_std(self.listener) else {
            return;
        };
        let answer = Arc::new(answer);
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let answer = Arc::clone(&answer);
            let service = service_fn(move |request| {
                let answer = Arc::clone(&answer);
                async move {
                    Ok::<_, Infallible>(collect(request).await.map_or_else(|refused| refused, |whole| answer(&whole)))
                }
            });
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // A client that goes away is nothing to report.
            tokio::spawn(async move { connection.await.ok() });
        }
    }
}

async fn collect(request: Request<Incoming>) -> Result<Request<Bytes>, Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(Request::from_parts(head, body.to_bytes())),
        Err(_) => Err(json(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the body is too large"}"#.to_owned())),
    }
}

/// An answer of this JSON text that nobody keeps (RFC 6749, section 5.1).
pub(super) fn json(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text + "\n")));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
