//! What a leader is about to do to pods, recorded before it is done.
//!
//! Pods are not ours: a leader that was stopped between its last check and its send may change one long after
//! another leads. So the pods of each batch of upgrades are written down first, in a Lease of our own that carries
//! the epoch and is replaced only at the version last read. Who leads next takes the record over, which refuses all
//! later entries of the former leader, and counts what is in it as disrupted until each pod shows that the
//! recorded write cannot come any more.
use cluster::resource::LEASES;
use cluster::{ApiError, Door, ObjectKey, PatchKind, WriteReceipt};
use model::pod::PodView;
use model::sidecarset::keys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const EPOCH: &str = "tidegate.dev/epoch";
const INTENTS: &str = "tidegate.dev/intents";
/// Pods recorded with one write.
pub(super) const BATCH: usize = 256;
/// The record's text, at most: the API server takes 256 KiB of annotations.
const LARGEST: usize = 192 << 10;
/// What a pod's entry takes beside its names.
const ENTRY: usize = 24;
/// After a write of the record that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// By SidecarSet and pod: the state that the recorded write is bound to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Intents {
    pods: BTreeMap<String, BTreeMap<ObjectKey, u64>>,
    /// Of the text, at least.
    bytes: usize,
}

impl Intents {
    pub fn add(&mut self, set: &str, pod: &ObjectKey, state: u64) {
        self.bytes += self.cost(set, pod);
        let pods = self.pods.entry(set.to_owned()).or_default();
        pods.insert(pod.clone(), state);
    }

    /// As [`Intents::add`], unless the record would grow too large.
    pub fn add_if_it_fits(&mut self, set: &str, pod: &ObjectKey, state: u64) -> bool {
        let fits = match self.cost(set, pod) {
            0 => true,
            cost => self.bytes + cost <= LARGEST,
        };
        if fits {
            self.add(set, pod, state);
        }
        fits
    }

    /// By how much an entry makes the text longer.
    fn cost(&self, set: &str, pod: &ObjectKey) -> usize {
        let entry = pod.namespace.len() + pod.name.len() + ENTRY;
        match self.pods.get(set) {
            None => set.len() + ENTRY + entry,
            Some(pods) if pods.contains_key(pod) => 0,
            Some(_) => entry,
        }
    }

    pub fn of(&self, set: &str) -> BTreeMap<ObjectKey, u64> {
        self.pods.get(set).cloned().unwrap_or_default()
    }

    fn to_text(&self) -> String {
        let mut all = serde_json::Map::new();
        for (set, pods) in &self.pods {
            let unit = |key: &ObjectKey| format!("{}/{}", key.namespace, key.name);
            let pods = pods.iter().map(|(k, s)| (unit(k), json!(format!("{s:016x}"))));
            all.insert(set.clone(), Value::Object(pods.collect()));
        }
        Value::Object(all).to_string()
    }

    /// What cannot be read was not written by us.
    fn from_text(text: &str) -> Self {
        let all: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(text).unwrap_or_default();
        let mut intents = Self::default();
        for (set, pods) in &all {
            for (unit, state) in pods {
                if let (Some((namespace, name)), Ok(state)) =
                    (unit.split_once('/'), u64::from_str_radix(state, 16))
                {
                    intents.add(set, &ObjectKey::new(namespace, name), state);
                }
            }
        }
        intents
    }
}

