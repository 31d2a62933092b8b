//! An embedded server with very many pods, as a process of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use cluster::resource::{NAMESPACES, PODS, SERVICE_ACCOUNTS};
use cluster::{Door, PatchKind, WriteReceipt};
use embedded::{ApiServer, Config, UserInfo, WebhookHandler};
use futures::{StreamExt as _, TryStreamExt as _};
use model::sidecarset::keys;
use serde_json::{Value, json};

use crate::fleet::{NAMESPACE, pod};
use crate::{BenchError, api, io};

#[derive(Debug, Args)]
pub struct CrowdArgs {
    #[arg(long)]
    kubeconfig: PathBuf,
    #[arg(long)]
    pods: usize,
}

impl CrowdArgs {
    /// Serves; once a file beside the kubeconfig says so, makes the pods, injected by whoever registered for it, and
    /// ready.
    pub async fn run(&self) -> Result<(), BenchError> {
        let server = ApiServer::start(Config::default())
            .await
            .map_err(|e| BenchError::Setup(e.to_string()))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(io("listening"))?;
        let url = format!("https://{}", listener.local_addr().map_err(io("listening"))?);
        let text = server.kubeconfig(&url, "kubernetes-admin", &["system:masters"]);
        std::fs::write(&self.kubeconfig, text).map_err(io("writing the kubeconfig"))?;
        let serving = server.clone();
        tokio::spawn(async move { serving.serve(listener, std::future::pending()).await });
        println!("serving {url}");
        let go = self.kubeconfig.with_extension("go");
        while !go.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let began = Instant::now();
        self.fill(&server).await?;
        println!(
            "{} pods made in {:.1} s",
            self.pods,
            began.elapsed().as_secs_f64()
        );
        std::future::pending().await
    }

    async fn fill(&self, server: &ApiServer) -> Result<(), BenchError> {
        let door = &Door::in_process(server.service(UserInfo::admin()));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        door.create(&NAMESPACES, None, &namespace)
            .await
            .map_err(api("the namespace"))?;
        while door
            .get(&SERVICE_ACCOUNTS, Some(NAMESPACE), "default")
            .await
            .is_err()
            || crate::operator_process::webhook(door, "pods").await.is_none()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // One goes through the operator's webhook; the others are made as it was, and reviewed by nobody: a hundred
        // thousand calls over TLS would measure something else.
        let first = door
            .create(&PODS, Some(NAMESPACE), &pod(0))
            .await
            .map_err(api("the first pod"))?;
        if !first["metadata"]["annotations"][keys::HASH].is_string() {
            return Err(BenchError::Setup("the first pod was not injected".to_owned()));
        }
        server.register_webhook_service("127.0.0.1", nobody());
        let first = &first;
        let made = (0..self.pods).map(|i| async move {
            let mut copy = pod(i);
            copy["metadata"]["annotations"] = first["metadata"]["annotations"].clone();
            let node = copy["spec"]["nodeName"].take();
            copy["spec"] = first["spec"].clone();
            copy["spec"]["nodeName"] = node;
            let name = copy["metadata"]["name"].as_str().unwrap_or_default();
            if i > 0 {
                door.create(&PODS, Some(NAMESPACE), &copy).await?;
            }
            let status = json!({"status": ready(&copy, i)});
            let kind = PatchKind::Merge;
            door.patch_as::<WriteReceipt>(&PODS, Some(NAMESPACE), name, kind, &status, Some("status"))
                .await
                .map(drop)
        });
        futures::stream::iter(made)
            .buffer_unordered(64)
            .try_collect::<()>()
            .await
            .map_err(api("making pods"))
    }
}

/// Allows everything and changes nothing.
fn nobody() -> WebhookHandler {
    Arc::new(|request| {
        Box::pin(async move {
            let review: Value = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
            let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                "response": {"uid": review["request"]["uid"], "allowed": true}});
            Ok(Bytes::from(answer.to_string()))
        })
    })
}

/// The status a kubelet would write.
fn ready(pod: &Value, index: usize) -> Value {
    let at = "2026-01-01T00:00:10Z";
    let conditions: Vec<Value> = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .iter()
    .map(|kind| json!({"type": kind, "status": "True", "lastTransitionTime": at}))
    .collect();
    let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
    let statuses: Vec<Value> = containers
        .map(|c| {
            let name = c["name"].as_str().unwrap_or_default();
            json!({"name": name, "image": c["image"], "ready": true, "started": true, "restartCount": 0,
                "imageID": format!("{name}@sha256:{:064x}", name.len()),
                "containerID": format!("containerd://{:064x}", index * 8 + name.len()),
                "state": {"running": {"startedAt": at}}, "lastState": {}})
        })
        .collect();
    let address = format!("10.{}.{}.{}", index >> 16, (index >> 8) & 255, index & 255);
    json!({"phase": "Running", "conditions": conditions, "containerStatuses": statuses, "hostIP": "192.168.0.1",
        "podIP": address, "podIPs": [{"ip": address}], "startTime": at, "qosClass": "Burstable"})
}
