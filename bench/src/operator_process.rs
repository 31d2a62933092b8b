//! A real API server and the release build of `tidegate operator` against it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use testbed::{ApiServer, ApiServerOptions};

use crate::{BenchError, io};

pub struct OperatorProcess {
    pub api_server: ApiServer,
    pub child: Child,
    pub webhook_port: u16,
    pub log: PathBuf,
}

impl OperatorProcess {
    pub fn start(dir: &Path) -> Result<Self, BenchError> {
        // Leftovers of a run cut short would be a different start.
        std::fs::remove_dir_all(dir).ok();
        let api_server = ApiServer::start(&ApiServerOptions::in_dir(dir))?;
        let (webhook_port, metrics_port) = (free_port()?, free_port()?);
        let log = dir.join("operator.log");
        let output = File::create(&log).map_err(io(format!("creating {}", log.display())))?;
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/tidegate");
        let child = Command::new(&binary)
            .args(["operator", "--install", "--kubeconfig"])
            .arg(api_server.kubeconfig())
            .arg(format!("--listen=127.0.0.1:{webhook_port}"))
            .arg(format!("--metrics=127.0.0.1:{metrics_port}"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(io("operator log"))?)
            .stderr(output)
            .spawn()
            .map_err(io(format!(
                "starting {} (make build leaves it)",
                binary.display()
            )))?;
        let process = Self {
            api_server,
            child,
            webhook_port,
            log,
        };
        process.wait("the operator's pod webhook", || process.webhook_ca().is_some())?;
        Ok(process)
    }

    /// The caBundle the operator wrote, once it has.
    pub fn webhook_ca(&self) -> Option<Vec<u8>> {
        use base64::Engine as _;
        let list = self.get("mutatingwebhookconfigurations")?;
        let bundle = list["items"].as_array()?.iter().find_map(|c| {
            c["webhooks"]
                .as_array()?
                .iter()
                .find_map(|w| w["clientConfig"]["caBundle"].as_str())
        })?;
        base64::engine::general_purpose::STANDARD.decode(bundle).ok()
    }

    pub fn apply(&self, yaml: &str) -> Result<(), BenchError> {
        use std::io::Write as _;
        let mut kubectl = self.api_server.kubectl();
        kubectl
            .args(["apply", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut child = kubectl.spawn().map_err(io("starting kubectl"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin
                .write_all(yaml.as_bytes())
                .map_err(io("writing to kubectl"))?;
        }
        let status = child.wait().map_err(io("kubectl apply"))?;
        if status.success() {
            Ok(())
        } else {
            Err(BenchError::Setup(format!("kubectl apply: {status}")))
        }
    }

    pub fn get(&self, resource: &str) -> Option<Value> {
        let output = self
            .api_server
            .kubectl()
            .args(["get", resource, "-o", "json"])
            .output()
            .ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    pub fn wait(&self, what: &str, ready: impl Fn() -> bool) -> Result<(), BenchError> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !ready() {
            if Instant::now() > deadline {
                return Err(BenchError::Setup(format!(
                    "{what} did not come within 60 s; {}",
                    self.log.display()
                )));
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn free_port() -> Result<u16, BenchError> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(io("finding a free port"))?;
    Ok(listener.local_addr().map_err(io("finding a free port"))?.port())
}
