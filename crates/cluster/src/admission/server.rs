//! Accepting, shaking hands, serving, and leaving without dropping anybody.
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tracing::Instrument as _;

use super::Reviewer;
use super::budget::Budget;
use super::certificate::{CertificateError, Identity};
use crate::trace;

/// Bounds of an admission server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionServerOptions {
    pub max_connections: usize,
    /// Largest request body: a review carries an object and its predecessor.
    pub max_body: usize,
    /// All request bodies held at once.
    pub max_held: usize,
    pub handshake_timeout: Duration,
    /// From a request's head to the end of its body.
    pub body_timeout: Duration,
    /// After being told to stop, go on accepting for this long: endpoints are slow to leave load balancers.
    pub linger: Duration,
    /// After that, leave connections of HTTP/1.1 to their clients for this long. One that is closed from here while a
    /// review is on its way loses it: a kube-apiserver asks over HTTP/1.1 and does not ask again. It closes what it
    /// has not used for 90 s (Go's `http.Transport`), and sooner what was answered with `Connection: close`.
    pub idle: Duration,
    /// After that, wait this long for requests in flight.
    pub drain: Duration,
}

impl Default for AdmissionServerOptions {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_body: 16 << 20,
            max_held: 128 << 20,
            handshake_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(5),
            idle: Duration::from_secs(95),
            drain: Duration::from_secs(15),
        }
    }
}

/// The certificate a server shows; set at any time, used from the next handshake on.
#[derive(Clone, Default)]
pub struct ServerIdentity {
    current: Arc<Mutex<Option<Arc<CertifiedKey>>>>,
}

/// An HTTPS server for webhooks.
pub struct AdmissionServer<R> {
    reviewer: Arc<R>,
    options: AdmissionServerOptions,
    acceptor: TlsAcceptor,
    budget: Budget,
    leaving: Arc<AtomicBool>,
}

/// How connections are told that the server leaves.
struct Farewell {
    /// By a frame that says which requests will still be answered.
    http2: GracefulShutdown,
    /// By closing them where nothing is being asked: HTTP/1.1 has no other word between two answers.
    http1: GracefulShutdown,
}

impl ServerIdentity {
    pub fn set(&self, identity: &Identity) -> Result<(), CertificateError> {
        let key = Arc::new(identity.certified_key()?);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(())
    }

    pub fn is_set(&self) -> bool {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl std::fmt::Debug for ServerIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServerIdentity(set: {})", self.is_set())
    }
}

impl ResolvesServerCert for ServerIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<R: Reviewer> AdmissionServer<R> {
    pub fn new(
        reviewer: Arc<R>,
        identity: ServerIdentity,
        options: AdmissionServerOptions,
    ) -> Result<Self, CertificateError> {
        let config = tls_config(identity)?;
        let budget = Budget::new(options.max_held, options.max_body, options.body_timeout);
        Ok(Self {
            reviewer,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            budget,
            options,
            leaving: Arc::new(AtomicBool::new(false)),
        })
    }

