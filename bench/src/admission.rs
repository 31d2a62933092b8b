//! The pod webhook under load: open loop at a fixed rate over many TLS connections, as fast as it answers, and what
//! it adds in the API server.
mod in_server;
mod load;
mod review;

use std::path::PathBuf;

use base64::Engine as _;
use clap::Args;
use cluster::Door;
use cluster::resource::{NAMESPACES, SERVICE_ACCOUNTS};
use in_server::dry_runs;
use serde_json::json;

pub use load::LoadArgs;
use load::Seen;

use crate::child::Part;
use crate::fleet::{NAMESPACE, create_set, door};
use crate::operator_process::{OperatorProcess, webhook};
use crate::report::Report;
use crate::server::RealServer;
use crate::{BenchError, api, io, machine};

/// Kruise 1.9's webhook on a machine like this (facts: testbed measurements): a ratio to hold, not an absolute time.
const KRUISE_CPU_SECONDS_PER_1000: f64 = 1.0;
const KRUISE_IN_SERVER: f64 = 1.0;

#[derive(Debug, Args)]
pub struct AdmissionArgs {
    /// Requests a second in the open-loop phase
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Dry-run creates of each kind
    #[arg(long, default_value_t = 5000)]
    pub creates: usize,
}

pub async fn run(args: &AdmissionArgs) -> Result<(), BenchError> {
    let mut report = Report::new("admission");
    let server = RealServer::start("admission")?;
    let kubeconfig = server.kubeconfig();
    let door = door(&kubeconfig, "tidegate-bench").await?;
    prepare(&door).await?;
    let pid = server.pid()?;
    let alone = dry_runs(&kubeconfig, "bench", args.creates, pid, None).await?;
    let operator = OperatorProcess::start(&kubeconfig, &server.dir, &door).await?;
    create_set(&door).await?;
    let target = Target::find(&door, &server, operator.webhook_port).await?;
    // The API server follows its webhook configurations with some delay.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;

    direct(args, &target, &operator, &mut report)?;
    let us = Some(operator.pid()?);
    let through = dry_runs(&kubeconfig, "bench", args.creates, pid, us).await?;
    let strangers = dry_runs(&kubeconfig, "stranger", args.creates, pid, us).await?;
    let unit = "s";
    report.figure(
        "API server CPU per 1,000 dry-run creates, no webhook",
        alone.server,
        unit,
        "",
    );
    report.figure(
        "API server CPU per 1,000 dry-run creates, injected",
        through.server,
        unit,
        "",
    );
    report.figure(
        "API server CPU per 1,000, pods no SidecarSet selects",
        strangers.server,
        unit,
        "",
    );
    let added = through.server - alone.server;
    report.figure("added in the API server per 1,000 pods", added, unit, "");
    report.figure(
        "Kruise 1.9 adds there, recorded peer",
        KRUISE_IN_SERVER,
        unit,
        "from facts, not this run",
    );
    report.figure(
        "webhook CPU per 1,000 dry-run creates",
        through.operator,
        unit,
        "",
    );
    report.figure(
        "webhook CPU per 1,000 dry-run creates it has no part in",
        strangers.operator,
        unit,
        "",
    );
    report.figure("dry-run creates, no webhook", alone.rate, "1/s", "16 in flight");
    report.figure("dry-run creates, injected", through.rate, "1/s", "16 in flight");
    let (pss, rss) = machine::memory_mib(operator.pid()?)?;
    report.figure("operator memory after it, PSS", pss, "MiB", "");
    report.figure("operator memory after it, RSS", rss, "MiB", "");
    report.write()
}

async fn prepare(door: &Door) -> Result<(), BenchError> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    door.create(&NAMESPACES, None, &namespace)
        .await
        .map_err(api("the namespace"))?;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": NAMESPACE}});
    let made = door.create(&SERVICE_ACCOUNTS, Some(NAMESPACE), &account).await;
    made.map_err(api("the service account")).map(drop)
}

/// The webhook as the API server would call it, and the requests to send to it.
struct Target {
    port: u16,
    host: String,
    path: String,
    ca: PathBuf,
    body: PathBuf,
    log: PathBuf,
}

