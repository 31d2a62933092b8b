//! One of the two servers, and what every trace finds there.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;

const GADGETS: &str = include_str!("gadgets.json");

pub struct Side {
    pub client: Client,
}

/// What a trace's namespace has from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Plain,
    /// A LimitRange that gives defaults and has bounds.
    Limited,
    /// Pod security `baseline`.
    Secured,
}

impl Side {
    pub fn new(kubeconfig: &Path) -> Self {
        Self {
            client: Client::from_kubeconfig(kubeconfig),
        }
    }

    pub async fn set_up(&self) {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let made = self
            .client
            .post(path, &serde_json::from_str(GADGETS).unwrap())
            .await;
        assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
        // Discovery says when the kind is known, a list when it is served.
        self.until(|side| async move {
            let mut served = 0;
            for path in [
                "/apis/differential.example/v1",
                "/apis/differential.example/v1/namespaces/default/gadgets",
                "/apis/differential.example/v1beta1/namespaces/default/gadgets",
            ] {
                served += usize::from(side.client.get(path).await.status == 200);
            }
            served == 3
        })
        .await;
        let role = json!({"metadata": {"name": "differential-reader"}, "rules": [
            {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["apps"], "resources": ["deployments"], "resourceNames": ["a"], "verbs": ["get", "update"]},
            {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["*"]}]});
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        self.client.post(&format!("{rbac}/clusterroles"), &role).await;
        let binding = json!({"metadata": {"name": "differential-reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "differential-reader"}});
        self.client
            .post(&format!("{rbac}/clusterrolebindings"), &binding)
            .await;
        self.until(|side| async move {
            let review = json!({"spec": {"user": "reader", "resourceAttributes":
                {"verb": "list", "resource": "pods", "namespace": "default"}}});
            let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
            side.client.post(path, &review).await.value()["status"]["allowed"] == true
        })
        .await;
    }

    /// Real admission and authorization look at caches: a trace starts when they have seen what it is based on.
    async fn until<'a, F: Future<Output = bool>>(&'a self, holds: impl Fn(&'a Self) -> F) {
        for _ in 0..400 {
            if holds(self).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("what was set up is not seen");
    }

    pub async fn create_namespace(&self, namespace: &str, setting: Setting) {
        let mut body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        if setting == Setting::Secured {
            body["metadata"]["labels"] = json!({
                "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"});
        }
        let reply = self.client.post("/api/v1/namespaces", &body).await;
        assert_eq!(reply.status, 201);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        // The embedded server may have made it already.
        let inside = format!("/api/v1/namespaces/{namespace}");
        self.client
            .post(&format!("{inside}/serviceaccounts"), &account)
            .await;
        if setting != Setting::Limited {
            return;
        }
        let range = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "bounds"}, "spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "4Mi"}, "default": {"cpu": "500m"},
             "defaultRequest": {"cpu": "50m", "memory": "32Mi"}},
            {"type": "Pod", "max": {"cpu": "3"}}]}});
        self.client.post(&format!("{inside}/limitranges"), &range).await;
        let pods = format!("{inside}/pods?dryRun=All");
        self.until(|side| {
            let pods = pods.clone();
            async move {
                let probe = json!({"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "x", "image": "x"}]}});
                let made: Value = side.client.post(&pods, &probe).await.value();
                made["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "500m"
            }
        })
        .await;
    }

    pub async fn version(&self, path: &str) -> String {
        let list = self.client.get(path).await.value();
        list["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}