    /// Serves until `shutdown`, then lingers, waits for the connections to end, drains and returns. Besides POSTed
    /// reviews it answers `GET /readyz`: 200 while serving, 503 once it is leaving.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        let farewell = Farewell {
            http2: GracefulShutdown::new(),
            http1: GracefulShutdown::new(),
        };
        let connections = Arc::new(Semaphore::new(self.options.max_connections));
        let server = Arc::new(self);
        let leave = async {
            shutdown.await;
            server.leaving.store(true, Ordering::Release);
            tokio::time::sleep(server.options.linger).await;
        };
        let mut leave = std::pin::pin!(leave);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut leave => break,
                accepted = accept(&listener, &connections) => accepted,
            };
            match accepted {
                Ok((stream, peer, place)) => {
                    let (server, watchers) = (server.clone(), farewell.watchers());
                    tokio::spawn(async move {
                        server.connection(stream, peer, watchers).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: those open now will close.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        farewell.say(&server.options, &connections).await;
    }

    /// As [`AdmissionServer::serve`], on a thread that does nothing else: a review waits neither for decisions about
    /// a hundred thousand pods nor for another thread to be woken, which costs as much as answering it. Ends at once
    /// when dropped.
    pub async fn serve_on_own_thread(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = listener.into_std()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut alive, ended) = tokio::sync::oneshot::channel::<io::Result<()>>();
        std::thread::Builder::new()
            .name("admission".to_owned())
            .spawn(move || {
                let served = runtime.block_on(async {
                    let listener = TcpListener::from_std(listener)?;
                    tokio::select! {
                        () = self.serve(listener, shutdown) => {}
                        () = alive.closed() => {}
                    }
                    Ok(())
                });
                // Nobody may be waiting any more.
                alive.send(served).ok();
            })?;
        ended
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the admission thread died")))
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watchers: Watchers) {
        let shaken = tokio::time::timeout(self.options.handshake_timeout, self.acceptor.accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "no handshake"),
            Err(_) => return tracing::debug!(%peer, "the handshake took too long"),
        };
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move {
                let told_by_answers = request.version() < Version::HTTP_2;
                let mut answer = server.answer(request).await;
                if told_by_answers && server.leaving.load(Ordering::Acquire) {
                    let close = header::HeaderValue::from_static("close");
                    answer.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, std::convert::Infallible>(answer)
            }
        });
        let io = TokioIo::new(stream);
        let served = if h2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(Some(Duration::from_secs(30)))
                .keep_alive_timeout(Duration::from_secs(20))
                .max_concurrent_streams(250)
                .initial_stream_window_size(1 << 20)
                .initial_connection_window_size(4 << 20);
            watchers.http2.watch(builder.serve_connection(io, service)).await
        } else {
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(120))
                .max_buf_size(64 << 10);
            watchers.http1.watch(builder.serve_connection(io, service)).await
        };
        if let Err(error) = served {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        if head.method == Method::GET && matches!(head.uri.path(), "/readyz" | "/healthz") {
            let leaving = self.leaving.load(Ordering::Acquire) && head.uri.path() == "/readyz";
            return plain(if leaving {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            });
        }
        if head.method != Method::POST {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let held = match self.budget.read(body).await {
            Ok(held) => held,
            Err(status) => return plain(status),
        };
        let review = self.reviewer.review(head.uri.path(), held.body.clone());
        match review.instrument(trace::of_review(&head)).await {
            Ok(answer) => {
                let mut response = Response::new(Full::new(answer));
                let json = header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, json);
                response
            }
            Err(status) => plain(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
        }
    }
}

struct Watchers {
    http2: Watcher,
    http1: Watcher,
}

impl Farewell {
    fn watchers(&self) -> Watchers {
        Watchers {
            http2: self.http2.watcher(),
            http1: self.http1.watcher(),
        }
    }

    async fn say(self, options: &AdmissionServerOptions, connections: &Semaphore) {
        let Self { http2, http1 } = self;
        let every = u32::try_from(options.max_connections).unwrap_or(u32::MAX);
        let mut ended = std::pin::pin!(connections.acquire_many(every));
        let told = async {
            http2.shutdown().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            _ = &mut ended => return,
            () = told => {}
            () = tokio::time::sleep(options.idle) => {}
        }
        let drained = async {
            http1.shutdown().await;
            ended.await.ok();
        };
        if tokio::time::timeout(options.drain, drained).await.is_err() {
            tracing::warn!("reviews were still in flight at the end of the drain");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = connections
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    // Answers are small and somebody waits for each.
    stream.set_nodelay(true)?;
    Ok((stream, peer, place))
}

fn tls_config(identity: ServerIdentity) -> Result<ServerConfig, CertificateError> {
    let fail = |error: rustls::Error| CertificateError::Tls(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(fail)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(identity));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(fail)?;
    Ok(config)
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let reason = status.canonical_reason().unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from_static(reason.as_bytes())));
    *response.status_mut() = status;
    response
}
