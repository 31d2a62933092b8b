//! Which of Kruise's kinds are in use, and by whom.
use super::{MoveError, Mover};
use cluster::frame::Piece;
use cluster::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, NAMESPACES, PODS, REPLICA_SETS, SERVICES, STATEFUL_SETS,
};
use cluster::{ApiError, ListOptions, Resource};
use serde_json::Value;
use workload::takeover::kinds::{GROUPS, InUse, Usage, needs_pod_webhook, was_made_by_pod_webhook};

/// Label by which Kruise keeps objects from being deleted.
const PROTECTED: &str = "policy.kruise.io/delete-protection";
const INGRESSES: Resource = Resource::namespaced("networking.k8s.io", "v1", "ingresses", "Ingress");
/// Names are for people: of many, some.
const NAMES: usize = 10;

impl Mover {
    pub(super) async fn usage(&self) -> Result<Usage, MoveError> {
        let mut usage = Usage::default();
        for group in GROUPS {
            for resource in self.resources(group).await? {
                usage.kinds.push(self.in_use(&resource).await?);
            }
        }
        usage.protected = self.protected().await?;
        usage.pods = self.made_by_pod_webhook().await?;
        Ok(usage)
    }

    /// The kinds of a group, each in the group's preferred version that has it.
    async fn resources(&self, group: &str) -> Result<Vec<Resource>, MoveError> {
        let served = match self.json(&format!("/apis/{group}")).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let preferred = served["preferredVersion"]["version"].clone();
        let mut versions: Vec<&Value> = list(&served["versions"]).iter().map(|v| &v["version"]).collect();
        versions.sort_by_key(|v| **v != preferred);
        let mut found: Vec<Resource> = Vec::new();
        for version in versions.into_iter().filter_map(Value::as_str) {
            let served = self.json(&format!("/apis/{group}/{version}")).await?;
            for resource in list(&served["resources"]) {
                let text = |field: &str| resource[field].as_str().unwrap_or_default().to_owned();
                let plural = text("name");
                if !plural.contains('/') && !found.iter().any(|f| f.plural == plural) {
                    found.push(Resource {
                        group: group.to_owned().into(),
                        version: version.to_owned().into(),
                        plural: plural.into(),
                        kind: text("kind").into(),
                        namespaced: resource["namespaced"] == true,
                    });
                }
            }
        }
        found.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(found)
    }

    async fn json(&self, path: &str) -> Result<Value, ApiError> {
        let bytes = self.door.get_path(path).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn in_use(&self, resource: &Resource) -> Result<InUse, MoveError> {
        let mut found = InUse {
            group: resource.group.to_string(),
            kind: resource.kind.to_string(),
            ..InUse::default()
        };
        self.each(resource, None, |object| {
            found.objects += 1;
            if needs_pod_webhook(&found.kind, &object) && found.need_pod_webhook.len() < NAMES {
                found.need_pod_webhook.push(name(&object));
            }
        })
        .await?;
        Ok(found)
    }

    async fn protected(&self) -> Result<Vec<String>, MoveError> {
        let kinds = [
            NAMESPACES,
            CUSTOM_RESOURCE_DEFINITIONS,
            DEPLOYMENTS,
            REPLICA_SETS,
            STATEFUL_SETS,
            SERVICES,
            INGRESSES,
        ];
        let mut found = Vec::new();
        for kind in kinds {
            let what = kind.kind.clone();
            self.each(&kind, Some(PROTECTED), |object| {
                found.push(format!("{what} {}", name(&object)))
            })
            .await?;
        }
        Ok(found)
    }

    /// Looks into a pod only where its bytes name something of Kruise's.
    async fn made_by_pod_webhook(&self) -> Result<Vec<String>, MoveError> {
        const MARKS: [&[u8]; 3] = [
            b"container-launch-priority",
            b"KRUISE_CONTAINER_",
            b"using-enhanced-liveness",
        ];
        let mut found = Vec::new();
        let look = |piece: Piece<'_>| {
            let Piece::Object(bytes) = piece else {
                return;
            };
            let marked = |mark: &[u8]| bytes.windows(mark.len()).any(|w| w == mark);
            if found.len() < NAMES && MARKS.into_iter().any(marked) {
                let pod: Value = serde_json::from_slice(bytes).unwrap_or_default();
                if was_made_by_pod_webhook(&pod) {
                    found.push(name(&pod));
                }
            }
        };
        self.door
            .list_each(&PODS, None, &ListOptions::default(), look)
            .await?;
        Ok(found)
    }

    async fn each(
        &self,
        resource: &Resource,
        label: Option<&str>,
        mut look: impl FnMut(Value),
    ) -> Result<(), ApiError> {
        let options = ListOptions {
            label_selector: label.map(str::to_owned),
            ..ListOptions::default()
        };
        let look = |piece: Piece<'_>| match piece {
            Piece::Object(bytes) => look(serde_json::from_slice(bytes).unwrap_or_default()),
            Piece::Oversized(_) => look(Value::Null),
        };
        self.door
            .list_each(resource, None, &options, look)
            .await
            .map(drop)
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match text("namespace") {
        "" => text("name").to_owned(),
        namespace => format!("{namespace}/{}", text("name")),
    }
}