/// What an upgrade of this pod is bound to: once this differs, an upgrade sent before is refused. FNV-1a.
pub(super) fn state_of(pod: &PodView) -> u64 {
    let hash = pod.annotations.get(keys::HASH).unwrap_or_default();
    let bytes = pod.uid.bytes().chain([0]).chain(hash.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The record in a leader's hands.
#[derive(Clone)]
pub(super) struct Ledger {
    door: Door,
    namespace: String,
    name: String,
    epoch: u64,
    version: String,
}

impl Ledger {
    /// Puts our epoch into the record and reads what is in it. Tries until it can.
    pub async fn take_over(door: Door, namespace: &str, lease: &str, epoch: u64) -> (Ledger, Intents) {
        let mut ledger = Ledger {
            door,
            namespace: namespace.to_owned(),
            name: format!("{lease}-intents"),
            epoch,
            version: String::new(),
        };
        loop {
            match ledger.try_take_over().await {
                Ok(intents) => return (ledger, intents),
                Err(error) => tracing::warn!(%error, "the record of intents was not taken over"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_take_over(&mut self) -> Result<Intents, ApiError> {
        let namespace = Some(self.namespace.as_str());
        let epoch = self.epoch.to_string();
        let (answer, intents) = match self.door.get(&LEASES, namespace, &self.name).await {
            Err(error) if error.is_not_found() => {
                let body = json!({"apiVersion": LEASES.api_version(), "kind": LEASES.kind,
                    "metadata": {"name": self.name, "namespace": self.namespace, "annotations": {EPOCH: epoch}}});
                (
                    self.door.create(&LEASES, namespace, &body).await?,
                    Intents::default(),
                )
            }
            Err(error) => return Err(error),
            Ok(mut found) => {
                let text = found["metadata"]["annotations"][INTENTS]
                    .as_str()
                    .unwrap_or_default();
                let intents = Intents::from_text(text);
                found["metadata"]["annotations"][EPOCH] = json!(epoch);
                let written = self
                    .door
                    .replace(&LEASES, namespace, &self.name, &found, None)
                    .await?;
                (written, intents)
            }
        };
        self.version = version_of(&answer);
        Ok(intents)
    }

    /// Writes the record; the version it has then. After a failure nothing of it may be acted upon.
    pub async fn record(mut self, intents: &Intents) -> Result<String, ApiError> {
        let written = self.write(intents).await;
        let error = match written {
            Ok(version) => return Ok(version),
            Err(error) => error,
        };
        tokio::time::sleep(PAUSE).await;
        // Somebody touched it, or an answer was lost: as long as it is our epoch it is ours. Of an earlier one, or not
        // there at all, it is after a server was put back to what it was before our term: it is ours to take again.
        let found = match self.door.get(&LEASES, Some(&self.namespace), &self.name).await {
            Err(error) if error.is_not_found() => return self.try_take_again(intents).await,
            found => found?,
        };
        let epoch = found["metadata"]["annotations"][EPOCH].as_str();
        match epoch.and_then(|epoch| epoch.parse::<u64>().ok()) {
            Some(epoch) if epoch > self.epoch => return Err(error),
            Some(epoch) if epoch == self.epoch => {}
            _ => return self.try_take_again(intents).await,
        }
        self.version = version_of(&found);
        self.write(intents).await
    }

    /// What it holds from before our term was counted when that began.
    async fn try_take_again(&mut self, intents: &Intents) -> Result<String, ApiError> {
        self.try_take_over().await?;
        self.write(intents).await
    }

    async fn write(&self, intents: &Intents) -> Result<String, ApiError> {
        let patch = json!({"metadata": {"resourceVersion": self.version,
            "annotations": {EPOCH: self.epoch.to_string(), INTENTS: intents.to_text()}}});
        let namespace = Some(self.namespace.as_str());
        let receipt: WriteReceipt = self
            .door
            .patch_as(&LEASES, namespace, &self.name, PatchKind::Merge, &patch, None)
            .await?;
        Ok(receipt.metadata.resource_version)
    }

    pub fn is_now(&mut self, version: String) {
        self.version = version;
    }
}

fn version_of(lease: &Value) -> String {
    let version = lease["metadata"]["resourceVersion"].as_str();
    version.unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_record_stays_within_what_the_api_server_takes_whatever_pods_are_called() {
        let mut intents = Intents::default();
        let long = "n".repeat(253);
        let pod = |n: usize| ObjectKey::new(&long[..63], format!("{}{n:04}", &long[..249]));
        let set = &long[..63];
        let fitted = (0..4096)
            .take_while(|n| intents.add_if_it_fits(set, &pod(*n), u64::MAX))
            .count();
        assert!(fitted > BATCH, "{fitted}");
        assert!(intents.to_text().len() <= LARGEST, "{}", intents.to_text().len());
        assert!(
            intents.add_if_it_fits(set, &pod(0), 1),
            "what is in it stays in it"
        );
        assert!(!intents.add_if_it_fits("another", &pod(0), 1));
    }

    #[test]
    fn intents_survive_the_wire_and_nonsense_is_none() {
        let mut intents = Intents::default();
        intents.add("log", &ObjectKey::new("apps", "a"), 7);
        intents.add("log", &ObjectKey::new("apps", "b"), u64::MAX);
        assert_eq!(Intents::from_text(&intents.to_text()), intents);
        for nonsense in ["", "[]", "{\"log\":{\"a\":\"7\"}}", "{\"log\":{\"a/b\":\"x\"}}"] {
            assert!(Intents::from_text(nonsense).of("log").is_empty(), "{nonsense}");
        }
    }
}
