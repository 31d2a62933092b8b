//! The pod webhook under load: open loop at a fixed rate over many TLS connections, then as fast as it answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::operator_process::OperatorProcess;
use crate::report::{Report, percentile};
use crate::{BenchError, io, machine};

/// Kruise 1.9's webhook on the machine its figures were taken on (facts: testbed measurements): a ratio to hold,
/// not an absolute time.
const KRUISE_CPU_SECONDS_PER_1000: f64 = 1.0;

const SIDECAR_SET: &str = r#"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: bench}
spec:
  selector: {matchLabels: {app: bench}}
  containers:
    - name: log-agent
      image: registry.example/log-agent:1.0
      env: [{name: LEVEL, value: info}]
      volumeMounts: [{name: logs, mountPath: /var/log/app}]
    - name: proxy
      image: registry.example/proxy:1.0
  volumes: [{name: logs, emptyDir: {}}]
  updateStrategy: {type: RollingUpdate, partition: 0}
"#;

#[derive(Debug, Args)]
pub struct AdmissionArgs {
    /// Requests a second in the open-loop phase
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub fn run(args: &AdmissionArgs) -> Result<(), BenchError> {
    let dir = std::env::temp_dir().join("tidegate-bench-admission");
    let operator = OperatorProcess::start(&dir)?;
    operator.apply(SIDECAR_SET)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("starting the load generator"))?;
    runtime.block_on(drive(args, &operator))
}

async fn drive(args: &AdmissionArgs, operator: &OperatorProcess) -> Result<(), BenchError> {
    let ca = operator
        .webhook_ca()
        .ok_or_else(|| BenchError::Setup("no caBundle".to_owned()))?;
    let (path, host) = pod_webhook(operator)?;
    let tls = connector(&ca)?;
    let mut senders = Vec::new();
    for _ in 0..args.connections {
        senders.push(connect(operator.webhook_port, &tls, &host).await?);
    }
    let body = Bytes::from(review().to_string());
    warm_up(&mut senders, &path, &host, &body).await?;

    let pid = operator.child.id();
    let mut report = Report::new("admission");
    let before = machine::cpu_seconds(pid)?;
    let total = args.rate * args.seconds;
    let (mut latencies, senders, behind) = open_loop(args, senders, &path, &host, &body, total).await?;
    let cpu = machine::cpu_seconds(pid)? - before;
    latencies.sort_unstable();
    let per_thousand = cpu / total as f64 * 1000.0;
    report.figure(
        "webhook CPU per 1,000 pods with 2 sidecars",
        per_thousand,
        "s",
        "bar 0.1",
    );
    report.figure(
        "Kruise 1.9, recorded peer",
        KRUISE_CPU_SECONDS_PER_1000,
        "s",
        "from facts, not this run",
    );
    report.figure("open loop rate", args.rate as f64, "1/s", "");
    report.figure(
        "latency p50, request written to reply read",
        percentile(&latencies, 50.0) as f64 / 1e3,
        "ms",
        "",
    );
    report.figure(
        "latency p99, request written to reply read",
        percentile(&latencies, 99.0) as f64 / 1e3,
        "ms",
        "bar 2",
    );
    report.figure("requests the generator sent late (> 1 ms)", behind as f64, "", "");

    let before = machine::cpu_seconds(pid)?;
    let started = Instant::now();
    let done = closed_loop(
        senders,
        &path,
        &host,
        &body,
        Duration::from_secs(args.seconds / 2),
    )
    .await?;
    let elapsed = started.elapsed().as_secs_f64();
    let cpu = machine::cpu_seconds(pid)? - before;
    report.figure(
        "saturation, generator on the same cores",
        done as f64 / elapsed,
        "1/s",
        "",
    );
    report.figure(
        "webhook CPU per 1,000 pods at saturation",
        cpu / done as f64 * 1000.0,
        "s",
        "",
    );
    let (pss, rss) = machine::memory_kib(pid)?;
    report.figure("operator memory after it, PSS", pss as f64 / 1024.0, "MiB", "");
    report.figure("operator memory after it, RSS", rss as f64 / 1024.0, "MiB", "");
    report.write()
}

/// Path and TLS name of the webhook that pods go to, as the operator registered it.
fn pod_webhook(operator: &OperatorProcess) -> Result<(String, String), BenchError> {
    let missing = || BenchError::Setup("no webhook for pods is registered".to_owned());
    let find = || {
        let list = operator.get("mutatingwebhookconfigurations")?;
        let webhooks = list["items"]
            .as_array()?
            .iter()
            .filter_map(|c| c["webhooks"].as_array())
            .flatten();
        let pods = webhooks.into_iter().find(|w| {
            w["rules"].as_array().is_some_and(|rules| {
                rules.iter().any(|r| {
                    r["resources"]
                        .as_array()
                        .is_some_and(|all| all.contains(&json!("pods")))
                })
            })
        })?;
        pods["clientConfig"]["url"].as_str().map(str::to_owned)
    };
    operator.wait("a webhook for pods", || find().is_some())?;
    let url: http::Uri = find().ok_or_else(missing)?.parse().map_err(|_| missing())?;
    Ok((
        url.path().to_owned(),
        url.host().unwrap_or("127.0.0.1").to_owned(),
    ))
}

