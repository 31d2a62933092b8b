//! Plays nodes, a scheduler and workload controllers on the cluster of a kubeconfig, until Ctrl-C:
//! `cargo run -p tidegate-sim --example simulate -- KUBECONFIG [NODES]`.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use cluster::{Door, DoorOptions};
use tidegate_sim::{NodesOptions, Options, run};
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("a kubeconfig");
    let count = args.next().map_or(3, |n| n.parse().expect("a number of nodes"));
    let door = Door::from_kubeconfig(Some(path.as_ref()), DoorOptions::default())
        .await
        .unwrap();
    let nodes = Some(NodesOptions {
        count,
        ..NodesOptions::default()
    });
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::signal::ctrl_c().await.unwrap();
        stop.cancel();
    });
    let options = Options {
        nodes,
        ..Options::default()
    };
    run(door, options, shutdown).await;
}
