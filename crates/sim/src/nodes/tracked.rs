//! One simulated pod and what is still to be written about it.
use std::collections::VecDeque;

use cluster::resource::PODS;
use cluster::{ApiError, DeleteOptions, Door, ObjectKey, Preconditions};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::patch;
use crate::kubelet::PodState;
use crate::pod::Pod;

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
