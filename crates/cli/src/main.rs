//! `tidegate`, also as `kubectl tidegate`.
#![deny(clippy::print_stdout)] // See `output`.
mod args;
mod change;
mod clock;
mod failure;
mod install;
mod operator;
mod output;
mod plugin;
mod rollback;
mod sample;
mod status;
mod status_view;
mod takeover;
mod telemetry;
mod testbed_command;
mod up;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use cluster::resource::NAMESPACES;
use cluster::{Door, DoorOptions};

use crate::args::{Cli, Command, ConnectionArgs};
use crate::plugin::InvokedAs;

fn main() -> ExitCode {
    let outcome = match InvokedAs::of(std::env::args_os().next().as_ref()) {
        InvokedAs::Tidegate => run(Cli::parse().command),
        InvokedAs::Plugin => run(as_plugin().command),
        InvokedAs::PluginCompletion => {
            plugin::print_completions(Cli::command(), std::env::args_os().collect()).map_err(Into::into)
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {}", failure::text(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Usage lines say what was typed.
fn as_plugin() -> Cli {
    let matches = Cli::command().bin_name("kubectl tidegate").get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Testbed { command } => Ok(testbed_command::run(&command)?),
        Command::Install(args) if args.take_over || args.give_back => {
            asynchronous(async move { takeover::run(&patient_door(&args.connection).await?, args).await })
        }
        Command::Install(args) => Ok(install::run(&args)?),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut script);
            Ok(output::answer(String::from_utf8_lossy(&script))?)
        }
        Command::Man { dir } => man_pages(&dir),
        Command::Up(args) => asynchronous(up::run(args)),
        Command::Operator(args) => asynchronous(operator::run(args)),
        Command::Status(args) => asynchronous(status::run(args)),
        Command::Pause(args) => asynchronous(async move {
            Ok(change::set_paused(&door(&args.connection).await?, &args.target.name, true).await?)
        }),
        Command::Resume(args) => asynchronous(async move {
            Ok(change::set_paused(&door(&args.connection).await?, &args.target.name, false).await?)
        }),
        Command::Rollback(args) => asynchronous(async move {
            Ok(rollback::rollback(&door(&args.target.connection).await?, &args).await?)
        }),
    }
}

fn asynchronous(work: impl Future<Output = Result<(), Box<dyn Error>>>) -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// A person waits for the answer, and can ask again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A door for the user's own commands.
async fn door(connection: &ConnectionArgs) -> Result<Door, Box<dyn Error>> {
    let options = DoorOptions {
        attempt_timeout: PATIENCE,
        read_deadline: PATIENCE,
        write_deadline: PATIENCE,
        ..DoorOptions::default()
    };
    door_with(connection, options).await
}

/// For what goes on for minutes, over an API server's restart as well; one that is not there is said at once.
async fn patient_door(connection: &ConnectionArgs) -> Result<Door, Box<dyn Error>> {
    let there = door(connection).await?.get(&NAMESPACES, None, "default").await;
    // Whatever it answers, it is there.
    if let Some(error) = there.err().filter(|error| error.code == 0) {
        return Err(error.into());
    }
    door_with(connection, DoorOptions::default()).await
}

async fn door_with(connection: &ConnectionArgs, options: DoorOptions) -> Result<Door, Box<dyn Error>> {
    let options = DoorOptions {
        user_agent: "tidegate".to_owned(),
        ..options
    };
    let (file, context) = (connection.kubeconfig.as_deref(), connection.context.as_deref());
    Ok(Door::from_context(file, context, options).await?)
}

fn man_pages(dir: &Path) -> Result<(), Box<dyn Error>> {
    let failed = |error: std::io::Error| format!("writing to {}: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    Ok(output::answer(format_args!("{}\n", dir.display()))?)
}
