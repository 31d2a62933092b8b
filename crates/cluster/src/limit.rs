//! How much may be in flight: additive increase, multiplicative decrease, per kind.
//!
//! No fixed rate: the limit grows by one per limit-full of good answers while it is in use, and shrinks by a third
//! when the server pushes back (429, 503, 504, no answer) or answers slower than the target. A Retry-After stops
//! everything of that kind until it is over. Shrinking happens once per round trip: what was already in flight when
//! the limit shrank says nothing new.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Bounds and pace of the adaptive limit.
#[derive(Clone, Debug)]
pub struct LimitOptions {
    pub start: f64,
    pub min: f64,
    pub max: f64,
    /// Smoothed latency above which the limit shrinks.
    pub slow: Duration,
}

impl Default for LimitOptions {
    fn default() -> Self {
        Self {
            start: 64.0,
            min: 1.0,
            max: 128.0,
            slow: Duration::from_secs(2),
        }
    }
}

/// How an attempt ended, as far as the limit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// The server answered (whatever it said).
    Fine,
    /// It pushed back, perhaps naming a time.
    Back(Option<Duration>),
    /// We gave up ourselves: says nothing.
    Nothing,
}

/// The limit of one kind.
#[derive(Clone)]
pub struct Limiter {
    shared: Arc<Shared>,
}

struct Shared {
    options: LimitOptions,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    limit: f64,
    in_flight: usize,
    smoothed: Option<Duration>,
    shrunk_at: Option<Instant>,
    blocked_until: Option<Instant>,
}

/// A place in flight; tell it how the attempt ended.
pub struct Place {
    limiter: Limiter,
    started: Instant,
    ended: bool,
}

impl Limiter {
    pub fn new(options: LimitOptions) -> Self {
        let state = State {
            limit: options.start,
            in_flight: 0,
            smoothed: None,
            shrunk_at: None,
            blocked_until: None,
        };
        Self {
            shared: Arc::new(Shared {
                options,
                state: Mutex::new(state),
                freed: Notify::new(),
            }),
        }
    }

    /// The present limit.
    pub fn limit(&self) -> f64 {
        self.state().limit
    }

    pub fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Place {
        loop {
            let freed = self.shared.freed.notified();
            tokio::pin!(freed);
            // Registered before looking, so that a place freed in between is not missed.
            freed.as_mut().enable();
            match self.try_enter() {
                Ok(place) => return place,
                Err(Some(until)) => {
                    tokio::select! { biased; () = tokio::time::sleep_until(until) => {}, () = freed => {} }
                }
                Err(None) => freed.await,
            }
        }
    }

    fn try_enter(&self) -> Result<Place, Option<Instant>> {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(until) = state.blocked_until {
            if now < until {
                return Err(Some(until));
            }
            state.blocked_until = None;
        }
        if (state.in_flight as f64) < state.limit.max(1.0).floor() {
            state.in_flight += 1;
            if (state.in_flight as f64) < state.limit.floor() {
                self.shared.freed.notify_one();
            }
            return Ok(Place {
                limiter: self.clone(),
                started: now,
                ended: false,
            });
        }
        Err(None)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The attempt is over: frees the place and adapts the limit.
    pub fn end(mut self, pressure: Pressure) {
        self.finish(pressure);
    }

    fn finish(&mut self, pressure: Pressure) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = Instant::now();
        let latency = now - self.started;
        let options = &self.limiter.shared.options;
        {
            let mut state = self.limiter.state();
            let in_use = state.in_flight as f64 >= state.limit * 0.75;
            state.in_flight = state.in_flight.saturating_sub(1);
            match pressure {
                Pressure::Nothing => {}
                Pressure::Back(retry_after) => {
                    state.shrink(self.started, now, options.min);
                    if let Some(wait) = retry_after {
                        let until = now + wait;
                        state.blocked_until = Some(state.blocked_until.map_or(until, |b| b.max(until)));
                        // Everyone waiting now waits by the clock: none depends on another to wake it.
                        self.limiter.shared.freed.notify_waiters();
                    }
                }
                Pressure::Fine => {
                    let smoothed = state.smoothed.map_or(latency, |s| (s * 7 + latency) / 8);
                    state.smoothed = Some(smoothed);
                    if smoothed > options.slow {
                        state.shrink(self.started, now, options.min);
                    } else if in_use {
                        state.limit = (state.limit + 1.0 / state.limit).min(options.max);
                    }
                }
            }
        }
        self.limiter.shared.freed.notify_one();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.finish(Pressure::Nothing);
    }
}

impl State {
    fn shrink(&mut self, started: Instant, now: Instant, min: f64) {
        if self.shrunk_at.is_some_and(|at| started < at) {
            return;
        }
        self.limit = (self.limit * 0.67).max(min);
        self.shrunk_at = Some(now);
        self.smoothed = None;
    }
}
