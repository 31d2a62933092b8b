//! A real Prometheus: Debian's package, unpacked beside what is built, not installed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::control_plane::free_port;
use crate::process::{Processes, lock, run, wait_until};
use crate::{TestbedError, cache_dir, io};

/// Scrapes one target every second until it is dropped.
#[derive(Debug)]
pub struct Prometheus {
    programs: PathBuf,
    processes: Processes,
    url: String,
}

const NAME: &str = "prometheus";

impl Prometheus {
    /// Its programs, downloaded where they are not there yet.
    pub fn programs() -> Result<PathBuf, TestbedError> {
        programs()
    }

    pub fn start(programs: PathBuf, dir: &Path, target: SocketAddr) -> Result<Self, TestbedError> {
        let processes = Processes::new(dir)?;
        let config = dir.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs: [{{job_name: tidegate, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).map_err(io(format!("writing {}", config.display())))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new(programs.join(NAME));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        processes.start(NAME, &mut command)?;
        let prometheus = Self {
            programs,
            url: format!("http://{address}"),
            processes,
        };
        let log = prometheus.processes.log(NAME);
        wait_until(NAME, &log, 60, || prometheus.query("vector(1)").is_ok())?;
        Ok(prometheus)
    }

    /// The samples an expression has now, as Prometheus' API gives them.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>, TestbedError> {
        let mut command = Command::new(self.programs.join("promtool"));
        command.args(["query", "instant", "--format=json", &self.url, expression]);
        let answer = run(&mut command, &format!("the query {expression}"))?;
        Ok(serde_json::from_str(&answer).unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.processes.stop(NAME, Duration::from_secs(5));
    }
}

fn programs() -> Result<PathBuf, TestbedError> {
    let home = cache_dir().join(NAME);
    let _one = lock(&cache_dir().join("prometheus.lock"))?;
    let programs = home.join("usr/bin");
    if programs.join("promtool").is_file() {
        return Ok(programs);
    }
    let parts = cache_dir().join("prometheus.parts");
    fs::remove_dir_all(&parts).ok();
    fs::create_dir_all(&parts).map_err(io(format!("creating {}", parts.display())))?;
    if download(&parts).is_err() {
        // A machine that has never installed anything knows of no packages.
        run(Command::new("apt-get").args(["update", "-qq"]), "apt-get update")?;
        download(&parts)?;
    }
    let packages = fs::read_dir(&parts).map_err(io("reading what was downloaded"))?;
    for package in packages.flatten() {
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(package.path()).arg(parts.join("unpacked"));
        run(&mut unpack, "unpacking Debian's package of Prometheus")?;
    }
    // Whole or not at all: somebody may end us at any time.
    fs::remove_dir_all(&home).ok();
    fs::rename(parts.join("unpacked"), &home).map_err(io("putting Prometheus in its place"))?;
    fs::remove_dir_all(&parts).ok();
    Ok(programs)
}

fn download(dir: &Path) -> Result<String, TestbedError> {
    let mut download = Command::new("apt-get");
    download.args(["download", "-qq", NAME]).current_dir(dir);
    run(&mut download, "downloading Debian's package of Prometheus")
}
