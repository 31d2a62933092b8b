//! What goes wrong between the operator and the API server: by seed, and as often as told.
use bytes::Bytes;
use embedded::ResponseBody;
use futures::StreamExt;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// How often things go wrong: shares of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    pub write: f64,
    pub read: f64,
    pub watch: f64,
    /// Faults in a run, at most.
    pub most: usize,
    /// The operator leads by a lease: after each crash the next one waits until it has run out.
    pub lease: bool,
}

impl Rates {
    /// Nothing goes wrong.
    pub fn calm() -> Self {
        Self {
            lease: true,
            ..Self::default()
        }
    }

    /// Much goes wrong.
    pub fn stormy() -> Self {
        Self {
            write: 0.12,
            read: 0.05,
            watch: 0.5,
            most: 60,
            lease: true,
        }
    }

    pub(crate) fn leads(&self) -> bool {
        self.lease
    }

    pub fn is_calm(&self) -> bool {
        self.most == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    CrashBefore,
    CrashAfter,
    Unsent,
    ReplyLost,
    Answer(u16),
    Cut,
    CutInside,
    Broken,
    ExpiredEvent,
    Slow,
}

const WRITE: [Fault; 8] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Unsent,
    Fault::ReplyLost,
    Fault::Answer(409),
    Fault::Answer(429),
    Fault::Answer(500),
    Fault::Answer(503),
];
const READ: [Fault; 4] = [
    Fault::Unsent,
    Fault::ReplyLost,
    Fault::Answer(429),
    Fault::Answer(500),
];
const WATCH: [Fault; 6] = [
    Fault::Cut,
    Fault::CutInside,
    Fault::Broken,
    Fault::ExpiredEvent,
    Fault::Slow,
    Fault::Answer(410),
];

/// The faults of one run.
pub struct Faults {
    state: Mutex<State>,
}

struct State {
    rng: StdRng,
    rates: Rates,
    struck: BTreeMap<String, usize>,
    left: usize,
}

impl Faults {
    pub fn new(seed: u64, rates: Rates) -> Self {
        let left = rates.most;
        let rng = StdRng::seed_from_u64(seed ^ 0x5707_1234);
        Self {
            state: Mutex::new(State {
                rng,
                rates,
                struck: BTreeMap::new(),
                left,
            }),
        }
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        self.lock().left = 0;
    }

    pub fn leads(&self) -> bool {
        self.lock().rates.leads()
    }

    pub fn struck(&self) -> Vec<(String, usize)> {
        self.lock().struck.clone().into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What befalls a request, and a number between 0 and 1 for its details.
    fn draw(&self, kind: Kind) -> Option<(Fault, f64)> {
        let mut state = self.lock();
        let state = &mut *state;
        let (rate, faults) = match kind {
            Kind::Write => (state.rates.write, &WRITE[..]),
            Kind::Read => (state.rates.read, &READ[..]),
            Kind::Watch => (state.rates.watch, &WATCH[..]),
        };
        if state.left == 0 || state.rng.random::<f64>() >= rate {
            return None;
        }
        state.left -= 1;
        let fault = faults[state.rng.random_range(0..faults.len())];
        *state.struck.entry(format!("{kind:?} {fault:?}")).or_default() += 1;
        Some((fault, state.rng.random()))
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Write,
    Read,
    Watch,
}

impl Kind {
    fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        match *request.method() {
            Method::GET if query.contains("watch=") => Self::Watch,
            Method::GET => Self::Read,
            _ => Self::Write,
        }
    }
}

/// One life of the operator's process: after its crash it neither sends nor hears anything.
#[derive(Clone, Default)]
pub struct Process {
    dead: Arc<AtomicBool>,
    told: CancellationToken,
}

impl Process {
    pub async fn crashed(&self) {
        self.told.cancelled().await;
    }

    fn crash(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.told.cancel();
    }

    fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}

/// A service that fails now and then.
#[derive(Clone)]
pub struct Faulty<S> {
    inner: S,
    faults: Arc<Faults>,
    process: Process,
}

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, io::Error>;

impl<S> Faulty<S> {
    pub fn new(inner: S, faults: Arc<Faults>, process: Process) -> Self {
        Self {
            inner,
            faults,
            process,
        }
    }
}

impl<S> Service<Request<Full<Bytes>>> for Faulty<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let Self {
            inner,
            faults,
            process,
        } = self.clone();
        Box::pin(async move {
            if process.is_dead() {
                return std::future::pending().await;
            }
            let fault = faults.draw(Kind::of(&request));
            befall(inner, process, request, fault).await
        })
    }
}

async fn befall<S>(
    inner: S,
    process: Process,
    request: Request<Full<Bytes>>,
    fault: Option<(Fault, f64)>,
) -> Answer
where
    S: Service<Request<Full<Bytes>>, Response = Response<ResponseBody>, Error = Infallible>,
{
    let send = async |request| match inner.oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let Some((fault, detail)) = fault else {
        return Ok(send(request).await.map(whole));
    };
    match fault {
        Fault::CrashBefore => {
            process.crash();
            std::future::pending().await
        }
        Fault::CrashAfter => {
            let _ = send(request).await;
            process.crash();
            std::future::pending().await
        }
        Fault::Unsent => Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset")),
        Fault::ReplyLost => {
            let _ = send(request).await;
            Err(io::Error::new(io::ErrorKind::ConnectionReset, "connection reset"))
        }
        Fault::Answer(code) => refusal(code),
        Fault::Cut | Fault::CutInside | Fault::Broken | Fault::ExpiredEvent | Fault::Slow => {
            Ok(send(request).await.map(|body| spoiled(body, fault, detail)))
        }
    }
}

fn whole(body: ResponseBody) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "a fault of the storm", "reason": reason, "code": code});
    let mut answer = Response::new(whole(ResponseBody::from(status.to_string().into_bytes())));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = answer.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    if code == 429 {
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    Ok(answer)
}

/// A watch that ends badly after some of its frames, or comes late.
fn spoiled(body: ResponseBody, fault: Fault, detail: f64) -> Body {
    let frames = whole(body).into_data_stream().boxed();
    // Up to 24 frames pass.
    let after = (detail * 24.0) as usize;
    let delay = Duration::from_millis((detail * 5000.0) as u64);
    let expired = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": "too old resource version", "reason": "Expired", "code": 410}});
    let spoil = futures::stream::unfold((frames, 0, false), move |(mut frames, passed, ended)| {
        let expired = format!("{expired}\n");
        async move {
            if ended {
                return None;
            }
            let next = frames.next().await?;
            if fault == Fault::Slow {
                tokio::time::sleep(delay).await;
                return Some((next, (frames, passed, false)));
            }
            if passed < after {
                return Some((next, (frames, passed + 1, false)));
            }
            let last = match (fault, next) {
                (Fault::CutInside, Ok(bytes)) => Ok(bytes.slice(..bytes.len() / 2)),
                (Fault::Broken, _) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "broken off")),
                (Fault::ExpiredEvent, _) => Ok(Bytes::from(expired)),
                (_, _) => Ok(Bytes::new()),
            };
            Some((last, (frames, passed, true)))
        }
    });
    StreamBody::new(spoil.map(|frame| frame.map(Frame::data))).boxed_unsync()
}
