//! etcd and kube-apiserver; for a whole control plane also the controller manager and the scheduler.

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::pki::{Pki, Subject};
use crate::process::{Processes, run, wait_until};
use crate::toolchain::{Binaries, DEFAULT_VERSION, Module};
use crate::{TestbedError, io};

const READY_SECONDS: u64 = 60;

/// Where and how to start an API server.
#[derive(Debug, Clone)]
pub struct ApiServerOptions {
    pub version: String,
    /// State, logs and certificates.
    pub dir: PathBuf,
    /// Also the controller manager and the scheduler.
    pub controllers: bool,
    /// etcd syncs each write to disk. A bed that is thrown away has no use for it; a benchmark of writes has.
    pub durable: bool,
    /// Appended to kube-apiserver's own flags.
    pub extra_flags: Vec<String>,
}

impl ApiServerOptions {
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            dir: dir.into(),
            controllers: false,
            durable: false,
            extra_flags: Vec::new(),
        }
    }
}

/// A real kube-apiserver with its etcd on free loopback ports; both end when this is dropped.
#[derive(Debug)]
pub struct ApiServer {
    control_plane: ControlPlane,
}

impl ApiServer {
    pub fn start(options: &ApiServerOptions) -> Result<Self, TestbedError> {
        let binaries = Binaries::build(
            &[Module::Etcd, Module::Kubernetes],
            &options.version,
            &mut |line| {
                eprintln!("{line}");
            },
        )?;
        let network = Network {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: free_port()?,
            service_range: "10.96.0.0/16".to_owned(),
            service_address: IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1)),
        };
        let control_plane = ControlPlane::start(options, &binaries, &network, &[])?;
        Ok(Self { control_plane })
    }

    /// A kubeconfig of a cluster administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.control_plane.pki.kubeconfig("admin")
    }

    /// The server's URL.
    pub fn url(&self) -> &str {
        &self.control_plane.url
    }

    pub fn kubectl(&self) -> Command {
        self.control_plane.kubectl()
    }

    /// The process id of `etcd` or `kube-apiserver`.
    pub fn pid(&self, process: &str) -> Option<u32> {
        self.control_plane.processes.pid(process)
    }

    /// Logs of the programs.
    pub fn log(&self, process: &str) -> PathBuf {
        self.control_plane.processes.log(process)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.control_plane.stop();
    }
}

/// Addresses of one control plane.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub address: IpAddr,
    pub port: u16,
    pub service_range: String,
    pub service_address: IpAddr,
}

pub(crate) struct ControlPlane {
    pub pki: Pki,
    pub processes: Processes,
    url: String,
    kubectl: PathBuf,
}

