//! Builds the programs from their Go modules, once per version, into a cache outside the checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::{TestbedError, io};

/// The Kubernetes whose go.mod and go.sum are pinned in this repository.
pub const DEFAULT_VERSION: &str = "1.36.3";

/// A Go module of ours that pins programs as `tool` dependencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    Kubernetes,
    Etcd,
    Containerd,
    Cni,
    Registry,
    Helm,
    Images,
}

/// Directory with the programs of one module.
struct Recipe {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    tags: &'static str,
    /// (program, package)
    programs: &'static [(&'static str, &'static str)],
}

macro_rules! module_files {
    ($dir:literal $(, $extra:literal)*) => {
        &[
            ("go.mod", include_str!(concat!("../go/", $dir, "/go.mod"))),
            ("go.sum", include_str!(concat!("../go/", $dir, "/go.sum"))),
            $(($extra, include_str!(concat!("../go/", $dir, "/", $extra))),)*
        ]
    };
}

impl Module {
    pub const ALL: [Module; 7] = [
        Module::Images,
        Module::Etcd,
        Module::Kubernetes,
        Module::Containerd,
        Module::Cni,
        Module::Registry,
        Module::Helm,
    ];

    fn recipe(self) -> Recipe {
        let (name, files, programs): (_, &[_], &[_]) = match self {
            Module::Kubernetes => ("kubernetes", module_files!("kubernetes"), KUBERNETES),
            Module::Etcd => (
                "etcd",
                module_files!("etcd"),
                &[("etcd", "go.etcd.io/etcd/server/v3")],
            ),
            Module::Containerd => ("containerd", module_files!("containerd"), CONTAINERD),
            Module::Cni => ("cni", module_files!("cni"), CNI),
            Module::Registry => (
                "registry",
                module_files!("registry"),
                &[("registry", "github.com/distribution/distribution/v3/cmd/registry")],
            ),
            Module::Helm => (
                "helm",
                module_files!("helm"),
                &[("helm", "helm.sh/helm/v4/cmd/helm")],
            ),
            Module::Images => (
                "images",
                module_files!("images", "main.go", "pause/main.go", "web/main.go"),
                &[("images", "."), ("pause", "./pause"), ("web", "./web")],
            ),
        };
        let tags = if self == Module::Containerd {
            "no_btrfs,no_zfs,no_devmapper"
        } else {
            ""
        };
        Recipe {
            name,
            files,
            tags,
            programs,
        }
    }
}

const KUBERNETES: &[(&str, &str)] = &[
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    (
        "kube-controller-manager",
        "k8s.io/kubernetes/cmd/kube-controller-manager",
    ),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
];

const CONTAINERD: &[(&str, &str)] = &[
    ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    (
        "containerd-shim-runc-v2",
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    ),
    ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
];

const CNI: &[(&str, &str)] = &[
    ("ptp", "github.com/containernetworking/plugins/plugins/main/ptp"),
    (
        "loopback",
        "github.com/containernetworking/plugins/plugins/main/loopback",
    ),
    (
        "host-local",
        "github.com/containernetworking/plugins/plugins/ipam/host-local",
    ),
    (
        "portmap",
        "github.com/containernetworking/plugins/plugins/meta/portmap",
    ),
];

