//! API servers in processes of their own: ours, and a real one with its etcd.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use embedded::{ApiServer, Config, Storage};
use testbed::ApiServerOptions;

use crate::embedded_client::Access;
use crate::{BenchError, io, machine};

/// The process that the benchmarks start: an embedded server on a free port.
#[derive(Debug, Args)]
pub struct ServeArgs {
    kubeconfig: PathBuf,
    /// Durable, in this directory
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

pub fn serve(args: &ServeArgs) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(io("starting the runtime"))?;
    runtime.block_on(async {
        let storage = match &args.data_dir {
            Some(dir) => Storage::Durable(dir.clone()),
            None => Storage::Memory,
        };
        let config = Config {
            storage,
            ..Config::default()
        };
        let server = ApiServer::start(config)
            .await
            .map_err(|e| BenchError::Setup(e.to_string()))?;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(io("listening"))?;
        let url = format!("https://{}", listener.local_addr().map_err(io("listening"))?);
        std::fs::write(
            &args.kubeconfig,
            server.kubeconfig(&url, "admin", &["system:masters"]),
        )
        .map_err(io("writing the kubeconfig"))?;
        println!("ready {url}");
        server
            .serve(listener, std::future::pending())
            .await
            .map_err(io("serving"))
    })
}

/// A child of ours, killed when dropped.
pub struct Subprocess {
    child: Child,
    pub lines: BufReader<std::process::ChildStdout>,
}

impl Subprocess {
    /// This program with other arguments; back when it has printed its first line, which is returned too.
    pub fn of_ourselves(arguments: &[&str]) -> Result<(Self, String), BenchError> {
        let program = std::env::current_exe().map_err(io("finding this program"))?;
        Self::start(Command::new(program).args(arguments))
    }

    pub fn start(command: &mut Command) -> Result<(Self, String), BenchError> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(io(format!("starting {command:?}")))?;
        let stdout = child.stdout.take();
        let stdout = stdout.ok_or_else(|| BenchError::Setup("no output".to_owned()))?;
        let mut process = Self {
            child,
            lines: BufReader::new(stdout),
        };
        let line = process.line()?;
        Ok((process, line))
    }

    pub fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(io("reading a child"))?;
        match line.is_empty() {
            true => Err(BenchError::Setup("a child ended early".to_owned())),
            false => Ok(line.trim_end().to_owned()),
        }
    }

    /// Wakes a child that waits for a line.
    pub fn go_on(&mut self) -> Result<(), BenchError> {
        match &mut self.child.stdin {
            Some(stdin) => stdin.write_all(b"\n").map_err(io("writing to a child")),
            None => Ok(()),
        }
    }

    /// SIGTERM, and waits: `make` passes it on to what it runs.
    pub fn stop(mut self) -> Result<(), BenchError> {
        let pid = self.child.id().to_string();
        Command::new("kill")
            .args(["-s", "TERM", &pid])
            .status()
            .map_err(io("stopping a child"))?;
        // What it still prints would fill the pipe.
        std::io::copy(&mut self.lines, &mut std::io::sink()).map_err(io("reading a child"))?;
        self.child.wait().map_err(io("waiting for a child"))?;
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Subprocess {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A server under test.
pub struct Target {
    pub name: &'static str,
    pub access: Access,
    pids: Vec<u32>,
    _running: Running,
}

enum Running {
    Ours { _process: Subprocess },
    Real { _server: Box<testbed::ApiServer> },
}

impl Target {
    pub fn ours(dir: &Path, durable: bool) -> Result<Self, BenchError> {
        fresh(dir)?;
        let (kubeconfig, data) = (dir.join("kubeconfig"), dir.join("data"));
        let (kubeconfig_text, data_text) = (kubeconfig.display().to_string(), data.display().to_string());
        let mut arguments = vec!["serve", kubeconfig_text.as_str()];
        if durable {
            arguments.extend(["--data-dir", data_text.as_str()]);
        }
        let (process, _) = Subprocess::of_ourselves(&arguments)?;
        Ok(Self {
            name: if durable {
                "embedded, durable"
            } else {
                "embedded, in memory"
            },
            access: Access::of(&kubeconfig)?,
            pids: vec![process.pid()],
            _running: Running::Ours { _process: process },
        })
    }

    pub fn real(dir: &Path, durable: bool) -> Result<Self, BenchError> {
        fresh(dir)?;
        let mut options = ApiServerOptions::in_dir(dir);
        options.durable = durable;
        // The default lets 600 requests in at once and makes the rest wait: enough here, but not for 10,000 watches.
        options.extra_flags = vec!["--goaway-chance=0".to_owned()];
        let server = testbed::ApiServer::start(&options)?;
        let pids = ["kube-apiserver", "etcd"]
            .iter()
            .filter_map(|p| server.pid(p))
            .collect();
        Ok(Self {
            name: if durable {
                "kube-apiserver + etcd"
            } else {
                "kube-apiserver + etcd without fsync"
            },
            access: Access::of(&server.kubeconfig())?,
            pids,
            _running: Running::Real {
                _server: Box::new(server),
            },
        })
    }

    pub fn cpu_seconds(&self) -> Result<f64, BenchError> {
        self.pids.iter().map(|pid| machine::cpu_seconds(*pid)).sum()
    }

    /// Proportional set size of all its processes.
    pub fn pss_kib(&self) -> Result<f64, BenchError> {
        let all: Result<Vec<_>, _> = self.pids.iter().map(|pid| machine::memory_mib(*pid)).collect();
        Ok(all?.iter().map(|(pss, _)| pss * 1024.0).sum())
    }
}

/// From spawning the process to its line that says it serves.
pub fn time_to_ready(dir: &Path) -> Result<Duration, BenchError> {
    fresh(dir)?;
    let kubeconfig = dir.join("kubeconfig").display().to_string();
    let began = Instant::now();
    let (_process, _) = Subprocess::of_ourselves(&["serve", &kubeconfig])?;
    Ok(began.elapsed())
}

fn fresh(dir: &Path) -> Result<(), BenchError> {
    // Leftovers of a run cut short would be a different start.
    std::fs::remove_dir_all(dir).ok();
    std::fs::create_dir_all(dir).map_err(io(format!("creating {}", dir.display())))
}
