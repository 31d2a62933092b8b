//! An API server by script: a closure answers each request, and every kind of trouble is one of its replies.
#![allow(dead_code)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_cluster::{Door, DoorOptions, ObjectKey, Watched};
use tokio::time::Instant;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Error>;

/// A request as the script sees it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub body: Value,
    pub at: Duration,
}

impl Seen {
    pub fn is_watch(&self) -> bool {
        self.query.contains("watch=true")
    }

    pub fn is_list(&self) -> bool {
        self.method == "GET" && !self.is_watch()
    }

    pub fn wants_initial_events(&self) -> bool {
        self.query.contains("sendInitialEvents=true")
    }

    pub fn version(&self) -> Option<&str> {
        self.query
            .split('&')
            .find_map(|pair| pair.strip_prefix("resourceVersion="))
    }
}

/// What the script answers.
pub enum Reply {
    Json(u16, Value),
    /// With a Retry-After.
    Busy(u16, u64),
    /// 200, then these.
    Stream(Vec<Step>),
    /// The connection breaks; the server may have done what was asked.
    Reset,
    /// No answer, ever.
    Silence,
}

/// A piece of a streamed answer. After the last one the stream ends cleanly.
pub enum Step {
    Line(Value),
    Raw(String),
    Wait(Duration),
    /// The connection breaks.
    Cut,
    /// Nothing more, ever.
    Hang,
}

type Script = dyn FnMut(usize, &Seen) -> Reply + Send;

/// A tower service that asks the script.
#[derive(Clone)]
pub struct Scripted {
    script: Arc<Mutex<Box<Script>>>,
    log: Arc<Mutex<Vec<Seen>>>,
    began: Instant,
}

impl Scripted {
    /// The closure gets how many requests came before, and the request.
    pub fn new(script: impl FnMut(usize, &Seen) -> Reply + Send + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            log: Arc::default(),
            began: Instant::now(),
        }
    }

    pub fn door(&self) -> Door {
        self.door_with(DoorOptions {
            seed: Some(7),
            ..DoorOptions::default()
        })
    }

    pub fn door_with(&self, options: DoorOptions) -> Door {
        Door::in_process_with(self.clone(), options)
    }

    pub fn log(&self) -> Vec<Seen> {
        self.log.lock().unwrap().clone()
    }

    pub fn count(&self, mut which: impl FnMut(&Seen) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|seen| which(seen)).count()
    }
}

impl tower::Service<Request<Full<Bytes>>> for Scripted {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            let seen = Seen {
                method: head.method.to_string(),
                path: head.uri.path().to_owned(),
                query: head.uri.query().unwrap_or_default().to_owned(),
                body: serde_json::from_slice(&body).unwrap_or_default(),
                at: this.began.elapsed(),
            };
            let before = {
                let mut log = this.log.lock().unwrap();
                log.push(seen.clone());
                log.len() - 1
            };
            let reply = (this.script.lock().unwrap())(before, &seen);
            answer(reply).await
        })
    }
}

async fn answer(reply: Reply) -> Result<Response<Body>, Error> {
    let whole = |body: Value| {
        Full::new(Bytes::from(body.to_string()))
            .map_err(|e: Infallible| match e {})
            .boxed_unsync()
    };
    Ok(match reply {
        Reply::Json(code, body) => Response::builder().status(code).body(whole(body))?,
        Reply::Busy(code, seconds) => {
            let body = whole(status(code, "TooManyRequests"));
            Response::builder()
                .status(code)
                .header("retry-after", seconds.to_string())
                .body(body)?
        }
        Reply::Reset => return Err("connection reset".into()),
        Reply::Silence => std::future::pending().await,
        Reply::Stream(steps) => {
            let frames = futures::stream::iter(steps).then(|step| async {
                match step {
                    Step::Line(line) => Ok(Frame::data(Bytes::from(format!("{line}\n")))),
                    Step::Raw(text) => Ok(Frame::data(Bytes::from(text))),
                    Step::Wait(time) => {
                        tokio::time::sleep(time).await;
                        Ok(Frame::data(Bytes::new()))
                    }
                    Step::Cut => Err(Error::from("cut")),
                    Step::Hang => std::future::pending().await,
                }
            });
            Response::new(StreamBody::new(frames).boxed_unsync())
        }
    })
}

pub fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("scripted {reason}")})
}

/// A pod-like object.
pub fn thing(name: &str, version: u64) -> Value {
    json!({"metadata": {"namespace": "ns", "name": name, "uid": format!("uid-{name}"),
        "resourceVersion": version.to_string()}, "spec": {"size": 1, "ignored": [1, 2, {"deep": true}]}})
}

/// One that no reader of things can read.
pub fn bad_thing(name: &str, version: u64) -> Value {
    let mut bad = thing(name, version);
    bad["spec"]["size"] = json!("large");
    bad
}

pub fn list(version: u64, items: Vec<Value>) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

pub fn event(kind: &str, object: Value) -> Step {
    Step::Line(json!({"type": kind, "object": object}))
}

pub fn bookmark(version: u64) -> Step {
    event(
        "BOOKMARK",
        json!({"kind": "Pod", "metadata": {"resourceVersion": version.to_string()}}),
    )
}

/// The bookmark that ends the initial events.
pub fn initial_end(version: u64) -> Step {
    event(
        "BOOKMARK",
        json!({"kind": "Pod", "metadata": {"resourceVersion": version.to_string(),
            "annotations": {"k8s.io/initial-events-end": "true"}}}),
    )
}

/// All that a fresh watch begins with.
pub fn initial(version: u64, things: Vec<Value>) -> Vec<Step> {
    let mut steps: Vec<Step> = things.into_iter().map(|thing| event("ADDED", thing)).collect();
    steps.push(initial_end(version));
    steps
}

/// A fresh watch: what it begins with, and what follows.
pub fn begun(version: u64, things: Vec<Value>, then: impl IntoIterator<Item = Step>) -> Reply {
    Reply::Stream(initial(version, things).into_iter().chain(then).collect())
}

#[derive(Debug, Deserialize)]
pub struct Thing {
    pub metadata: Meta,
    pub spec: Spec,
}

#[derive(Debug, Deserialize)]
pub struct Spec {
    pub size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

impl Watched for Thing {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}