impl std::fmt::Debug for ControlPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ControlPlane")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl ControlPlane {
    pub fn start(
        options: &ApiServerOptions,
        binaries: &Binaries,
        network: &Network,
        nodes: &[String],
    ) -> Result<Self, TestbedError> {
        let url = format!("https://{}:{}", network.address, network.port);
        let pki = certificates(&options.dir.join("pki"), &url, network, nodes)?;
        let processes = Processes::new(&options.dir)?;
        let control_plane = Self {
            pki,
            processes,
            url,
            kubectl: binaries.program("kubectl")?,
        };
        match control_plane.start_programs(options, binaries, network) {
            Ok(()) => Ok(control_plane),
            Err(error) => {
                // Nobody gets a handle to end them by.
                control_plane.stop();
                Err(error)
            }
        }
    }

    fn start_programs(
        &self,
        options: &ApiServerOptions,
        binaries: &Binaries,
        network: &Network,
    ) -> Result<(), TestbedError> {
        self.start_etcd_and_api_server(options, binaries, network)?;
        if options.controllers {
            self.start_controllers(binaries)?;
        }
        Ok(())
    }

    pub fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(self.pki.kubeconfig("admin"));
        kubectl
    }

    pub fn stop(&self) {
        for name in [
            "kube-scheduler",
            "kube-controller-manager",
            "kube-apiserver",
            "etcd",
        ] {
            self.processes.stop(name, Duration::from_secs(10));
        }
    }

    fn start_etcd_and_api_server(
        &self,
        options: &ApiServerOptions,
        binaries: &Binaries,
        network: &Network,
    ) -> Result<(), TestbedError> {
        if self.processes.alive("kube-apiserver") && self.ready() {
            return Ok(());
        }
        let client = format!("http://127.0.0.1:{}", free_port()?);
        let peer = format!("http://127.0.0.1:{}", free_port()?);
        let mut etcd = Command::new(binaries.program("etcd")?);
        etcd.arg("--data-dir").arg(options.dir.join("etcd"));
        etcd.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        etcd.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        etcd.args([
            "--initial-cluster",
            &format!("default={peer}"),
            "--log-level",
            "warn",
        ]);
        if !options.durable {
            etcd.arg("--unsafe-no-fsync");
        }
        etcd.args(["--quota-backend-bytes", "8589934592"]);
        etcd.args([
            "--auto-compaction-mode",
            "periodic",
            "--auto-compaction-retention",
            "5m",
        ]);
        self.processes.start("etcd", &mut etcd)?;
        let mut api_server = Command::new(binaries.program("kube-apiserver")?);
        self.api_server_flags(&mut api_server, network, &client);
        api_server.args(&options.extra_flags);
        self.processes.start("kube-apiserver", &mut api_server)?;
        let log = self.processes.log("kube-apiserver");
        let mut ended = false;
        wait_until("kube-apiserver", &log, READY_SECONDS, || {
            ended = !self.processes.alive("kube-apiserver");
            ended || self.ready()
        })?;
        if ended {
            return Err(TestbedError::Ended {
                process: "kube-apiserver".to_owned(),
                log,
            });
        }
        Ok(())
    }

    fn api_server_flags(&self, command: &mut Command, network: &Network, etcd: &str) {
        let file = |name: &str| self.pki.path(name).display().to_string();
        let flags = [
            ("etcd-servers", etcd.to_owned()),
            ("bind-address", "0.0.0.0".to_owned()),
            ("advertise-address", network.address.to_string()),
            ("secure-port", network.port.to_string()),
            ("service-cluster-ip-range", network.service_range.clone()),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc".to_owned(),
            ),
            ("service-account-key-file", file("sa.pub")),
            ("service-account-signing-key-file", file("sa.key")),
            ("client-ca-file", file("ca.crt")),
            ("tls-cert-file", file("apiserver.crt")),
            ("tls-private-key-file", file("apiserver.key")),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("enable-admission-plugins", "NodeRestriction".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("kubelet-client-certificate", file("kubelet-client.crt")),
            ("kubelet-client-key", file("kubelet-client.key")),
            ("kubelet-preferred-address-types", "InternalIP".to_owned()),
            // Webhooks go to endpoint addresses: the host needs no kube-proxy.
            ("enable-aggregator-routing", "true".to_owned()),
            ("requestheader-client-ca-file", file("ca.crt")),
            ("requestheader-allowed-names", "front-proxy-client".to_owned()),
            ("requestheader-username-headers", "X-Remote-User".to_owned()),
            ("requestheader-group-headers", "X-Remote-Group".to_owned()),
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
            ("proxy-client-cert-file", file("front-proxy-client.crt")),
            ("proxy-client-key-file", file("front-proxy-client.key")),
            ("event-ttl", "10m".to_owned()),
        ];
        // A loopback address may not be advertised as the kubernetes Service's endpoint.
        let loopback = network.address.is_loopback();
        for (flag, value) in flags {
            match flag {
                "advertise-address" if loopback => {}
                "bind-address" if loopback => {
                    command
                        .arg("--bind-address=127.0.0.1")
                        .arg("--endpoint-reconciler-type=none");
                }
                _ => {
                    command.arg(format!("--{flag}={value}"));
                }
            }
        }
    }

    fn start_controllers(&self, binaries: &Binaries) -> Result<(), TestbedError> {
        let file = |name: &str| self.pki.path(name).display().to_string();
        let ports = (free_port()?, free_port()?);
        let mut manager = Command::new(binaries.program("kube-controller-manager")?);
        let config = file("controller-manager.conf");
        for flag in [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ] {
            manager.arg(format!("--{flag}={config}"));
        }
        manager.arg(format!("--service-account-private-key-file={}", file("sa.key")));
        manager.arg(format!("--root-ca-file={}", file("ca.crt")));
        manager.arg(format!("--cluster-signing-cert-file={}", file("ca.crt")));
        manager.arg(format!("--cluster-signing-key-file={}", file("ca.key")));
        manager.args([
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
        ]);
        manager.arg(format!("--secure-port={}", ports.0));
        self.processes
            .start_supervised("kube-controller-manager", &manager)?;
        let mut scheduler = Command::new(binaries.program("kube-scheduler")?);
        let config = file("scheduler.conf");
        for flag in [
            "kubeconfig",
            "authentication-kubeconfig",
            "authorization-kubeconfig",
        ] {
            scheduler.arg(format!("--{flag}={config}"));
        }
        scheduler.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        scheduler.arg(format!("--secure-port={}", ports.1));
        self.processes.start_supervised("kube-scheduler", &scheduler)?;
        // The controller manager is at work when it has made the default service account.
        let log = self.processes.log("kube-controller-manager");
        wait_until("kube-controller-manager", &log, READY_SECONDS, || {
            let mut get = self.kubectl();
            get.args(["get", "serviceaccount", "default", "-n", "default", "-o", "name"]);
            run(&mut get, "kubectl get serviceaccount").is_ok()
        })
    }

    fn ready(&self) -> bool {
        let mut get = self.kubectl();
        get.args(["get", "--raw", "/readyz", "--request-timeout=2s"]);
        run(&mut get, "kubectl get --raw /readyz").is_ok()
    }
}

fn certificates(dir: &Path, url: &str, network: &Network, nodes: &[String]) -> Result<Pki, TestbedError> {
    let addresses = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        network.address,
        network.service_address,
    ];
    let masters = Some("system:masters");
    let mut subjects = vec![
        Subject {
            file: "apiserver",
            common_name: "kube-apiserver",
            organization: None,
            addresses: &addresses,
            names: &[
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
                "kubernetes.default.svc.cluster.local",
            ],
        },
        Subject::client("kubelet-client", "apiserver-kubelet-client", masters),
        Subject::client("front-proxy-client", "front-proxy-client", None),
        Subject::client("admin", "admin", masters),
        Subject::client("controller-manager", "system:kube-controller-manager", None),
        Subject::client("scheduler", "system:kube-scheduler", None),
        Subject::client("proxy", "system:kube-proxy", None),
    ];
    let users: Vec<String> = nodes.iter().map(|node| format!("system:node:{node}")).collect();
    for (node, user) in nodes.iter().zip(&users) {
        subjects.push(Subject::client(node, user, Some("system:nodes")));
    }
    Pki::ensure(dir, url, &subjects)
}

pub(crate) fn free_port() -> Result<u16, TestbedError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("finding a free port"))?;
    Ok(listener.local_addr().map_err(io("finding a free port"))?.port())
}
