//! One simulated pod and what is still to be written about it.
use std::collections::VecDeque;

use cluster::resource::PODS;
use cluster::{ApiError, DeleteOptions, Door, ObjectKey, Preconditions};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::patch;
use crate::kubelet::PodState;
use crate::pod::{Pod, PodStatus};

/// One pod on one of our nodes.
pub(super) struct Tracked {
    pub uid: String,
    pub state: PodState,
    /// Statuses to write, oldest first.
    pub queue: VecDeque<Value>,
    /// What the API server has, as far as we know.
    pub acked: Value,
    pub writing: bool,
    pub remove: bool,
    pub wake: Option<Timestamp>,
}

/// What to send next for a pod.
pub(super) enum Write {
    Status { status: Value, body: Value },
    Remove,
}

impl Tracked {
    pub fn new(pod: &Pod) -> Self {
        Self {
            uid: pod.metadata.uid.clone(),
            state: PodState::default(),
            queue: VecDeque::new(),
            acked: Value::Null,
            writing: false,
            remove: false,
            wake: None,
        }
    }

    pub fn has_work(&self) -> bool {
        !self.queue.is_empty() || self.remove
    }

    /// As a real kubelet does: what it has told and is not there any more, because the server was put back to an earlier
    /// state, is told again, whole.
    pub fn tell_again_if_lost(&mut self, there: &PodStatus) {
        let idle = !self.writing && !self.has_work() && !self.acked.is_null();
        if idle && !shows(there, &self.acked) {
            let told = std::mem::take(&mut self.acked);
            self.queue.push_back(told);
        }
    }

    pub fn next_write(&mut self) -> Option<(String, Write)> {
        if self.writing {
            return None;
        }
        if let Some(status) = self.queue.pop_front() {
            self.writing = true;
            let change = patch::difference(&self.acked, &status);
            let body = json!({"metadata": {"uid": self.uid}, "status": change});
            return Some((self.uid.clone(), Write::Status { status, body }));
        }
        let remove = self.remove;
        self.writing = remove;
        remove.then(|| (self.uid.clone(), Write::Remove))
    }
}

/// Whether the status there is says what was told: others may have added conditions of their own.
fn shows(there: &PodStatus, told: &Value) -> bool {
    let list = |field: &str| told[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let has_condition = |told: &Value| {
        let mut same = there.conditions.iter().filter(|c| told["type"] == *c.kind);
        same.any(|c| told["status"] == *c.status)
    };
    let has_container = |told: &Value| {
        let mut all = there
            .container_statuses
            .iter()
            .chain(&there.init_container_statuses);
        let found = all.find(|c| told["name"] == *c.name);
        found.is_some_and(|c| told["ready"] == c.ready && text(&told["containerID"]) == c.container_id)
    };
    told["phase"] == *there.phase
        && told["observedGeneration"].as_i64().unwrap_or_default() == there.observed_generation
        && list("conditions").iter().all(has_condition)
        && list("containerStatuses").iter().all(has_container)
        && list("initContainerStatuses").iter().all(has_container)
}

/// Deletes what is left of a pod.
pub(super) async fn remove(door: &Door, key: &ObjectKey, uid: String) -> Result<(), ApiError> {
    let options = DeleteOptions {
        preconditions: Preconditions {
            uid: Some(uid),
            resource_version: None,
        },
        grace_period_seconds: Some(0),
        ..DeleteOptions::default()
    };
    door.delete(&PODS, key.namespace(), &key.name, &options)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::Condition;

    #[test]
    fn what_was_told_and_is_not_there_any_more_is_told_again_once() {
        let mut tracked = Tracked::new(&Pod::default());
        let told = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        tracked.acked = told.clone();
        let ready = |status: &str| PodStatus {
            phase: "Running".to_owned(),
            conditions: [("Ready", status), ("Mine", "True")]
                .map(|(kind, status)| Condition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                    ..Condition::default()
                })
                .into(),
            ..PodStatus::default()
        };
        tracked.tell_again_if_lost(&ready("True"));
        assert!(!tracked.has_work());
        tracked.tell_again_if_lost(&ready("False"));
        tracked.tell_again_if_lost(&ready("False"));
        assert_eq!(tracked.queue.len(), 1);
        let sent = tracked.next_write();
        assert!(matches!(sent, Some((_, Write::Status { status, .. })) if status == told));
    }
}