/// Where things built or downloaded for the testbed live: `TIDEGATE_CACHE`, else the user's cache directory.
pub fn cache_dir() -> PathBuf {
    let from = |key: &str| std::env::var_os(key).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("TIDEGATE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|d| d.join("tidegate")))
        .or_else(|| from("HOME").map(|d| d.join(".cache/tidegate")))
        .unwrap_or_else(|| std::env::temp_dir().join("tidegate-cache"))
}

/// The built programs of some modules.
#[derive(Debug, Clone)]
pub struct Binaries {
    dirs: Vec<(Module, PathBuf)>,
}

impl Binaries {
    /// Builds what is missing. `progress` gets one line per module that has to be built.
    pub fn build(
        modules: &[Module],
        version: &str,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Self, TestbedError> {
        let mut dirs = Vec::with_capacity(modules.len());
        for &module in modules {
            dirs.push((module, build_module(module, version, progress)?));
        }
        Ok(Self { dirs })
    }

    /// The path of a program, from `KUBEBUILDER_ASSETS` where that has it.
    pub fn program(&self, program: &str) -> Result<PathBuf, TestbedError> {
        if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
            let candidate = Path::new(&assets).join(program);
            if candidate.is_file() {
                return Ok(candidate);
            }
        }
        self.dirs
            .iter()
            .map(|(_, dir)| dir.join(program))
            .find(|path| path.is_file())
            .ok_or_else(|| TestbedError::MissingTool(program.to_owned()))
    }

    /// The directory of a module's programs.
    pub fn dir(&self, module: Module) -> Result<&Path, TestbedError> {
        self.dirs
            .iter()
            .find(|(m, _)| *m == module)
            .map(|(_, dir)| dir.as_path())
            .ok_or_else(|| TestbedError::MissingTool(module.recipe().name.to_owned()))
    }
}

fn build_module(
    module: Module,
    version: &str,
    progress: &mut dyn FnMut(&str),
) -> Result<PathBuf, TestbedError> {
    let recipe = module.recipe();
    let pinned = module != Module::Kubernetes || version == DEFAULT_VERSION;
    let mut key = Sha256::new();
    for (name, content) in recipe.files {
        key.update(name.as_bytes());
        key.update(content.as_bytes());
    }
    let version_part = if module == Module::Kubernetes { version } else { "" };
    key.update(version_part);
    let digest: String = key
        .finalize()
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    let home = cache_dir()
        .join("testbed")
        .join(format!("{}{version_part}-{digest}", recipe.name));
    let bin = home.join("bin");
    if recipe
        .programs
        .iter()
        .all(|(program, _)| bin.join(program).is_file())
    {
        return Ok(bin);
    }
    progress(&format!(
        "building {} {version_part} from its Go modules",
        recipe.name
    ));
    let source = home.join("src");
    write_sources(&source, &recipe)?;
    if !pinned {
        resolve_kubernetes(&source, version, &recipe)?;
    }
    // Built beside and renamed, so that a build cut short leaves nothing that looks whole.
    let partial = home.join("bin.partial");
    fs::create_dir_all(&partial).map_err(io(format!("creating {}", partial.display())))?;
    let flags = linker_flags(module, version)?;
    for chunk in go_build_groups(&recipe) {
        let mut go = go(&source)?;
        go.args(["build", "-trimpath", "-ldflags", &flags]);
        if !recipe.tags.is_empty() {
            go.args(["-tags", recipe.tags]);
        }
        go.arg("-o").arg(match chunk {
            [(program, _)] => partial.join(program),
            _ => partial.clone().join(""),
        });
        go.args(chunk.iter().map(|(_, package)| *package));
        crate::process::run(&mut go, &format!("go build of {}", recipe.name))?;
    }
    if bin.exists() {
        fs::remove_dir_all(&bin).map_err(io(format!("removing {}", bin.display())))?;
    }
    fs::rename(&partial, &bin).map_err(io(format!("renaming {}", partial.display())))?;
    Ok(bin)
}

/// One `go build` for all programs whose names Go would choose itself: the shared packages compile once.
fn go_build_groups(recipe: &Recipe) -> Vec<&[(&'static str, &'static str)]> {
    let named_by_go = recipe
        .programs
        .iter()
        .all(|(program, package)| package.rsplit('/').next().is_some_and(|last| last == *program));
    if named_by_go && recipe.programs.len() > 1 {
        vec![recipe.programs]
    } else {
        recipe.programs.chunks(1).collect()
    }
}

fn write_sources(source: &Path, recipe: &Recipe) -> Result<(), TestbedError> {
    for (name, content) in recipe.files {
        let path = source.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(io(format!("creating {}", dir.display())))?;
        }
        fs::write(&path, content).map_err(io(format!("writing {}", path.display())))?;
    }
    Ok(())
}

