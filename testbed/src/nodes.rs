//! Nodes with a real kubelet, containerd and kube-proxy, each in a network and mount namespace of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::images::SANDBOX;
use crate::process::{Processes, run};
use crate::toolchain::{Binaries, Module};
use crate::{TestbedError, io};

pub(crate) const BRIDGE: &str = "tidegate0";
pub(crate) const GATEWAY: &str = "10.87.0.1";
pub(crate) const POD_PREFIX: &str = "10.88";
pub(crate) const SERVICE_RANGE: &str = "10.89.0.0/16";
const REGISTRY_PORT: u16 = 5000;

pub(crate) fn registry_address() -> String {
    format!("{GATEWAY}:{REGISTRY_PORT}")
}

pub(crate) fn node_name(index: usize) -> String {
    format!("node{index}")
}

/// What one node needs to know.
pub(crate) struct NodeSite<'a> {
    pub index: usize,
    pub nodes: usize,
    pub dir: &'a Path,
    pub pki: &'a Path,
    pub binaries: &'a Binaries,
    pub processes: &'a Processes,
    pub sandbox_archive: &'a Path,
}

impl NodeSite<'_> {
    pub fn up(&self) -> Result<(), TestbedError> {
        let name = node_name(self.index);
        if self.processes.alive(&format!("{name}-kubelet")) {
            return Ok(());
        }
        let home = self.dir.join(&name);
        fs::create_dir_all(home.join("cni-config")).map_err(io(format!("creating {}", home.display())))?;
        let bin = self.gather_programs(&home)?;
        self.write_configuration(&home, &bin)?;
        let inside = home.join("node-inside.sh");
        write(&inside, include_str!("../scripts/node-inside.sh"))?;
        let outside = home.join("node-up.sh");
        write(&outside, include_str!("../scripts/node-up.sh"))?;
        let mut command = Command::new("bash");
        command.arg(&outside).envs([
            ("NODE", name.as_str()),
            ("BRIDGE", BRIDGE),
            ("GATEWAY", GATEWAY),
            ("POD_PREFIX", POD_PREFIX),
            ("SANDBOX", SANDBOX),
        ]);
        command
            .env("INDEX", self.index.to_string())
            .env("NODES", self.nodes.to_string());
        command
            .env("NODE_IP", self.address())
            .env("NODE_DIR", &home)
            .env("BIN", &bin)
            .env("INSIDE", &inside);
        command.env("ARCHIVE", self.sandbox_archive);
        command.env("KUBECONFIG_FILE", self.pki.join(format!("{name}.conf")));
        command
            .env("LOG_DIR", self.dir.join("log"))
            .env("PID_DIR", self.dir.join("pids"));
        run(&mut command, &format!("starting {name}")).map(drop)
    }

    fn address(&self) -> String {
        format!("10.87.0.{}", 10 + self.index)
    }

    /// containerd finds its shim, and the node script its programs, on one PATH.
    fn gather_programs(&self, home: &Path) -> Result<PathBuf, TestbedError> {
        let bin = home.join("bin");
        fs::create_dir_all(&bin).map_err(io(format!("creating {}", bin.display())))?;
        for program in [
            "containerd",
            "containerd-shim-runc-v2",
            "ctr",
            "kubelet",
            "kube-proxy",
        ] {
            let link = bin.join(program);
            // A link left by an earlier version of the programs may point nowhere.
            fs::remove_file(&link).ok();
            let target = self.binaries.program(program)?;
            std::os::unix::fs::symlink(&target, &link).map_err(io(format!("linking {}", link.display())))?;
        }
        Ok(bin)
    }

    fn write_configuration(&self, home: &Path, bin: &Path) -> Result<(), TestbedError> {
        let cni = json!({"cniVersion": "1.0.0", "name": "tidegate", "plugins": [
            // Routed, not bridged: service traffic inside one node needs no br_netfilter.
            {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local",
                "ranges": [[{"subnet": format!("{POD_PREFIX}.{}.0/24", self.index)}]],
                "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]});
        write(&home.join("cni-config/10-ptp.conflist"), &cni.to_string())?;
        let registry = registry_address();
        let hosts = format!(
            "server = \"http://{registry}\"\n[host.\"http://{registry}\"]\n  capabilities = [\"pull\",\"resolve\"]\n"
        );
        let certs = home.join("registries/_default");
        fs::create_dir_all(&certs).map_err(io(format!("creating {}", certs.display())))?;
        write(&certs.join("hosts.toml"), &hosts)?;
        write(
            &home.join("containerd.toml"),
            &self.containerd_configuration(home)?,
        )?;
        write(&home.join("resolv.conf"), "nameserver 127.0.0.1\n")?;
        write(&home.join("kubelet.json"), &self.kubelet_configuration(home))?;
        let proxy = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
            "clusterCIDR": format!("{POD_PREFIX}.0.0/16"), "hostnameOverride": node_name(self.index),
            "clientConnection": {"kubeconfig": self.pki.join("proxy.conf")},
            "conntrack": {"maxPerCore": 0, "min": 0}, "metricsBindAddress": "127.0.0.1:10249"});
        write(&home.join("proxy.json"), &proxy.to_string())?;
        debug_assert!(bin.is_dir());
        Ok(())
    }

    fn containerd_configuration(&self, home: &Path) -> Result<String, TestbedError> {
        let cni = self.binaries.dir(Module::Cni)?.display();
        let home = home.display();
        // restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox would fail with a misleading error.
        Ok(format!(
            r#"version = 3
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{SANDBOX}"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "{home}/registries"
[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{cni}"]
  conf_dir = "{home}/cni-config"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "runc"
  SystemdCgroup = false
"#
        ))
    }

    fn kubelet_configuration(&self, home: &Path) -> String {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "failCgroupV1": false, "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/tidegate/{}", node_name(self.index)),
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true},
                "x509": {"clientCAFile": self.pki.join("ca.crt")}},
            "authorization": {"mode": "Webhook"},
            "clusterDomain": "cluster.local", "clusterDNS": ["10.89.0.10"],
            "resolvConf": home.join("resolv.conf"),
            "failSwapOn": false, "serializeImagePulls": false,
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            "evictionHard": {"imagefs.available": "1%", "nodefs.available": "1%", "memory.available": "100Mi"},
            "maxPods": 110, "nodeStatusUpdateFrequency": "5s",
        })
        .to_string()
    }
}

