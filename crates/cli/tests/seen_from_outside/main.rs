//! A real `tidegate operator` on a real API server, as a collector of traces and a real Prometheus see it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod collector;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::resource::{PODS, SERVICE_ACCOUNTS, SIDECAR_SETS};
use cluster::{Door, DoorOptions, PatchKind};
use collector::{attribute, collect, hex, next};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::json;
use testbed::{ApiServer, ApiServerOptions, Prometheus, TestbedError};
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "default";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_creation_and_its_upgrade_are_seen_by_a_collector_of_traces_and_by_prometheus() {
    let dir = std::env::temp_dir().join(format!("tidegate-traces-{}", std::process::id()));
    let server = api_server(&dir);
    let (collector, mut spans) = collect().await;
    let door = Door::from_kubeconfig(Some(&server.kubeconfig()), DoorOptions::default())
        .await
        .unwrap();
    let metrics = free();
    let operator = Operator::start(&server.kubeconfig(), collector, metrics);
    let prometheus = tokio::task::block_in_place(|| {
        let programs = Prometheus::programs()?;
        Ok::<_, TestbedError>(Prometheus::start(programs, &dir.join("prometheus"), metrics).unwrap())
    });
    let simulation = sim::Options {
        controllers: false,
        ..sim::Options::default()
    };
    let simulation = tokio::spawn(sim::run(
        door.clone(),
        simulation,
        tokio_util::sync::CancellationToken::new(),
    ));
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    door.create(&SERVICE_ACCOUNTS, Some(NAMESPACE), &account)
        .await
        .unwrap();
    created_when_there_is_a_webhook(&door).await;

    let trace_id = create_traced(&door).await;
    let admission = next(&mut spans, |s| {
        s.name == "admission" && attribute(s, "path").starts_with("/mutate-pod/")
    })
    .await;
    assert_eq!(hex(&admission.trace_id), trace_id, "{admission:?}");
    assert_eq!(attribute(&admission, "outcome"), "changed");
    assert_eq!(attribute(&admission, "sidecarsets"), r#"["traced"]"#);

    let image = json!({"spec": {"containers": [{"name": "agent", "image": "agent:v2"}]}});
    door.patch(&SIDECAR_SETS, None, "traced", PatchKind::Merge, &image, None)
        .await
        .unwrap();
    let write = next(&mut spans, |s| {
        s.name == "write pod" && attribute(s, "what") == "upgrade"
    })
    .await;
    assert_eq!(attribute(&write, "pod"), "default/traced");
    let decided = |s: &Span| s.name == "reconcile" && s.span_id == write.parent_span_id;
    let decision = next(&mut spans, decided).await;
    assert_eq!(attribute(&decision, "sidecarset"), "traced");
    assert_eq!(decision.trace_id, write.trace_id);

    match prometheus {
        Ok(prometheus) => tokio::task::block_in_place(|| counted(&prometheus)),
        Err(why) => println!("not tested: a real Prometheus ({why})"),
    }

    simulation.abort();
    drop(operator);
    drop(server);
    std::fs::remove_dir_all(&dir).ok();
}

/// It passes a client's trace on to webhooks, and samples nothing by itself.
fn api_server(dir: &Path) -> ApiServer {
    std::fs::create_dir_all(dir).unwrap();
    let config = dir.join("tracing.yaml");
    std::fs::write(
        &config,
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 0\n",
    )
    .unwrap();
    let options = ApiServerOptions {
        extra_flags: vec![format!("--tracing-config-file={}", config.display())],
        ..ApiServerOptions::in_dir(dir.join("server"))
    };
    tokio::task::block_in_place(|| ApiServer::start(&options)).unwrap()
}

/// What docs/observability.md says can be asked.
fn counted(prometheus: &Prometheus) {
    let label = r#"sidecarset="traced""#;
    for (what, expression) in [
        ("the target is up", "up == 1".to_owned()),
        (
            "the pod was injected",
            format!(
                r#"tidegate_sidecarset_operations_total{{{label},operation="inject",result="success"}} >= 1"#
            ),
        ),
        (
            "one pod was upgraded",
            format!(r#"tidegate_sidecarset_pods_touched_total{{{label},operation="upgrade"}} == 1"#),
        ),
        (
            "the pod is counted as updated and ready",
            format!(r#"tidegate_sidecarset_pods{{{label},state="updated-ready"}} == 1"#),
        ),
        (
            "nothing waits",
            format!("sum(tidegate_sidecarset_waiting_pods{{{label}}}) == 0"),
        ),
        (
            "reviews took less than a second",
            "histogram_quantile(0.99, sum by (le) (tidegate_admission_seconds_bucket)) < 1".to_owned(),
        ),
        (
            "there is a write rate",
            r#"sum(rate(tidegate_api_requests_total{verb=~"create|update|patch|delete"}[1m])) > 0"#
                .to_owned(),
        ),
        (
            "caches hear of the server",
            "max(tidegate_cache_age_seconds) < 60".to_owned(),
        ),
        (
            "it leads",
            "tidegate_leading == 1 and tidegate_leader_epoch == 0".to_owned(),
        ),
    ] {
        let deadline = std::time::Instant::now() + PATIENCE;
        while prometheus.query(&expression).unwrap().is_empty() {
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: {expression} has no sample among {:?}",
                prometheus.query(r#"{__name__=~"tidegate_sidecarset_.*(pods|total)"}"#)
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

fn free() -> SocketAddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap()
}

struct Operator(Child);

impl Operator {
    fn start(kubeconfig: &Path, collector: SocketAddr, metrics: SocketAddr) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .arg("operator")
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .arg(format!("--listen={}", free()))
            .arg(format!("--metrics={metrics}"))
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
            .env("OTEL_BSP_SCHEDULE_DELAY", "100")
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Until the operator has installed what it needs, there is no such kind.
async fn created_when_there_is_a_webhook(door: &Door) {
    let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "traced"},
        "spec": {"namespace": NAMESPACE, "selector": {"matchLabels": {"app": "traced"}},
            "containers": [{"name": "agent", "image": "agent:v1"}],
            "updateStrategy": {"type": "RollingUpdate"}}});
    let asked = async {
        while door.create(&SIDECAR_SETS, None, &set).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked)
        .await
        .expect("a SidecarSet can be created");
}

/// Creates the pod until it is injected, each time as part of a trace of ours; returns the trace's id.
async fn create_traced(door: &Door) -> String {
    opentelemetry::global::set_text_map_propagator(
        opentelemetry_sdk::propagation::TraceContextPropagator::new(),
    );
    let tracer = opentelemetry_sdk::trace::SdkTracerProvider::default().tracer("client");
    let _ours = tracing::subscriber::set_default(
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer)),
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "traced", "labels": {"app": "traced"}},
        // Nobody here takes the taint off that an API server gives a new node.
        "spec": {"tolerations": [{"operator": "Exists"}], "containers": [{"name": "main", "image": "main:v1"}]}});
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let span = tracing::info_span!("client");
        let trace_id = span.context().span().span_context().trace_id().to_string();
        let create = async { door.create(&PODS, Some(NAMESPACE), &pod).await };
        let made = create.instrument(span).await.unwrap();
        if made["spec"]["containers"].as_array().unwrap().len() == 2 {
            return trace_id;
        }
        assert!(tokio::time::Instant::now() < deadline, "not injected: {made}");
        let now = cluster::DeleteOptions {
            grace_period_seconds: Some(0),
            ..cluster::DeleteOptions::default()
        };
        door.delete(&PODS, Some(NAMESPACE), "traced", &now).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
