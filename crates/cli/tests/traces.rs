//! Traces of a real `tidegate operator` on a real API server, as a collector receives them (OTLP over HTTP).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cluster::resource::{PODS, SERVICE_ACCOUNTS, SIDECAR_SETS};
use cluster::{Door, DoorOptions, PatchKind};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use testbed::{ApiServer, ApiServerOptions};
use tokio::sync::mpsc;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

const PATIENCE: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "default";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_creation_and_its_upgrade_are_traced_from_the_client_to_the_write() {
    let dir = std::env::temp_dir().join(format!("tidegate-traces-{}", std::process::id()));
    let server = api_server(&dir);
    let (collector, mut spans) = collect().await;
    let door = Door::from_kubeconfig(Some(&server.kubeconfig()), DoorOptions::default())
        .await
        .unwrap();
    let mut operator = operator(&server.kubeconfig(), collector);
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

    simulation.abort();
    operator.kill().unwrap();
    operator.wait().unwrap();
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

fn operator(kubeconfig: &Path, collector: SocketAddr) -> Child {
    let free = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap()
    };
    Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .arg("operator")
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--listen={}", free()))
        .arg(format!("--metrics={}", free()))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
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
        "spec": {"containers": [{"name": "main", "image": "main:v1"}]}});
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

/// A collector: answers exports, and hands on what was in them.
async fn collect() -> (SocketAddr, mpsc::UnboundedReceiver<Span>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, spans) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = hyper::service::service_fn(move |request| receive(request, sender.clone()));
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (address, spans)
}

async fn receive(
    request: Request<Incoming>,
    sender: mpsc::UnboundedSender<Span>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in export.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        assert!(
            attributes.iter().any(|a| a.key == "service.name"),
            "{attributes:?}"
        );
        for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
            sender.send(span).ok();
        }
    }
    Ok(Response::new(Full::default()))
}

async fn next(spans: &mut mpsc::UnboundedReceiver<Span>, wanted: impl Fn(&Span) -> bool) -> Span {
    let found = async {
        loop {
            let span = spans.recv().await.expect("the collector runs");
            if wanted(&span) {
                return span;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("such a span")
}

fn attribute(span: &Span, key: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|a| a.key == key);
    match found.and_then(|a| a.value.clone()).and_then(|v| v.value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
