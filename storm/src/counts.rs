//! What a run is compared by: what is stored at the end, and how often each object was written.
use crate::faults::Written;
use crate::history::History;
use crate::oracle::side_image;
use crate::story::NAMESPACE;
use serde_json::Value;
use std::collections::BTreeMap;

/// The end state, without what is random.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// How often the spec of each selected pod was written, sorted; names are random.
    pub pod_writes: Vec<i64>,
    /// Images of the pods' sidecars, sorted.
    pub images: Vec<String>,
    /// Number and image of each revision.
    pub revisions: Vec<(i64, String)>,
    pub set_generation: i64,
    /// Matched, updated, ready, updated and ready.
    pub set_status: Vec<i64>,
    /// How many objects of each kind there are; events are advice, and expire.
    pub objects: BTreeMap<String, usize>,
}

impl Stored {
    pub fn of(history: &History) -> Self {
        let last = history.last();
        let of = |plural: &'static str| {
            let found = last.iter().filter(move |((p, _), _)| p == plural);
            found.map(|(_, event)| event.object.bare())
        };
        let generation = |o: &Value| o["metadata"]["generation"].as_i64().unwrap_or_default();
        let selected =
            |p: &Value| p["metadata"]["namespace"] == NAMESPACE && p["metadata"]["labels"]["app"] == "web";
        let pods: Vec<Value> = of("pods").filter(selected).collect();
        let revision = |r: Value| {
            let image = r.pointer("/data/spec/containers/0/image").and_then(Value::as_str);
            (
                r["revision"].as_i64().unwrap_or_default(),
                image.unwrap_or_default().to_owned(),
            )
        };
        let mut out = Self {
            pod_writes: sorted(pods.iter().map(generation)),
            images: sorted(pods.iter().map(|p| side_image(p).to_owned())),
            revisions: sorted(of("controllerrevisions").map(revision)),
            set_generation: of("sidecarsets").map(|s| generation(&s)).sum(),
            ..Self::default()
        };
        for set in of("sidecarsets") {
            let fields = ["matchedPods", "updatedPods", "readyPods", "updatedReadyPods"];
            let numbers = fields.map(|f| set["status"][f].as_i64().unwrap_or_default());
            out.set_status.extend(numbers);
        }
        for (plural, _) in last.keys().filter(|(plural, _)| plural != "events") {
            *out.objects.entry(plural.clone()).or_default() += 1;
        }
        out
    }
}

/// Writes that changed something, by client and kind of write (`Operator PATCH pods`): how many each object got,
/// sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(pub BTreeMap<String, Vec<usize>>);

impl Counts {
    pub fn of(written: &[Written]) -> Self {
        let mut objects: BTreeMap<(String, &str), usize> = BTreeMap::new();
        for write in written.iter().filter(|w| w.changed && !w.is_heartbeat()) {
            let kind = format!("{:?} {} {}", write.client, write.method, write.resource());
            *objects.entry((kind, write.path.as_str())).or_default() += 1;
        }
        let mut out: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for ((kind, _), count) in objects {
            out.entry(kind).or_default().push(count);
        }
        out.values_mut().for_each(|counts| counts.sort_unstable());
        Self(out)
    }

    /// Kinds of writes whose counts differ: here, there.
    pub fn differences<'a>(&'a self, other: &'a Self) -> Vec<(&'a str, &'a [usize], &'a [usize])> {
        let kinds = self.0.keys().chain(other.0.keys());
        let kinds: std::collections::BTreeSet<&String> = kinds.collect();
        let get = |counts: &'a Self, kind: &String| counts.0.get(kind).map(Vec::as_slice).unwrap_or_default();
        kinds
            .into_iter()
            .map(|kind| (kind.as_str(), get(self, kind), get(other, kind)))
            .filter(|(_, here, there)| here != there)
            .collect()
    }
}

fn sorted<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut all: Vec<T> = items.collect();
    all.sort();
    all
}
