//! Every example of seed 002 on `tidegate up`, applied with stock kubectl, does what its text says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/output.rs"]
mod output;
#[path = "support/up.rs"]
mod up;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use output::checked;
use serde_json::Value;
use testbed::{Binaries, DEFAULT_VERSION, Module};
use up::Up;

const NEXT_IMAGE: &str = r#"[{"op":"replace","path":"/spec/containers/0/image","value":"logtail:1.0.1"}]"#;

#[test]
fn every_example_of_the_seed_applies_and_does_what_its_text_says() {
    let up = Cluster::start("examples");
    up.apply("pods.yaml");
    up.hot_upgrade_is_injected_as_two_containers();
    up.logtail_gets_its_volume_and_the_time_zone();
    up.partition_980_of_1000_upgrades_20();
    up.the_rest_follows_within_the_budget();
    up.canary_upgrades_only_the_labelled_pods();
    up.scatter_spreads_an_application_over_the_upgrade();
}

impl Cluster {
    fn hot_upgrade_is_injected_as_two_containers(&self) {
        self.apply("01-hot-upgrade.yaml");
        self.recreate("hotupgrade");
        self.wait("two hot containers", |up| {
            let pods = up.pods("app=hotupgrade");
            pods.len() == 2
                && pods.iter().all(|p| {
                    let names = containers(p);
                    names.contains(&(
                        "sidecar-1".to_owned(),
                        "openkruise/hotupgrade-sample:sidecarv1".to_owned(),
                    )) && names.contains(&(
                        "sidecar-2".to_owned(),
                        "openkruise/hotupgrade-sample:empty".to_owned(),
                    ))
                })
        });
    }

