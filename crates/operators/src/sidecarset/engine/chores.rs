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
        let too_soon = tracker
            .status_not_before
            .filter(|at| *at > now && chore.revisions.is_empty() && chore.amend.is_none());
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
        if let Err(error) = ran.result {
            tracing::warn!(%error, sidecarset = set, "status not written");
            tracker.written = None;
            tracker.status_not_before = Some(later(now, 2));
        }
        self.dirty.insert(set);
    }
}