fn connector(ca: &[u8]) -> Result<TlsConnector, BenchError> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        let certificate = certificate.map_err(|e| BenchError::Setup(format!("caBundle: {e}")))?;
        roots
            .add(certificate)
            .map_err(|e| BenchError::Setup(format!("caBundle: {e}")))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| BenchError::Setup(e.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

type Sender = SendRequest<Full<Bytes>>;

async fn connect(port: u16, tls: &TlsConnector, host: &str) -> Result<Sender, BenchError> {
    let tcp = TcpStream::connect(("127.0.0.1", port))
        .await
        .map_err(io("connecting to the webhook"))?;
    tcp.set_nodelay(true).map_err(io("connecting to the webhook"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(|e| BenchError::Setup(e.to_string()))?;
    let stream = tls.connect(name, tcp).await.map_err(io("TLS with the webhook"))?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| BenchError::Setup(e.to_string()))?;
    tokio::spawn(async move {
        // An error shows in the sender too.
        connection.await.ok();
    });
    Ok(sender)
}

async fn send(sender: &mut Sender, path: &str, host: &str, body: &Bytes) -> Result<Bytes, BenchError> {
    let failed = |e: &dyn std::fmt::Display| BenchError::Setup(format!("admission request: {e}"));
    let request = http::Request::post(path)
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::new(body.clone()))
        .map_err(|e| failed(&e))?;
    sender.ready().await.map_err(|e| failed(&e))?;
    let response = sender.send_request(request).await.map_err(|e| failed(&e))?;
    let status = response.status();
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(|e| failed(&e))?
        .to_bytes();
    if status.is_success() {
        Ok(bytes)
    } else {
        Err(failed(&format!("{status}")))
    }
}

/// Also proves that what is measured injects both sidecars.
async fn warm_up(senders: &mut [Sender], path: &str, host: &str, body: &Bytes) -> Result<(), BenchError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut injected = true;
        for sender in senders.iter_mut() {
            let reply = send(sender, path, host, body).await?;
            let reply: Value =
                serde_json::from_slice(&reply).map_err(|e| BenchError::Setup(e.to_string()))?;
            let patched = reply["response"]["patch"].as_str().is_some();
            injected &= patched && reply["response"]["allowed"] == json!(true);
        }
        if injected {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(BenchError::Setup(
                "the webhook does not inject the bench's SidecarSet".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each connection sends at its own fixed times, whatever the replies do.
async fn open_loop(
    args: &AdmissionArgs,
    senders: Vec<Sender>,
    path: &str,
    host: &str,
    body: &Bytes,
    total: u64,
) -> Result<(Vec<u64>, Vec<Sender>, u64), BenchError> {
    let start = tokio::time::Instant::now() + Duration::from_millis(50);
    let gap = Duration::from_secs_f64(1.0 / args.rate as f64);
    let connections = senders.len() as u64;
    let mut tasks = Vec::new();
    for (index, mut sender) in senders.into_iter().enumerate() {
        let (path, host, body) = (path.to_owned(), host.to_owned(), body.clone());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Vec::new();
            let mut late = 0;
            for number in (index as u64..total).step_by(connections as usize) {
                let due = start + gap * u32::try_from(number).unwrap_or(u32::MAX);
                tokio::time::sleep_until(due).await;
                late += u64::from(due.elapsed() > Duration::from_millis(2));
                let sent = Instant::now();
                send(&mut sender, &path, &host, &body).await?;
                latencies.push(u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            Ok::<_, BenchError>((latencies, sender, late))
        }));
    }
    let mut all = Vec::new();
    let mut back = Vec::new();
    let mut behind = 0;
    for task in tasks {
        let (latencies, sender, late) = task.await.map_err(|e| BenchError::Setup(e.to_string()))??;
        all.extend(latencies);
        back.push(sender);
        behind += late;
    }
    Ok((all, back, behind))
}

async fn closed_loop(
    senders: Vec<Sender>,
    path: &str,
    host: &str,
    body: &Bytes,
    time: Duration,
) -> Result<u64, BenchError> {
    let end = Instant::now() + time;
    let mut tasks = Vec::new();
    for mut sender in senders {
        let (path, host, body) = (path.to_owned(), host.to_owned(), body.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while Instant::now() < end {
                send(&mut sender, &path, &host, &body).await?;
                done += 1;
            }
            Ok::<u64, BenchError>(done)
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += task.await.map_err(|e| BenchError::Setup(e.to_string()))??;
    }
    Ok(done)
}

/// A pod as a ReplicaSet makes it and the API server sends it: with defaults and a service account's volume.
fn review() -> Value {
    let token = json!({"name": "kube-api-access-8xq2z", "projected": {"defaultMode": 420, "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace",
            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}}]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"generateName": "bench-5d89bdfbf9-", "namespace": "default",
            "labels": {"app": "bench", "pod-template-hash": "5d89bdfbf9"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "bench-5d89bdfbf9",
                "uid": "6d0b1d2e-6f0a-4a63-9d2e-0d6c43c52f4e", "controller": true, "blockOwnerDeletion": true}]},
        "spec": {
            "containers": [{"name": "app", "image": "nginx:1.20", "imagePullPolicy": "IfNotPresent",
                "env": [{"name": "TZ", "value": "Europe/Lisbon"}, {"name": "MODE", "value": "production"}],
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "timeoutSeconds": 1,
                    "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{"name": "kube-api-access-8xq2z", "readOnly": true,
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
            "volumes": [token], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst", "serviceAccountName": "default", "serviceAccount": "default",
            "securityContext": {}, "schedulerName": "default-scheduler", "priority": 0,
            "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute",
                    "tolerationSeconds": 300}]},
        "status": {}});
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "namespace": "default", "operation": "CREATE",
        "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller",
            "groups": ["system:serviceaccounts", "system:authenticated"]},
        "object": pod, "oldObject": null, "dryRun": false,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}}})
}
