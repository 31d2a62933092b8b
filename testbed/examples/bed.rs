//! `cargo run -p tidegate-testbed --example bed -- up [NODES] | down | build | prometheus`: the bed without the rest of Tidegate.
use std::process::ExitCode;

use tidegate_testbed::{Bed, BedOptions, Binaries, DEFAULT_VERSION, Module, Prometheus, TestbedError};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["up"] => up(2),
        ["up", nodes] => nodes.parse().map_or(Ok(ExitCode::FAILURE), up),
        ["build"] => Binaries::build(&Module::ALL, DEFAULT_VERSION, &mut |line| eprintln!("{line}"))
            .map(|_| ExitCode::SUCCESS),
        ["prometheus"] => Prometheus::programs().map(|_| ExitCode::SUCCESS),
        ["down"] => Bed::down(&Bed::default_dir()).map(|()| ExitCode::SUCCESS),
        _ => Ok(ExitCode::FAILURE),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn up(nodes: usize) -> Result<ExitCode, TestbedError> {
    let bed = Bed::up(
        &BedOptions {
            nodes,
            ..BedOptions::default()
        },
        &mut |line| eprintln!("{line}"),
    )?;
    println!("{}", bed.kubeconfig().display());
    Ok(ExitCode::SUCCESS)
}
