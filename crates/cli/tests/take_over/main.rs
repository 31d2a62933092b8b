//! `tidegate install --take-over` as a person types it, with real Helm on a real API server. Of Kruise there is what it
//! leaves in a cluster, with two replicas of its manager; controllers and kubelets are played. What the manager itself
//! does meanwhile, and the way back: crates/operators/tests/takeover.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/input.rs"]
mod input;
#[path = "../support/output.rs"]
mod output;
mod played;

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};

use input::given;
use output::checked;
use played::Played;
use serde_json::{Value, json};
use testbed::{ApiServer, ApiServerOptions, Binaries, DEFAULT_VERSION, Module};

const CRD: &str = include_str!("../../../../charts/tidegate/files/sidecarsets.apps.kruise.io.yaml");
const MANAGER: [&str; 3] = ["-n", "kruise-system", "deployment/kruise-controller-manager"];

#[test]
fn take_over_installs_the_operator_by_helm_and_leaves_kruise_what_it_keeps() {
    let Some(address) = address() else {
        println!("not tested here: no address but loopback, which endpoints may not have");
        return;
    };
    let story = Story::begin();
    let planned = story.take_over(&["--dry-run"]);
    for line in ["stays with Kruise", "run by Tidegate", "Helm installs it first"] {
        assert!(planned.contains(line), "{line:?} is not in\n{planned}");
    }
    let before = story.crd();

    let played = Played::begin(&story.server, &story.dir, address);
    let told = story.take_over(&[]);
    assert!(
        told.contains("Tidegate runs the SidecarSets; Kruise goes on"),
        "{told}"
    );
    let manager = story.get(&MANAGER);
    let container = &manager["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][0]["name"], "CUSTOM_RESOURCE_ENABLE");
    assert_eq!(manager["spec"]["replicas"], 2, "two replicas, as before");
    assert_eq!(
        story.get(&["sidecarset/log"])["metadata"]["annotations"]["kruise.io/sidecarset-hash"],
        "stored-by-kruise"
    );
    assert_eq!(story.containers_of_a_new_pod(), ["log", "main"]);
    assert!(story.take_over(&[]).contains("Nothing is left to do."));

    // A later version of the operator: the CRD is still of Kruise's release, and Helm would refuse to touch it.
    story.tidegate(&["--image=tidegate/tidegate:later"]);
    let deployment = story.get(&["-n", "tidegate-system", "deployment/tidegate-operator"]);
    let image = &deployment["spec"]["template"]["spec"]["containers"][0]["image"];
    assert_eq!(image, "tidegate/tidegate:later");
    assert_eq!(story.crd(), before);
    // Processes are ended by what the directory says of them.
    let Story { server, dir, .. } = story;
    drop((played, server));
    std::fs::remove_dir_all(dir).ok();
}

struct Story {
    server: ApiServer,
    dir: PathBuf,
    /// With helm, and without any tidegate.
    path: String,
}

impl Story {
    fn begin() -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-take-over-{}", std::process::id()));
        let server = ApiServer::start(&ApiServerOptions::in_dir(dir.join("server"))).unwrap();
        let binaries = Binaries::build(&[Module::Helm], DEFAULT_VERSION, &mut |line| eprintln!("{line}"));
        let helm = binaries.unwrap().program("helm").unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", helm.parent().unwrap().display());
        let story = Self { server, dir, path };
        for namespace in ["kruise-system", "apps"] {
            story.kubectl(&["create", "namespace", namespace]);
        }
        story.kubectl(&["-n", "apps", "create", "serviceaccount", "default"]);
        story.apply(&crd_of_kruise());
        story.apply(include_str!("kruise.yaml"));
        for crd in ["sidecarsets", "clonesets"] {
            let crd = format!("crd/{crd}.apps.kruise.io");
            story.kubectl(&["wait", "--for=condition=Established", &crd, "--timeout=30s"]);
        }
        // Nobody answers for Kruise's webhooks here: before they are there.
        story.apply(include_str!("objects.yaml"));
        for configuration in configurations() {
            story.apply(&configuration.to_string());
        }
        played::rolled_out(&story.server, "kruise-system", "kruise-controller-manager");
        story
    }

    fn take_over(&self, more: &[&str]) -> String {
        self.tidegate(&[&["--take-over"], more].concat())
    }

    fn tidegate(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.arg("install").args(arguments).arg("--kubeconfig");
        command.arg(self.server.kubeconfig()).env("PATH", &self.path);
        checked(command.output().unwrap(), arguments)
    }

    fn containers_of_a_new_pod(&self) -> Vec<String> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "apps", "labels": {"app": "web"}},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "main:1"}]}});
        let created = self.given(&["create", "-o", "json"], &pod.to_string());
        let pod: Value = serde_json::from_str(&checked(created, &["create"])).unwrap();
        let containers = pod["spec"]["containers"].as_array().unwrap();
        let name = |container: &Value| container["name"].as_str().unwrap().to_owned();
        containers.iter().map(name).collect()
    }

    /// But what changes with every write.
    fn crd(&self) -> Value {
        let crd = self.get(&["crd/sidecarsets.apps.kruise.io"]);
        json!([
            crd["metadata"]["annotations"],
            crd["metadata"]["labels"],
            crd["spec"]["conversion"]
        ])
    }

    fn get(&self, what: &[&str]) -> Value {
        serde_json::from_str(&self.kubectl(&[&["get", "-o", "json"], what].concat())).unwrap()
    }

    fn apply(&self, manifest: &str) {
        checked(self.given(&["apply", "--server-side"], manifest), &["apply"]);
    }

    fn given(&self, arguments: &[&str], manifest: &str) -> Output {
        given(self.server.kubectl().args(arguments).args(["-f", "-"]), manifest)
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        checked(self.server.kubectl().args(arguments).output().unwrap(), arguments)
    }
}

/// Of Kruise's release, converted by Kruise.
fn crd_of_kruise() -> String {
    let mut crd: Value = serde_yaml_ng::from_str(CRD).unwrap();
    crd["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    crd["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "kruise", "meta.helm.sh/release-namespace": "default"});
    crd["spec"]["conversion"]["webhook"]["clientConfig"]["service"] = service("/convert");
    crd.to_string()
}

fn configurations() -> [Value; 2] {
    let of = |kind: &str, name: &str, prefix: &str, verb: &str| {
        let entries = json!([
            entry(&format!("{prefix}pod.kb.io"), &format!("/{verb}-pod"), "", "pods"),
            entry(
                &format!("{prefix}sidecarset.kb.io"),
                &format!("/{verb}-apps-kruise-io-sidecarset"),
                "apps.kruise.io",
                "sidecarsets"
            ),
        ]);
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
            "metadata": {"name": name, "annotations": {"template": entries.to_string()}}, "webhooks": entries})
    };
    [
        of(
            "MutatingWebhookConfiguration",
            "kruise-mutating-webhook-configuration",
            "m",
            "mutate",
        ),
        of(
            "ValidatingWebhookConfiguration",
            "kruise-validating-webhook-configuration",
            "v",
            "validate",
        ),
    ]
}

fn entry(name: &str, path: &str, group: &str, plural: &str) -> Value {
    json!({"name": name, "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "sideEffects": "None",
        "clientConfig": {"service": service(path)},
        "rules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE"], "resources": [plural]}]})
}

fn service(path: &str) -> Value {
    json!({"namespace": "kruise-system", "name": "kruise-webhook-service", "path": path})
}

/// Ours, as others would call it. Nothing is sent.
fn address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.200:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
