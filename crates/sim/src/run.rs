//! Starting the parts together.
use std::sync::Arc;

use cluster::resource::{NODES, PERSISTENT_VOLUME_CLAIMS, PODS};
use cluster::{Cache, Door, WatchScope};
use model::time::Clock;
use tokio_util::sync::CancellationToken;

use crate::clock::WallClock;
use crate::nodes::{Logs, Nodes, NodesOptions};
use crate::pod::Pod;
use crate::{controllers, scheduler};

/// Which parts of a cluster are simulated.
#[derive(Clone)]
pub struct Options {
    /// Simulated nodes; `None`: no nodes.
    pub nodes: Option<NodesOptions>,
    /// Off on clusters that have their own.
    pub scheduler: bool,
    /// Off on clusters that have their own.
    pub controllers: bool,
    pub clock: Arc<dyn Clock>,
    pub seed: u64,
    /// Filled with what containers "print".
    pub logs: Logs,
}

impl Default for Options {
    /// All of it, for a cluster that has nothing but an API server.
    fn default() -> Self {
        Self {
            nodes: Some(NodesOptions::default()),
            scheduler: true,
            controllers: true,
            clock: Arc::new(WallClock),
            seed: 0,
            logs: Logs::default(),
        }
    }
}

impl Options {
    /// Only nodes, for a cluster with a control plane of its own.
    pub fn nodes_only(nodes: NodesOptions) -> Self {
        Self {
            nodes: Some(nodes),
            scheduler: false,
            controllers: false,
            ..Self::default()
        }
    }
}

/// Runs the enabled parts until `shutdown`. The clock and seed of `options` also hold for its nodes.
pub async fn run(door: Door, options: Options, shutdown: CancellationToken) {
    let pods: Cache<Pod> = Cache::start(&door, PODS, WatchScope::default());
    let mut parts = tokio::task::JoinSet::new();
    if options.scheduler || options.controllers {
        let shared = controllers::Shared {
            pods: pods.clone(),
            nodes: Cache::start(&door, NODES, WatchScope::default()),
            claims: Cache::start(&door, PERSISTENT_VOLUME_CLAIMS, WatchScope::default()),
        };
        if options.scheduler {
            let (door, clock) = (door.clone(), options.clock.clone());
            parts.spawn(scheduler::run(door, shared.clone(), clock, shutdown.clone()));
        }
        if options.controllers {
            let (door, clock) = (door.clone(), options.clock.clone());
            let seed = options.seed;
            parts.spawn(controllers::run(door, shared, clock, seed, shutdown.clone()));
        }
    }
    if let Some(mut nodes) = options.nodes {
        nodes.clock = options.clock;
        nodes.seed = options.seed;
        parts.spawn(Nodes::run(door, pods, nodes, options.logs, shutdown));
    }
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the simulation ended badly");
        }
    }
}
