//! Whether the wall clock goes as fast as time does.
//!
//! What waits is kept as a time of day, because that is what decisions are made of and what status shows. A clock
//! that is set back by an hour must not make it wait for an hour more.
use super::Engine;
use jiff::SignedDuration;
use model::time::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Less is a clock that is being corrected, or a slow machine.
const A_JUMP: SignedDuration = SignedDuration::from_secs(2);

pub(super) struct Pace {
    at: Instant,
    wall: Timestamp,
}

impl Pace {
    pub fn beginning(wall: Timestamp) -> Self {
        Self {
            at: Instant::now(),
            wall,
        }
    }

    /// How far the clock was set since it was last asked for, if it was.
    pub fn jumped(&mut self, wall: Timestamp) -> Option<SignedDuration> {
        let expected = shifted(self.wall, elapsed(self.at));
        *self = Self::beginning(wall);
        let jump = wall.duration_since(expected);
        (jump.abs() >= A_JUMP).then_some(jump)
    }
}

impl Engine {
    /// The time; where the clock was set meanwhile, what waits is set with it.
    pub(super) fn now(&mut self) -> Timestamp {
        let now = self.options.clocks.wall.now();
        let jump = self.pace.jumped(now);
        if let Some(jump) = jump {
            tracing::warn!(seconds = jump.as_secs(), "the clock was set");
            self.wakes.values_mut().for_each(|at| *at = shifted(*at, jump));
            self.trackers.values_mut().for_each(|t| t.clock_was_set(jump));
            let doubt = self.doubt.iter_mut();
            doubt.for_each(|doubt| doubt.since = shifted(doubt.since, jump));
        }
        now
    }

    pub(super) fn woken(&mut self) {
        let now = self.now();
        let due: Vec<String> = self
            .wakes
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.wakes.remove(&name);
            self.dirty.insert(name);
        }
    }

    pub(super) fn next_wake(&mut self) -> Duration {
        let now = self.now();
        let Some(at) = self.wakes.values().min() else {
            return Duration::from_secs(3600);
        };
        let wait = at.duration_since(now);
        Duration::try_from(wait)
            .unwrap_or(Duration::ZERO)
            .max(Duration::from_millis(1))
    }
}

pub(super) fn later(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

/// A time that was meant by a clock that has been set since.
pub(in crate::sidecarset) fn shifted(at: Timestamp, jump: SignedDuration) -> Timestamp {
    at.checked_add(jump).unwrap_or(at)
}

fn elapsed(since: Instant) -> SignedDuration {
    SignedDuration::try_from(since.elapsed()).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed_once_and_one_that_goes_is_not() {
        let start = Timestamp::UNIX_EPOCH;
        let mut pace = Pace::beginning(start);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(pace.jumped(start + Duration::from_secs(61)), None);
        let back = start - Duration::from_secs(3600);
        assert_eq!(pace.jumped(back).map(|j| j.as_secs()), Some(-3661));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(pace.jumped(back + Duration::from_secs(5)), None);
    }
}
