//! The embedded server beside a real kube-apiserver with its etcd: writes, memory per object, watchers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde_json::json;

use crate::embedded_client::Access;
use crate::embedded_fanout;
use crate::embedded_server::Target;
use crate::report::{Report, percentile};
use crate::{BenchError, io};

#[derive(Debug, Clone, Args)]
pub struct EmbeddedArgs {
    /// Objects of each kind written on each server
    #[arg(long, default_value_t = 10_000)]
    pub objects: usize,
    /// Requests in flight, one to a connection
    #[arg(long, default_value_t = 64)]
    pub in_flight: usize,
    #[arg(long, default_value_t = 10_000)]
    pub watchers: usize,
    /// Only the embedded server
    #[arg(long)]
    pub no_peer: bool,
}

pub fn run(args: &EmbeddedArgs) -> Result<(), BenchError> {
    let mut report = Report::new("embedded");
    let dir = std::env::temp_dir().join("tidegate-bench-embedded");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io("starting the load generator"))?;
    type Start = fn(&std::path::Path, bool) -> Result<Target, BenchError>;
    let mut all: Vec<(Start, bool)> = vec![(Target::ours, false), (Target::ours, true)];
    if !args.no_peer {
        all.extend([(Target::real as Start, false), (Target::real as Start, true)]);
    }
    for (index, (start, durable)) in all.into_iter().enumerate() {
        let target = start(&dir.join(index.to_string()), durable)?;
        runtime.block_on(writes(args, &target, &mut report))?;
        // Watchers are the same with and without a disk: once for each server.
        if !durable && args.watchers > 0 {
            runtime.block_on(embedded_fanout::measure(args.watchers, &target, &mut report))?;
        }
    }
    std::fs::remove_dir_all(&dir).ok();
    report.write()
}

async fn writes(args: &EmbeddedArgs, target: &Target, report: &mut Report) -> Result<(), BenchError> {
    prepare(&target.access).await?;
    let name = target.name;
    let maps = Workload {
        method: Method::POST,
        content_type: "application/json",
        path: |_| "/api/v1/namespaces/bench/configmaps".to_owned(),
        body: config_map,
    };
    maps.measure(
        args,
        target,
        report,
        &format!("{name}: create a ConfigMap of 1 KiB"),
    )
    .await?;
    let before = target.pss_kib()?;
    let pods = Workload {
        method: Method::POST,
        content_type: "application/json",
        path: |_| "/api/v1/namespaces/bench/pods".to_owned(),
        body: pod,
    };
    pods.measure(args, target, report, &format!("{name}: create a pod"))
        .await?;
    let grown = target.pss_kib()? - before;
    let each = grown / args.objects as f64;
    report.figure(
        &format!("{name}: memory per pod"),
        each,
        "KiB",
        "PSS, watch history included",
    );
    let patches = Workload {
        method: Method::PATCH,
        content_type: "application/merge-patch+json",
        path: |n| format!("/api/v1/namespaces/bench/pods/pod-{n}"),
        body: |n| json!({"metadata": {"annotations": {"step": n.to_string()}}}).to_string(),
    };
    patches
        .measure(args, target, report, &format!("{name}: patch a pod"))
        .await
}

async fn prepare(access: &Access) -> Result<(), BenchError> {
    let mut connection = access.connect().await?;
    // A bare API server has nobody who makes service accounts; ours does, and says that it is there (409).
    for (path, body) in [
        ("/api/v1/namespaces", json!({"metadata": {"name": "bench"}})),
        (
            "/api/v1/namespaces/bench/serviceaccounts",
            json!({"metadata": {"name": "default"}}),
        ),
    ] {
        let body = Bytes::from(body.to_string());
        connection
            .ask(Method::POST, path, "application/json", body, &[409])
            .await?;
    }
    Ok(())
}

struct Workload {
    method: Method,
    content_type: &'static str,
    path: fn(usize) -> String,
    body: fn(usize) -> String,
}

impl Workload {
    /// Closed loop: so many connections, each with one request at a time.
    async fn measure(
        &self,
        args: &EmbeddedArgs,
        target: &Target,
        report: &mut Report,
        what: &str,
    ) -> Result<(), BenchError> {
        let mut connections = Vec::new();
        for _ in 0..args.in_flight {
            connections.push(target.access.connect().await?);
        }
        let next = Arc::new(AtomicUsize::new(0));
        let (cpu, began) = (target.cpu_seconds()?, Instant::now());
        let mut workers = tokio::task::JoinSet::new();
        for mut connection in connections {
            let (next, total) = (next.clone(), args.objects);
            let (method, kind, path, body) = (self.method.clone(), self.content_type, self.path, self.body);
            workers.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= total {
                        return Ok::<_, BenchError>(latencies);
                    }
                    let (path, body) = (path(number), Bytes::from(body(number)));
                    let sent = Instant::now();
                    connection.ask(method.clone(), &path, kind, body, &[]).await?;
                    latencies.push(micros(sent.elapsed()));
                }
            });
        }
        let mut latencies = Vec::new();
        while let Some(done) = workers.join_next().await {
            latencies.extend(done.map_err(|e| BenchError::Setup(e.to_string()))??);
        }
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), target.cpu_seconds()? - cpu);
        latencies.sort_unstable();
        let rate = args.objects as f64 / seconds;
        let note = format!(
            "p50 {:.1} ms, p99 {:.1} ms, server CPU {:.3} s per 1,000, {} in flight",
            percentile(&latencies, 50.0) as f64 / 1e3,
            percentile(&latencies, 99.0) as f64 / 1e3,
            cpu / args.objects as f64 * 1000.0,
            args.in_flight,
        );
        report.figure(what, rate, "1/s", &note);
        Ok(())
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn config_map(number: usize) -> String {
    json!({"metadata": {"name": format!("map-{number}")}, "data": {"text": "x".repeat(1024)}}).to_string()
}

fn pod(number: usize) -> String {
    let container = |name: &str, image: &str| {
        json!({"name": name, "image": image, "ports": [{"containerPort": 8080}],
            "env": [{"name": "LEVEL", "value": "info"}, {"name": "ZONE", "value": "a"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}})
    };
    json!({"metadata": {"name": format!("pod-{number}"), "labels": {"app": "bench", "tier": "web"}},
        "spec": {"automountServiceAccountToken": false, "nodeName": format!("node-{}", number % 10),
            "containers": [container("main", "registry.example/shop:1.0"),
                container("log-agent", "registry.example/log-agent:1.0")]}})
    .to_string()
}
