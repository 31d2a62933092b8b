//! Upgrades on their way through the record of intents: a batch is recorded while the one before is being sent.
use super::super::intents::{BATCH, Intents, Ledger};
use super::Engine;
use super::jobs::{Done, Job};
use cluster::{ApiError, ObjectKey};
use std::collections::{BTreeMap, VecDeque};

#[derive(Default)]
pub(super) struct Recording {
    /// None where there is only ever one operator.
    pub ledger: Option<Ledger>,
    /// Not recorded yet.
    pub waiting: VecDeque<Job>,
    /// Being recorded.
    pub batch: VecDeque<Job>,
    runs: bool,
    /// Recorded and, as far as we have seen, not over: these stay in the record.
    sent: BTreeMap<(String, ObjectKey), u64>,
}

impl Recording {
    /// Decided, and not recorded yet.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.batch.len()
    }
}

impl Engine {
    pub(super) fn start_recording(&mut self) {
        let Some(ledger) = self.recording.ledger.clone() else {
            return;
        };
        let enough = self.queue.len() >= self.options.writes_in_flight;
        if self.recording.runs || enough || self.recording.waiting.is_empty() {
            return;
        }
        let mut intents = self.outstanding();
        let waiting = &mut self.recording.waiting;
        while self.recording.batch.len() < BATCH {
            let Some(job) = waiting.pop_front() else { break };
            if !intents.add_if_it_fits(&job.set, &job.key, job.state) {
                // There is room again when what was sent is seen.
                waiting.push_front(job);
                break;
            }
            self.recording.batch.push_back(job);
        }
        if self.recording.batch.is_empty() {
            return;
        }
        self.recording.runs = true;
        let done = self.done.clone();
        self.tasks.spawn(async move {
            let result = ledger.record(&intents).await;
            let _ = done.send(Done::Recorded(result));
        });
    }

    /// Everything that may still happen to pods, by us or by who led before us.
    fn outstanding(&mut self) -> Intents {
        let trackers = &self.trackers;
        let alive = |set: &String, key: &ObjectKey| trackers.get(set).is_some_and(|t| t.has_flight(key));
        self.recording.sent.retain(|(set, key), _| alive(set, key));
        let mut intents = Intents::default();
        for (name, tracker) in trackers {
            for (key, state) in &tracker.claims {
                intents.add(name, key, *state);
            }
        }
        for ((set, key), state) in &self.recording.sent {
            intents.add(set, key, *state);
        }
        intents
    }

    pub(super) fn recorded(&mut self, result: Result<String, ApiError>) {
        self.recording.runs = false;
        let batch = std::mem::take(&mut self.recording.batch);
        match (result, &mut self.recording.ledger) {
            (Ok(version), Some(ledger)) => {
                ledger.is_now(version);
                for job in batch {
                    let at = (job.set.clone(), job.key.clone());
                    self.recording.sent.insert(at, job.state);
                    self.queue.push_back(job);
                }
            }
            (result, _) => {
                if let Err(error) = result {
                    tracing::warn!(%error, "intents were not recorded: no pod is upgraded meanwhile");
                }
                for job in batch.into_iter().rev() {
                    self.recording.waiting.push_front(job);
                }
            }
        }
    }
}
