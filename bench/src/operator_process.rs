//! The release build of `tidegate operator` against a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cluster::Door;
use cluster::resource::MUTATING_WEBHOOK_CONFIGURATIONS;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::child::Part;
use crate::{BenchError, io};

/// How the operator calls itself in requests.
pub const AGENT: &str = "tidegate-operator";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct OperatorProcess {
    part: Option<Part>,
    kubeconfig: PathBuf,
    pub webhook_port: u16,
    metrics_port: u16,
    pub log: PathBuf,
}

impl OperatorProcess {
    /// Starts it, and waits until the webhook configurations name its certificates.
    pub async fn start(kubeconfig: &Path, dir: &Path, door: &Door) -> Result<Self, BenchError> {
        let mut process = Self {
            part: None,
            kubeconfig: kubeconfig.to_owned(),
            webhook_port: free_port()?,
            metrics_port: free_port()?,
            log: dir.join("operator.log"),
        };
        process.run().await?;
        let deadline = Instant::now() + PATIENCE;
        while webhook(door, "sidecarsets").await.is_none() {
            if Instant::now() > deadline {
                let log = process.log.display();
                return Err(BenchError::Setup(format!("no webhook within a minute; {log}")));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(process)
    }

    /// Starts it, or starts it again after [`OperatorProcess::stop`], and waits until it answers reviews.
    pub async fn run(&mut self) -> Result<(), BenchError> {
        let binary = binary()?;
        let mut command = Command::new(&binary);
        // As the chart sets it.
        command
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=200")
            .args(["operator", "--install", "--kubeconfig"])
            .arg(&self.kubeconfig)
            .arg(format!("--listen=127.0.0.1:{}", self.webhook_port))
            .arg(format!("--metrics=127.0.0.1:{}", self.metrics_port));
        self.part = Some(Part::of(&mut command, &self.log)?);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if Instant::now() > deadline {
                let log = self.log.display();
                return Err(BenchError::Setup(format!(
                    "the operator was not ready within a minute; {log}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        self.ask("/readyz")
            .await
            .is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What its metrics and health endpoint answers.
    pub async fn ask(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics_port)).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    /// SIGTERM: it gives its lease back.
    pub fn stop(&mut self) {
        if let Some(mut part) = self.part.take() {
            part.stop();
        }
    }

    pub fn pid(&self) -> Result<u32, BenchError> {
        let gone = || BenchError::Setup("the operator does not run".to_owned());
        self.part.as_ref().map(Part::pid).ok_or_else(gone)
    }
}

/// The mutating webhook for a resource, once it names an authority.
pub async fn webhook(door: &Door, resource: &str) -> Option<Value> {
    let found = covering(door, resource).await?;
    found["clientConfig"]["caBundle"].is_string().then_some(found)
}

/// The mutating webhook for a resource.
pub async fn covering(door: &Door, resource: &str) -> Option<Value> {
    let options = cluster::ListOptions::default();
    let listed = door
        .list(&MUTATING_WEBHOOK_CONFIGURATIONS, None, &options)
        .await
        .ok()?;
    let concerns = |w: &Value| {
        let rules = w["rules"].as_array().into_iter().flatten();
        rules
            .filter_map(|r| r["resources"].as_array())
            .any(|all| all.contains(&json!(resource)))
    };
    let all = listed
        .items
        .iter()
        .filter_map(|c| c["webhooks"].as_array())
        .flatten();
    all.into_iter().find(|w| concerns(w)).cloned()
}

/// `tidegate` of the same build, beside this program.
fn binary() -> Result<PathBuf, BenchError> {
    let here = std::env::current_exe().map_err(io("finding this program"))?;
    let binary = here.with_file_name("tidegate");
    match binary.exists() {
        true => Ok(binary),
        false => Err(BenchError::Setup(format!(
            "{} is not built: cargo build --release -p tidegate-cli",
            binary.display()
        ))),
    }
}

fn free_port() -> Result<u16, BenchError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io("finding a free port"))?;
    Ok(listener.local_addr().map_err(io("finding a free port"))?.port())
}
