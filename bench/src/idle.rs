//! An operator with nothing to do: what it writes, and what it uses.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use crate::audit::Asked;
use crate::fleet::Fleet;
use crate::report::Report;
use crate::{BenchError, machine, operator_process};

#[derive(Debug, Args)]
pub struct IdleArgs {
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    #[arg(long, default_value_t = 1000)]
    pub pods: usize,
}

pub async fn run(args: &IdleArgs) -> Result<(), BenchError> {
    let mut report = Report::new("idle");
    let fleet = Fleet::start("idle", args.pods).await?;
    // What the last changes still cause is not idleness.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let pid = fleet.operator.pid()?;
    let audit = fleet.server.audit();
    let before = (machine::thread_seconds(pid)?, machine::wakeups(pid)?);
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    let after = (machine::thread_seconds(pid)?, machine::wakeups(pid)?);
    let asked = audit.read()?;
    let own: Vec<&Asked> = asked
        .iter()
        .filter(|a| a.is_by(operator_process::AGENT))
        .collect();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for asked in &own {
        *kinds
            .entry(format!("{} {}", asked.verb, asked.what()))
            .or_default() += 1;
    }
    let writes = own.iter().filter(|a| a.is_write());
    let (leases, others): (Vec<&&Asked>, Vec<&&Asked>) = writes.partition(|a| a.what() == "leases");
    let seconds = args.seconds as f64;
    let share = (after.0 - before.0) / seconds * 100.0;
    report.figure("watched for", seconds, "s", "");
    report.figure("pods", args.pods as f64, "", "");
    report.figure("writes other than of leases", others.len() as f64, "", "bar 0");
    report.figure("writes of leases", leases.len() as f64, "", "");
    report.figure(
        "other requests, watches left out",
        (own.len() - leases.len() - others.len()) as f64,
        "",
        "",
    );
    report.figure(
        "CPU share of one core, lease renewals included",
        share,
        "%",
        "bar 0.1 besides them",
    );
    report.figure(
        "wake-ups of all threads",
        (after.1 - before.1) / seconds,
        "1/s",
        "",
    );
    for (kind, count) in kinds {
        println!("    {kind}: {count}");
    }
    report.write()
}
