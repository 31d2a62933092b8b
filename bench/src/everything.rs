//! The operator's benchmarks, one after another, unattended.

use std::time::Instant;

use tokio::runtime::Runtime;

use crate::BenchError;
use crate::admission::{self, AdmissionArgs};
use crate::deciders::{self, DecidersArgs};
use crate::fleet::Fleet;
use crate::idle::{self, IdleArgs};
use crate::memory;
use crate::pause::{self, PauseArgs};
use crate::report::Report;
use crate::upgrade::{self, UpgradeArgs};

/// One that fails does not keep the others from running; the first failure is the outcome.
pub fn run(runtime: &Runtime) -> Result<(), BenchError> {
    let admission = AdmissionArgs {
        rate: 1000,
        connections: 64,
        seconds: 10,
        creates: 4000,
    };
    let pause = PauseArgs {
        pauses: 20,
        pods: 2000,
        embedded_pods: 5000,
    };
    let idle = IdleArgs {
        seconds: 120,
        pods: 1000,
    };
    let deciders = DecidersArgs {
        pods: vec![10_000, 100_000],
    };
    let mut outcome = Ok(());
    let mut stage = |name: &str, run: &dyn Fn() -> Result<(), BenchError>| {
        let began = Instant::now();
        let ended = run();
        match &ended {
            Ok(()) => println!("{name}: {:.0} s", began.elapsed().as_secs_f64()),
            Err(error) => println!(
                "{name}: FAILED after {:.0} s: {error}",
                began.elapsed().as_secs_f64()
            ),
        }
        if outcome.is_ok() {
            outcome = ended;
        }
    };
    stage("deciders", &|| deciders::run(&deciders));
    stage("admission", &|| runtime.block_on(admission::run(&admission)));
    stage("idle", &|| runtime.block_on(idle::run(&idle)));
    stage("pause", &|| pause::run(&pause, runtime));
    stage("upgrade and memory", &|| runtime.block_on(on_one_fleet()));
    outcome
}

/// The two that need 10,000 pods share them.
async fn on_one_fleet() -> Result<(), BenchError> {
    let mut report = Report::new("upgrade");
    let full = UpgradeArgs {
        pods: Vec::new(),
        in_flight: 64,
        one_request_only: false,
    };
    let short = UpgradeArgs {
        pods: Vec::new(),
        one_request_only: true,
        ..full
    };
    let mut fleet = Fleet::start("upgrade", 2000).await?;
    upgrade::measure(&mut fleet, &full, &mut report).await?;
    drop(fleet);
    let mut fleet = Fleet::start("upgrade", 10_000).await?;
    upgrade::measure(&mut fleet, &short, &mut report).await?;
    report.write()?;
    let mut report = Report::new("memory");
    memory::on_real(&mut fleet, &mut report).await?;
    drop(fleet);
    memory::on_embedded(100_000, &mut report).await?;
    report.write()
}
