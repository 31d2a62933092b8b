//! `cargo xtask bench NAME`: prints a figure with its unit, the machine, and what it is compared with in the same
//! run; writes the same as JSON under bench/results/.
mod admission;
mod audit;
mod bare;
mod child;
mod deciders;
mod embedded_client;
mod embedded_fanout;
mod embedded_idle;
mod embedded_server;
mod embedded_up;
mod embedded_writes;
mod ending;
mod everything;
mod fleet;
mod idle;
mod machine;
mod memory;
mod nodes;
mod operator_process;
mod pause;
mod report;
mod server;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// CPU and latency of the pod webhook, and what it adds in the API server
    Admission(admission::AdmissionArgs),
    /// In-place upgrade on a real API server, against a bare client
    Upgrade(upgrade::UpgradeArgs),
    /// How soon a pause stops writes
    Pause(pause::PauseArgs),
    /// What the operator holds, against a reflector of full pods
    Memory(memory::MemoryArgs),
    /// An operator with nothing to do
    Idle(idle::IdleArgs),
    /// What a decision costs
    Deciders(deciders::DecidersArgs),
    /// Those that fit into a quarter of an hour, one after another; names the others
    All,
    #[command(hide = true)]
    Nodes(nodes::NodesArgs),
    #[command(hide = true)]
    Crowd(memory::CrowdArgs),
    #[command(hide = true)]
    Reflector(memory::ReflectorArgs),
    #[command(hide = true)]
    Load(admission::LoadArgs),
    /// Writes, memory and watchers of the embedded server beside a real kube-apiserver with its etcd
    Embedded(embedded_writes::EmbeddedArgs),
    /// Start, memory and wake-ups of many embedded servers that nobody uses
    IdleServers(embedded_idle::IdleArgs),
    /// `make up`: cold, after a change of one line, warm
    Up(embedded_up::UpArgs),
    #[command(hide = true)]
    Serve(embedded_server::ServeArgs),
    #[command(hide = true)]
    Hold(embedded_idle::HoldArgs),
}

impl Bench {
    /// Started by another bench, and ended by it.
    fn is_a_part(&self) -> bool {
        matches!(
            self,
            Self::Nodes(_)
                | Self::Crowd(_)
                | Self::Reflector(_)
                | Self::Load(_)
                | Self::Serve(_)
                | Self::Hold(_)
        )
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{what}: {source}")]
    Api {
        what: String,
        source: Box<cluster::ApiError>,
    },
    #[error(transparent)]
    Testbed(#[from] testbed::TestbedError),
    #[error("{0}")]
    Setup(String),
}

pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}

pub fn api(what: impl Into<String>) -> impl FnOnce(cluster::ApiError) -> BenchError {
    let what = what.into();
    move |source| BenchError::Api {
        what,
        source: Box::new(source),
    }
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    // Refused where somebody installed one before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bench = Cli::parse().bench;
    let begun = match bench.is_a_part() {
        true => Ok(()),
        false => ending::with_children(),
    };
    match begun.and_then(|()| run(&bench)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(bench: &Bench) -> Result<(), BenchError> {
    // Whatever drives a benchmark takes one thread, and leaves the other cores to what is measured.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))?;
    match bench {
        Bench::Admission(args) => runtime.block_on(admission::run(args)),
        Bench::Upgrade(args) => runtime.block_on(upgrade::run(args)),
        Bench::Pause(args) => pause::run(args, &runtime),
        Bench::Memory(args) => runtime.block_on(memory::run(args)),
        Bench::Idle(args) => runtime.block_on(idle::run(args)),
        Bench::Deciders(args) => deciders::run(args),
        Bench::All => everything::run(&runtime),
        Bench::Nodes(args) => runtime.block_on(nodes::run(args)),
        Bench::Crowd(args) => multi_threaded()?.block_on(args.run()),
        Bench::Reflector(args) => multi_threaded()?.block_on(args.run()),
        Bench::Load(args) => runtime.block_on(args.run()),
        Bench::Embedded(args) => embedded_writes::run(args),
        Bench::IdleServers(args) => embedded_idle::run(args),
        Bench::Up(args) => embedded_up::run(args),
        Bench::Serve(args) => embedded_server::serve(args),
        Bench::Hold(args) => embedded_idle::hold(args),
    }
}

fn multi_threaded() -> Result<tokio::runtime::Runtime, BenchError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))
}
