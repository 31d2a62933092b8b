//! `cargo xtask COMMAND`: what developers and CI run that is neither a build nor a test.
mod chart;
mod delegate;
mod schema;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  chart [--check]  the chart's copy of the CRD, and what real Helm makes of the chart; --check only compares
  schema           records the tables of crates/apischema from a real API server and its Go types
  bench NAME [..]  figures beside a peer's; `bench help` lists them (release build, quiet machine)
  differential [--traces N] [--length N] [--seed N] [--at-once N] [--peer real]
                   random traces on the embedded server and on a real one
  hostile [N]      N mutated objects (100,000) through webhooks and deciders, in a release build
  storm [--seeds N] [--from SEED]
                   the whole story in virtual time with faults, by many seeds (100,000 unless told)
  storm matrix     every fault at every write of the story, one at a time
  tidy [--bless]   dependency graph, file and function sizes, bans; --bless accepts a smaller state";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", args.as_slice()),
    };
    let outcome = match command {
        "chart" => chart::run(rest),
        "schema" => schema::run(rest),
        "bench" => delegate::bench(rest).map_err(Into::into),
        "differential" => delegate::differential(rest).map_err(Into::into),
        "hostile" => delegate::hostile(rest).map_err(Into::into),
        "storm" => delegate::storm(rest).map_err(Into::into),
        "tidy" => tidy::run(rest).map_err(Into::into),
        _ => Err(Box::<dyn std::error::Error>::from(USAGE)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
