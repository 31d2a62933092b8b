//! The chart on real Kubernetes: the operator as pods, on real kubelets, installed and removed by real Helm.
//!
//! Needs root and a few Debian packages (testbed/install-packages.sh); elsewhere it says so in one line and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../support/cluster.rs"]
mod cluster;
#[path = "../support/input.rs"]
mod input;
#[path = "../support/output.rs"]
mod output;
mod release;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use output::checked;
use testbed::{Bed, BedOptions, ImageSpec};

const RELEASE: &str = "helm-story-system";
const NAMESPACE: &str = "helm-story";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/tidegate");
const CONFIGURATIONS: [&str; 2] = [
    "mutatingwebhookconfiguration/tidegate-mutating-webhook-configuration",
    "validatingwebhookconfiguration/tidegate-validating-webhook-configuration",
];
const CRD: &str = "customresourcedefinition/sidecarsets.apps.kruise.io";

/// Our own namespace is as strict as Kubernetes can make it.
const NAMESPACES: &str = r#"
apiVersion: v1
kind: Namespace
metadata:
  name: helm-story-system
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: Namespace
metadata: {name: helm-story}
"#;

const SETS: &str = r#"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: helm-story-beta}
spec:
  selector: {matchLabels: {app: helm-story}}
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: helm-story}}
  containers: [{name: agent, image: "tidegate/sidecar:v1", env: [{name: PORT, value: "8081"}]}]
  updateStrategy: {type: RollingUpdate, maxUnavailable: 1}
---
apiVersion: apps.kruise.io/v1alpha1
kind: SidecarSet
metadata: {name: helm-story-alpha}
spec:
  namespace: helm-story
  selector: {matchLabels: {app: nobody}}
  containers: [{name: agent, image: "tidegate/sidecar:v1"}]
"#;

const APPLICATION: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: main, namespace: helm-story}
spec:
  replicas: 2
  selector: {matchLabels: {app: helm-story}}
  template:
    metadata: {labels: {app: helm-story}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: "nginx:1.20"}]
"#;

#[test]
fn the_chart_installs_an_operator_that_works_and_leaves_nothing_in_the_way_of_pods() {
    if let Err(why) = Bed::nodes_available() {
        println!("not tested here: {why}");
        return;
    }
    let bed = Bed::up(&BedOptions::default(), &mut |line| eprintln!("{line}")).unwrap();
    let story = Story {
        bed,
        tag: unique_tag(),
    };
    story.clean();
    story.push();
    story.dry_run_prints_what_helm_makes_of_the_chart();
    story.apply(NAMESPACES);

    story.install_by_tidegate();
    story.apply(SETS);
    story.both_versions_are_served();
    story.pods_are_injected_and_upgraded_in_place();
    story.nothing_was_forbidden();
    story.replicas_are_replaced_without_one_failed_admission();
    story.nothing_was_forbidden();
    story.uninstall();
    assert_eq!(story.create_pod("after-uninstall").unwrap(), 1);

    story.install();
    story.injects();
    story.kill_replicas();
    let refused = story.first_refusal();
    assert!(
        refused.contains("failed calling webhook"),
        "failure policy Fail holds while nobody answers: {refused}"
    );
    story.uninstall();
    assert_eq!(story.create_pod("after-uninstall-of-the-dead").unwrap(), 1);
    story.clean();
}

struct Story {
    bed: Bed,
    tag: String,
}

