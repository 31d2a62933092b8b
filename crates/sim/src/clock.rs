//! Clocks of the simulation.
use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, Timestamp};
use tokio::time::Instant;

/// Time that goes as tokio's does: real, or virtual under a paused clock.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    began: Instant,
    at: Timestamp,
}

impl TokioClock {
    /// It is `at` now. Needs a tokio runtime.
    pub fn starting_at(at: Timestamp) -> Self {
        Self {
            began: Instant::now(),
            at,
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.at + self.began.elapsed()
    }
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct WallClock;

impl Clock for WallClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the Clock that shells are given"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Sleeps until it is `at`; for ever if nothing is planned.
pub(crate) async fn sleep_until(clock: &Arc<dyn Clock>, at: Option<Timestamp>) {
    match at {
        None => std::future::pending().await,
        Some(at) => {
            let left = at.duration_since(clock.now());
            // Timers are of milliseconds: a hair too early would only mean another turn.
            let left = left.try_into().unwrap_or(Duration::ZERO);
            tokio::time::sleep(left).await;
        }
    }
}