impl Target {
    async fn find(door: &Door, server: &RealServer, port: u16) -> Result<Self, BenchError> {
        let missing = || BenchError::Setup("no webhook for pods is registered".to_owned());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let found = loop {
            match webhook(door, "pods").await {
                Some(found) => break found,
                None if std::time::Instant::now() > deadline => return Err(missing()),
                None => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            }
        };
        let config = &found["clientConfig"];
        let url: http::Uri = config["url"]
            .as_str()
            .and_then(|u| u.parse().ok())
            .ok_or_else(missing)?;
        let bundle = config["caBundle"].as_str().unwrap_or_default();
        let pem = base64::engine::general_purpose::STANDARD
            .decode(bundle)
            .map_err(|_| missing())?;
        let target = Self {
            port,
            host: url.host().unwrap_or("127.0.0.1").to_owned(),
            path: url.path().to_owned(),
            ca: server.dir.join("webhook-ca.pem"),
            body: server.dir.join("review.json"),
            log: server.dir.join("load.log"),
        };
        std::fs::write(&target.ca, pem).map_err(io("writing the authorities"))?;
        std::fs::write(&target.body, review::review().to_string()).map_err(io("writing the review"))?;
        Ok(target)
    }

    /// One phase of load; what the generator saw, and the webhook's CPU seconds in it.
    fn load(
        &self,
        args: &AdmissionArgs,
        rate: u64,
        seconds: u64,
        pid: u32,
    ) -> Result<(Seen, f64), BenchError> {
        let text = |path: &PathBuf| path.display().to_string();
        let (port, connections) = (self.port.to_string(), args.connections.to_string());
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        let (ca, body) = (text(&self.ca), text(&self.body));
        let arguments = [
            ["--port", &port],
            ["--host", &self.host],
            ["--path", &self.path],
            ["--ca", &ca],
            ["--body", &body],
            ["--connections", &connections],
            ["--rate", &rate],
            ["--seconds", &seconds],
        ];
        let all: Vec<&str> = std::iter::once("load")
            .chain(arguments.into_iter().flatten())
            .collect();
        let mut part = Part::start(&all, &self.log)?;
        // Handshakes are not what is measured.
        part.line()?;
        let before = machine::thread_seconds(pid)?;
        let line = part.line()?;
        let used = machine::thread_seconds(pid)? - before;
        let seen = serde_json::from_str(&line).map_err(|e| BenchError::Setup(format!("{line}: {e}")))?;
        Ok((seen, used))
    }
}

fn direct(
    args: &AdmissionArgs,
    target: &Target,
    operator: &OperatorProcess,
    report: &mut Report,
) -> Result<(), BenchError> {
    let pid = operator.pid()?;
    target.load(args, args.rate, 2, pid)?;
    let (seen, cpu) = target.load(args, args.rate, args.seconds, pid)?;
    let thousands = |seen: &Seen| seen.answered as f64 / 1000.0;
    let milliseconds = |micros: u64| micros as f64 / 1000.0;
    let what = "webhook CPU per 1,000 pods with 2 sidecars";
    report.figure(what, cpu / thousands(&seen), "s", "bar 0.1");
    let note = "from facts, not this run";
    report.figure(
        "Kruise 1.9, recorded peer",
        KRUISE_CPU_SECONDS_PER_1000,
        "s",
        note,
    );
    report.figure("open loop rate asked for", args.rate as f64, "1/s", "");
    report.figure(
        "open loop rate reached",
        seen.answered as f64 / seen.seconds,
        "1/s",
        "",
    );
    report.figure(
        "latency p50, request written to reply read",
        milliseconds(seen.p50),
        "ms",
        "",
    );
    report.figure(
        "latency p99, request written to reply read",
        milliseconds(seen.p99),
        "ms",
        "bar 2",
    );
    report.figure(
        "latency worst, request written to reply read",
        milliseconds(seen.worst),
        "ms",
        "",
    );
    report.figure(
        "latency p99, from when a request was due",
        milliseconds(seen.p99_from_due),
        "ms",
        "",
    );
    report.figure(
        "requests the generator sent more than 2 ms late",
        seen.late as f64,
        "",
        "",
    );
    report.figure(
        "generator CPU per 1,000 requests",
        seen.cpu_seconds / thousands(&seen),
        "s",
        "",
    );

    let (seen, cpu) = target.load(args, 0, (args.seconds / 2).max(2), pid)?;
    let rate = seen.answered as f64 / seen.seconds;
    report.figure("saturation, generator on the same cores", rate, "1/s", "");
    report.figure(
        "webhook CPU per 1,000 pods at saturation",
        cpu / thousands(&seen),
        "s",
        "",
    );
    Ok(())
}
