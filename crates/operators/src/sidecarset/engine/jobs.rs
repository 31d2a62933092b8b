//! Pod writes: queued, sent a bounded number at a time, taken back when the spec changes, and answered.
use super::super::apply::{Gate, Landed, send};
use super::super::chore::Ran;
use super::Engine;
use crate::metrics::{Operation, Outcome};
use cluster::{ApiError, ObjectKey};
use model::sidecarset::SidecarSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};
use workload::upgrade::Action;

/// A pod write that waits for its turn.
pub(super) struct Job {
    pub set: String,
    /// The SidecarSet it was decided on.
    pub decided_on: Arc<SidecarSet>,
    pub key: ObjectKey,
    /// What the action is bound to, as in a record of intents.
    pub state: u64,
    pub action: Action,
    /// Where it was decided.
    pub decided: Span,
}

/// What a task came back with.
pub(super) enum Done {
    Pod {
        set: String,
        key: ObjectKey,
        upgrade: bool,
        landed: Landed,
        took: Duration,
    },
    Chore {
        set: String,
        ran: Ran,
        took: Duration,
    },
    /// The record of intents, with its new version.
    Recorded(Result<String, ApiError>),
}

impl Engine {
    /// Takes back what was decided for another generation.
    pub(super) fn drop_jobs(&mut self, set: &str, keep: Option<i64>) {
        let mut all_dropped = Vec::new();
        let recording = &mut self.recording;
        for queue in [&mut self.queue, &mut recording.waiting, &mut recording.batch] {
            let (kept, dropped): (VecDeque<Job>, VecDeque<Job>) = std::mem::take(queue)
                .into_iter()
                .partition(|job| job.set != set || Some(job.decided_on.metadata.generation) == keep);
            *queue = kept;
            all_dropped.extend(dropped);
        }
        for job in all_dropped {
            let upgrade = matches!(job.action, Action::Upgrade(_));
            self.in_queue.remove(&(job.set.clone(), job.key.clone(), upgrade));
            if let Some(tracker) = self.trackers.get_mut(&job.set) {
                if upgrade {
                    tracker.turned_back(&job.key);
                }
                let pod = self.caches.pods.get(&job.key);
                tracker.read(&job.key, pod.as_ref().map(|p| &p.0), &self.caches, &self.options);
            }
        }
    }

    pub(super) fn start_jobs(&mut self) {
        while self.running < self.options.writes_in_flight {
            let Some(job) = self.queue.pop_front() else { return };
            // Jobs go with their tracker.
            let Some(tracker) = self.trackers.get(&job.set) else {
                continue;
            };
            self.running += 1;
            if tracker.sight.is_due() {
                let sight = tracker.sight.clone();
                self.tasks.spawn(async move { sight.renew().await });
            }
            let gate = Gate {
                leader: self.leader.clone(),
                caches: self.caches.clone(),
                sight: tracker.sight.clone(),
                set: job.decided_on,
            };
            let door = self.door.fenced(Arc::new(gate));
            let (pods, done) = (self.caches.pods.clone(), self.done.clone());
            let upgrade = matches!(job.action, Action::Upgrade(_));
            let set = job.set;
            let what = if upgrade { "upgrade" } else { "mark" };
            let span = tracing::info_span!(parent: &job.decided, "write pod", what, pod = %job.key);
            self.tasks.spawn(async move {
                let started = Instant::now();
                let (key, landed) = send(&door, &pods, &job.action).instrument(span).await;
                let _ = done.send(Done::Pod {
                    set,
                    key,
                    upgrade,
                    landed,
                    took: started.elapsed(),
                });
            });
        }
    }

    pub(super) fn answered(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Pod {
                set,
                key,
                upgrade,
                landed,
                took,
            } => {
                self.running -= 1;
                self.in_queue.remove(&(set.clone(), key.clone(), upgrade));
                let operation = if upgrade {
                    Operation::Upgrade
                } else {
                    Operation::Mark
                };
                let outcome = match &landed {
                    Landed::Done => Outcome::Success,
                    Landed::Unwanted | Landed::Gone => Outcome::Dropped,
                    Landed::Unknown(_) => Outcome::Unknown,
                    Landed::Refused(_) => Outcome::Refused,
                };
                let Some(tracker) = self.trackers.get_mut(&set) else {
                    return;
                };
                self.metrics.operated(&set, operation, outcome, took);
                match landed {
                    Landed::Done | Landed::Gone => tracker.arrived(&key, upgrade),
                    Landed::Unknown(error) => {
                        tracing::warn!(%error, "no answer");
                        tracker.arrived(&key, upgrade);
                    }
                    Landed::Unwanted if upgrade => tracker.turned_back(&key),
                    Landed::Unwanted => {}
                    Landed::Refused(error) => {
                        tracing::warn!(%error, sidecarset = set, "refused");
                        let why = refusal(&error);
                        let again = tracker.refused(&key, upgrade, why.clone(), now);
                        let pod = self.caches.pods.get(&key).filter(|_| upgrade && again);
                        let news = pod.and_then(|p| tracker.news.of_refusal(&tracker.set, &p.0, &why));
                        news.into_iter().for_each(|event| self.recorder.record(event));
                    }
                }
                let pod = self.caches.pods.get(&key);
                tracker.read(&key, pod.as_ref().map(|p| &p.0), &self.caches, &self.options);
                self.dirty.insert(set);
            }
            Done::Recorded(result) => self.recorded(result),
            Done::Chore { set, ran, took } => self.chore_ran(set, ran, took, now),
        }
    }
}

/// What status says of a refusal: short, and without what only a log should hold.
pub(super) fn refusal(error: &ApiError) -> String {
    match error.code {
        409 => "changed meanwhile".to_owned(),
        0 => error.reason.clone(),
        code => {
            let message: String = error.message.chars().take(160).collect();
            format!("{code} {message}")
        }
    }
}
