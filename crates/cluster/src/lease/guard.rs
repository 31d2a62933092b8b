//! The right to write, while it lasts.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::clock::BootClock;
use crate::door::WriteGate;

/// Held by everybody who writes as leader; see [`crate::Door::fenced`].
pub struct LeaderGuard {
    clock: Arc<dyn BootClock>,
    epoch: u64,
    /// Nanoseconds since boot; 0 once the term is over for good.
    until: AtomicU64,
}

impl LeaderGuard {
    pub(super) fn new(clock: Arc<dyn BootClock>, epoch: u64, until: Duration) -> Self {
        Self {
            clock,
            epoch,
            until: AtomicU64::new(nanos(until)),
        }
    }

    /// The term this guard belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How much longer may be written; `None` when no longer.
    pub fn left(&self) -> Option<Duration> {
        let until = Duration::from_nanos(self.until.load(Ordering::Acquire));
        until
            .checked_sub(self.clock.since_boot())
            .filter(|left| !left.is_zero())
    }

    /// After a renewal. A term that was over stays over, even if the renewal came through after all: others may
    /// have counted on it.
    pub(super) fn extend(&self, until: Duration) {
        let _ = self
            .until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| {
                let alive = Duration::from_nanos(old) > self.clock.since_boot();
                alive.then(|| old.max(nanos(until)))
            });
    }

    pub(super) fn end(&self) {
        self.until.store(0, Ordering::Release);
    }
}

impl WriteGate for LeaderGuard {
    fn may_write(&self) -> Result<Duration, String> {
        self.left()
            .ok_or_else(|| format!("the term of epoch {} is over", self.epoch))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
