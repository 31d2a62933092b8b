//! What belongs to a SidecarSet itself, written one thing at a time.
use super::super::chore::{Chore, Ran};
use super::super::news::amended;
use super::Engine;
use super::jobs::{Done, refusal};
use super::later;
use crate::metrics::{Operation, Outcome};
use cluster::ObjectKey;
use model::time::Timestamp;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument as _;

/// Seconds until a chore that failed, or that another was quicker with, is tried again.
const AFTER_FAILURE: i64 = 2;

impl Engine {
    /// One chore at a time, and status not more often than it can be read.
    pub(super) fn start_chore(&mut self, name: &str, mut chore: Chore, now: Timestamp) {
        let Some(tracker) = self.trackers.get_mut(name) else {
            return;
        };
        if chore.status == tracker.written && !self.caches.sets.is_current_for(&ObjectKey::cluster(name)) {
            chore.status = None;
        }
        if chore.status.is_none() && chore.revisions.is_empty() && chore.amend.is_none() {
            return;
        }
        let is_status = chore.revisions.is_empty() && chore.amend.is_none();
        let too_soon = match is_status {
            true => tracker.status_not_before.max(tracker.chore_not_before),
            false => tracker.chore_not_before,
        };
        let too_soon = too_soon.filter(|at| *at > now);
        if tracker.chore_runs {
            return;
        }
        if let Some(at) = too_soon {
            let wake = self.wakes.get(name).copied().unwrap_or(Timestamp::MAX).min(at);
            self.wakes.insert(name.to_owned(), wake);
            return;
        }
        tracker.chore_runs = true;
        tracker.status_not_before = now.checked_add(self.options.status_every).ok();
        if chore.status.is_some() {
            tracker.written.clone_from(&chore.status);
        }
        let door = match &self.leader {
            Some(leader) => self.door.fenced(leader.clone()),
            None => self.door.clone(),
        };
        let (caches, done, set) = (self.caches.clone(), self.done.clone(), name.to_owned());
        let span = tracing::info_span!("write status", sidecarset = name);
        self.tasks.spawn(async move {
            let started = Instant::now();
            let ran = chore.run(&door, &caches).instrument(span).await;
            let took = started.elapsed();
            let _ = done.send(Done::Chore { set, ran, took });
        });
    }

    pub(super) fn chore_ran(&mut self, set: String, ran: Ran, took: Duration, now: Timestamp) {
        let Some(tracker) = self.trackers.get_mut(&set) else {
            return;
        };
        let errors = [
            ran.result.as_ref().err(),
            ran.amended.as_ref().and_then(|a| a.as_ref().err()),
        ];
        let outcome = match errors.into_iter().flatten().next() {
            None => Outcome::Success,
            Some(error) if error.is_unknown() => Outcome::Unknown,
            Some(_) => Outcome::Refused,
        };
        self.metrics.operated(&set, Operation::Status, outcome, took);
        tracker.chore_runs = false;
        match ran.amended {
            None => {}
            Some(Ok(changed)) => {
                tracker.amendment.tried(None, now);
                if changed {
                    self.recorder.record(amended(&tracker.set));
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, sidecarset = set, "defaults and hashes were not written");
                tracker.amendment.tried(Some(refusal(&error)), now);
            }
        }
        match ran.result {
            Ok(false) => {}
            // What overtook us may take a while to be seen: until then the same would be decided.
            Ok(true) => tracker.chore_not_before = Some(later(now, AFTER_FAILURE)),
            Err(error) => {
                tracing::warn!(%error, sidecarset = set, "status not written");
                tracker.written = None;
                tracker.chore_not_before = Some(later(now, AFTER_FAILURE));
            }
        }
        self.dirty.insert(set);
    }
}
