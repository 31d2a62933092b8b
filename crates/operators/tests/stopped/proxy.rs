//! Stands between one operator and the API server, sees every write, and can keep one back: on its way there, or its
//! answer on its way home.
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The operator was stopped between its last check and its send.
    Request,
    /// It was stopped after its send.
    Answer,
}

/// A write that was kept back.
pub struct Caught {
    pub title: String,
    release: oneshot::Sender<()>,
}

impl Caught {
    pub fn release(self) {
        let _ = self.release.send(());
    }
}

struct Trap {
    /// Which writes count: method and path begin so.
    only: &'static str,
    /// Writes that are still let through.
    before: usize,
    kept: Kept,
    caught: oneshot::Sender<Caught>,
}

/// A write that is being kept back.
struct Sprung {
    kept: Kept,
    released: oneshot::Receiver<()>,
}

type Upstream = Client<HttpConnector, Full<Bytes>>;

#[derive(Clone)]
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    client: Upstream,
    trap: Mutex<Option<Trap>>,
    /// Writes let through since the trap was last set, lease renewals aside.
    writes: Mutex<Vec<String>>,
}

impl Proxy {
    pub async fn start(upstream: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            client: Client::builder(TokioExecutor::new()).build_http(),
            trap: Mutex::default(),
            writes: Mutex::default(),
        });
        tokio::spawn(serve(listener, shared.clone()));
        Proxy { address, shared }
    }

    /// Keeps back the write after the next `before` of those that begin with `only`.
    pub fn set_trap(&self, only: &'static str, before: usize, kept: Kept) -> oneshot::Receiver<Caught> {
        let (caught, receiver) = oneshot::channel();
        self.shared.writes.lock().unwrap().clear();
        *self.shared.trap.lock().unwrap() = Some(Trap {
            only,
            before,
            kept,
            caught,
        });
        receiver
    }

    pub fn remove_trap(&self) {
        *self.shared.trap.lock().unwrap() = None;
    }

    /// What was written since the trap was set.
    pub fn writes(&self) -> Vec<String> {
        self.shared.writes.lock().unwrap().clone()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| pass(request, shared.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn pass(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Incoming>, String> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    let path = parts.uri.path().to_owned();
    let counts = parts.method != Method::GET && !path.ends_with("/leases/tidegate-operator");
    let sprung = match counts {
        true => shared.spring(format!("{} {path}", parts.method)),
        false => None,
    };
    let query = parts.uri.path_and_query().map_or("/", |p| p.as_str());
    parts.uri = format!("http://{}{query}", shared.upstream).parse().unwrap();
    parts.headers.remove(http::header::HOST);
    // On its own feet: what was sent arrives, whether its sender waits for the answer or not.
    let sent = tokio::spawn(async move {
        let request = Request::from_parts(parts, Full::new(body));
        match sprung {
            None => shared.client.request(request).await,
            Some(sprung) => {
                if sprung.kept == Kept::Request {
                    let _ = sprung.released.await;
                    return shared.client.request(request).await;
                }
                let answer = shared.client.request(request).await;
                let _ = sprung.released.await;
                answer
            }
        }
    });
    let answer = sent.await.map_err(|e| e.to_string())?;
    answer.map_err(|e| e.to_string())
}

impl Shared {
    fn spring(&self, title: String) -> Option<Sprung> {
        let mut trap = self.trap.lock().unwrap();
        let due = match trap.as_mut().filter(|trap| title.starts_with(trap.only)) {
            Some(trap) if trap.before == 0 => true,
            Some(trap) => {
                trap.before -= 1;
                false
            }
            None => false,
        };
        self.writes.lock().unwrap().push(title.clone());
        if !due {
            return None;
        }
        let trap = trap.take()?;
        let (release, released) = oneshot::channel();
        let _ = trap.caught.send(Caught { title, release });
        let kept = trap.kept;
        Some(Sprung { kept, released })
    }
}
