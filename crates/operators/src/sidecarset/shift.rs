//! Who runs SidecarSets here: we, or a Kruise that has not been taken over. While it is Kruise we stand by: nothing
//! of ours is asked about pods, and nobody of ours leads.
use super::views::Stored;
use crate::Options;
use cluster::resource::{CONFIG_MAPS, MUTATING_WEBHOOK_CONFIGURATIONS};
use cluster::{ApiError, Cache, Door, ObjectKey, WatchScope};
use serde_json::{Value, json};
use std::sync::Arc;
use workload::takeover::{self, Actor, Record, entries};

/// Clones share it.
#[derive(Clone)]
pub(super) struct Shift {
    record: Cache<Stored>,
    kruise: Cache<Stored>,
    namespace: Arc<str>,
}

impl Shift {
    pub fn start(door: &Door, options: &Options) -> Self {
        let named = |namespace: Option<String>, name: &str| WatchScope {
            namespace,
            label_selector: None,
            field_selector: Some(format!("metadata.name={name}")),
        };
        let namespace = Some(options.namespace.clone());
        Self {
            record: Cache::start(door, CONFIG_MAPS, named(namespace, takeover::RECORD)),
            kruise: Cache::start(
                door,
                MUTATING_WEBHOOK_CONFIGURATIONS,
                named(None, entries::MUTATING),
            ),
            namespace: options.namespace.as_str().into(),
        }
    }

    pub async fn synced(&self) {
        tokio::join!(self.record.synced(), self.kruise.synced());
    }

    pub fn actor(&self) -> Actor {
        let record = self
            .record
            .get(&ObjectKey::new(&self.namespace, takeover::RECORD));
        actor(
            record.as_ref().map(|r| &r.body),
            self.kruise().as_ref().map(|k| &k.body),
        )
    }

    /// A take-over or a give-back may come: the API server should be able to ask whether we are there.
    pub fn may_come(&self) -> bool {
        self.kruise().is_some() || !self.record.snapshot().is_empty()
    }

    pub fn changes(&self) -> (cluster::Changes, cluster::Changes) {
        (self.record.changes(), self.kruise.changes())
    }

    /// Waits until somebody else, or we, are to act.
    pub async fn becomes(&self, wanted: Actor) {
        self.synced().await;
        let (mut record, mut kruise) = self.changes();
        loop {
            record.drain();
            kruise.drain();
            if self.actor() == wanted {
                return;
            }
            tokio::select! {
                _ = record.next() => {}
                _ = kruise.next() => {}
            }
        }
    }

    fn kruise(&self) -> Option<Arc<Stored>> {
        self.kruise.get(&ObjectKey::cluster(entries::MUTATING))
    }
}

/// As [`Shift::actor`], read once: before there are caches.
pub(super) async fn actor_now(door: &Door, options: &Options) -> Result<Actor, ApiError> {
    let found = |read: Result<Value, ApiError>| match read {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    };
    let record = found(
        door.get(&CONFIG_MAPS, Some(&options.namespace), takeover::RECORD)
            .await,
    )?;
    let kruise = found(
        door.get(&MUTATING_WEBHOOK_CONFIGURATIONS, None, entries::MUTATING)
            .await,
    )?;
    Ok(actor(record.as_ref(), kruise.as_ref()))
}

/// The entry by which the API server can be heard to reach us, and in which state of the configuration.
pub(super) fn probe_entry(options: &Options, client_config: Value) -> Value {
    json!({
        "name": "probe.take-over.tidegate.dev",
        "admissionReviewVersions": ["v1"],
        "clientConfig": client_config,
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": options.namespace}},
        "matchConditions": [{"name": "the-probe",
            "expression": format!("object.metadata.name == '{}'", takeover::PROBE)}],
        "rules": [{"apiGroups": ["coordination.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["leases"], "scope": "Namespaced"}],
        "sideEffects": "None",
        "timeoutSeconds": 5,
    })
}

pub(super) fn probe_path(actor: Actor) -> &'static str {
    match actor {
        Actor::Kruise => takeover::STANDING_BY_PATH,
        Actor::Tidegate => takeover::ADMITTING_PATH,
    }
}

/// What the probe is told on this path; `None` where it is not the probe's.
pub(super) fn answer_probe(path: &str, body: &[u8]) -> Option<Vec<u8>> {
    let message = match path {
        takeover::STANDING_BY_PATH => takeover::STANDING_BY,
        takeover::ADMITTING_PATH => takeover::ADMITTING,
        _ => return None,
    };
    let review: Value = serde_json::from_slice(body).ok()?;
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": review["request"]["uid"], "allowed": false, "status": {"code": 403, "message": message}}});
    Some(answer.to_string().into_bytes())
}

/// The record where there is one; else whoever the API server asks. A record nobody can read is Kruise's: two who
/// act are worse than none.
fn actor(record: Option<&Value>, kruise: Option<&Value>) -> Actor {
    match record.map(Record::read) {
        // Given back to a Kruise that was uninstalled since: nobody else is left.
        Some(Ok(record)) if record.before.is_none() && kruise.is_none() => Actor::Tidegate,
        Some(Ok(record)) => record.actor,
        Some(Err(error)) => {
            tracing::warn!(error, configmap = takeover::RECORD, "cannot be read: standing by");
            Actor::Kruise
        }
        None if kruise.is_some_and(entries::serves_sidecarsets) => Actor::Kruise,
        None => Actor::Tidegate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_says_who_acts_and_without_one_whom_the_api_server_asks() {
        let record = |actor: &str| json!({"data": {"sidecarsets": actor}});
        let kruise = json!({"webhooks": [{"clientConfig": {"service": {"path": "/mutate-pod"}}}]});
        assert_eq!(actor(None, None), Actor::Tidegate);
        assert_eq!(actor(None, Some(&kruise)), Actor::Kruise);
        assert_eq!(actor(None, Some(&json!({"webhooks": []}))), Actor::Tidegate);
        assert_eq!(actor(Some(&record("tidegate")), Some(&kruise)), Actor::Tidegate);
        assert_eq!(actor(Some(&record("kruise")), Some(&json!({}))), Actor::Kruise);
        assert_eq!(actor(Some(&record("kruise")), None), Actor::Tidegate);
        assert_eq!(actor(Some(&record("whoever")), None), Actor::Kruise);
    }
}
