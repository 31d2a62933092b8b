//! The stories in `scenarios/`: each a YAML file that says what people, kubelets and time do, and beside it what the
//! operator said and did (`.out`), on an embedded cluster in virtual time. TIDEGATE_BLESS=1 writes the `.out` files.
#![allow(clippy::unwrap_used, clippy::expect_used)]
// The world of the unit tests names these from the crate's root.
use tidegate_operators::{Metrics, Options, Webhook, sidecarset};

#[allow(dead_code)]
#[path = "../src/sidecarset/tests/world.rs"]
mod world;

use cluster::resource::{NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS, SIDECAR_SETS};
use cluster::{ApiError, DeleteOptions, PatchKind};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use world::World;

/// Longer than anything the operator waits for on its own account between two steps.
const SETTLES_AFTER: u64 = 15;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Story {
    /// What it shows, in a sentence or two.
    story: String,
    steps: Vec<Step>,
}

/// One thing that happens. What is refused is part of the story.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Step {
    /// Creates a SidecarSet (v1beta1 unless it says otherwise).
    SidecarSet(Value),
    /// A merge patch of one.
    Change {
        name: String,
        patch: Value,
    },
    /// Deletes one.
    Forget(String),
    Namespace {
        name: String,
        labels: Option<Value>,
    },
    Node {
        name: String,
        kubelet: String,
    },
    Pods(NewPods),
    /// Kubelets of these pods do what the spec says.
    Kubelet(Vec<String>),
    /// They cannot pull the image.
    Fails(Vec<String>),
    Delete(Vec<String>),
    /// Seconds go by.
    Rest(u64),
    /// What is to be seen of a SidecarSet and of the pods, after everything has settled.
    Show(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewPods {
    names: Vec<String>,
    #[serde(default)]
    namespace: Option<String>,
    labels: Value,
    #[serde(default)]
    node: Option<String>,
    /// Left for the story to start.
    #[serde(default)]
    not_running: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

#[tokio::test(start_paused = true)]
async fn every_story_ends_as_it_is_written() {
    let wanted = std::env::var("TIDEGATE_STORY").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no story is called so");
    let mut different = Vec::new();
    for file in files {
        let told = tell(&file).await;
        let golden = file.with_extension("out");
        if std::env::var_os("TIDEGATE_BLESS").is_some() {
            std::fs::write(&golden, &told).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != told {
            different.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(different.is_empty(), "not as written:\n{}", different.join("\n"));
}

async fn tell(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let story: Story = serde_yaml_ng::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut teller = Teller {
        world: World::with_operator().await,
        out: format!("{}\n", story.story.trim()),
    };
    for step in story.steps {
        teller.step(step).await;
    }
    teller.out
}

struct Teller {
    world: World,
    out: String,
}

impl Teller {
    async fn step(&mut self, step: Step) {
        match step {
            Step::SidecarSet(set) => self.create_set(set).await,
            Step::Change { name, patch } => {
                self.say(&format!("change {name}: {patch}"));
                let kind = PatchKind::Merge;
                let door = &self.world.door;
                let answer = door.patch(&SIDECAR_SETS, None, &name, kind, &patch, None).await;
                self.told(answer);
            }
            Step::Forget(name) => {
                self.say(&format!("delete sidecarset {name}"));
                let (door, options) = (&self.world.door, DeleteOptions::default());
                door.delete(&SIDECAR_SETS, None, &name, &options).await.unwrap();
            }
            Step::Namespace { name, labels } => self.create_namespace(&name, labels).await,
            Step::Node { name, kubelet } => self.create_node(&name, &kubelet).await,
            Step::Pods(pods) => self.create_pods(&pods).await,
            Step::Kubelet(names) => {
                self.say(&format!("kubelets follow: {}", names.join(", ")));
                for name in &names {
                    self.world.kubelet(name).await;
                }
            }
            Step::Fails(names) => {
                self.say(&format!("kubelets cannot pull: {}", names.join(", ")));
                for name in &names {
                    self.fails(name).await;
                }
            }
            Step::Delete(names) => {
                self.say(&format!("delete pods {}", names.join(", ")));
                let now = DeleteOptions {
                    grace_period_seconds: Some(0),
                    ..DeleteOptions::default()
                };
                for name in &names {
                    self.world
                        .door
                        .delete(&PODS, Some("apps"), name, &now)
                        .await
                        .unwrap();
                }
            }
            Step::Rest(seconds) => {
                self.say(&format!("{seconds} s go by"));
                self.world.rest(seconds).await;
            }
            Step::Show(name) => self.show(&name).await,
        }
    }

    fn say(&mut self, line: &str) {
        let _ = writeln!(self.out, "\n> {line}");
    }

    fn told(&mut self, answer: Result<Value, ApiError>) {
        if let Err(error) = answer {
            let _ = writeln!(self.out, "  refused with {}: {}", error.code, error.message);
        }
    }

    /// And waits until its pods are injected, should it be accepted.
    async fn create_set(&mut self, mut set: Value) {
        let name = set["metadata"]["name"].as_str().unwrap().to_owned();
        if set["apiVersion"].is_null() {
            set["apiVersion"] = json!("apps.kruise.io/v1beta1");
        }
        set["kind"] = json!("SidecarSet");
        self.say(&format!("create sidecarset {name}"));
        let answer = self.world.door.create(&SIDECAR_SETS, None, &set).await;
        self.told(answer);
        self.world.rest(SETTLES_AFTER).await;
    }

    async fn create_namespace(&mut self, name: &str, labels: Option<Value>) {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        // kube-system is there already.
        let _ = self.world.door.create(&NAMESPACES, None, &namespace).await;
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "default", "namespace": name}});
        let _ = self
            .world
            .door
            .create(&SERVICE_ACCOUNTS, Some(name), &account)
            .await;
        self.world.rest(1).await;
    }

    async fn create_node(&mut self, name: &str, kubelet: &str) {
        self.say(&format!("node {name} with kubelet {kubelet}"));
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        self.world.door.create(&NODES, None, &node).await.unwrap();
        let status = json!({"status": {"nodeInfo": {"kubeletVersion": kubelet, "machineID": "", "systemUUID": "",
            "bootID": "", "kernelVersion": "", "osImage": "", "containerRuntimeVersion": "", "kubeProxyVersion": "",
            "operatingSystem": "linux", "architecture": "amd64"}}});
        let kind = PatchKind::Merge;
        let door = &self.world.door;
        let answer = door
            .patch(&NODES, None, name, kind, &status, Some("status"))
            .await;
        answer.unwrap();
    }

    async fn create_pods(&mut self, pods: &NewPods) {
        let namespace = pods.namespace.as_deref().unwrap_or("apps");
        self.say(&format!("create pods {} in {namespace}", pods.names.join(", ")));
        for name in &pods.names {
            let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace, "labels": pods.labels},
                "spec": {"nodeName": pods.node.as_deref().unwrap_or("node-1"), "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "main:1"}]}});
            pod["metadata"]["labels"]["name"] = json!(name);
            let answer = self.world.door.create(&PODS, Some(namespace), &pod).await;
            let refused = answer.is_err();
            self.told(answer);
            if !refused && !pods.not_running && namespace == "apps" {
                self.world.kubelet(name).await;
            }
            // No two are of one second: orders by age are told apart.
            self.world.rest(1).await;
        }
    }

    /// The sidecar's container is down, and its image does not come.
    async fn fails(&self, name: &str) {
        self.world.kubelet(name).await;
        let mut pod = self.world.door.get(&PODS, Some("apps"), name).await.unwrap();
        let statuses = pod["status"]["containerStatuses"].as_array_mut().unwrap();
        let side = statuses.iter_mut().find(|s| s["name"] == "side").unwrap();
        side["ready"] = json!(false);
        side["state"] = json!({"waiting": {"reason": "ImagePullBackOff"}});
        let patch = json!({"status": {"containerStatuses": statuses, "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}});
        let kind = PatchKind::Merge;
        let door = &self.world.door;
        let answer = door
            .patch(&PODS, Some("apps"), name, kind, &patch, Some("status"))
            .await;
        answer.unwrap();
    }

    async fn show(&mut self, name: &str) {
        self.world.rest(SETTLES_AFTER).await;
        let found = self.world.door.get(&SIDECAR_SETS, None, name).await;
        match found {
            Ok(set) => self.show_status(name, &set["status"]),
            Err(_) => {
                let _ = writeln!(self.out, "  no sidecarset {name}");
            }
        }
        let pods = self
            .world
            .door
            .list(&PODS, None, &Default::default())
            .await
            .unwrap();
        let mut lines: Vec<String> = pods.items.iter().map(pod_line).collect();
        lines.sort();
        self.out.extend(lines);
    }

    fn show_status(&mut self, name: &str, status: &Value) {
        let n = |key: &str| status[key].as_i64().unwrap_or_default();
        let _ = writeln!(
            self.out,
            "  {name}: {} matched, {} updated, {} ready, {} updated and ready",
            n("matchedPods"),
            n("updatedPods"),
            n("readyPods"),
            n("updatedReadyPods")
        );
        for condition in status["conditions"].as_array().into_iter().flatten() {
            let text = |key: &str| condition[key].as_str().unwrap_or_default();
            let _ = writeln!(
                self.out,
                "    {}={} {}",
                text("type"),
                text("status"),
                text("reason")
            );
        }
        for waiting in status["waiting"].as_array().into_iter().flatten() {
            let _ = writeln!(
                self.out,
                "    - {}",
                waiting["message"].as_str().unwrap_or_default()
            );
        }
    }
}

fn pod_line(pod: &Value) -> String {
    let containers = ["initContainers", "containers"];
    let lists = containers.iter().filter_map(|list| pod["spec"][list].as_array());
    let images: Vec<String> = lists
        .flatten()
        .filter(|c| c["name"] != "main")
        .map(|c| format!("{}={}", c["name"].as_str().unwrap(), c["image"].as_str().unwrap()))
        .collect();
    let conditions = pod["status"]["conditions"].as_array();
    let marked = conditions
        .into_iter()
        .flatten()
        .find(|c| c["type"] == "SidecarSetUpgradable")
        .map(|c| format!(" upgradable={}", c["status"].as_str().unwrap()));
    format!(
        "    {}/{} [{}]{}\n",
        pod["metadata"]["namespace"].as_str().unwrap(),
        pod["metadata"]["name"].as_str().unwrap(),
        images.join(", "),
        marked.unwrap_or_default()
    )
}
