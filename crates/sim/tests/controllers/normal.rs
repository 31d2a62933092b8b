//! Objects without what chance and time put into them.

use serde_json::{Map, Value, json};

/// Times, places and identities differ from run to run; a field that is left out is one that nobody wrote.
const DROPPED: [&str; 20] = [
    "managedFields",
    "resourceVersion",
    "selfLink",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "uid",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastProbeTime",
    "lastScheduleTime",
    "lastSuccessfulTime",
    "startTime",
    "completionTime",
    "hostIP",
    "podIP",
    "podIPs",
    "hostIPs",
    "containerStatuses",
    "nominatedNodeName",
];

pub fn of(mut all: Vec<Value>) -> Vec<Value> {
    all.sort_by_key(|object| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        (text("creationTimestamp"), text("name"))
    });
    let names = Names::of(&all);
    let mut out: Vec<Value> = all.iter().map(|object| names.replace(&shown(object))).collect();
    out.sort_by_key(|object| (object["kind"].to_string(), object.to_string()));
    out
}

/// What of an object is compared.
fn shown(object: &Value) -> Value {
    let mut out = json!({"kind": object["kind"], "metadata": object["metadata"], "status": object["status"]});
    let spec = &object["spec"];
    match object["kind"].as_str().unwrap_or_default() {
        "Pod" => {
            // Of a pod's status the nodes are the authors, the same on both sides.
            out["status"] = json!({"phase": object["status"]["phase"]});
            for field in [
                "hostname",
                "subdomain",
                "affinity",
                "tolerations",
                "restartPolicy",
            ] {
                out["spec"][field] = spec[field].clone();
            }
            let images = spec["containers"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|c| c["image"].clone());
            out["spec"]["images"] = images.collect();
            let volumes = spec["volumes"].as_array().into_iter().flatten();
            let claims = volumes
                .filter(|v| v["persistentVolumeClaim"].is_object())
                .cloned();
            out["spec"]["claims"] = claims.collect();
            // The node that a daemon is made for.
            let terms = "/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchFields/0/values";
            if let Some(values) = out.pointer_mut(terms) {
                *values = json!(["NODE"]);
            }
            if let Some(name) = object["metadata"]["generateName"].as_str() {
                out["metadata"]["name"] = json!(format!("{name}*"));
            }
        }
        "ControllerRevision" => out["revision"] = object["revision"].clone(),
        "ReplicaSet" => out["spec"] = json!({"replicas": spec["replicas"], "selector": spec["selector"]}),
        "PersistentVolumeClaim" => {
            out["spec"] = spec.clone();
            // The embedded server has no protection of claims in use.
            out["metadata"]["finalizers"] = Value::Null;
        }
        "Job" => {
            let scheduled = "batch.kubernetes.io/cronjob-scheduled-timestamp";
            if out["metadata"]["annotations"][scheduled].is_string() {
                out["metadata"]["annotations"][scheduled] = json!("TIME");
            }
        }
        _ => {}
    }
    let generation = &object["metadata"]["generation"];
    if let Some(observed) = out.pointer_mut("/status/observedGeneration") {
        *observed = if observed == generation {
            json!("current")
        } else {
            json!("behind")
        };
    }
    if let Some(conditions) = out
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut)
    {
        for condition in conditions.iter_mut() {
            if let Some(observed) = condition.get_mut("observedGeneration") {
                *observed = if observed == generation {
                    json!("current")
                } else {
                    json!("behind")
                };
            }
        }
        conditions.sort_by_key(|c| c["type"].to_string());
    }
    out
}

/// Hashes and uids by the order in which they came.
struct Names(Vec<(String, String)>);

impl Names {
    fn of(all: &[Value]) -> Self {
        let mut names: Vec<(String, String)> = Vec::new();
        let mut hashes = 0;
        for object in all {
            let labels = &object["metadata"]["labels"];
            for label in [
                "pod-template-hash",
                "controller-revision-hash",
                "controller.kubernetes.io/hash",
            ] {
                let Some(hash) = labels[label].as_str() else {
                    continue;
                };
                // StatefulSets write the revision's name here.
                let hash = hash.rsplit('-').next().unwrap_or(hash);
                if names.iter().all(|(known, _)| known != hash) {
                    hashes += 1;
                    names.push((hash.to_owned(), format!("HASH{hashes}")));
                }
            }
            if object["kind"] == "Job"
                && let Some((_, minutes)) = object["metadata"]["name"]
                    .as_str()
                    .and_then(|n| n.rsplit_once('-'))
                && minutes.parse::<u64>().is_ok()
            {
                names.push((minutes.to_owned(), "MINUTES".to_owned()));
            }
            if let Some(uid) = object["metadata"]["uid"].as_str() {
                names.push((
                    uid.to_owned(),
                    format!("UID of {}", object["kind"].as_str().unwrap()),
                ));
            }
        }
        Self(names)
    }

    fn replace(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let mut text = text.clone();
                for (from, to) in &self.0 {
                    text = text.replace(from, to);
                }
                Value::String(text)
            }
            Value::Array(all) => all.iter().map(|v| self.replace(v)).collect(),
            Value::Object(map) => {
                let kept = map.iter().filter(|(key, value)| {
                    !DROPPED.contains(&key.as_str())
                        && !value.is_null()
                        && **value != json!({})
                        && **value != json!([])
                });
                let mut out: Map<String, Value> = kept
                    .map(|(key, value)| (key.clone(), self.replace(value)))
                    .collect();
                if map.get("deletionTimestamp").is_some() {
                    out.insert("deletionTimestamp".to_owned(), json!("set"));
                }
                Value::Object(out)
            }
            other => other.clone(),
        }
    }
}
