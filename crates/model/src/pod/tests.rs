#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use serde_json::json;

fn view(value: serde_json::Value) -> PodView {
    serde_json::from_slice(&serde_json::to_vec(&value).unwrap()).unwrap()
}

fn typical() -> serde_json::Value {
    let hash = format!(
        r#"{{"mesh":{{"updateTimestamp":"2026-11-21T12:00:00Z","hash":"{}","sidecarSetName":"mesh","sidecarList":["mesh"]}}}}"#,
        "w".repeat(64)
    );
    let status = |name: &str| {
        json!({"name": name, "image": "registry.example/team/image:v1", "ready": true, "started": true,
            "restartCount": 1, "imageID": format!("registry.example/team/image@sha256:{}", "a".repeat(64)),
            "containerID": format!("containerd://{}", "b".repeat(64)), "state": {"running": {"startedAt": "2026-11-21T12:00:00Z"}}})
    };
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "ns", "name": "web-7d4b9c6f5-abcde", "uid": "6f0f2b1e-7d3b-4a52-8d8e-1d0f3a3d9c11",
            "resourceVersion": "12345", "generation": 2, "creationTimestamp": "2026-11-21T12:00:00Z",
            "labels": {"pod-template-hash": "7d4b9c6f5", "app": "web"},
            "annotations": {"kruise.io/sidecarset-hash": hash, "kruise.io/sidecarset-hash-without-image": hash,
                "kruise.io/sidecarset-injected-list": "mesh", "other.example/huge": "x".repeat(5000)},
            "managedFields": [{"manager": "kubelet"}]},
        "spec": {"nodeName": "node-1", "restartPolicy": "Never",
            "containers": [{"name": "app", "image": "app:v1", "env": []}, {"name": "mesh", "image": "mesh:v2"}],
            "initContainers": [{"name": "native", "image": "n:v1", "restartPolicy": "Always"}]},
        "status": {"phase": "Running", "observedGeneration": 2,
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T12:00:05Z"},
                {"type": "SidecarSetUpgradable", "status": "False", "message": "{\"mesh\":false}"}],
            "containerStatuses": [status("app"), status("mesh")]}
    })
}

#[test]
fn a_pod_is_projected_and_the_rest_is_skipped() {
    let pod = view(typical());
    assert_eq!((&*pod.namespace, &*pod.name), ("ns", "web-7d4b9c6f5-abcde"));
    assert_eq!((pod.generation, pod.observed_generation), (2, 2));
    assert_eq!(pod.labels.get("app"), Some("web"));
    assert_eq!(pod.annotations.len(), 3);
    assert_eq!(
        pod.annotations.get("kruise.io/sidecarset-injected-list"),
        Some("mesh")
    );
    assert_eq!(
        (pod.phase, pod.restart_policy),
        (PodPhase::Running, RestartPolicy::Never)
    );
    assert!(pod.is_ready() && pod.is_active());
    assert_eq!(&*pod.upgradable.as_ref().unwrap().message, "{\"mesh\":false}");
    assert_eq!(&*pod.container("mesh").unwrap().image, "mesh:v2");
    assert!(pod.init_container("native").unwrap().restart_always);
    assert_eq!(pod.container_status("mesh").unwrap().restart_count, 1);
}

#[test]
fn a_typical_pod_takes_less_than_one_and_a_half_kibibytes() {
    let pod = view(typical());
    let bytes = size_of::<PodView>() + pod.owned_bytes();
    assert!(bytes <= 1536, "{bytes}");
}

#[test]
fn pods_of_one_template_share_their_containers_and_labels_and_what_is_ours_is_their_own() {
    let mut other = typical();
    other["metadata"]["name"] = json!("web-7d4b9c6f5-fghij");
    let (a, b) = (view(typical()), view(other.clone()));
    assert!(Arc::ptr_eq(&a.containers, &b.containers));
    assert!(Arc::ptr_eq(&a.labels.0, &b.labels.0));
    assert!(Arc::ptr_eq(&a.annotations.0, &b.annotations.0));
    other["spec"]["containers"][0]["image"] = json!("app:v2");
    other["metadata"]["annotations"]["tidegate.dev/own"] = json!("1");
    let c = view(other);
    assert_eq!(&*c.container("app").unwrap().image, "app:v2");
    assert_eq!(&*a.container("app").unwrap().image, "app:v1");
    assert!(!Arc::ptr_eq(&a.annotations.0, &c.annotations.0));
    assert_eq!(c.annotations.get("tidegate.dev/own"), Some("1"));
}

#[test]
fn null_counts_as_absent_everywhere() {
    let pod = view(
        json!({"metadata": {"name": null, "labels": null, "annotations": {"kruise.io/x": null}},
        "spec": {"nodeName": null, "containers": null, "restartPolicy": null},
        "status": {"phase": null, "conditions": null, "containerStatuses": [{"name": "a", "state": null, "started": null}]}}),
    );
    assert_eq!(pod.annotations.get("kruise.io/x"), Some(""));
    assert_eq!(pod.phase, PodPhase::Pending);
    assert_eq!(
        view(json!({"metadata": null, "spec": null, "status": null})),
        view(json!({}))
    );
}

#[test]
fn a_waiting_container_keeps_its_reason_and_a_cut_message() {
    let pod = view(json!({"status": {"containerStatuses": [{"name": "a", "state":
        {"waiting": {"reason": "ErrImagePull", "message": "é".repeat(200)}}}]}}));
    let waiting = pod.container_status("a").unwrap().waiting.as_ref().unwrap();
    assert_eq!((&*waiting.reason, waiting.message.len()), ("ErrImagePull", 256));
}

#[test]
fn a_malformed_pod_is_an_error_not_a_panic() {
    for bad in [
        r#"{"metadata": 3}"#,
        r#"{"metadata":{"labels":[]}}"#,
        r#"{"metadata":{"creationTimestamp":"x"}}"#,
    ] {
        assert!(serde_json::from_str::<PodView>(bad).is_err(), "{bad}");
    }
}
