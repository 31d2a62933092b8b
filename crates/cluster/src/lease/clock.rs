//! A clock that tells how long something took, suspension included.
use std::time::Duration;

use model::time::{Clock, Timestamp};
use tokio::time::Instant;

/// Time since some fixed moment; never goes back, and counts the time the machine was suspended.
pub trait BootClock: Send + Sync + 'static {
    fn since_boot(&self) -> Duration;
}

/// CLOCK_BOOTTIME. (CLOCK_MONOTONIC, which `Instant` reads, stands still while the machine is suspended.)
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemBootClock;

impl BootClock for SystemBootClock {
    fn since_boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or(0))
    }
}

/// tokio's clock, which is virtual while it is paused: for simulation.
#[derive(Clone, Copy, Debug)]
pub struct TokioBootClock(Instant);

impl TokioBootClock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl BootClock for TokioBootClock {
    fn since_boot(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is the Clock that shells are given"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
