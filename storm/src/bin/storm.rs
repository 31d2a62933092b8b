//! The storm as a program: see `storm --help`.
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tidegate_storm::faults::{Client, Plan};
use tidegate_storm::matrix::{Case, Matrix, inventory};
use tidegate_storm::{Outcome, Setup, many, run_traced};

/// Runs the whole story in virtual time, with faults, and holds it against the oracle.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells one seed, and prints its digest and what happened.
    Run(Run),
    /// Runs many seeds with many faults each: budgets must hold in all of them.
    Seeds(Seeds),
    /// Puts every fault at every write of the story, one at a time.
    Matrix(Cases),
}

#[derive(Args)]
struct Seeds {
    #[arg(long, default_value_t = 100_000)]
    seeds: u64,
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Only every so many seeds: from 8 on, with 8, those in which the storage may be put back.
    #[arg(long, default_value_t = 1)]
    step: usize,
    /// Seconds of virtual time after each story in which nothing may happen.
    #[arg(long, default_value_t = 300)]
    quiet: u64,
    #[arg(long, default_value_t = threads())]
    threads: usize,
}

#[derive(Args)]
struct Cases {
    /// Only every so many cases,
    #[arg(long, default_value_t = 1)]
    of: usize,
    /// beginning with this one.
    #[arg(long, default_value_t = 0)]
    part: usize,
    /// Only cases whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Seconds of virtual time after each story in which nothing may happen.
    #[arg(long, default_value_t = 3600)]
    quiet: u64,
    #[arg(long, default_value_t = threads())]
    threads: usize,
    /// Prints what is written in the story, and runs nothing else.
    #[arg(long)]
    list: bool,
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[derive(Args)]
struct Run {
    seed: u64,
    /// `calm`, `stormy`, or `CLIENT:WRITE:FAULT` as the matrix prints it.
    #[arg(long, default_value = "calm")]
    plan: String,
    #[arg(long)]
    replicas: Option<usize>,
    /// Seconds of virtual time after the story in which nothing may happen.
    #[arg(long, default_value_t = 3600)]
    quiet: u64,
    /// Writes one line for each stored change into this file.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Seeds, from the one given on.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Prints only seed and digest.
    #[arg(long)]
    digest: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("STORM_LOG"))
        .with_writer(std::io::stderr)
        .without_time()
        .init();
    match Arguments::parse().command {
        Command::Run(run) => tell(&run),
        Command::Seeds(seeds) => run_seeds(&seeds),
        Command::Matrix(cases) => run_matrix(&cases),
    }
}

fn run_seeds(arguments: &Seeds) -> ExitCode {
    let seeds: Vec<u64> = (arguments.from..arguments.from + arguments.seeds)
        .step_by(arguments.step.max(1))
        .collect();
    let setup = |seed: &u64| Setup {
        quiet: Duration::from_secs(arguments.quiet),
        ..Setup::stormy(*seed)
    };
    let mut progress = Progress::new(seeds.len());
    let work = |seed: &u64| many::stormy(&setup(seed));
    many::each(&seeds, arguments.threads, work, hang, |(seed, verdict)| {
        progress.note(verdict, || {
            let quiet = arguments.quiet;
            format!("seed {seed}; again: storm run {seed} --plan stormy --quiet {quiet}")
        });
    });
    progress.end("seeds")
}