/// Whatever is left of node number `index`.
pub(crate) fn down(dir: &Path, processes: &Processes, index: usize) -> Result<(), TestbedError> {
    let name = node_name(index);
    for part in ["proxy", "kubelet"] {
        processes.stop(&format!("{name}-{part}"), Duration::from_secs(10));
    }
    let script = dir.join("node-down.sh");
    write(&script, include_str!("../scripts/node-down.sh"))?;
    let mut command = Command::new("bash");
    command
        .arg(&script)
        .env("NODE", &name)
        .env("INDEX", index.to_string())
        .env("POD_PREFIX", POD_PREFIX);
    run(&mut command, &format!("stopping {name}"))?;
    processes.stop(&format!("{name}-containerd"), Duration::from_secs(1));
    Ok(())
}

pub(crate) fn bridge_up() -> Result<(), TestbedError> {
    let exists = Path::new("/sys/class/net").join(BRIDGE).exists();
    if exists {
        return Ok(());
    }
    for args in [
        vec!["link", "add", BRIDGE, "type", "bridge"],
        vec!["addr", "add", "10.87.0.1/24", "dev", BRIDGE],
        vec!["link", "set", BRIDGE, "up"],
    ] {
        run(Command::new("ip").args(args), "making the bridge")?;
    }
    Ok(())
}

pub(crate) fn bridge_down() {
    // It may not be there.
    run(
        Command::new("ip").args(["link", "del", BRIDGE]),
        "removing the bridge",
    )
    .ok();
}

fn write(path: &Path, content: &str) -> Result<(), TestbedError> {
    fs::write(path, content).map_err(io(format!("writing {}", path.display())))
}
