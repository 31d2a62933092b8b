//! One run: a seed in, what happened out.
use crate::counts::{Counts, Stored};
use crate::faults::Written;
use crate::history::History;
use crate::world::{Setup, World};
use crate::{StormError, oracle, story};
use std::path::Path;
use std::time::Duration;

/// Until nothing may happen any more after the story: watches and refused writes have their delays, and what was told
/// again of an event is written after five minutes.
const SETTLING: Duration = Duration::from_secs(360);

/// What a run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// SHA-256 of every event of the server's history, in order.
    pub trace: String,
    pub events: usize,
    pub stored: Stored,
    /// How often each client wrote each object.
    pub counts: Counts,
    /// The storage was put back on the way: writes are lost.
    pub restored: bool,
    /// How often each fault struck.
    pub faults: Vec<(String, usize)>,
    /// Everything that was written by clients of the server until the story was told.
    pub written: Vec<Written>,
}

/// Runs the story with this seed in this thread, in virtual time, and holds it against the oracle.
pub fn run(setup: &Setup) -> Result<Outcome, StormError> {
    run_traced(setup, None)
}

/// As [`run`]; writes one line for each stored change into a file.
pub fn run_traced(setup: &Setup, trace: Option<&Path>) -> Result<Outcome, StormError> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&setup.seed.to_be_bytes()));
    builder.build()?.block_on(story_of(setup, trace))
}

async fn story_of(setup: &Setup, trace: Option<&Path>) -> Result<Outcome, StormError> {
    let world = World::start(setup).await?;
    let told = story::tell(&world, &setup.tale).await;
    let written = world.faults.written();
    world.faults.calm();
    if told.is_ok() {
        tokio::time::sleep(SETTLING).await;
    }
    let settled = world.backend.server().store().revision();
    if told.is_ok() {
        tokio::time::sleep(setup.quiet).await;
    }
    let history = History::of(&world.backend)?;
    if let Some(path) = trace {
        std::fs::write(path, history.lines().join("\n"))?;
    }
    world.stop();
    // A broken budget says more than a story that did not end.
    oracle::budgets(&history, setup.plan.is_none())?;
    told?;
    oracle::quiet_after(&history, settled)?;
    Ok(Outcome {
        trace: history.digest(),
        events: history.len(),
        stored: Stored::of(&history),
        counts: Counts::of(&world.faults.written()),
        restored: !world.backend.past().is_empty(),
        faults: world.faults.struck(),
        written,
    })
}
