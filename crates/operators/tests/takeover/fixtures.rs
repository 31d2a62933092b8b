//! Kruise's objects as its chart leaves them, written for these tests.
use crate::kruise::Access;
use crate::world::KRUISE;
use cluster::{Door, Resource};
use serde_json::{Value, json};
use std::path::Path;
use testbed::ApiServer;
use workload::takeover::entries;

const USER: &str = "system:serviceaccount:kruise-system:kruise-manager";

/// A kubeconfig of Kruise's service account, which may do everything.
pub async fn access(server: &ApiServer, door: &Door, admin: &Path, dir: &Path) -> Access {
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "kruise"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": USER}]});
    let bindings = Resource::cluster(
        "rbac.authorization.k8s.io",
        "v1",
        "clusterrolebindings",
        "ClusterRoleBinding",
    );
    door.create(&bindings, None, &binding).await.unwrap();
    let mut token = server.kubectl();
    token.args(["create", "token", "kruise-manager", "-n", KRUISE, "--duration=2h"]);
    let token = token.output().unwrap();
    assert!(
        token.status.success(),
        "{}",
        String::from_utf8_lossy(&token.stderr)
    );
    let mut config: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(admin).unwrap()).unwrap();
    config["users"][0]["user"] = json!({"token": String::from_utf8(token.stdout).unwrap().trim()});
    let kubeconfig = dir.join("kruise.kubeconfig");
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    Access {
        door: crate::server::door(&kubeconfig).await,
        kubeconfig,
        dir: dir.to_owned(),
    }
}

/// Without the status fields only we write; converted by Kruise.
pub fn sidecar_sets_of_kruise() -> Value {
    let mut crd: Value = serde_yaml_ng::from_str(model::sidecarset::CRD).unwrap();
    crd["spec"]["conversion"]["webhook"]["clientConfig"]["service"] =
        json!({"namespace": KRUISE, "name": "kruise-webhook-service", "path": "/convert"});
    for version in crd["spec"]["versions"].as_array_mut().unwrap() {
        let status = &mut version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        let known = [
            "observedGeneration",
            "matchedPods",
            "updatedPods",
            "readyPods",
            "updatedReadyPods",
            "latestRevision",
            "collisionCount",
        ];
        status
            .as_object_mut()
            .unwrap()
            .retain(|name, _| known.contains(&name.as_str()));
    }
    crd
}

pub fn clone_sets() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "clonesets.apps.kruise.io"},
        "spec": {"group": "apps.kruise.io", "scope": "Namespaced",
            "names": {"kind": "CloneSet", "listKind": "CloneSetList", "plural": "clonesets", "singular": "cloneset"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

fn entry(name: &str, path: &str, group: &str, plural: &str) -> Value {
    json!({"name": name, "admissionReviewVersions": ["v1"], "failurePolicy": "Fail", "sideEffects": "None",
        "clientConfig": {"service": {"namespace": KRUISE, "name": "kruise-webhook-service", "path": path}},
        "namespaceSelector": {"matchExpressions": [{"key": "control-plane", "operator": "DoesNotExist"}]},
        "rules": [{"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
            "resources": [plural]}]})
}

pub fn mutating() -> Value {
    let mut pods = entry("mpod.kb.io", "/mutate-pod", "", "pods");
    pods["rules"][0]["operations"] = json!(["CREATE"]);
    let sets = "/mutate-apps-kruise-io-sidecarset";
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": entries::MUTATING},
        "webhooks": [pods, entry("msidecarset.kb.io", sets, "apps.kruise.io", "sidecarsets")]})
}

pub fn validating() -> Value {
    let sets = "/validate-apps-kruise-io-sidecarset";
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": entries::VALIDATING},
        "webhooks": [entry("vsidecarset.kb.io", sets, "apps.kruise.io", "sidecarsets")]})
}