fn run_matrix(arguments: &Cases) -> ExitCode {
    let setup = Setup {
        quiet: Duration::from_secs(arguments.quiet),
        replicas: arguments.replicas,
        ..Setup::small(arguments.seed)
    };
    let matrix = match Matrix::of(setup) {
        Ok(matrix) => matrix,
        Err(error) => {
            eprintln!("without faults: {error}");
            return ExitCode::FAILURE;
        }
    };
    for (kind, count) in inventory(&matrix.calm.written) {
        println!("{count:5} {kind}");
    }
    let mut cases = matrix.part(arguments.part, arguments.of);
    cases.retain(|case| case.to_string().contains(&arguments.only));
    println!(
        "{} writes, {} cases of {}",
        matrix.calm.written.len(),
        cases.len(),
        matrix.cases.len()
    );
    if arguments.list {
        return ExitCode::SUCCESS;
    }
    let mut progress = Progress::new(cases.len());
    let work = |case: &Case| matrix.judge(case);
    many::each(&cases, arguments.threads, work, hang, |(case, verdict)| {
        progress.note(verdict, || {
            let Cases {
                seed,
                quiet,
                replicas,
                ..
            } = arguments;
            format!(
                "{case} ({}); again: storm run {seed} --plan {case} --replicas {replicas} --quiet {quiet}",
                case.what
            )
        });
    });
    progress.end("cases")
}

/// In a run that hangs no virtual time passes: somebody does the same again and again without waiting.
fn hang<T: std::fmt::Display>(running: &[&T]) {
    for job in running {
        println!("FAILED {job}: hangs");
    }
    std::process::exit(1);
}

/// How far we are, and what failed.
struct Progress {
    all: usize,
    done: usize,
    struck: usize,
    known: usize,
    failed: usize,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self {
            all,
            done: 0,
            struck: 0,
            known: 0,
            failed: 0,
        }
    }

    fn note(&mut self, verdict: Result<Outcome, String>, name: impl Fn() -> String) {
        self.done += 1;
        match verdict {
            Ok(outcome) => self.struck += outcome.faults.iter().map(|(_, times)| times).sum::<usize>(),
            Err(error) if many::is_known(&error) => {
                self.known += 1;
                println!("known: {}", name());
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED {}\n    {error}", name());
            }
        }
        if self.done.is_multiple_of((self.all / 20).max(1)) {
            println!(
                "{} of {} done, {} failed, {} known, {} faults",
                self.done, self.all, self.failed, self.known, self.struck
            );
        }
    }

    fn end(self, what: &str) -> ExitCode {
        println!(
            "{} {what}, {} failed, {} known",
            self.done, self.failed, self.known
        );
        ExitCode::from(u8::from(self.failed > 0))
    }
}

fn tell(arguments: &Run) -> ExitCode {
    let mut failed = false;
    for seed in arguments.seed..arguments.seed + arguments.count {
        let setup = match setup(arguments, seed) {
            Ok(setup) => setup,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        };
        match run_traced(&setup, arguments.trace.as_deref()) {
            Ok(outcome) if arguments.digest => println!("{seed} {}", outcome.trace),
            Ok(outcome) => {
                println!("{seed} {} events={}", outcome.trace, outcome.events);
                println!("{:#?}\n{:?}", outcome.stored, outcome.faults);
                for (kind, counts) in &outcome.counts.0 {
                    println!("{kind}: {counts:?}");
                }
            }
            Err(error) => {
                failed = true;
                println!("{seed} failed: {error}");
            }
        }
    }
    ExitCode::from(u8::from(failed))
}

fn setup(arguments: &Run, seed: u64) -> Result<Setup, String> {
    let mut setup = Setup {
        quiet: Duration::from_secs(arguments.quiet),
        ..match arguments.plan.as_str() {
            "calm" => Setup::calm(seed),
            "stormy" => Setup::stormy(seed),
            text => Setup {
                plan: at(text)?,
                ..Setup::small(seed)
            },
        }
    };
    setup.replicas = arguments.replicas.unwrap_or(setup.replicas);
    Ok(setup)
}

fn at(text: &str) -> Result<Plan, String> {
    let mut parts = text.splitn(3, ':');
    let wrong = || format!("{text:?} is not CLIENT:WRITE:FAULT");
    let client = parts.next().ok_or_else(wrong)?;
    let client = Client::ALL.into_iter().find(|c| format!("{c:?}") == client);
    Ok(Plan::At {
        client: client.ok_or_else(wrong)?,
        write: parts.next().and_then(|w| w.parse().ok()).ok_or_else(wrong)?,
        fault: parts.next().ok_or_else(wrong)?.parse()?,
    })
}
