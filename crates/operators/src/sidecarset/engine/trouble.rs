//! A SidecarSet on which we panicked: shown on it, left alone for a while, then tried again from the beginning.
use super::super::chore::Chore;
use super::super::contain::Step;
use super::super::reconcile::broken_status;
use super::{Engine, later};
use model::time::Timestamp;

/// Seconds, doubling.
const FIRST_BACKOFF: i64 = 1;
const LAST_BACKOFF: i64 = 300;

impl Engine {
    pub(super) fn panicked(&mut self, name: &str, step: Step, now: Timestamp) {
        self.metrics.panicked(name);
        // What was decided before may have been decided wrongly.
        self.drop_jobs(name, None);
        let Some(tracker) = self.trackers.get_mut(name) else {
            return;
        };
        let wait = (FIRST_BACKOFF << tracker.panics.min(9)).min(LAST_BACKOFF);
        tracker.panics = tracker.panics.saturating_add(1);
        tracker.broken = Some(step);
        tracker.resting_until = Some(later(now, wait));
        self.wakes.insert(name.to_owned(), later(now, wait));
        self.show_broken(name, now);
    }

    /// Writes the condition, as soon as status may be written.
    pub(super) fn show_broken(&mut self, name: &str, now: Timestamp) {
        let Some(tracker) = self.trackers.get(name) else {
            return;
        };
        let Some(step) = tracker.broken else { return };
        let chore = Chore {
            set: name.to_owned(),
            namespace: self.options.namespace.clone(),
            amend: None,
            revisions: Vec::new(),
            status: broken_status(&tracker.set, step, now),
        };
        self.start_chore(name, chore, now);
    }
}
