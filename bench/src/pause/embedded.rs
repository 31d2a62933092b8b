//! On the embedded server, in one process: every request the operator sends is seen as it leaves.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::resource::{NAMESPACES, PODS, SERVICE_ACCOUNTS, SIDECAR_SETS};
use cluster::{Door, DoorOptions, PatchKind};
use embedded::{ApiServer, ApiService, Config, UserInfo, WebhookHandler};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Method, Request};
use http_body_util::Full;
use operators::sidecarset::Operator;
use operators::{Metrics, Options, Webhook};
use serde_json::{Value, json};
use sim::{NodesOptions, Script, Timing};
use tokio_util::sync::CancellationToken;

use super::PauseArgs;
use crate::fleet::{NAMESPACE, SET, create_set, pod};
use crate::report::{Report, percentile};
use crate::{BenchError, api};

const HOST: &str = "operator.bench";
const NODES: usize = 20;

pub async fn measure(args: &PauseArgs, report: &mut Report) -> Result<(), BenchError> {
    let world = World::start(args.embedded_pods).await?;
    let mut last = Vec::new();
    let mut writes = 0;
    for round in 0..args.pauses {
        let image = format!("registry.example/log-agent:e.{round}");
        world.sent.clear();
        world
            .patch(
                &json!([{"op": "replace", "path": "/spec/containers/0/image", "value": image},
                {"op": "add", "path": "/spec/updateStrategy/paused", "value": false}]),
            )
            .await?;
        // Different moments of an upgrade, all in the middle of it.
        world
            .sent
            .at_least(args.embedded_pods / 20 * (1 + round % 8))
            .await?;
        let paused_at = Instant::now();
        world
            .patch(&json!([{"op": "add", "path": "/spec/updateStrategy/paused", "value": true}]))
            .await?;
        let committed_by = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let sent = world.sent.all();
        writes += sent.len();
        if sent.len() >= args.embedded_pods {
            return Err(BenchError::Setup(
                "an upgrade was over before its pause".to_owned(),
            ));
        }
        // The pause commits somewhere between these two: the earlier is strict with ourselves.
        let after = sent
            .iter()
            .map(|at| at.saturating_duration_since(paused_at))
            .max();
        last.push(u64::try_from(after.unwrap_or_default().as_micros()).unwrap_or(u64::MAX));
        if std::env::var_os("BENCH_TRACE").is_some() {
            println!(
                "  pause {round}: committed within {:?}, last write after {after:?}",
                committed_by - paused_at
            );
        }
    }
    world.stop.cancel();
    last.sort_unstable();
    let note = "from the pause's request to the last pod write leaving";
    let milliseconds = |p: f64| percentile(&last, p) as f64 / 1e3;
    report.figure("embedded: pauses", last.len() as f64, "", "");
    report.figure(
        "embedded: pod writes before and after them",
        writes as f64,
        "",
        "",
    );
    report.figure(
        "embedded: p50 of the last pod write after a pause",
        milliseconds(50.0),
        "ms",
        note,
    );
    report.figure(
        "embedded: p99 of the last pod write after a pause",
        milliseconds(99.0),
        "ms",
        "bar 100",
    );
    Ok(())
}

struct World {
    door: Door,
    sent: Sent,
    stop: CancellationToken,
}

impl World {
    async fn start(pods: usize) -> Result<Self, BenchError> {
        let server = ApiServer::start(Config::default())
            .await
            .map_err(|e| BenchError::Setup(e.to_string()))?;
        let door = Door::in_process(server.service(UserInfo::admin()));
        let stop = CancellationToken::new();
        let nodes = NodesOptions {
            count: NODES,
            script: Script {
                timing: Timing::instant(),
                ..Script::default()
            },
            ..NodesOptions::default()
        };
        let simulated = Door::in_process(server.service(UserInfo::system("sim")));
        tokio::spawn(sim::run(simulated, sim::Options::nodes_only(nodes), stop.clone()));
        let sent = Sent::default();
        operate(&server, sent.clone(), stop.clone()).await?;
        let world = Self { door, sent, stop };
        world.fill(pods).await?;
        Ok(world)
    }

    async fn fill(&self, pods: usize) -> Result<(), BenchError> {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        self.door
            .create(&NAMESPACES, None, &namespace)
            .await
            .map_err(api("the namespace"))?;
        while self
            .door
            .get(&SERVICE_ACCOUNTS, Some(NAMESPACE), "default")
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        create_set(&self.door).await?;
        while crate::operator_process::covering(&self.door, "pods")
            .await
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let creates = (0..pods)
            .map(|i| async move { self.door.create(&PODS, Some(NAMESPACE), &pod(i)).await.map(drop) });
        futures::stream::iter(creates)
            .buffer_unordered(64)
            .try_collect::<()>()
            .await
            .map_err(api("creating pods"))?;
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let set = self
                .door
                .get(&SIDECAR_SETS, None, SET)
                .await
                .map_err(api("the SidecarSet"))?;
            if set["status"]["updatedReadyPods"] == json!(pods) {
                return Ok(());
            }
            if Instant::now() > deadline {
                let status = &set["status"];
                return Err(BenchError::Setup(format!(
                    "pods not ready within 300 s: {status}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn patch(&self, patch: &Value) -> Result<(), BenchError> {
        self.door
            .patch(&SIDECAR_SETS, None, SET, PatchKind::Json, patch, None)
            .await
            .map_err(api("changing the SidecarSet"))
            .map(drop)
    }
}

async fn operate(server: &ApiServer, sent: Sent, stop: CancellationToken) -> Result<(), BenchError> {
    let service = Watched {
        inner: server.service(UserInfo::admin()),
        sent,
    };
    let door = Door::in_process_with(
        service,
        DoorOptions {
            stall_timeout: None,
            ..DoorOptions::default()
        },
    );
    let mut options = Options::new("tidegate-system");
    options.webhook = Webhook::Url(format!("https://{HOST}"));
    options.install = true;
    let operator = Operator::start(door, options, Arc::new(Metrics::default()))
        .await
        .map_err(|e| BenchError::Setup(e.to_string()))?;
    let admission = operator.admission();
    let handler: WebhookHandler = Arc::new(move |request| {
        let admission = admission.clone();
        Box::pin(async move {
            let answer = admission.answer(&request.path, &request.body).await;
            answer
                .map(Bytes::from)
                .map_err(|status| format!("status {status}"))
        })
    });
    server.register_webhook_service(HOST, handler);
    tokio::spawn(async move {
        if let Err(error) = operator.run(stop.cancelled_owned()).await {
            tracing::warn!(%error, "the operator ended");
        }
    });
    Ok(())
}

/// When requests that change pods left.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Instant>>>);

impl Sent {
    fn note(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Instant::now());
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn all(&self) -> Vec<Instant> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn at_least(&self, count: usize) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.all().len() < count {
            if Instant::now() > deadline {
                return Err(BenchError::Setup(format!(
                    "no {count} pod writes within a minute"
                )));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

/// The API, with a note of each pod write.
#[derive(Clone)]
struct Watched {
    inner: ApiService,
    sent: Sent,
}

impl tower::Service<Request<Full<Bytes>>> for Watched {
    type Response = <ApiService as tower::Service<Request<Full<Bytes>>>>::Response;
    type Error = <ApiService as tower::Service<Request<Full<Bytes>>>>::Error;
    type Future = <ApiService as tower::Service<Request<Full<Bytes>>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        <ApiService as tower::Service<Request<Full<Bytes>>>>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        if request.method() == Method::PATCH && request.uri().path().contains("/pods/") {
            self.sent.note();
        }
        self.inner.call(request)
    }
}
