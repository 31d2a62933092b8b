//! `cargo xtask COMMAND`: what developers and CI run that is neither a build nor a test.
mod schema;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask COMMAND

  schema           records the tables of crates/apischema from a real API server and its Go types
  tidy [--bless]   dependency graph, file and function sizes, bans; --bless accepts a smaller state";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("", args.as_slice()),
    };
    let outcome = match command {
        "schema" => schema::run(rest),
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
