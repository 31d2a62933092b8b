//! In-place upgrade on a real API server: the operator against a bare client that sends the same requests to the
//! same pods, with the same simulated nodes answering.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use crate::audit::{Asked, seconds};
use crate::fleet::{Fleet, NODES_AGENT};
use crate::report::Report;
use crate::{BenchError, bare, machine, operator_process};

/// Kruise 1.9 on a machine like this (facts: testbed measurements): pods/s by default, and at its best.
const KRUISE: [(usize, &[(&str, f64)]); 2] = [
    (2_000, &[("default flags", 15.0), ("its limits lifted", 86.0)]),
    (10_000, &[("its limits lifted", 59.0)]),
];

#[derive(Debug, Args)]
pub struct UpgradeArgs {
    /// Sizes of the fleet, each measured on a cluster of its own
    #[arg(long, value_delimiter = ',', default_value = "2000,10000")]
    pub pods: Vec<usize>,
    /// Requests the bare client keeps in flight
    #[arg(long, default_value_t = 64)]
    pub in_flight: usize,
    /// Leave out the rounds in which the pods' condition changes too
    #[arg(long)]
    pub one_request_only: bool,
}

pub async fn run(args: &UpgradeArgs) -> Result<(), BenchError> {
    let mut report = Report::new("upgrade");
    for pods in &args.pods {
        let mut fleet = Fleet::start("upgrade", *pods).await?;
        measure(&mut fleet, args, &mut report).await?;
    }
    report.write()
}

/// All rounds on one fleet.
pub async fn measure(fleet: &mut Fleet, args: &UpgradeArgs, report: &mut Report) -> Result<(), BenchError> {
    let pods = fleet.pods;
    let mut images = (1..).map(|n| format!("registry.example/log-agent:1.{n}"));
    let mut image = || images.next().unwrap_or_default();
    // The first upgrade after injection writes the condition: two requests a pod.
    let first = by_operator(fleet, &image()).await?;
    if !args.one_request_only {
        let bare = by_bare_client(fleet, &image(), args.in_flight, true).await?;
        compare(report, &format!("{pods} pods, condition changes"), &first, &bare);
    }
    let bare = by_bare_client(fleet, &image(), args.in_flight, false).await?;
    let operator = by_operator(fleet, &image()).await?;
    let again = by_bare_client(fleet, &image(), args.in_flight, false).await?;
    compare(report, &format!("{pods} pods"), &operator, &bare.mean(&again));
    for (_, figures) in KRUISE.iter().filter(|(size, _)| *size == pods) {
        for (how, rate) in *figures {
            let what = format!("{pods} pods: Kruise 1.9, {how}, recorded peer");
            report.figure(&what, *rate, "pods/s", "from facts, not this run");
        }
    }
    Ok(())
}

/// What one round came to.
struct Round {
    pods: f64,
    /// From the change (or the first request) to the last pod's answer.
    seconds: f64,
    /// Until the nodes have answered for all of them.
    until_ready: f64,
    requests: f64,
    refused: usize,
    /// Of the SidecarSet: no pod is written on the word of the watch alone.
    readings: usize,
    cpu: f64,
    server_cpu: f64,
    status_writes: usize,
    status_moves: usize,
}

impl Round {
    fn rate(&self) -> f64 {
        self.pods / self.seconds
    }

    fn mean(&self, other: &Self) -> Self {
        // Of rates: time is what both share.
        let half = |a: f64, b: f64| f64::midpoint(a, b);
        Self {
            seconds: half(self.seconds, other.seconds),
            until_ready: half(self.until_ready, other.until_ready),
            requests: half(self.requests, other.requests),
            cpu: half(self.cpu, other.cpu),
            server_cpu: half(self.server_cpu, other.server_cpu),
            ..*self
        }
    }
}

async fn by_operator(fleet: &Fleet, image: &str) -> Result<Round, BenchError> {
    quiet(fleet).await?;
    let (operator, server) = (fleet.operator.pid()?, fleet.server.pid()?);
    let audit = fleet.server.audit();
    let cpu = (machine::cpu_seconds(operator)?, machine::cpu_seconds(server)?);
    fleet.change(image, false).await?;
    let all = fleet.pods as i64;
    let mut moves = BTreeMap::new();
    fleet
        .watch(
            "all pods updated and ready",
            |status| status["updatedPods"] == all && status["updatedReadyPods"] == all,
            |status: &Value| {
                moves.insert(status["updatedPods"].as_i64(), ());
            },
        )
        .await?;
    let used = (
        machine::cpu_seconds(operator)? - cpu.0,
        machine::cpu_seconds(server)? - cpu.1,
    );
    quiet(fleet).await?;
    let asked = audit.read()?;
    let mut round = round(fleet.pods, &asked, operator_process::AGENT, used)?;
    // Strict with ourselves: from the moment the change arrived.
    let changed = asked
        .iter()
        .find(|a| a.what() == "sidecarsets" && a.verb == "patch");
    if let Some(changed) = changed {
        let last = last_answer(&asked, operator_process::AGENT);
        round.seconds = seconds(changed.request_received_timestamp, last);
        round.until_ready = seconds(
            changed.request_received_timestamp,
            last_answer(&asked, NODES_AGENT),
        );
    }
    round.status_writes = asked
        .iter()
        .filter(|a| a.is_by(operator_process::AGENT) && a.what() == "sidecarsets/status")
        .count();
    round.status_moves = moves.len();
    Ok(round)
}

