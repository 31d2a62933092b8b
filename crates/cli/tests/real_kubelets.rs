//! The story of the README on real Kubernetes: real kubelets, containerd, a real registry; the operator unmodified.
//!
//! Needs root and a few Debian packages (testbed/install-packages.sh); elsewhere it says so in one line and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/input.rs"]
mod input;
#[path = "support/output.rs"]
mod output;

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use cluster::{items, restarts};
use input::given;
use output::checked;
use serde_json::Value;
use testbed::{Bed, BedOptions};

const NAMESPACE: &str = "real-story";
const SIDECAR_SET: &str = r#"
apiVersion: apps.kruise.io/v1beta1
kind: SidecarSet
metadata: {name: real-story}
spec:
  selector: {matchLabels: {app: real-story}}
  containers:
    - name: agent
      image: tidegate/sidecar:v1
      env: [{name: PORT, value: "8081"}]
      volumeMounts: [{name: logs, mountPath: /logs}]
      transferEnv: [{sourceContainerName: main, envName: TZ}]
  volumes: [{name: logs, emptyDir: {}}]
  updateStrategy: {type: RollingUpdate, partition: 2, maxUnavailable: 1}
"#;
const WORKLOAD: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: main, namespace: real-story}
spec:
  replicas: 4
  selector: {matchLabels: {app: real-story}}
  template:
    metadata: {labels: {app: real-story}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: main
          image: nginx:1.20
          env: [{name: TZ, value: Europe/Lisbon}]
          readinessProbe: {httpGet: {port: 80}, periodSeconds: 1}
"#;

#[test]
fn a_sidecar_is_injected_and_upgraded_in_place_on_real_kubelets() {
    if let Err(why) = Bed::nodes_available() {
        println!("not tested here: {why}");
        return;
    }
    let bed = Bed::up(
        &BedOptions {
            nodes: 2,
            ..BedOptions::default()
        },
        &mut |line| eprintln!("{line}"),
    )
    .unwrap();
    let story = Story {
        operator: Operator::start(&bed),
        bed,
    };
    story.clean();
    story.kubectl(&["create", "namespace", NAMESPACE]);
    story.apply(SIDECAR_SET);
    // The operator has only just started: its webhooks may have come after the SidecarSet.
    story.kubectl(&[
        "wait",
        "--for=condition=InjectionReady",
        "sidecarset/real-story",
        "--timeout=60s",
    ]);
    story.apply(WORKLOAD);
    story.wait("4 injected pods, ready", |s| s.status()["readyPods"] == 4);
    story.check_injection();

    story.patch(r#"{"spec":{"containers":[{"name":"agent","image":"tidegate/sidecar:v2","env":[{"name":"PORT","value":"8081"}],"volumeMounts":[{"name":"logs","mountPath":"/logs"}],"transferEnv":[{"sourceContainerName":"main","envName":"TZ"}]}]}}"#);
    story.wait("2 of 4 on v2, held by the partition", |s| {
        s.status()["updatedReadyPods"] == 2 && s.tidegate(&["status"]).contains("partition holds 2 pods back")
    });
    assert_eq!(
        story.restarts("main"),
        [0, 0, 0, 0],
        "the application is never restarted"
    );
    assert_eq!(story.restarts("agent").iter().sum::<i64>(), 2);

    story.tidegate(&["pause"]);
    story.patch(r#"{"spec":{"updateStrategy":{"partition":0}}}"#);
    story.wait("the pause to be reported", |s| {
        s.settled() && s.tidegate(&["status"]).contains("paused")
    });
    assert_eq!(story.status()["updatedPods"], 2);
    story.tidegate(&["resume"]);
    story.wait("4 of 4 on v2", |s| s.status()["updatedReadyPods"] == 4);

    story.bad_image_and_rollback();

    assert_eq!(
        story.restarts("main"),
        [0, 0, 0, 0],
        "the application is never restarted"
    );
    story.kubectl(&["delete", "sidecarset", "real-story"]);
    assert_eq!(
        story.restarts("main").len(),
        4,
        "pods stay when their SidecarSet goes"
    );
    story.clean();
}

struct Story {
    operator: Operator,
    bed: Bed,
}

impl Story {
    /// An image that cannot be pulled takes one pod's sidecar down and stops there; rollback brings it back.
    fn bad_image_and_rollback(&self) {
        let spec = self.sidecar_set();
        let image = "/spec/containers/0/image";
        assert_eq!(spec.pointer(image).unwrap(), "tidegate/sidecar:v2");
        self.kubectl(&[
            "patch",
            "sidecarset",
            "real-story",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/containers/0/image","value":"tidegate/sidecar:nowhere"}]"#,
        ]);
        self.wait("one pod down, the rest held", |s| {
            let text = s.tidegate(&["status"]);
            s.status()["updatedPods"] == 1 && text.contains("1 of 1 unavailable")
        });
        let text = self.tidegate(&["rollback"]);
        assert!(
            text.contains("tidegate/sidecar:nowhere -> tidegate/sidecar:v2"),
            "{text}"
        );
        self.wait("all pods back on v2", |s| s.status()["updatedReadyPods"] == 4);
    }

    fn check_injection(&self) {
        let pods = self.pods();
        for pod in &pods {
            let agent = &pod["spec"]["containers"][0];
            assert_eq!(agent["name"], "agent", "a sidecar stands before the application");
            let variables: Vec<&str> = agent["env"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(|e| e["name"].as_str())
                .collect();
            assert_eq!(variables, ["PORT", "IS_INJECTED", "TZ"]);
            assert_eq!(
                pod["metadata"]["annotations"]["kruise.io/sidecarset-injected-list"],
                "real-story"
            );
        }
        assert_eq!(pods.len(), 4);
    }

    /// Restarts of one container in each pod.
    fn restarts(&self, container: &str) -> Vec<i64> {
        restarts(&self.pods(), container)
    }

    fn pods(&self) -> Vec<Value> {
        let list = self.kubectl(&["get", "pods", "-n", NAMESPACE, "-o", "json"]);
        items(&list)
    }

    fn sidecar_set(&self) -> Value {
        serde_json::from_str(&self.kubectl(&["get", "sidecarset", "real-story", "-o", "json"])).unwrap()
    }

    /// Status, once it is about the latest spec.
    fn status(&self) -> Value {
        let mut found = self.sidecar_set();
        if found["status"]["observedGeneration"] == found["metadata"]["generation"] {
            found["status"].take()
        } else {
            Value::Null
        }
    }

    fn settled(&self) -> bool {
        !self.status().is_null()
    }

    fn patch(&self, merge: &str) {
        self.kubectl(&["patch", "sidecarset", "real-story", "--type=merge", "-p", merge]);
    }

    fn clean(&self) {
        for what in [["sidecarset", "real-story"], ["namespace", NAMESPACE]] {
            self.kubectl(&["delete", what[0], what[1], "--ignore-not-found", "--timeout=60s"]);
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        checked(self.bed.kubectl().args(arguments).output().unwrap(), arguments)
    }

    fn apply(&self, manifest: &str) {
        let arguments = ["apply", "-f", "-"];
        checked(given(self.bed.kubectl().args(arguments), manifest), &arguments);
    }

    fn tidegate(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .args(arguments)
            .arg("sidecarset/real-story")
            .arg("--kubeconfig")
            .arg(self.bed.kubeconfig());
        checked(command.output().unwrap(), arguments)
    }

    fn wait(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !reached(self) {
            assert!(
                Instant::now() < deadline,
                "{what} did not come:\n{}\n{}\noperator log: {}",
                self.tidegate(&["status"]),
                self.kubectl(&["get", "pods", "-n", NAMESPACE]),
                self.operator.log.display()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

struct Operator {
    child: Child,
    log: PathBuf,
}

impl Operator {
    fn start(bed: &Bed) -> Self {
        let log = std::env::temp_dir().join("tidegate-real-story-operator.log");
        let file = std::fs::File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args([
                "operator",
                "--listen=127.0.0.1:19443",
                "--metrics=127.0.0.1:19080",
            ])
            .arg("--kubeconfig")
            .arg(bed.kubeconfig())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap();
        let operator = Self { child, log };
        let deadline = Instant::now() + Duration::from_secs(60);
        let registered = || {
            let output = bed
                .kubectl()
                .args(["get", "mutatingwebhookconfigurations", "-o"])
                .arg("jsonpath={.items[*].webhooks[*].clientConfig.caBundle}")
                .output()
                .unwrap();
            !output.stdout.is_empty()
        };
        while !registered() {
            assert!(
                Instant::now() < deadline,
                "no webhook came: {}",
                operator.log.display()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        operator
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
