//! Time of one pod admission with two sidecars, from request bytes to answer bytes, on one thread.
//!
//! `cargo run --release -p tidegate-workload --example admission_cost`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_workload::sidecarset::prepare::PreparedSidecarSet;
use tidegate_workload::sidecarset::review::{PodWorld, review_pod};

const ROUNDS: u32 = 20_000;

fn main() {
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.example/{name}:v1"), "imagePullPolicy": "IfNotPresent",
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "ports": [{"containerPort": 15001, "protocol": "TCP"}], "volumeMounts": [{"name": "logs", "mountPath": "/logs"}],
            "livenessProbe": {"httpGet": {"path": "/", "port": 15001, "scheme": "HTTP"}, "periodSeconds": 10},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"})
    };
    let set = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": "web"}},
            "containers": [container(name)], "volumes": [{"name": "logs", "emptyDir": {}}]}})
    };
    let sets: Vec<_> = ["mesh", "log"]
        .iter()
        .map(|n| {
            Arc::new(PreparedSidecarSet::new(
                &serde_json::from_value(set(n)).unwrap(),
                &[],
            ))
        })
        .collect();
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"generateName": "web-7d4b9c6f5-", "namespace": "ns",
            "labels": {"app": "web", "pod-template-hash": "7d4b9c6f5"},
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"app\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}]},
        "spec": {"containers": [container("app")], "restartPolicy": "Always", "serviceAccountName": "default",
            "volumes": [{"name": "kube-api-access", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}]}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}});
    let body = serde_json::to_vec(
        &json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
        "uid": "6f0f2b1e-7d3b-4a52-8d8e-1d0f3a3d9c11", "operation": "CREATE", "namespace": "ns",
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "object": pod, "oldObject": null}}),
    )
    .unwrap();
    let labels = Arc::new(BTreeMap::new());
    let world = PodWorld {
        sets: &sets,
        namespace_labels: &|_| Some(labels.clone()),
        excluded_namespaces: &BTreeSet::new(),
        asked_for: &[],
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
        draw: 1,
    };
    let answer = review_pod(&body, &world);
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(review_pod(std::hint::black_box(&body), &world));
    }
    let each = start.elapsed() / ROUNDS;
    println!(
        "{each:?} for each pod: {} bytes in, {} bytes out",
        body.len(),
        answer.body.len()
    );
}
