//! Clocks of a process that may jump.
use cluster::lease::{BootClock, TokioBootClock};
use model::time::{Clock, Timestamp};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// How far the clocks of the operators have jumped.
#[derive(Debug, Default)]
pub struct Jumps {
    wall_seconds: AtomicI64,
    boot_seconds: AtomicU64,
}

impl Jumps {
    pub(crate) fn wall(&self, seconds: i64) {
        self.wall_seconds.fetch_add(seconds, Ordering::Relaxed);
    }

    pub(crate) fn boot(&self, seconds: u64) {
        self.boot_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

pub(crate) struct WallClock {
    pub true_clock: Arc<dyn Clock>,
    pub jumps: Arc<Jumps>,
}

impl Clock for WallClock {
    fn now(&self) -> Timestamp {
        let jumped = jiff::SignedDuration::from_secs(self.jumps.wall_seconds.load(Ordering::Relaxed));
        let now = self.true_clock.now();
        now.checked_add(jumped).unwrap_or(now)
    }
}

pub(crate) struct JumpingBootClock {
    pub true_clock: TokioBootClock,
    pub jumps: Arc<Jumps>,
}

impl BootClock for JumpingBootClock {
    fn since_boot(&self) -> Duration {
        self.true_clock.since_boot() + Duration::from_secs(self.jumps.boot_seconds.load(Ordering::Relaxed))
    }
}
