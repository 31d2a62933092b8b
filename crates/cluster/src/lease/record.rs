//! The Lease object, read and rewritten.
use std::time::Duration;

use model::time::{Timestamp, rfc3339_micros};
use serde_json::{Value, json};

use super::LeaderOptions;
use crate::resource::LEASES;
use crate::{ApiError, Door};

#[derive(Clone, Debug)]
pub(super) struct Record(Value);

impl Record {
    pub(super) async fn read(door: &Door, namespace: &str, name: &str) -> Result<Option<Record>, ApiError> {
        match door.get(&LEASES, Some(namespace), name).await {
            Ok(body) => Ok(Some(Record(body))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn of(body: Value) -> Record {
        Record(body)
    }

    /// A lease where there is none.
    pub(super) fn first(options: &LeaderOptions, now: Timestamp, epoch: u64) -> Record {
        let mut record = Record(json!({
            "apiVersion": LEASES.api_version(), "kind": LEASES.kind,
            "metadata": {"namespace": options.namespace, "name": options.name},
        }));
        record.hold(options, now, epoch);
        record
    }

    /// The lease in our hands: always a new epoch, also where the last holder was ourselves in an earlier term.
    pub(super) fn taken(&self, options: &LeaderOptions, now: Timestamp) -> Record {
        let mut record = self.clone();
        record.hold(options, now, self.transitions() + 1);
        record
    }

    pub(super) fn renewed(&self, now: Timestamp) -> Record {
        let mut record = self.clone();
        record.0["spec"]["renewTime"] = json!(rfc3339_micros(now));
        record
    }

    /// In nobody's hands. The epoch stays: it only ever grows.
    pub(super) fn released(&self) -> Value {
        let mut body = self.0.clone();
        body["spec"]["holderIdentity"] = json!("");
        body["spec"]["leaseDurationSeconds"] = json!(1);
        body
    }

    pub(super) fn body(&self) -> &Value {
        &self.0
    }

    pub(super) fn version(&self) -> &str {
        self.0["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    pub(super) fn holder(&self) -> &str {
        self.0["spec"]["holderIdentity"].as_str().unwrap_or_default()
    }

    pub(super) fn transitions(&self) -> u64 {
        self.0["spec"]["leaseTransitions"].as_u64().unwrap_or_default()
    }

    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(
            self.0["spec"]["leaseDurationSeconds"]
                .as_u64()
                .unwrap_or_default(),
        )
    }

    fn hold(&mut self, options: &LeaderOptions, now: Timestamp, transitions: u64) {
        if !self.0["spec"].is_object() {
            self.0["spec"] = json!({});
        }
        let spec = &mut self.0["spec"];
        spec["holderIdentity"] = json!(options.identity);
        spec["leaseDurationSeconds"] = json!(options.duration.as_secs());
        spec["acquireTime"] = json!(rfc3339_micros(now));
        spec["renewTime"] = json!(rfc3339_micros(now));
        spec["leaseTransitions"] = json!(transitions);
    }
}
