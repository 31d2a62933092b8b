//! What a webhook costs in the API server itself: dry-run creates, without any webhook, and through ours.

use std::path::Path;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

use crate::fleet::NAMESPACE;
use crate::{BenchError, machine};

const IN_FLIGHT: usize = 16;

/// CPU seconds of the API server and of the operator, if there is one, per 1,000 creates; and creates a second.
pub struct Cost {
    pub server: f64,
    pub operator: f64,
    pub rate: f64,
}

pub async fn dry_runs(
    kubeconfig: &Path,
    app: &str,
    count: usize,
    server: u32,
    operator: Option<u32>,
) -> Result<Cost, BenchError> {
    let setup = |e: &dyn std::fmt::Display| BenchError::Setup(format!("dry-run creates: {e}"));
    let read = Kubeconfig::read_from(kubeconfig).map_err(|e| setup(&e))?;
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(|e| setup(&e))?;
    let client = kube::Client::try_from(config).map_err(|e| setup(&e))?;
    let mut pod = crate::fleet::pod(0);
    pod["metadata"]["labels"]["app"] = json!(app);
    pod["metadata"]["generateName"] = json!("bench-");
    let body = pod.to_string();
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All");
    let one = || async {
        let request = http::Request::post(path.as_str())
            .header("content-type", "application/json")
            .body(Body::from(body.clone().into_bytes()))
            .map_err(|e| setup(&e))?;
        let answer = client.send(request).await.map_err(|e| setup(&e))?;
        let status = answer.status();
        let text = answer
            .into_body()
            .collect()
            .await
            .map_err(|e| setup(&e))?
            .to_bytes();
        match status.is_success() {
            true => Ok(()),
            false => Err(setup(&String::from_utf8_lossy(&text))),
        }
    };
    // Connections, and caches of the API server, are there before anything is measured.
    one().await?;
    let cpu = |pid: Option<u32>| pid.map_or(Ok(0.0), machine::cpu_seconds);
    let before = (machine::cpu_seconds(server)?, cpu(operator)?);
    let began = Instant::now();
    futures::stream::iter((0..count).map(|_| one()))
        .buffer_unordered(IN_FLIGHT)
        .try_collect::<()>()
        .await?;
    let thousands = count as f64 / 1000.0;
    Ok(Cost {
        rate: count as f64 / began.elapsed().as_secs_f64(),
        server: (machine::cpu_seconds(server)? - before.0) / thousands,
        operator: (cpu(operator)? - before.1) / thousands,
    })
}
