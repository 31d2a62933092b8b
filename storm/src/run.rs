//! One run: a seed in, what happened out.
use crate::faults::Rates;
use crate::world::World;
use crate::{StormError, oracle, story};
use std::time::Duration;

/// What a run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// SHA-256 of every event of the server's history, in order.
    pub trace: String,
    pub events: usize,
    /// How often the spec of each pod was written, sorted; names are random.
    pub pod_writes: Vec<i64>,
    /// Images of the pods' sidecars, sorted.
    pub images: Vec<String>,
    pub revisions: usize,
    pub set_generation: i64,
    /// How often each fault struck.
    pub faults: Vec<(String, usize)>,
}

/// Runs the story with this seed in this thread, in virtual time, and holds it against the oracle.
pub fn run(seed: u64, rates: &Rates) -> Result<Outcome, StormError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_be_bytes()));
    builder.build()?.block_on(story_of(seed, rates))
}

async fn story_of(seed: u64, rates: &Rates) -> Result<Outcome, StormError> {
    let world = World::start(seed, rates.clone()).await?;
    story::tell(&world).await?;
    world.faults.calm();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let settled = world.server.store().revision();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let history = oracle::history(&world.server)?;
    if let Ok(path) = std::env::var("STORM_TRACE") {
        std::fs::write(path, oracle::lines(&history).join("\n"))?;
    }
    oracle::budgets(&history, rates.is_calm())?;
    oracle::quiet_after(&history, settled)?;
    let outcome = oracle::outcome(&history, world.faults.struck());
    world.stop();
    Ok(outcome)
}
