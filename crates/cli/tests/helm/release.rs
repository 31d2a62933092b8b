//! The cluster under the story: what kubectl and Helm do and say there.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{items, restarts};
use crate::input::given;
use crate::output::checked;
use crate::{CONFIGURATIONS, CRD, NAMESPACE, RELEASE, Story};

impl Story {
    /// Creates a pod that a SidecarSet matches and no node runs; returns how many containers it has.
    pub fn create_pod(&self, name: &str) -> Result<usize, String> {
        let pod = serde_json::json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "helm-story", "story": "steady"}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "nginx:1.20"}]}});
        let output = self.input(&["create", "-f", "-", "-o", "json"], &pod.to_string());
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        Ok(made["spec"]["containers"].as_array().unwrap().len())
    }

    /// Names of the operator's pods.
    pub fn replicas(&self) -> Vec<String> {
        let list = self.kubectl(&["-n", RELEASE, "get", "pods", "-o", "name"]);
        list.lines().map(str::to_owned).collect()
    }

    pub fn ready_replicas(&self) -> i64 {
        let text = self.kubectl(&["-n", RELEASE, "get", "deployment/tidegate-operator", "-o", "json"]);
        let deployment: Value = serde_json::from_str(&text).unwrap();
        deployment["status"]["readyReplicas"].as_i64().unwrap_or(0)
    }

    pub fn names(&self) -> Vec<Value> {
        self.pods()
            .iter()
            .map(|p| p["metadata"]["name"].clone())
            .collect()
    }

    /// Restarts of one container in each pod of the application.
    pub fn restarts(&self, container: &str) -> Vec<i64> {
        restarts(&self.pods(), container)
    }

    pub fn pods(&self) -> Vec<Value> {
        let list = self.kubectl(&[
            "-n",
            NAMESPACE,
            "get",
            "pods",
            "-l",
            "pod-template-hash",
            "-o",
            "json",
        ]);
        items(&list)
    }

    pub fn get(&self, what: &str) -> Value {
        serde_json::from_str(&self.kubectl(&["get", what, "-o", "json"])).unwrap()
    }

    pub fn apply(&self, manifest: &str) {
        checked(self.input(&["apply", "-f", "-"], manifest), &["apply"]);
    }

    pub fn input(&self, arguments: &[&str], input: &str) -> Output {
        given(self.bed.kubectl().args(arguments), input)
    }

    pub fn kubectl(&self, arguments: &[&str]) -> String {
        checked(self.bed.kubectl().args(arguments).output().unwrap(), arguments)
    }

    pub fn helm(&self, arguments: &[&str]) -> String {
        checked(self.helm_command(arguments).output().unwrap(), arguments)
    }

    pub fn helm_command(&self, arguments: &[&str]) -> Command {
        let mut helm = Command::new(self.bed.program("helm").unwrap());
        helm.args(arguments)
            .args(["--namespace", RELEASE, "--kubeconfig"]);
        helm.arg(self.bed.kubeconfig());
        helm
    }

    /// As if nothing of ours had ever been here: releases, configurations, SidecarSets and their kind.
    pub fn clean(&self) {
        self.helm_command(&["uninstall", "tidegate", "--wait", "--ignore-not-found"])
            .output()
            .unwrap();
        for what in CONFIGURATIONS.iter().chain(&[CRD]) {
            self.kubectl(&["delete", what, "--ignore-not-found", "--timeout=60s"]);
        }
        let namespaces = [NAMESPACE, RELEASE];
        self.kubectl(&[
            "delete",
            "namespace",
            namespaces[0],
            namespaces[1],
            "--ignore-not-found",
            "--timeout=90s",
        ]);
    }

    pub fn wait(&self, what: &str, reached: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while !reached() {
            if Instant::now() >= deadline {
                let pods = self.kubectl(&["get", "pods,sidecarsets", "--all-namespaces"]);
                let log = [
                    "-n",
                    RELEASE,
                    "logs",
                    "-l",
                    "app.kubernetes.io/name=tidegate",
                    "--tail=30",
                ];
                panic!("{what} did not come:\n{pods}\n{}", self.kubectl(&log));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