async fn by_bare_client(
    fleet: &mut Fleet,
    image: &str,
    in_flight: usize,
    condition: bool,
) -> Result<Round, BenchError> {
    // The operator writes the hashes and the revision, and then is stopped.
    fleet.change(image, true).await?;
    fleet.wait("the change seen", |_| true).await?;
    let all = bare::prepare(fleet, condition).await?;
    if all.len() != fleet.pods {
        return Err(BenchError::Setup(format!(
            "the bare client has requests for {} pods of {}",
            all.len(),
            fleet.pods
        )));
    }
    // Not even its watches cost the API server anything now.
    fleet.operator.stop();
    quiet(fleet).await?;
    let server = fleet.server.pid()?;
    let me = std::process::id();
    let audit = fleet.server.audit();
    let cpu = (machine::cpu_seconds(me)?, machine::cpu_seconds(server)?);
    let sent = bare::send(&fleet.server.kubeconfig(), all, in_flight).await;
    let mut used = (machine::cpu_seconds(me)? - cpu.0, 0.0);
    quiet(fleet).await?;
    used.1 = machine::cpu_seconds(server)? - cpu.1;
    sent?;
    fleet.operator.run().await?;
    let round = round(fleet.pods, &audit.read()?, bare::AGENT, used)?;
    fleet.pause(false).await?;
    let pods = fleet.pods as i64;
    fleet
        .wait("the bare client's work seen", |status| {
            status["updatedReadyPods"] == pods
        })
        .await?;
    Ok(round)
}

/// Waits until the nodes have nothing to write any more, nor the operator: it marks pods after it has moved them.
async fn quiet(fleet: &Fleet) -> Result<(), BenchError> {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        let audit = fleet.server.audit();
        tokio::time::sleep(Duration::from_millis(700)).await;
        let busy = audit
            .read()?
            .iter()
            .any(|a| a.is_by(NODES_AGENT) && a.what() == "pods/status" || is_written_by_operator(a));
        if !busy {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(BenchError::Setup(
                "the nodes or the operator never came to rest".to_owned(),
            ));
        }
    }
}

fn last_answer(asked: &[Asked], agent: &str) -> jiff::Timestamp {
    let of_pods = asked
        .iter()
        .filter(|a| a.is_by(agent) && is_of_pod(a) && a.succeeded());
    of_pods.map(|a| a.stage_timestamp).max().unwrap_or_default()
}

fn is_written_by_operator(asked: &Asked) -> bool {
    asked.is_by(operator_process::AGENT) && is_of_pod(asked)
}

fn is_of_pod(asked: &Asked) -> bool {
    asked.verb == "patch" && matches!(asked.what().as_str(), "pods" | "pods/status")
}

fn round(pods: usize, asked: &[Asked], agent: &str, used: (f64, f64)) -> Result<Round, BenchError> {
    let own: Vec<&Asked> = asked.iter().filter(|a| a.is_by(agent)).collect();
    let writes: Vec<&&Asked> = own.iter().filter(|a| is_of_pod(a)).collect();
    let of_pods = own.iter().filter(|a| a.what().starts_with("pods")).count();
    let first = writes.iter().map(|a| a.request_received_timestamp).min();
    let first = first.ok_or_else(|| BenchError::Setup(format!("{agent} wrote no pod")))?;
    let thousands = pods as f64 / 1000.0;
    Ok(Round {
        pods: pods as f64,
        seconds: seconds(first, last_answer(asked, agent)),
        until_ready: seconds(first, last_answer(asked, NODES_AGENT)),
        requests: of_pods as f64 / pods as f64,
        readings: own
            .iter()
            .filter(|a| a.verb == "get" && a.what() == "sidecarsets")
            .count(),
        refused: writes.iter().filter(|a| !a.succeeded()).count(),
        cpu: used.0 / thousands,
        server_cpu: used.1 / thousands,
        status_writes: 0,
        status_moves: 0,
    })
}

fn compare(report: &mut Report, what: &str, operator: &Round, bare: &Round) {
    let mut figure = |name: &str, value: f64, unit: &str, note: &str| {
        report.figure(&format!("{what}: {name}"), value, unit, note);
    };
    figure(
        "operator",
        operator.rate(),
        "pods/s",
        "from the change to the last pod's answer",
    );
    figure("bare client", bare.rate(), "pods/s", "");
    figure(
        "operator's share of the bare client's rate",
        operator.rate() / bare.rate(),
        "",
        "bar 0.8",
    );
    figure(
        "operator, until the nodes are done",
        operator.pods / operator.until_ready,
        "pods/s",
        "",
    );
    figure(
        "bare client, until the nodes are done",
        bare.pods / bare.until_ready,
        "pods/s",
        "",
    );
    figure(
        "operator's requests a pod",
        operator.requests,
        "",
        "bar 2, and 1 where the condition stays",
    );
    figure("bare client's requests a pod", bare.requests, "", "");
    figure("operator's writes refused", operator.refused as f64, "", "");
    figure(
        "operator's readings of the SidecarSet",
        operator.readings as f64,
        "",
        "",
    );
    figure("operator CPU per 1,000 pods", operator.cpu, "s", "");
    figure("bare client CPU per 1,000 pods", bare.cpu, "s", "");
    figure(
        "API server CPU per 1,000 pods, operator",
        operator.server_cpu,
        "s",
        "",
    );
    figure(
        "API server CPU per 1,000 pods, bare client",
        bare.server_cpu,
        "s",
        "",
    );
    figure("status writes meanwhile", operator.status_writes as f64, "", "");
    figure(
        "different counts seen in status",
        operator.status_moves as f64,
        "",
        "looked at twice a second",
    );
}