/// For another version than the pinned one: the staging modules that version's own go.mod names, at v0.MINOR.PATCH.
fn resolve_kubernetes(source: &Path, version: &str, recipe: &Recipe) -> Result<(), TestbedError> {
    let minor_patch = minor_and_patch(version)?;
    let mut download = go(source)?;
    download.args([
        "mod",
        "download",
        "-json",
        &format!("k8s.io/kubernetes@v{version}"),
    ]);
    let described = crate::process::run(&mut download, "go mod download of k8s.io/kubernetes")?;
    let parsed: serde_json::Value = serde_json::from_str(&described).map_err(|e| TestbedError::Command {
        what: "go mod download of k8s.io/kubernetes".to_owned(),
        status: "unreadable answer".to_owned(),
        output: e.to_string(),
    })?;
    let dir = parsed["Dir"].as_str().unwrap_or_default();
    let upstream = Path::new(dir).join("go.mod");
    let upstream = fs::read_to_string(&upstream).map_err(io(format!("reading {}", upstream.display())))?;
    let mut module = format!(
        "module tidegate.dev/testbed/kubernetes\n\ngo 1.24.0\n\nrequire k8s.io/kubernetes v{version}\n"
    );
    for line in upstream.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some("v0.0.0")) = (words.next(), words.next())
            && name.starts_with("k8s.io/")
        {
            module.push_str(&format!("require {name} v0.{minor_patch}\n"));
        }
    }
    module.push_str("tool (\n");
    for (_, package) in recipe.programs {
        module.push_str(&format!("\t{package}\n"));
    }
    module.push_str(")\n");
    fs::write(source.join("go.mod"), module).map_err(io("writing go.mod"))?;
    let sums = source.join("go.sum");
    fs::remove_file(&sums).map_err(io(format!("removing {}", sums.display())))?;
    let mut tidy = go(source)?;
    tidy.args(["mod", "tidy"]);
    crate::process::run(&mut tidy, "go mod tidy of kubernetes").map(drop)
}

fn linker_flags(module: Module, version: &str) -> Result<String, TestbedError> {
    if module != Module::Kubernetes {
        return Ok("-s -w".to_owned());
    }
    let minor = minor_and_patch(version)?
        .split('.')
        .next()
        .unwrap_or_default()
        .to_owned();
    let stamp = |package: &str| {
        format!(
            "-X {package}.gitVersion=v{version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor} \
             -X {package}.gitTreeState=clean -X {package}.buildDate=2026-01-01T00:00:00Z \
             -X {package}.gitCommit=0000000000000000000000000000000000000000"
        )
    };
    Ok(format!(
        "-s -w {} {}",
        stamp("k8s.io/component-base/version"),
        stamp("k8s.io/client-go/pkg/version")
    ))
}

/// A Kubernetes version as typed: `1.36.3` or `v1.36.3`.
pub fn parse_version(text: &str) -> Result<String, TestbedError> {
    let version = text.strip_prefix('v').unwrap_or(text);
    minor_and_patch(version).map(|_| version.to_owned())
}

fn minor_and_patch(version: &str) -> Result<&str, TestbedError> {
    let rest = version
        .strip_prefix("1.")
        .ok_or_else(|| TestbedError::Version(version.to_owned()))?;
    let numbers: Vec<&str> = rest.split('.').collect();
    let all_digits = numbers
        .iter()
        .all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    if numbers.len() == 2 && all_digits {
        Ok(rest)
    } else {
        Err(TestbedError::Version(version.to_owned()))
    }
}

fn go(dir: &Path) -> Result<Command, TestbedError> {
    let mut go = Command::new("go");
    // A GOFLAGS of the caller could switch module mode or vet builds: these are our own modules.
    go.current_dir(dir)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=mod -buildvcs=false");
    Ok(go)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_version_is_one_dot_minor_dot_patch_and_nothing_else() {
        assert_eq!(minor_and_patch("1.36.3").unwrap(), "36.3");
        for wrong in ["v1.36.3", "1.36", "1.36.x", "2.0.0", ""] {
            assert!(minor_and_patch(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_module_pins_each_program_it_builds() {
        for module in Module::ALL {
            let recipe = module.recipe();
            let go_mod = recipe.files[0].1;
            for (_, package) in recipe.programs.iter().filter(|(_, p)| !p.starts_with('.')) {
                assert!(go_mod.contains(package), "{} does not pin {package}", recipe.name);
            }
        }
    }
}
