//! What a kubelet says of a pod.
use serde_json::{Value, json};

/// A patch of status: every container runs what the spec says. A new generation is a new container.
pub fn runs_its_spec(pod: &Value, ready: bool) -> Value {
    let generation = &pod["metadata"]["generation"];
    let statuses: Vec<Value> = pod["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let image = c["image"].as_str().unwrap();
            json!({"name": c["name"], "image": image, "imageID": format!("{image}@sha256:{image}"),
                "containerID": format!("containerd://{}-{image}-{generation}", c["name"]), "ready": ready,
                "started": true, "restartCount": 0, "state": {"running": {}}})
        })
        .collect();
    let status = if ready { "True" } else { "False" };
    json!({"status": {"phase": "Running", "observedGeneration": generation, "containerStatuses": statuses,
        "conditions": [{"type": "Ready", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
}
