//! An API that speaks HTTP/2: in clear by prior knowledge, with TLS by ALPN (or HTTP/1.1 there). And a client of that kind.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    http::{request, response},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{runtime::Runtime, sync::oneshot};

/// The upstream. Ends with its value.
pub(crate) struct Modern {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    /// Dropped, it ends the server.
    _end: oneshot::Sender<()>,
}

#[derive(Default)]
struct State {
    connections: AtomicUsize,
    requests: Mutex<Vec<request::Parts>>,
    trailers: Mutex<Vec<HeaderMap>>,
}

impl Modern {
    /// One that sends bodies back, with a trailer `grpc-status: 0` and the request's trailers.
    pub(crate) fn start(tls: Option<rustls::ServerConfig>) -> Modern {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let serving = state.clone();
        let tls = tls.map(|tls| tokio_rustls::TlsAcceptor::from(Arc::new(tls)));
        let (end, ended) = oneshot::channel::<()>();
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    state.connections.fetch_add(1, Ordering::SeqCst);
                    let service = service_fn(move |request| answer(state.clone(), request));
                    // Clients that go away are part of some tests.
                    match tls {
                        None => {
                            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                            http2.serve_connection(TokioIo::new(stream), service).await.ok();
                        }
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                                let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                                http2.serve_connection(TokioIo::new(stream), service).await.ok();
                            } else {
                                let http1 = hyper::server::conn::http1::Builder::new();
                                http1.serve_connection(TokioIo::new(stream), service).await.ok();
                            }
                        }
                    }
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
        Modern { address, state, _end: end }
    }

    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    #[track_caller]
    pub(crate) fn last_request(&self) -> request::Parts {
        self.state.requests.lock().unwrap().last().expect("a request").clone()
    }

    /// The trailers of the last request whose body came whole.
    #[track_caller]
    pub(crate) fn last_trailers(&self) -> HeaderMap {
        self.state.trailers.lock().unwrap().last().expect("a request").clone()
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (head, body) = request.into_parts();
    state.requests.lock().unwrap().push(head);
    let body = body.collect().await.unwrap_or_default();
    let mut trailers = body.trailers().cloned().unwrap_or_default();
    state.trailers.lock().unwrap().push(trailers.clone());
    trailers.insert("grpc-status", "0".parse().unwrap());
    let body = Full::new(body.to_bytes()).with_trailers(async { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body).unwrap())
}

/// One HTTP/2 connection of a client.
pub(crate) struct Caller {
    runtime: Runtime,
    sender: hyper::client::conn::http2::SendRequest<BoxBody<Bytes, Infallible>>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: response::Parts,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl Caller {
    pub(crate) fn connect(address: SocketAddr) -> Caller {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::connect(address).await.unwrap());
            let http2 = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, task) = http2.handshake(stream).await.unwrap();
            tokio::spawn(task);
            sender
        });
        Caller { runtime, sender }
    }

    /// POSTs this body with these fields to this path.
    pub(crate) fn call(&self, fields: &[(&str, &str)], path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::post(format!("http://api.example{path}")).header("te", "trailers");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(Full::new(body.into()).boxed()).unwrap();
        self.runtime.block_on(async {
            let (head, body) = self.sender.clone().send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned().unwrap_or_default();
            Answer { head, body: body.to_bytes(), trailers }
        })
    }

    /// POSTs this body with trailers to this path, so often at the same time.
    pub(crate) fn post(&self, path: &str, body: &'static [u8], trailers: &HeaderMap, times: usize) -> Vec<Answer> {
        self.post_with(&[], path, body, trailers, times)
    }

    /// The same with these fields.
    pub(crate) fn post_with(
        &self,
        fields: &[(&str, &str)],
        path: &str,
        body: &'static [u8],
        trailers: &HeaderMap,
        times: usize,
    ) -> Vec<Answer> {
        self.runtime.block_on(async {
            let calls: Vec<_> = (0..times)
                .map(|_| {
                    let trailers = trailers.clone();
                    let body = Full::new(Bytes::from_static(body)).with_trailers(async { Some(Ok(trailers)) }).boxed();
                    let request = Request::post(format!("http://api.example{path}")).header("te", "trailers");
                    let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
                    let mut sender = self.sender.clone();
                    tokio::spawn(async move {
                        let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
                        let (head, body) = answer.into_parts();
                        let body = body.collect().await.unwrap();
                        let trailers = body.trailers().cloned().unwrap_or_default();
                        Answer { head, body: body.to_bytes(), trailers }
                    })
                })
                .collect();
            let mut answers = Vec::new();
            for call in calls {
                answers.push(call.await.unwrap());
            }
            answers
        })
    }
}