impl Story {
    /// A replica that was told to stop still answers while it drains; then nobody does.
    fn first_refusal(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(90);
        let mut number = 0;
        loop {
            match self.create_pod(&format!("without-operator-{number}")) {
                Err(refused) => return refused,
                Ok(_) => assert!(
                    Instant::now() < deadline,
                    "pods are still admitted without an operator"
                ),
            }
            number += 1;
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn push(&self) {
        let program = Path::new(env!("CARGO_BIN_EXE_tidegate"));
        let image = ImageSpec::program(&format!("tidegate/tidegate:{}", self.tag), program).unwrap();
        self.bed.push(&[image]).unwrap();
    }

    fn dry_run_prints_what_helm_makes_of_the_chart(&self) {
        let of_helm = self.helm(&["template", "tidegate", CHART]);
        let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let arguments = ["install", "--dry-run", "--namespace", RELEASE];
        let of_ours = checked(tidegate.args(arguments).output().unwrap(), &arguments);
        let (namespace, rest) = of_ours.split_at(of_ours.find("---").unwrap());
        assert!(namespace.contains("kind: Namespace"), "{namespace}");
        assert!(rest == of_helm, "charts/rendered is old: run cargo xtask chart");
    }

    /// As a user would, with helm on PATH; again, which changes nothing.
    fn install_by_tidegate(&self) {
        let helm = self.bed.program("helm").unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{path}", helm.parent().unwrap().display());
        let image = format!("tidegate/tidegate:{}", self.tag);
        for _ in 0..2 {
            let mut tidegate = Command::new(env!("CARGO_BIN_EXE_tidegate"));
            let arguments = [
                "install",
                "--namespace",
                RELEASE,
                "--image",
                &image,
                "--kubeconfig",
            ];
            tidegate
                .args(arguments)
                .arg(self.bed.kubeconfig())
                .env("PATH", &path);
            checked(tidegate.output().unwrap(), &arguments);
        }
        self.injects();
    }

    fn install(&self) {
        let tag = format!("image.tag={}", self.tag);
        self.helm(&[
            "install",
            "tidegate",
            CHART,
            "--set",
            &tag,
            "--wait",
            "--timeout=120s",
        ]);
        self.injects();
    }

    /// Until the API server asks the operator about pods, if there are SidecarSets, and converts by it.
    fn injects(&self) {
        self.wait("authorities in all that names our Service", || {
            let mutating = self.get(CONFIGURATIONS[0]);
            let validating = self.get(CONFIGURATIONS[1]);
            let conversion = &self.get(CRD)["spec"]["conversion"]["webhook"];
            let sets = self
                .kubectl(&["get", "sidecarsets", "-o", "name"])
                .lines()
                .count();
            // Beside the one that tells which state of the configuration is in force.
            let entries = mutating["webhooks"].as_array().into_iter().flatten();
            let entries = entries.filter(|e| e["name"] != "in-force.tidegate.dev").count();
            let entry = &validating["webhooks"][0];
            entries == if sets == 0 { 1 } else { 2 }
                && [&mutating["webhooks"][0], entry, conversion].iter().all(|w| {
                    let config = &w["clientConfig"];
                    config["caBundle"].is_string() && config["service"]["namespace"] == RELEASE
                })
        });
    }

    fn both_versions_are_served(&self) {
        let beta = self.get("sidecarsets.v1beta1.apps.kruise.io/helm-story-alpha");
        assert_eq!(
            beta.pointer("/spec/namespaceSelector/matchLabels/kubernetes.io~1metadata.name")
                .unwrap(),
            NAMESPACE,
            "what v1alpha1 calls namespace is a selector in v1beta1"
        );
        let alpha = self.get("sidecarsets.v1alpha1.apps.kruise.io/helm-story-beta");
        assert_eq!(alpha["apiVersion"], "apps.kruise.io/v1alpha1");
        assert_eq!(alpha["spec"]["containers"][0]["name"], "agent");
    }

    fn pods_are_injected_and_upgraded_in_place(&self) {
        self.apply(APPLICATION);
        let reached = |key: &str| {
            let set = self.get("sidecarset/helm-story-beta");
            set["status"]["observedGeneration"] == set["metadata"]["generation"] && set["status"][key] == 2
        };
        self.wait("2 injected pods, ready", || reached("readyPods"));
        let before = self.names();
        let patch = r#"[{"op":"replace","path":"/spec/containers/0/image","value":"tidegate/sidecar:v2"}]"#;
        self.kubectl(&[
            "patch",
            "sidecarset",
            "helm-story-beta",
            "--type=json",
            "-p",
            patch,
        ]);
        self.wait("2 of 2 on v2", || reached("updatedReadyPods"));
        assert_eq!(self.names(), before, "upgraded in place");
        assert_eq!(
            self.restarts("main"),
            [0, 0],
            "the application is never restarted"
        );
        assert_eq!(self.restarts("agent"), [1, 1]);
    }

    /// Pods are created all the while, by the old replicas, by old and new, and by the new ones.
    fn replicas_are_replaced_without_one_failed_admission(&self) {
        let (over, created) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let creating = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let n = created.fetch_add(1, Ordering::Relaxed);
                    let containers = self.create_pod(&format!("steady-{n}"));
                    assert_eq!(containers, Ok(2), "pod {n} is admitted and injected");
                }
            });
            // Should this thread fail, the other must still end.
            let _ends = Ends(&over);
            let names = self.replicas();
            self.kubectl(&[
                "-n",
                RELEASE,
                "rollout",
                "restart",
                "deployment/tidegate-operator",
            ]);
            self.wait("two other replicas, and the old ones gone", || {
                let now = self.replicas();
                now.len() == 2 && now.iter().all(|n| !names.contains(n)) && self.ready_replicas() == 2
            });
            let so_far = created.load(Ordering::Relaxed);
            self.wait("some pods that only the new replicas admit", || {
                creating.is_finished() || created.load(Ordering::Relaxed) >= so_far + 5
            });
            over.store(true, Ordering::Relaxed);
            creating.join().unwrap();
        });
        let created = created.into_inner();
        println!("{created} pods were created while the replicas were replaced");
        self.kubectl(&[
            "-n",
            NAMESPACE,
            "delete",
            "pods",
            "-l",
            "story=steady",
            "--wait=false",
        ]);
    }

    /// The chart grants all that the operator asks for.
    fn nothing_was_forbidden(&self) {
        let logs = self
            .replicas()
            .iter()
            .map(|pod| self.kubectl(&["-n", RELEASE, "logs", pod]))
            .collect::<String>();
        assert!(
            logs.contains(r#""message":"leading""#),
            "one of two leads, and logs in JSON: {logs}"
        );
        let refusals: Vec<_> = logs
            .lines()
            .filter(|l| l.contains("forbidden") || l.contains("Forbidden"))
            .collect();
        assert!(refusals.is_empty(), "{}", refusals.join("\n"));
    }

    fn kill_replicas(&self) {
        self.kubectl(&[
            "-n",
            RELEASE,
            "scale",
            "deployment/tidegate-operator",
            "--replicas=0",
        ]);
        self.kubectl(&[
            "-n",
            RELEASE,
            "delete",
            "pods",
            "--all",
            "--force",
            "--grace-period=0",
        ]);
        self.wait("no replica to be left", || self.replicas().is_empty());
    }

    fn uninstall(&self) {
        self.helm(&["uninstall", "tidegate", "--wait", "--timeout=120s"]);
        for what in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
            let left = self.kubectl(&["get", what, "-o", "name"]);
            assert!(!left.contains("tidegate"), "{left}");
        }
        assert_eq!(
            self.get(CRD)["kind"],
            "CustomResourceDefinition",
            "SidecarSets stay"
        );
    }
}

/// Ends the creating of pods also where something else fails first.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Nodes keep images by their tags: a later build needs a tag of its own.
fn unique_tag() -> String {
    let program = std::fs::metadata(env!("CARGO_BIN_EXE_tidegate")).unwrap();
    let built = program
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    format!("t{}-{}", built.as_millis(), std::process::id())
}
