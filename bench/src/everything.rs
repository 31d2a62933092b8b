//! The benchmarks that fit into a quarter of an hour, one after another, unattended.

use std::time::Instant;

use tokio::runtime::Runtime;

use crate::admission::{self, AdmissionArgs};
use crate::deciders::{self, DecidersArgs};
use crate::embedded_idle;
use crate::embedded_writes::{self, EmbeddedArgs};
use crate::pause::{self, PauseArgs};
use crate::upgrade::{self, UpgradeArgs};
use crate::{BenchError, machine};

/// What takes longer, and how long on two quiet cores.
const SEPARATE: [(&str, &str); 4] = [
    ("upgrade --pods 2000,10000", "15 minutes"),
    ("memory", "8 minutes"),
    ("up", "10 minutes, and cores of its own"),
    ("idle --seconds 3600", "an hour"),
];

/// One that fails does not keep the others from running; the first failure is the outcome.
pub fn run(runtime: &Runtime) -> Result<(), BenchError> {
    let deciders = DecidersArgs {
        pods: vec![10_000, 100_000],
    };
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
    let upgrade = UpgradeArgs {
        pods: vec![2000],
        in_flight: 64,
        one_request_only: false,
    };
    let idle_servers = embedded_idle::IdleArgs {
        servers: 1000,
        seconds: 60,
    };
    let embedded = EmbeddedArgs {
        objects: 10_000,
        in_flight: 64,
        watchers: 10_000,
        no_peer: false,
    };
    type Stage<'a> = (&'a str, &'a dyn Fn() -> Result<(), BenchError>);
    let stages: [Stage<'_>; 6] = [
        ("deciders", &|| deciders::run(&deciders)),
        ("admission", &|| runtime.block_on(admission::run(&admission))),
        ("pause", &|| pause::run(&pause, runtime)),
        ("upgrade", &|| runtime.block_on(upgrade::run(&upgrade))),
        ("idle-servers", &|| embedded_idle::run(&idle_servers)),
        ("embedded", &|| embedded_writes::run(&embedded)),
    ];
    let mut outcome = Ok(());
    for (name, run) in stages {
        let (began, load) = (Instant::now(), machine::load());
        let ended = run();
        let seconds = began.elapsed().as_secs_f64();
        match &ended {
            Ok(()) => println!("{name}: {seconds:.0} s, load before it {load}"),
            Err(error) => println!("{name}: FAILED after {seconds:.0} s: {error}"),
        }
        outcome = outcome.and(ended);
    }
    println!("not among these:");
    for (name, time) in SEPARATE {
        println!("  cargo xtask bench {name}: {time}");
    }
    outcome
}
