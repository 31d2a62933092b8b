//! The SidecarSet operator: admits pods on every replica, and upgrades them on the one that leads.
mod apply;
mod chore;
mod engine;
mod reconcile;
mod tracker;
mod views;

use crate::{Metrics, OperatorError, Options};
use cluster::lease::Leader;
use cluster::{Door, LeaderOptions};
use engine::Engine;
use std::future::Future;
use std::sync::Arc;
use views::Caches;

/// Runs until `shutdown`.
pub async fn run(
    door: Door,
    options: Options,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), OperatorError> {
    let options = Arc::new(options);
    let caches = Caches::start(&door, &options.namespace);
    let control = control(&door, &caches, &options, &metrics);
    tokio::pin!(control);
    tokio::pin!(shutdown);
    tokio::select! {
        biased;
        () = &mut shutdown => Ok(()),
        () = &mut control => Ok(()),
    }
}

/// Leads, term after term.
async fn control(door: &Door, caches: &Caches, options: &Arc<Options>, metrics: &Arc<Metrics>) {
    caches.synced().await;
    let Some(lease) = &options.lease else {
        let (engine, answers) = Engine::new(door, None, caches.clone(), options.clone(), metrics.clone());
        return engine.run(answers).await;
    };
    loop {
        let unique = format!("{:x}", options.clocks.wall.now().as_nanosecond());
        let who = LeaderOptions::new(&options.namespace, lease, &options.identity, &unique);
        let leader = Leader::acquire(door, who, options.clocks.clone()).await;
        metrics.leads(leader.epoch());
        // What the last leader wrote is seen before anything is decided.
        caches.refresh().await;
        let (engine, answers) = Engine::new(
            door,
            Some(leader.guard()),
            caches.clone(),
            options.clone(),
            metrics.clone(),
        );
        let reason = tokio::select! {
            reason = leader.lost() => reason,
            () = engine.run(answers) => return,
        };
        metrics.leads(0);
        tracing::warn!(reason, "leadership lost");
    }
}
