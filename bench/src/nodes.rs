//! The simulated nodes, as a process of their own.

use std::path::PathBuf;

use clap::Args;
use sim::{NodesOptions, Options, Script, Timing};
use tokio_util::sync::CancellationToken;

use crate::BenchError;
use crate::fleet::{NODES_AGENT, door};

#[derive(Debug, Args)]
pub struct NodesArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    count: usize,
}

/// Plays nodes that do everything at once, until killed.
pub async fn run(args: &NodesArgs) -> Result<(), BenchError> {
    let door = door(&args.kubeconfig, NODES_AGENT).await?;
    let nodes = NodesOptions {
        count: args.count,
        script: Script {
            timing: Timing::instant(),
            ..Script::default()
        },
        ..NodesOptions::default()
    };
    println!("playing {} nodes", args.count);
    sim::run(door, Options::nodes_only(nodes), CancellationToken::new()).await;
    Ok(())
}
