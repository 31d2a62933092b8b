//! A connection of one process to the API server that fails as the plan says.
use super::body::Watching;
use super::{Client, Fault, Faults, Kind, Process, Written};
use crate::backend::Backend;
use bytes::Bytes;
use embedded::{ApiServer, ResponseBody, UserInfo};
use futures::StreamExt;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::json;
use std::future::{Future, pending};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tower::{Service, ServiceExt};

/// How late a write comes that was on its way when its process was stopped: another leads by then.
const LATE: Duration = Duration::from_secs(40);

#[derive(Clone)]
pub struct Faulty {
    backend: Backend,
    user: UserInfo,
    client: Client,
    faults: Arc<Faults>,
    process: Process,
    /// Waits while nobody answers, rather than being refused.
    waits: bool,
}

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
type Answer = Result<Response<Body>, io::Error>;

impl Faulty {
    pub fn new(
        backend: Backend,
        user: UserInfo,
        client: Client,
        faults: Arc<Faults>,
        process: Process,
    ) -> Self {
        Self {
            backend,
            user,
            client,
            faults,
            process,
            waits: false,
        }
    }

    /// One who asks again until somebody answers.
    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }
}

impl Service<Request<Full<Bytes>>> for Faulty {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if this.process.is_dead() {
                return pending().await;
            }
            if this.waits {
                this.backend.up().await;
            }
            if this.backend.is_down() {
                return Err(reset());
            }
            let answer = match Kind::of(&request) {
                Kind::Write => this.write(request).await,
                Kind::Read => this.read(request).await,
                Kind::Watch => this.watch(request).await,
            };
            if this.process.is_dead() {
                return pending().await;
            }
            answer
        })
    }
}

impl Faulty {
    async fn write(&self, request: Request<Full<Bytes>>) -> Answer {
        let written = Written::of(self.client, &request);
        let (place, fault) = self.faults.write(written);
        match fault {
            None | Some(Fault::ClockJump(_) | Fault::BootJump(_)) => {}
            Some(Fault::WebhookSlow(_) | Fault::WebhookDead) => {}
            Some(Fault::Restore) => {
                let backend = self.backend.clone();
                // Whatever becomes of who asked.
                tokio::spawn(async move {
                    if let Err(error) = backend.restore().await {
                        tracing::error!(%error, "the storage was not put back");
                    }
                });
                // It was on its way to the server that is no more.
                return Err(reset());
            }
            Some(Fault::Watches(fault)) => self.process.spoil_watches(fault),
            Some(Fault::CrashBefore) => {
                self.process.crash();
                return pending().await;
            }
            Some(Fault::CrashAfter) => {
                let _ = self.send(request, place).await;
                self.process.crash();
                return pending().await;
            }
            Some(Fault::Late) => {
                self.process.crash();
                let (this, restored) = (self.clone(), self.backend.restored());
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // What is on its way on a connection goes with it.
                        () = restored.cancelled() => {}
                        () = tokio::time::sleep(LATE) => drop(this.send(request, place).await),
                    }
                });
                return pending().await;
            }
            Some(Fault::Unsent) => return Err(reset()),
            Some(Fault::ReplyLost) => {
                let _ = self.send(request, place).await;
                return Err(reset());
            }
            Some(Fault::Answer(code)) => {
                self.faults.answered(place, code, false);
                return refusal(code);
            }
            Some(Fault::Hangs) => return pending().await,
            Some(Fault::HangsAfter) => {
                let _ = self.send(request, place).await;
                return pending().await;
            }
        }
        self.send(request, place).await
    }

    /// What was sent is carried out, whatever becomes of the sender; but no server that is put back answers.
    async fn send(&self, request: Request<Full<Bytes>>, place: usize) -> Answer {
        let (server, user, faults) = (self.backend.server(), self.user.clone(), self.faults.clone());
        let restored = self.backend.restored();
        let sent = tokio::spawn(async move {
            let before = server.store().revision();
            let (head, body) = answered(&server, user, request).await.into_parts();
            let bytes = match body.collect().await {
                Ok(whole) => whole.to_bytes(),
                Err(never) => match never {},
            };
            let changed = head.status.is_success() && version_of(&bytes).is_none_or(|v| v > before);
            faults.answered(place, head.status.as_u16(), changed);
            Response::from_parts(head, bytes)
        });
        let answer = tokio::select! {
            biased;
            () = restored.cancelled() => return Err(reset()),
            answer = sent => answer.map_err(io::Error::other)?,
        };
        Ok(answer.map(|bytes| whole(ResponseBody::from(bytes))))
    }

    async fn read(&self, request: Request<Full<Bytes>>) -> Answer {
        match self.faults.reading(self.client, Kind::Read) {
            Some((Fault::Answer(code), _)) => refusal(code),
            Some((Fault::Unsent, _)) => Err(reset()),
            Some(_) => {
                let _ = answered(&self.backend.server(), self.user.clone(), request).await;
                Err(reset())
            }
            None => {
                let answer = answered(&self.backend.server(), self.user.clone(), request).await;
                Ok(answer.map(whole))
            }
        }
    }

    async fn watch(&self, request: Request<Full<Bytes>>) -> Answer {
        if self.process.is_gone() {
            return refusal(410);
        }
        let fault = self.faults.reading(self.client, Kind::Watch);
        if let Some((Fault::Answer(code), _)) = fault {
            return refusal(code);
        }
        let told = self.process.watches();
        let restored = self.backend.restored();
        let of_pods = request.uri().path().ends_with("/pods");
        let answer = answered(&self.backend.server(), self.user.clone(), request).await;
        Ok(answer.map(|body| {
            let frames = body.into_data_stream().filter_map(async |frame| frame.ok());
            let frames = frames.take_until(restored.cancelled_owned()).boxed();
            let mut watching = Watching::new(frames, told, of_pods);
            if let Some((Fault::Watches(fault), detail)) = fault {
                // Up to 24 frames pass.
                watching.spoil(fault, (detail * 24.0) as usize);
            }
            StreamBody::new(watching.into_stream().map(|frame| frame.map(Frame::data))).boxed_unsync()
        }))
    }
}

async fn answered(
    server: &ApiServer,
    user: UserInfo,
    request: Request<Full<Bytes>>,
) -> Response<ResponseBody> {
    match server.service(user).oneshot(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

fn reset() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "connection reset")
}

fn whole(body: ResponseBody) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}

/// The resourceVersion of the object in an answer.
fn version_of(answer: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        resource_version: String,
    }
    #[derive(serde::Deserialize)]
    struct Named {
        metadata: Meta,
    }
    let named: Named = serde_json::from_slice(answer).ok()?;
    named.metadata.resource_version.parse().ok()
}

fn refusal(code: u16) -> Answer {
    let reason = match code {
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
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
