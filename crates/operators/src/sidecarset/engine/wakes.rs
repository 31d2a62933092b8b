//! When a SidecarSet is looked at again though nothing of it changed.
use super::Engine;
use std::time::Duration;

impl Engine {
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

    pub(super) fn next_wake(&self) -> Duration {
        let Some(at) = self.wakes.values().min() else {
            return Duration::from_secs(3600);
        };
        let wait = at.duration_since(self.now());
        Duration::try_from(wait)
            .unwrap_or(Duration::ZERO)
            .max(Duration::from_millis(1))
    }
}
