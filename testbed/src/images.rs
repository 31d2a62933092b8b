//! A real OCI registry on the bed's bridge, and the tiny images pushed to it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::process::{Processes, run, run_with_input, wait_until};
use crate::toolchain::{Binaries, Module};
use crate::{TestbedError, io};

/// Names containerd pulls the sandbox image by.
pub(crate) const SANDBOX: &str = "registry.k8s.io/pause:3.10.1";

const BUSYBOX: &str = "/bin/busybox";

/// One single-layer image.
#[derive(Debug, Clone)]
pub struct ImageSpec {
    /// `library/nginx:1.20`, without a registry: every registry name is mirrored onto ours.
    pub reference: String,
    /// Path in the image: file on this machine.
    pub files: BTreeMap<String, PathBuf>,
    pub entrypoint: Vec<String>,
    pub user: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Web,
    Shell,
    Bare,
}

impl ImageSpec {
    /// Serves HTTP and stays up; has a shell.
    pub fn web(reference: &str) -> Self {
        Self::new(reference, Kind::Web)
    }

    /// busybox.
    pub fn shell(reference: &str) -> Self {
        Self::new(reference, Kind::Shell)
    }

    /// A program of ours with the shared libraries it names, nothing else.
    pub fn program(reference: &str, program: &Path) -> Result<Self, TestbedError> {
        let mut spec = Self::new(reference, Kind::Bare);
        let name = program
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        spec.entrypoint = vec![format!("/{name}")];
        spec.user = "65532:65532".to_owned();
        spec.files.insert(name, program.to_owned());
        let mut ldd = Command::new("ldd");
        for library in run(ldd.arg(program), "ldd")?
            .split_whitespace()
            .filter(|w| w.starts_with('/'))
        {
            spec.files
                .insert(library.trim_start_matches('/').to_owned(), PathBuf::from(library));
        }
        Ok(spec)
    }

    fn new(reference: &str, kind: Kind) -> Self {
        Self {
            reference: reference.to_owned(),
            files: BTreeMap::new(),
            entrypoint: Vec::new(),
            user: String::new(),
            kind,
        }
    }

    fn render(&self, binaries: &Binaries) -> Result<Value, TestbedError> {
        let mut files = self.files.clone();
        let mut links = BTreeMap::new();
        let mut texts = BTreeMap::new();
        let mut cmd: Vec<&str> = Vec::new();
        if self.kind != Kind::Bare {
            files.insert("bin/busybox".to_owned(), PathBuf::from(BUSYBOX));
            for applet in applets()? {
                links.insert(format!("bin/{applet}"), BUSYBOX.to_owned());
            }
            texts.insert(
                "etc/passwd",
                "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            );
            texts.insert("etc/group", "root:x:0:\nnobody:x:65534:\n");
            // Two tags must have two digests.
            texts.insert("tag", &self.reference);
            texts.insert("migrate.sh", "#!/bin/sh\nexit 0\n");
            cmd = vec!["sh"];
        }
        if self.kind == Kind::Web {
            files.insert("usr/bin/web".to_owned(), binaries.program("web")?);
            cmd = vec!["/usr/bin/web"];
        }
        Ok(json!({
            "reference": self.reference, "files": files, "texts": texts, "links": links,
            "dirs": ["tmp", "etc", "var", "proc", "sys", "dev", "root", "data", "usr", "usr/bin", "bin"],
            "entrypoint": self.entrypoint, "cmd": cmd, "user": self.user,
        }))
    }
}

/// What stories and the seeds' examples name.
pub(crate) fn stand_ins() -> Vec<ImageSpec> {
    let mut specs = Vec::new();
    for tag in ["1.19", "1.20", "1.21", "latest"] {
        specs.push(ImageSpec::web(&format!("library/nginx:{tag}")));
    }
    for reference in [
        "library/logtail:1.0.0",
        "library/logtail:1.0.1",
        "library/logtail:1.0.2",
        "openkruise/hotupgrade-sample:sidecarv1",
        "openkruise/hotupgrade-sample:sidecarv2",
        "openkruise/hotupgrade-sample:empty",
        "tidegate/sidecar:v1",
        "tidegate/sidecar:v2",
        "tidegate/sidecar:v3",
    ] {
        specs.push(ImageSpec::web(reference));
    }
    for tag in ["latest", "1.36"] {
        specs.push(ImageSpec::shell(&format!("library/busybox:{tag}")));
    }
    specs
}

/// Starts the registry on `address` (`HOST:PORT`).
pub(crate) fn start_registry(
    processes: &Processes,
    binaries: &Binaries,
    dir: &Path,
    address: &str,
) -> Result<(), TestbedError> {
    if processes.alive("registry") {
        return Ok(());
    }
    let config = json!({
        "version": "0.1",
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": dir.join("registry")}, "delete": {"enabled": true}},
        "http": {"addr": address},
    });
    let file = dir.join("registry.yaml");
    fs::write(&file, config.to_string()).map_err(io(format!("writing {}", file.display())))?;
    let mut registry = Command::new(binaries.program("registry")?);
    registry
        .arg("serve")
        .arg(&file)
        .env("OTEL_TRACES_EXPORTER", "none");
    processes.start("registry", &mut registry)?;
    wait_until("registry", &processes.log("registry"), 20, || {
        std::net::TcpStream::connect(address).is_ok()
    })
}

pub(crate) fn push(binaries: &Binaries, registry: &str, specs: &[ImageSpec]) -> Result<(), TestbedError> {
    let rendered: Result<Vec<Value>, _> = specs.iter().map(|s| s.render(binaries)).collect();
    let input = Value::Array(rendered?).to_string();
    let mut images = Command::new(binaries.program("images")?);
    run_with_input(
        images.args(["push", registry]),
        input.as_bytes(),
        "pushing images",
    )
    .map(drop)
}

/// The sandbox image as a docker archive: nodes import it, since pods need it before anything can be pulled.
pub(crate) fn sandbox_archive(binaries: &Binaries, out: &Path) -> Result<(), TestbedError> {
    let spec = json!([{
        "reference": SANDBOX, "files": {"pause": binaries.dir(Module::Images)?.join("pause")},
        "entrypoint": ["/pause"],
    }]);
    let mut images = Command::new(binaries.program("images")?);
    run_with_input(
        images.arg("archive").arg(out),
        spec.to_string().as_bytes(),
        "writing the sandbox image",
    )
    .map(drop)
}

fn applets() -> Result<Vec<String>, TestbedError> {
    let mut busybox = Command::new(BUSYBOX);
    let list = run(busybox.arg("--list"), "busybox --list")?;
    Ok(list
        .lines()
        .filter(|a| !a.is_empty() && *a != "busybox")
        .map(str::to_owned)
        .collect())
}
