//! Every way a watch can end or lie, and what the cache makes of it. Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod ends;
mod lists;
mod objects;
#[path = "../scripted/mod.rs"]
mod scripted;

use std::time::Duration;

use scripted::{Scripted, Thing};
use tidegate_cluster::resource::PODS;
use tidegate_cluster::{Cache, WatchScope};

fn start(server: &Scripted) -> Cache<Thing> {
    Cache::start(&server.door(), PODS, WatchScope::default())
}

/// Waits (in virtual time) until it holds; virtual time runs only while everybody waits.
async fn within(limit: Duration, mut holds: impl FnMut() -> bool) {
    let held = tokio::time::timeout(limit, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    held.await.expect("it did not come to hold in time");
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
