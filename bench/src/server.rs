//! A real API server that writes an audit log of every request.

use std::path::{Path, PathBuf};

use testbed::{ApiServer, ApiServerOptions};

use crate::audit::AuditLog;
use crate::{BenchError, io};

/// Reads by watch are left out: they last, and no figure counts them.
const POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  verbs: [watch]
- level: Metadata
";

pub struct RealServer {
    pub api: ApiServer,
    pub dir: PathBuf,
}

impl RealServer {
    /// Starts on an empty directory named after the benchmark.
    pub fn start(name: &str) -> Result<Self, BenchError> {
        let dir = std::env::temp_dir().join(format!("tidegate-bench-{name}"));
        // Leftovers of a run cut short would be a different start.
        std::fs::remove_dir_all(&dir).ok();
        std::fs::create_dir_all(&dir).map_err(io(format!("creating {}", dir.display())))?;
        let policy = dir.join("audit-policy.yaml");
        std::fs::write(&policy, POLICY).map_err(io(format!("writing {}", policy.display())))?;
        let mut options = ApiServerOptions::in_dir(&dir);
        options.extra_flags = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", log(&dir).display()),
            // A log that is turned over in the middle of a benchmark is read only in part.
            "--audit-log-maxsize=8192".to_owned(),
        ];
        let api = ApiServer::start(&options)?;
        Ok(Self { api, dir })
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.api.kubeconfig()
    }

    /// What is asked from now on.
    pub fn audit(&self) -> AuditLog {
        AuditLog::from_now(log(&self.dir))
    }

    pub fn pid(&self) -> Result<u32, BenchError> {
        let path = self.dir.join("pids/kube-apiserver");
        let text = std::fs::read_to_string(&path).map_err(io(format!("reading {}", path.display())))?;
        text.trim()
            .parse()
            .map_err(|_| BenchError::Setup(format!("{}: no pid", path.display())))
    }
}

impl Drop for RealServer {
    fn drop(&mut self) {
        // Its log is of interest only where something failed: then the message names it and the next run clears it.
        std::fs::remove_dir_all(self.dir.join("etcd")).ok();
    }
}

fn log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}
