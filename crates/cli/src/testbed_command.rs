//! `tidegate testbed up|down`.

use testbed::{Bed, BedOptions, TestbedError};

use crate::args::TestbedCommand;
use crate::output::say;

pub fn run(command: &TestbedCommand) -> Result<(), TestbedError> {
    match command {
        TestbedCommand::Up(args) => {
            let options = BedOptions {
                nodes: usize::from(args.nodes),
                version: args.version.clone(),
                ..BedOptions::default()
            };
            let bed = Bed::up(&options, &mut |line| eprintln!("{line}"))?;
            say!("{}", bed.kubeconfig().display());
        }
        TestbedCommand::Down => Bed::down(&Bed::default_dir())?,
    }
    Ok(())
}
