//! Controllers and kubelets of two Deployments: ours, whose pods are two processes of this build with the rights of the
//! chart's service account, and that of Kruise's manager, whose pods are nothing.

use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use testbed::ApiServer;

use crate::input::given;
use crate::output::checked;

const OURS: [&str; 2] = ["tidegate-system", "tidegate-operator"];

pub struct Played {
    over: Arc<AtomicBool>,
    playing: Option<JoinHandle<()>>,
}

impl Played {
    /// From the moment the Deployments are there.
    pub fn begin(server: &ApiServer, dir: &Path, address: IpAddr) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (told, dir) = (over.clone(), dir.to_owned());
        let kubectl = kubectl(server);
        let playing = std::thread::spawn(move || {
            let mut replicas = Vec::new();
            while !told.load(Ordering::Relaxed) {
                if replicas.is_empty() && deployment(&kubectl, OURS).is_some() {
                    replicas = operators(&kubectl, &dir, address);
                }
                for [namespace, name] in [OURS, ["kruise-system", "kruise-controller-manager"]] {
                    roll_out(&kubectl, namespace, name);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self {
            over,
            playing: Some(playing),
        }
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(playing) = self.playing.take() {
            playing.join().ok();
        }
    }
}

pub fn rolled_out(server: &ApiServer, namespace: &str, name: &str) {
    roll_out(&kubectl(server), namespace, name);
}

/// Program and arguments.
type Kubectl = Vec<std::ffi::OsString>;

fn kubectl(server: &ApiServer) -> Kubectl {
    let command = server.kubectl();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(ToOwned::to_owned).collect()
}

fn run(kubectl: &Kubectl, arguments: &[&str]) -> Command {
    let mut command = Command::new(&kubectl[0]);
    command.args(&kubectl[1..]).args(arguments);
    command
}

fn deployment(kubectl: &Kubectl, [namespace, name]: [&str; 2]) -> Option<Value> {
    let arguments = [
        "-n",
        namespace,
        "get",
        "deployment",
        name,
        "-o",
        "json",
        "--ignore-not-found",
    ];
    let output = run(kubectl, &arguments).output().ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

/// Says that all replicas of the latest generation are ready.
fn roll_out(kubectl: &Kubectl, namespace: &str, name: &str) {
    let Some(found) = deployment(kubectl, [namespace, name]) else {
        return;
    };
    let (generation, replicas) = (&found["metadata"]["generation"], &found["spec"]["replicas"]);
    if found["status"]["observedGeneration"] == *generation {
        return;
    }
    let condition =
        |kind: &str, reason: &str| json!({"type": kind, "status": "True", "reason": reason, "message": ""});
    let status = json!({"status": {"observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
        "conditions": [condition("Available", "MinimumReplicasAvailable"),
            condition("Progressing", "NewReplicaSetAvailable")]}});
    let patch = status.to_string();
    let arguments = [
        "-n",
        namespace,
        "patch",
        "deployment",
        name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    // One changed meanwhile is seen again.
    run(kubectl, &arguments).output().ok();
}

/// A process that does not outlive the test.
struct Replica(Child);

impl Drop for Replica {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Two replicas with the arguments of the chart but for their ports, and an endpoint of the Service for each.
fn operators(kubectl: &Kubectl, dir: &Path, address: IpAddr) -> Vec<Replica> {
    let [namespace, name] = OURS;
    let created = ["-n", namespace, "create", "token", name];
    let token = checked(run(kubectl, &created).output().unwrap(), &created);
    let shown = ["config", "view", "--raw", "-o", "json"];
    let config = checked(run(kubectl, &shown).output().unwrap(), &shown);
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["users"][0]["user"] = json!({"token": token.trim()});
    let kubeconfig = dir.join("operator.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();

    let found = deployment(kubectl, OURS).unwrap();
    let arguments = found["spec"]["template"]["spec"]["containers"][0]["args"]
        .as_array()
        .unwrap();
    let arguments: Vec<&str> = arguments.iter().filter_map(Value::as_str).collect();
    let of_ports = |argument: &&&str| argument.starts_with("--listen") || argument.starts_with("--metrics");
    let mut replicas = Vec::new();
    for number in 0..2 {
        let [listen, metrics] = [free_port(), free_port()];
        let log = std::fs::File::create(dir.join(format!("operator-{number}.log"))).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments.iter().filter(|a| !of_ports(a)))
            .arg(format!("--listen=0.0.0.0:{listen}"))
            .arg(format!("--metrics=127.0.0.1:{metrics}"))
            .arg(format!("--kubeconfig={}", kubeconfig.display()))
            .env("POD_NAME", format!("operator-{number}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        replicas.push(Replica(child));
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("operator-{number}"), "namespace": namespace,
                "labels": {"kubernetes.io/service-name": "tidegate-webhook"}},
            "ports": [{"name": "https", "port": listen, "protocol": "TCP"}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}]});
        let applied = ["apply", "--server-side", "-f", "-"];
        checked(given(&mut run(kubectl, &applied), &slice.to_string()), &applied);
    }
    replicas
}

/// Free when we let go of it, and taken again at once.
fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}
