//! The door by hand, against any API server:
//!
//! ```text
//! door KUBECONFIG fill NAMESPACE COUNT     creates pods (never scheduled), prints the rate
//! door KUBECONFIG watch NAMESPACE          one cache of pod views: time to sync, memory, bytes per pod
//! door - synth COUNT                       the same, from a service in this process
//! door KUBECONFIG patch NAMESPACE          one merge patch per pod: the door's rate beside a bare client's
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{Full, StreamBody};
use model::pod::PodView;
use serde::Deserialize;
use serde_json::json;
use tidegate_cluster::resource::{NAMESPACES, PODS};
use tidegate_cluster::{Cache, Door, DoorOptions, ObjectKey, PatchKind, WatchScope, Watched, WriteReceipt};

#[derive(Deserialize)]
#[serde(transparent)]
struct Pod(PodView);

impl Watched for Pod {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.0.namespace, &self.0.name)
    }
    fn resource_version(&self) -> &str {
        &self.0.resource_version
    }
    fn uid(&self) -> &str {
        &self.0.uid
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let path = PathBuf::from(&arguments[0]);
    if arguments[1] == "synth" {
        let count: usize = arguments[2].parse().unwrap();
        let service = tower::service_fn(move |_: Request<Full<Bytes>>| async move {
            Ok::<_, std::convert::Infallible>(Response::new(StreamBody::new(everything(count))))
        });
        return watch(&Door::in_process(service), "synth").await;
    }
    let namespace = arguments[2].clone();
    let door = Door::from_kubeconfig(Some(&path), DoorOptions::default())
        .await
        .unwrap();
    match arguments[1].as_str() {
        "fill" => fill(&door, &namespace, arguments[3].parse().unwrap()).await,
        "watch" => watch(&door, &namespace).await,
        "patch" => patch(&door, &path, &namespace).await,
        other => panic!("{other}?"),
    }
}

async fn fill(door: &Door, namespace: &str, count: usize) {
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let _ = door.create(&NAMESPACES, None, &body).await;
    let began = Instant::now();
    let creates = futures::stream::iter(0..count).map(|n| async move {
        door.create(&PODS, Some(namespace), &pod(n)).await.unwrap();
    });
    creates.buffer_unordered(128).count().await;
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!(
        "{count} pods created, {rate:.0}/s, limit at the end {:.0}",
        door.write_limit(&PODS)
    );
}

/// As an ordinary Deployment's pods are: 3 containers, labels, env, volumes, and managedFields from the server.
fn pod(n: usize) -> serde_json::Value {
    let env: Vec<_> = (0..12)
        .map(|e| json!({"name": format!("SETTING_{e}"), "value": format!("value-{e}")}))
        .collect();
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.example.org/team/{name}:1.2.3"), "env": env,
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}})
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("shop-frontend-7d4b9c6f5d-{n:06}"),
        "labels": {"app": "shop", "tier": "frontend", "pod-template-hash": "7d4b9c6f5d"},
        "annotations": {"kruise.io/sidecarset-hash": "{\"mesh\":{\"updateTimestamp\":\"2026-11-21T12:00:00Z\",\"hash\":\"x5f7b9\",\"sidecarSetName\":\"mesh\",\"sidecarList\":[\"mesh\",\"log\"]}}"}},
        "spec": {"containers": [container("main"), container("mesh"), container("log")], "nodeName": format!("node-{}", n % 50),
            "volumes": [{"name": "scratch", "emptyDir": {}}]}})
}

async fn watch(door: &Door, namespace: &str) {
    let (base, began) = (resident(), Instant::now());
    let scope = WatchScope {
        namespace: Some(namespace.to_owned()),
        ..WatchScope::default()
    };
    let cache: Cache<Pod> = Cache::start(door, PODS, scope);
    cache.synced().await;
    let (took, count) = (began.elapsed(), cache.snapshot().len());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = resident();
    println!(
        "{count} pods in {took:?}: {} KiB resident ({} KiB before), {} bytes a pod",
        now / 1024,
        base / 1024,
        (now - base) / count.max(1)
    );
}

