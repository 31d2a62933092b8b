//! `cargo xtask bench NAME`: prints a figure with its unit, the machine, and what it is compared with in the same
//! run; writes the same as JSON under bench/results/.
mod admission;
mod machine;
mod operator_process;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// CPU and latency of the pod webhook, driven directly with AdmissionReviews over TLS
    Admission(admission::AdmissionArgs),
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error(transparent)]
    Testbed(#[from] testbed::TestbedError),
    #[error("{0}")]
    Setup(String),
}

pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.bench {
        Bench::Admission(args) => admission::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