    fn logtail_gets_its_volume_and_the_time_zone(&self) {
        self.apply("02-logtail.yaml");
        self.recreate("web-server");
        self.wait("10 pods with logtail", |up| {
            up.status("test-sidecarset")["readyPods"] == 10
        });
        let pod = &self.pods("app=web-server")[0];
        let logtail = pod["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["name"] == "logtail")
            .unwrap();
        let zone = logtail["env"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["name"] == "TZ")
            .unwrap();
        assert_eq!(zone["value"], "Asia/Shanghai");
        assert_eq!(logtail["volumeMounts"][0]["name"], "web-log");
        self.kubectl(&["delete", "sidecarset", "test-sidecarset"]);
    }

    fn partition_980_of_1000_upgrades_20(&self) {
        self.apply("03-partition-then-pause.yaml");
        self.kubectl(&[
            "scale",
            "deployment",
            "web-server",
            "-n",
            "ns-1",
            "--replicas=1000",
        ]);
        self.recreate("web-server");
        self.wait("1,000 ready pods", |up| {
            up.status("sidecarset")["readyPods"] == 1000
        });
        self.kubectl(&[
            "patch",
            "sidecarset",
            "sidecarset",
            "--type=json",
            "-p",
            NEXT_IMAGE,
        ]);
        self.wait("20 upgraded, 980 held", |up| {
            up.status("sidecarset")["updatedReadyPods"] == 20
                && up
                    .tidegate("sidecarset")
                    .contains("partition holds 980 pods back")
        });
        assert_eq!(self.on_image("logtail:1.0.1"), 20);
    }

    fn the_rest_follows_within_the_budget(&self) {
        self.apply_with_image("04-max-unavailable.yaml", "logtail:1.0.1");
        self.wait("all 1,000 upgraded", |up| {
            let status = up.status("sidecarset");
            let unready = status["updatedPods"].as_u64().unwrap_or(0)
                - status["updatedReadyPods"].as_u64().unwrap_or(0);
            assert!(unready <= 100, "10% of 1,000 at once, not {unready}");
            status["updatedReadyPods"] == 1000
        });
    }

    fn canary_upgrades_only_the_labelled_pods(&self) {
        self.kubectl(&["scale", "deployment", "web-server", "-n", "ns-1", "--replicas=10"]);
        self.wait("10 pods", |up| up.status("sidecarset")["matchedPods"] == 10);
        for pod in self.pods("app=web-server").iter().take(3) {
            let name = pod["metadata"]["name"].as_str().unwrap();
            self.kubectl(&["label", "pod", name, "-n", "ns-1", "canary.release=true"]);
        }
        self.apply_with_image("05-canary.yaml", "logtail:1.0.2");
        self.wait("the canaries", |up| {
            up.status("sidecarset")["updatedReadyPods"] == 3
        });
        let canaries = self.pods("canary.release=true");
        assert!(
            canaries
                .iter()
                .all(|p| containers(p).iter().any(|(_, image)| image == "logtail:1.0.2"))
        );
        assert_eq!(self.on_image("logtail:1.0.2"), 3);
    }

    fn scatter_spreads_an_application_over_the_upgrade(&self) {
        self.apply_with_image("06-scatter.yaml", "logtail:1.0.2");
        self.wait("all 10 upgraded", |up| {
            up.status("sidecarset")["updatedReadyPods"] == 10
        });
        assert!(self.tidegate("sidecarset").contains("scattered"));
    }
}

fn containers(pod: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    pod["spec"]["containers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (text(&c["name"]), text(&c["image"])))
        .collect()
}

/// `tidegate up` in a directory of its own, and kubectl.
struct Cluster {
    up: Up,
    dir: PathBuf,
    kubectl: PathBuf,
}

impl Cluster {
    fn start(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        let binaries =
            Binaries::build(&[Module::Kubernetes], DEFAULT_VERSION, &mut |l| eprintln!("{l}")).unwrap();
        let up = Self {
            up: Up::start(&dir, 5),
            dir,
            kubectl: binaries.program("kubectl").unwrap(),
        };
        up.wait("the operator's webhooks", |up| {
            !up.kubectl(&[
                "get",
                "mutatingwebhookconfigurations",
                "-o",
                "jsonpath={.items[*].webhooks[*].clientConfig.caBundle}",
            ])
            .is_empty()
        });
        up
    }

    fn example(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../examples/seed-002")
            .join(name)
    }

    fn apply(&self, name: &str) {
        self.kubectl(&["apply", "-f", Self::example(name).to_str().unwrap()]);
    }

    /// The example with another image, as somebody would edit it.
    fn apply_with_image(&self, name: &str, image: &str) {
        let text = std::fs::read_to_string(Self::example(name))
            .unwrap()
            .replace("logtail:1.0.0", image);
        let edited = self.dir.join(name);
        std::fs::write(&edited, text).unwrap();
        self.kubectl(&["apply", "-f", edited.to_str().unwrap()]);
    }

    /// Deletes a Deployment's pods: those that come anew are injected. Waits for the webhook that does it.
    fn recreate(&self, deployment: &str) {
        self.wait("the pod webhook", |up| {
            up.kubectl(&[
                "get",
                "mutatingwebhookconfigurations",
                "-o",
                "jsonpath={.items[*].webhooks[*].rules[*].resources}",
            ])
            .contains("pods")
        });
        self.kubectl(&[
            "delete",
            "pods",
            "-n",
            "ns-1",
            "-l",
            &format!("app={deployment}"),
            "--wait=false",
        ]);
    }

    fn pods(&self, selector: &str) -> Vec<Value> {
        let list = self.kubectl(&["get", "pods", "-n", "ns-1", "-l", selector, "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        let all = list["items"].as_array().unwrap().iter();
        all.filter(|p| p["metadata"]["deletionTimestamp"].is_null())
            .cloned()
            .collect()
    }

    fn on_image(&self, image: &str) -> usize {
        self.pods("app=web-server")
            .iter()
            .filter(|p| containers(p).iter().any(|(_, i)| i == image))
            .count()
    }

    fn status(&self, name: &str) -> Value {
        let found = self.kubectl(&["get", "sidecarset", name, "-o", "json"]);
        let mut found: Value = serde_json::from_str(&found).unwrap();
        if found["status"]["observedGeneration"] == found["metadata"]["generation"] {
            found["status"].take()
        } else {
            Value::Null
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.kubectl);
        command
            .args(arguments)
            .arg("--kubeconfig")
            .arg(self.dir.join("kubeconfig"));
        run(command, arguments)
    }

    fn tidegate(&self, set: &str) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command
            .arg("status")
            .arg(format!("sidecarset/{set}"))
            .arg("--kubeconfig")
            .arg(self.dir.join("kubeconfig"));
        run(command, &["status"])
    }

    fn wait(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(300);
        while !reached(self) {
            assert!(
                Instant::now() < deadline,
                "{what} did not come; {}",
                self.kubectl(&["get", "sidecarsets", "-o", "yaml"])
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.up.child.kill().ok();
        self.up.child.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

fn run(mut command: Command, arguments: &[&str]) -> String {
    checked(command.output().unwrap(), arguments)
}
