//! Commands that are programs or tests of other packages: started with cargo, so that xtask itself stays small.

use std::process::{Command, ExitStatus};

#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    #[error("differential: {0:?} is not one of --traces N, --length N, --seed N, --at-once N, --peer real")]
    Argument(String),
    #[error("starting cargo: {0}")]
    Start(#[from] std::io::Error),
    #[error("{0} ended with {1}")]
    Failed(&'static str, ExitStatus),
}

pub fn bench(args: &[String]) -> Result<(), DelegateError> {
    let mut build = Command::new("cargo");
    build.args([
        "build",
        "--release",
        "--quiet",
        "--package",
        "tidegate-cli",
        "--package",
        "tidegate-bench",
    ]);
    run("the release build", &mut build)?;
    let mut bench = Command::new("cargo");
    bench
        .args(["run", "--release", "--quiet", "--package", "tidegate-bench", "--"])
        .args(args);
    run("the benchmark", &mut bench)
}

pub fn differential(args: &[String]) -> Result<(), DelegateError> {
    let mut test = Command::new("cargo");
    test.args([
        "test",
        "--release",
        "--quiet",
        "--package",
        "tidegate-fidelity",
        "--test",
        "differential",
    ]);
    test.args(["--", "--nocapture"]);
    for pair in args.chunks(2) {
        let variable = match pair[0].as_str() {
            "--traces" => "DIFFERENTIAL_TRACES",
            "--length" => "DIFFERENTIAL_LENGTH",
            "--seed" => "DIFFERENTIAL_SEED",
            "--at-once" => "DIFFERENTIAL_AT_ONCE",
            "--peer" => "DIFFERENTIAL_PEER",
            other => return Err(DelegateError::Argument(other.to_owned())),
        };
        test.env(
            variable,
            pair.get(1)
                .ok_or_else(|| DelegateError::Argument(pair[0].clone()))?,
        );
    }
    run("the differential", &mut test)
}

/// Mutated objects through the webhooks' answers and the deciders: 100,000 of each unless another number is given.
pub fn hostile(args: &[String]) -> Result<(), DelegateError> {
    let cases = args.first().map_or("100000", String::as_str);
    let mut test = Command::new("cargo");
    test.args(["test", "--release", "--quiet", "--package", "tidegate-workload"]);
    test.args(["--", "mutated"]).env("TIDEGATE_MUTATIONS", cases);
    run("the mutations", &mut test)
}

/// The seeds, unless another of the program's commands is named.
pub fn storm(args: &[String]) -> Result<(), DelegateError> {
    let mut storm = Command::new("cargo");
    storm.args(["run", "--release", "--quiet", "--package", "tidegate-storm", "--"]);
    if args.first().is_none_or(|first| first.starts_with('-')) {
        storm.arg("seeds");
    }
    run("the storm", storm.args(args))
}

fn run(what: &'static str, command: &mut Command) -> Result<(), DelegateError> {
    let status = command.status()?;
    if status.success() {
        Ok(())
    } else {
        Err(DelegateError::Failed(what, status))
    }
}
