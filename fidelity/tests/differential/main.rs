//! Random traces on a real kube-apiserver and on the embedded one: status, body, managedFields, warnings and watch
//! streams must be equal.
//!
//! `DIFFERENTIAL_TRACES` (default 300), `DIFFERENTIAL_LENGTH` (100), `DIFFERENTIAL_SEED` (1), `DIFFERENTIAL_AT_ONCE`
//! (traces that run side by side, 6) and `DIFFERENTIAL_PEER=real` (a second real server in place of the embedded one:
//! what the comparison itself gets wrong) set it; `cargo xtask differential` does so by flags. A failure prints its
//! seed and operation. Shapes in `known-differences.txt` are tolerated; `DIFFERENTIAL_SHOW=1` fails on them too and
//! shows them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod compare;
mod found;
mod generate;
mod mutate;
mod side;
mod traces;
mod watches;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use testbed::{ApiServer, ApiServerOptions};
use tokio::task::JoinSet;

use found::Found;
use side::Side;

#[test]
fn random_traces_are_answered_as_a_real_server_answers_them() {
    let traces: u64 = setting("DIFFERENTIAL_TRACES", 300);
    let length = setting("DIFFERENTIAL_LENGTH", 100);
    let first: u64 = setting("DIFFERENTIAL_SEED", 1);
    let at_once: usize = setting("DIFFERENTIAL_AT_ONCE", 6);
    let dir = std::env::temp_dir().join(format!("tidegate-differential-{}", std::process::id()));
    let real = ApiServer::start(&ApiServerOptions::in_dir(dir.join("real"))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (peer, peer_config) = peer(&runtime, &dir);
    let started = Instant::now();
    let found = runtime.block_on(async {
        let left = Arc::new(Side::new(&real.kubeconfig()));
        let right = Arc::new(Side::new(&peer_config));
        tokio::join!(left.set_up(), right.set_up());
        let mut found = run_written(&left, &right).await;
        found.add(run_all(first..first + traces, length, at_once, &left, &right).await);
        found
    });
    println!(
        "{traces} traces of {length} operations in {:?}",
        started.elapsed()
    );
    drop((real, peer));
    std::fs::remove_dir_all(&dir).ok();
    found.judge();
}

/// The written traces: `DIFFERENTIAL_WRITTEN` takes those with these words in their names, and says what they do.
async fn run_written(left: &Arc<Side>, right: &Arc<Side>) -> Found {
    let only = std::env::var("DIFFERENTIAL_WRITTEN").ok();
    let (alone, beside): (Vec<_>, Vec<_>) = written::all(only.as_deref())
        .into_iter()
        .partition(|written| written.alone);
    let mut found = Found::default();
    for written in alone {
        found.add(traces::run_written(&written, left, right).await);
    }
    let mut running = JoinSet::new();
    for written in beside {
        let (left, right) = (Arc::clone(left), Arc::clone(right));
        running.spawn(async move { traces::run_written(&written, &left, &right).await });
    }
    while let Some(ended) = running.join_next().await {
        found.add(ended.unwrap());
    }
    found
}

async fn run_all(
    seeds: std::ops::Range<u64>,
    length: usize,
    at_once: usize,
    left: &Arc<Side>,
    right: &Arc<Side>,
) -> Found {
    let mut found = Found::default();
    let mut running = JoinSet::new();
    for seed in seeds {
        if running.len() >= at_once
            && let Some(ended) = running.join_next().await
        {
            found.add(ended.unwrap());
        }
        let (left, right) = (Arc::clone(left), Arc::clone(right));
        running.spawn(async move { traces::run(seed, length, &left, &right).await });
    }
    while let Some(ended) = running.join_next().await {
        found.add(ended.unwrap());
    }
    found
}

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name)
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(default)
}

/// The server held against the real one, and its kubeconfig.
fn peer(runtime: &tokio::runtime::Runtime, dir: &Path) -> (Option<ApiServer>, PathBuf) {
    if std::env::var("DIFFERENTIAL_PEER").is_ok_and(|p| p == "real") {
        let second = ApiServer::start(&ApiServerOptions::in_dir(dir.join("second"))).unwrap();
        let config = second.kubeconfig();
        return (Some(second), config);
    }
    embedded_peer(runtime, dir)
}

#[cfg(not(feature = "peer"))]
fn embedded_peer(_: &tokio::runtime::Runtime, _: &Path) -> (Option<ApiServer>, PathBuf) {
    panic!("built without the embedded server: set DIFFERENTIAL_PEER=real");
}

#[cfg(feature = "peer")]
fn embedded_peer(runtime: &tokio::runtime::Runtime, dir: &Path) -> (Option<ApiServer>, PathBuf) {
    let config = dir.join("embedded.conf");
    runtime.block_on(async {
        let server = embedded::ApiServer::start(embedded::Config {
            controllers: false,
            ..embedded::Config::default()
        })
        .await
        .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        std::fs::write(&config, server.kubeconfig(&url, "admin", &["system:masters"])).unwrap();
        tokio::spawn(async move { server.serve(listener, std::future::pending()).await });
    });
    (None, config)
}
