//! `tidegate up` of this build, on a free port and without the sample.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Killed when dropped. What it keeps and says is in its directory: `data`, `kubeconfig`, `log`.
pub struct Up {
    pub child: Child,
}

impl Up {
    /// Returns once it serves.
    pub fn start(dir: &Path, nodes: u32) -> Self {
        Self::with_lines(dir, nodes, &["--no-sample"]).0
    }

    /// Also what it prints after it has said that it serves.
    pub fn with_lines(dir: &Path, nodes: u32, arguments: &[&str]) -> (Self, Lines<impl BufRead + use<>>) {
        std::fs::create_dir_all(dir).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["up", "--listen=127.0.0.1:0"])
            .args(arguments)
            .arg(format!("--nodes={nodes}"))
            .args(["--data-dir=data", "--kubeconfig=kubeconfig"])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut up = Self { child };
        let mut lines = BufReader::new(up.child.stdout.take().unwrap()).lines();
        let first = lines.next().and_then(Result::ok).unwrap_or_default();
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(first.starts_with("ready"), "{first}{}", log());
        (up, lines)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
