//! A whole bed: control plane, nodes, registry. There is one at a time on a machine, since its addresses are fixed.

use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use crate::control_plane::{ApiServerOptions, ControlPlane, Network};
use crate::images::{self, ImageSpec};
use crate::nodes::{self, NodeSite, node_name};
use crate::process::{Processes, lock, run, wait_until};
use crate::toolchain::{Binaries, DEFAULT_VERSION, Module, cache_dir};
use crate::{TestbedError, io};

const MAX_NODES: usize = 9;

/// How large a bed, and of which Kubernetes.
#[derive(Debug, Clone)]
pub struct BedOptions {
    pub version: String,
    pub nodes: usize,
    pub dir: PathBuf,
}

impl Default for BedOptions {
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            nodes: 2,
            dir: Bed::default_dir(),
        }
    }
}

/// Why real nodes cannot run here; one clear line.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodesUnavailable {
    #[error("real nodes need root (network and mount namespaces, cgroups)")]
    NotRoot,
    #[error("real nodes need {0} on PATH: testbed/install-packages.sh installs it")]
    Missing(&'static str),
    #[error("a bed has 1 to {MAX_NODES} nodes, not {0}")]
    Count(usize),
}

/// A running bed. It outlives this value; [`Bed::down`] ends it.
#[derive(Debug)]
pub struct Bed {
    dir: PathBuf,
    binaries: Binaries,
    control_plane: ControlPlane,
}

impl Bed {
    /// Whether nodes with real kubelets can run on this machine.
    pub fn nodes_available() -> Result<(), NodesUnavailable> {
        let uid = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|s| s.lines().find_map(|l| l.strip_prefix("Uid:").map(str::to_owned)));
        if uid.is_none_or(|ids| ids.split_whitespace().nth(1) != Some("0")) {
            return Err(NodesUnavailable::NotRoot);
        }
        for program in ["runc", "iptables", "conntrack", "ip", "nsenter", "busybox"] {
            if !on_path(program) {
                return Err(NodesUnavailable::Missing(program));
            }
        }
        Ok(())
    }

    pub fn default_dir() -> PathBuf {
        cache_dir().join("bed")
    }

    /// Starts what does not run yet and returns when all nodes are ready and the images are in the registry.
    pub fn up(options: &BedOptions, progress: &mut dyn FnMut(&str)) -> Result<Self, TestbedError> {
        Self::nodes_available()?;
        if !(1..=MAX_NODES).contains(&options.nodes) {
            return Err(NodesUnavailable::Count(options.nodes).into());
        }
        let _held = exclusive()?;
        let modules = Module::ALL;
        let binaries = Binaries::build(&modules, &options.version, progress)?;
        nodes::bridge_up()?;
        let names: Vec<String> = (1..=options.nodes).map(node_name).collect();
        let network = Network {
            address: IpAddr::V4(Ipv4Addr::new(10, 87, 0, 1)),
            port: 6443,
            service_range: nodes::SERVICE_RANGE.to_owned(),
            service_address: IpAddr::V4(Ipv4Addr::new(10, 89, 0, 1)),
        };
        let api_options = ApiServerOptions {
            version: options.version.clone(),
            dir: options.dir.clone(),
            controllers: true,
            durable: false,
            extra_flags: Vec::new(),
        };
        progress("starting the control plane");
        let control_plane = ControlPlane::start(&api_options, &binaries, &network, &names)?;
        let bed = Self {
            dir: options.dir.clone(),
            binaries,
            control_plane,
        };
        bed.bind_proxy()?;
        progress(&format!("starting {} nodes and the registry", options.nodes));
        bed.start_nodes(options.nodes)?;
        Ok(bed)
    }

    /// Ends the bed in `dir`, whoever started it, and removes its state.
    pub fn down(dir: &Path) -> Result<(), TestbedError> {
        let _held = exclusive()?;
        let processes = Processes::new(dir)?;
        for index in 1..=MAX_NODES {
            let name = node_name(index);
            if dir.join(&name).exists() || Path::new("/run/netns").join(format!("tidegate-{name}")).exists() {
                nodes::down(dir, &processes, index)?;
            }
        }
        for name in [
            "kube-scheduler",
            "kube-controller-manager",
            "kube-apiserver",
            "etcd",
            "registry",
        ] {
            processes.stop(name, std::time::Duration::from_secs(10));
        }
        nodes::bridge_down();
        if dir.exists() {
            fs::remove_dir_all(dir).map_err(io(format!("removing {}", dir.display())))?;
        }
        Ok(())
    }

    /// A kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.control_plane.pki.kubeconfig("admin")
    }

    pub fn kubectl(&self) -> Command {
        self.control_plane.kubectl()
    }

    /// The built programs, Helm among them.
    pub fn program(&self, name: &str) -> Result<PathBuf, TestbedError> {
        self.binaries.program(name)
    }

    /// Makes images pullable in the bed, under any registry's name.
    pub fn push(&self, specs: &[ImageSpec]) -> Result<(), TestbedError> {
        images::push(&self.binaries, &nodes::registry_address(), specs)
    }

    /// `HOST:PORT` of the registry that every registry's name leads to; plain HTTP.
    pub fn registry(&self) -> String {
        nodes::registry_address()
    }

    fn start_nodes(&self, count: usize) -> Result<(), TestbedError> {
        let processes = &self.control_plane.processes;
        images::start_registry(processes, &self.binaries, &self.dir, &nodes::registry_address())?;
        let archive = self.dir.join("sandbox.tar");
        images::sandbox_archive(&self.binaries, &archive)?;
        let pki = self.control_plane.pki.path("");
        thread::scope(|scope| {
            let pushing = scope.spawn(|| self.push(&images::stand_ins()));
            for index in 1..=count {
                let site = NodeSite {
                    index,
                    nodes: MAX_NODES,
                    dir: &self.dir,
                    pki: &pki,
                    binaries: &self.binaries,
                    processes,
                    sandbox_archive: &archive,
                };
                site.up()?;
            }
            self.wait_for_nodes(count)?;
            pushing.join().unwrap_or_else(|_| {
                Err(TestbedError::Command {
                    what: "pushing images".to_owned(),
                    status: "panicked".to_owned(),
                    output: String::new(),
                })
            })
        })
    }

    fn wait_for_nodes(&self, count: usize) -> Result<(), TestbedError> {
        let log = self.control_plane.processes.log("node1-kubelet");
        wait_until("the nodes' kubelets", &log, 90, || {
            let mut get = self.kubectl();
            const READY: &str =
                "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status} {end}";
            get.args(["get", "nodes", "-o", READY]);
            run(&mut get, "kubectl get nodes")
                .is_ok_and(|out| out.split_whitespace().filter(|s| *s == "True").count() >= count)
        })
    }

    /// kube-proxy's user may do what kube-proxy does.
    fn bind_proxy(&self) -> Result<(), TestbedError> {
        const BINDING: &str = r#"{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding",
            "metadata":{"name":"testbed-node-proxier"},
            "roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"system:node-proxier"},
            "subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"system:kube-proxy"}]}"#;
        let mut apply = self.kubectl();
        apply.args(["apply", "-f", "-"]);
        crate::process::run_with_input(&mut apply, BINDING.as_bytes(), "binding system:kube-proxy").map(drop)
    }
}

fn exclusive() -> Result<File, TestbedError> {
    lock(&cache_dir().join("bed.lock"))
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
}
