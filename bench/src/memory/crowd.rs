//! An embedded server with very many pods, as a process of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use cluster::resource::{NAMESPACES, PODS, SERVICE_ACCOUNTS};
use cluster::{Door, PatchKind, WriteReceipt};
use embedded::{ApiServer, Config, UserInfo};
use futures::{StreamExt as _, TryStreamExt as _};
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
        self.fill(&Door::in_process(server.service(UserInfo::admin())))
            .await?;
        println!(
            "{} pods made in {:.1} s",
            self.pods,
            began.elapsed().as_secs_f64()
        );
        std::future::pending().await
    }

    async fn fill(&self, door: &Door) -> Result<(), BenchError> {
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
        let made = (0..self.pods).map(|i| async move {
            let made = door.create(&PODS, Some(NAMESPACE), &pod(i)).await?;
            let name = made["metadata"]["name"].as_str().unwrap_or_default();
            let status = json!({"status": ready(&made, i)});
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