/// A watch that begins with so many pods, as a real server would send them, and then is quiet.
fn everything(count: usize) -> impl futures::Stream<Item = Result<Frame<Bytes>, std::convert::Infallible>> {
    let status = |name: &str, n: usize| {
        json!({"name": name, "image": format!("registry.example.org/team/{name}:1.2.3"),
            "imageID": format!("registry.example.org/team/{name}@sha256:{:064x}", name.len()), "ready": true,
            "containerID": format!("containerd://{:064x}", n * 3 + name.len()), "restartCount": 0, "started": true,
            "state": {"running": {"startedAt": "2026-11-21T12:00:00Z"}}})
    };
    let line = move |n: usize| {
        let mut pod = pod(n);
        let metadata = &mut pod["metadata"];
        metadata["namespace"] = json!("synth");
        metadata["uid"] = json!(format!("{n:08x}-0000-4000-8000-000000000000"));
        metadata["resourceVersion"] = json!((n + 1000).to_string());
        metadata["creationTimestamp"] = json!("2026-11-21T12:00:00Z");
        metadata["managedFields"] = json!([{"manager": "x", "fieldsV1": {"f:spec": {"f:containers": {}}}}]);
        pod["status"] = json!({"phase": "Running", "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T12:00:00Z"}],
            "containerStatuses": [status("main", n), status("mesh", n), status("log", n)]});
        format!("{}\n", json!({"type": "ADDED", "object": pod}))
    };
    let end = json!({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": (count + 1000).to_string(),
        "annotations": {"k8s.io/initial-events-end": "true"}}}});
    let lines = (0..count).map(line).chain([format!("{end}\n")]);
    let frames = futures::stream::iter(lines.map(|line| Ok(Frame::data(Bytes::from(line)))));
    frames.chain(futures::stream::pending())
}

async fn patch(door: &Door, path: &std::path::Path, namespace: &str) {
    let scope = WatchScope {
        namespace: Some(namespace.to_owned()),
        ..WatchScope::default()
    };
    let cache: Cache<Pod> = Cache::start(door, PODS, scope);
    cache.synced().await;
    let names: Vec<String> = cache
        .snapshot()
        .iter()
        .map(|(key, _)| key.name.to_string())
        .take(2000)
        .collect();
    let kubeconfig = kube::config::Kubeconfig::read_from(path).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default())
        .await
        .unwrap();
    config.default_retry = false;
    let bare: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(kube::Client::try_from(config).unwrap(), namespace);
    for round in 0..3 {
        let began = Instant::now();
        let patches = futures::stream::iter(&names).map(|name| {
            let (bare, patch) = (
                bare.clone(),
                json!({"metadata": {"annotations": {"bare": format!("{round}")}}}),
            );
            async move {
                bare.patch(name, &Default::default(), &kube::api::Patch::Merge(patch))
                    .await
                    .map(drop)
                    .unwrap()
            }
        });
        patches.buffer_unordered(64).count().await;
        let bare_rate = names.len() as f64 / began.elapsed().as_secs_f64();

        let began = Instant::now();
        let cache = &cache;
        let patches = futures::stream::iter(&names).map(|name| async move {
            let patch = json!({"metadata": {"annotations": {"door": format!("{round}")}}});
            let receipt: WriteReceipt = door
                .patch_as(&PODS, Some(namespace), name, PatchKind::Merge, &patch, None)
                .await
                .unwrap();
            cache.observe(&receipt);
        });
        patches.buffer_unordered(256).count().await;
        let rate = names.len() as f64 / began.elapsed().as_secs_f64();
        let limit = door.write_limit(&PODS);
        println!(
            "bare client, 64 in flight: {bare_rate:.0}/s; door: {rate:.0}/s ({:.2}), limit {limit:.0}",
            rate / bare_rate
        );
    }
}

fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}
