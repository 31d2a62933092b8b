//! `tidegate rollback sidecarset/NAME`: an earlier revision, written back into spec.

use std::collections::BTreeMap;

use cluster::resource::{CONTROLLER_REVISIONS, PODS, SIDECAR_SETS};
use cluster::{ApiError, Door, ListOptions};
use model::pod::PodView;
use model::sidecarset::SidecarSet;
use serde_json::{Value, json};
use workload::sidecarset::revision::{Revision, data};

use crate::args::RollbackArgs;
use crate::change::{ChangeError, patch_spec};
use crate::output::say;

const HASH_ANNOTATION: &str = "kruise.io/sidecarset-hash";
const REVISION_LABEL: &str = "kruise.io/sidecarset-name";
/// What a ControllerRevision of a SidecarSet keeps, and so what a rollback writes back.
const POD_FACING: [&str; 5] = [
    "containers",
    "initContainers",
    "volumes",
    "imagePullSecrets",
    "patchPodMetadata",
];

/// Writes the pod-facing fields of an earlier revision back into spec; the update strategy stays as it is, and
/// pods that run that revision already are not touched.
pub async fn rollback(door: &Door, args: &RollbackArgs) -> Result<(), ChangeError> {
    let name = args.target.target.name.as_str();
    let found = door.get(&SIDECAR_SETS, None, name).await?;
    let set: SidecarSet = serde_json::from_value(found.clone()).map_err(|source| ChangeError::Spec {
        name: name.to_owned(),
        source,
    })?;
    let revisions = revisions(door, name).await?;
    let target = choose(&set, name, &revisions, args.to_revision)?;
    let plan = Plan::make(name, &set, target)?;
    say!("{}", plan.describe(&count_pods(door, name).await?).trim_end());
    for manager in other_owners(&found) {
        say!(
            "warning: {manager} owns fields of spec; where that is a GitOps tool, it will put back what it has in \
             its source: change it there as well"
        );
    }
    if args.dry_run || plan.changes.is_empty() {
        return Ok(());
    }
    patch_spec(
        door,
        name,
        &found["metadata"]["generation"],
        &json!({"spec": plan.spec}),
    )
    .await?;
    say!("sidecarset/{name} rolled back to revision {}", plan.revision);
    Ok(())
}
async fn revisions(door: &Door, name: &str) -> Result<Vec<Revision>, ChangeError> {
    let options = ListOptions {
        label_selector: Some(format!("{REVISION_LABEL}={name}")),
        ..ListOptions::default()
    };
    let listed = door.list(&CONTROLLER_REVISIONS, None, &options).await?;
    let mut revisions = Vec::with_capacity(listed.items.len());
    for item in listed.items {
        revisions.push(read_revision(name, &item)?);
    }
    revisions.sort_by_key(|r| r.revision);
    Ok(revisions)
}

fn read_revision(set: &str, item: &Value) -> Result<Revision, ChangeError> {
    let revision = item["revision"].as_i64().unwrap_or_default();
    let texts = |value: &Value| -> BTreeMap<String, String> {
        let entries = value.as_object().into_iter().flatten();
        entries
            .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
            .collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let data = match &item["data"] {
        Value::String(text) => serde_json::from_str(text).map_err(|source| ChangeError::Unreadable {
            name: set.to_owned(),
            revision,
            source,
        })?,
        data => data.clone(),
    };
    let metadata = &item["metadata"];
    Ok(Revision {
        name: text(&metadata["name"]),
        resource_version: text(&metadata["resourceVersion"]),
        labels: texts(&metadata["labels"]),
        annotations: texts(&metadata["annotations"]),
        revision,
        data,
    })
}

fn choose<'a>(
    set: &SidecarSet,
    name: &str,
    revisions: &'a [Revision],
    wanted: Option<i64>,
) -> Result<&'a Revision, ChangeError> {
    if let Some(wanted) = wanted {
        return revisions
            .iter()
            .find(|r| r.revision == wanted)
            .ok_or_else(|| ChangeError::NoSuchRevision {
                name: name.to_owned(),
                wanted,
                present: revisions
                    .iter()
                    .map(|r| r.revision.to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            });
    }
    // The revision of what spec says now may not be written yet: what says something else is earlier.
    let now = data(&set.spec);
    revisions
        .iter()
        .rev()
        .find(|r| {
            POD_FACING
                .iter()
                .any(|field| !same(&now["spec"][*field], &r.data["spec"][*field]))
        })
        .ok_or_else(|| ChangeError::NothingEarlier(name.to_owned()))
}

struct Plan {
    name: String,
    revision: i64,
    hash: Option<String>,
    changes: Vec<String>,
    /// As a JSON merge patch: null removes.
    spec: Value,
}

impl Plan {
    fn make(name: &str, set: &SidecarSet, target: &Revision) -> Result<Self, ChangeError> {
        let now = data(&set.spec);
        let (now, then) = (&now["spec"], &target.data["spec"]);
        let added = added_containers(now, then);
        if !added.is_empty() {
            return Err(ChangeError::AddsContainer {
                name: name.to_owned(),
                revision: target.revision,
                containers: added.join(", "),
            });
        }
        let mut spec = serde_json::Map::new();
        let mut changes = Vec::new();
        for field in POD_FACING
            .into_iter()
            .filter(|field| !same(&now[*field], &then[*field]))
        {
            changes.extend(describe_field(field, &now[field], &then[field]));
            spec.insert(field.to_owned(), then[field].clone());
        }
        Ok(Self {
            name: name.to_owned(),
            revision: target.revision,
            hash: target.annotations.get(HASH_ANNOTATION).cloned(),
            changes,
            spec: Value::Object(spec),
        })
    }

    fn describe(&self, pods: &BTreeMap<String, usize>) -> String {
        let name = &self.name;
        if self.changes.is_empty() {
            return format!(
                "sidecarset/{name} says what revision {} says: nothing to move\n",
                self.revision
            );
        }
        let total: usize = pods.values().sum();
        let there = self
            .hash
            .as_ref()
            .and_then(|hash| pods.get(hash))
            .copied()
            .unwrap_or_default();
        let mut text = format!("sidecarset/{name} to revision {}:\n", self.revision);
        for change in &self.changes {
            text.push_str(&format!("  {change}\n"));
        }
        text.push_str(&format!(
            "{} of {total} pods will be moved as the update strategy allows; {there} run that revision already and \
             stay as they are\n",
            total - there
        ));
        text
    }
}

/// null, absent and an empty list say the same.
fn same(a: &Value, b: &Value) -> bool {
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
    a == b || (empty(a) && empty(b))
}

fn named(list: &Value) -> BTreeMap<&str, &Value> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|c| Some((c["name"].as_str()?, c)))
        .collect()
}

fn added_containers(now: &Value, then: &Value) -> Vec<String> {
    let present = named(&now["containers"]);
    named(&then["containers"])
        .keys()
        .filter(|n| !present.contains_key(*n))
        .map(|n| (*n).to_owned())
        .collect()
}

fn describe_field(field: &str, now: &Value, then: &Value) -> Vec<String> {
    if !field.ends_with("ontainers") {
        return vec![format!("{field}: {now} -> {then}")];
    }
    let (now, then) = (named(now), named(then));
    let mut lines = Vec::new();
    for (name, before) in &now {
        match then.get(name) {
            None => lines.push(format!("{field} {name}: removed")),
            Some(after) => lines.extend(describe_container(field, name, before, after)),
        }
    }
    lines.extend(
        then.keys()
            .filter(|n| !now.contains_key(*n))
            .map(|n| format!("{field} {n}: added")),
    );
    lines
}

fn describe_container(field: &str, name: &str, before: &Value, after: &Value) -> Vec<String> {
    let keys = |v: &Value| {
        v.as_object()
            .map(|m| m.keys().cloned().collect::<Vec<_>>())
            .unwrap_or_default()
    };
    let mut all = keys(before);
    all.extend(keys(after));
    all.sort();
    all.dedup();
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    all.into_iter()
        .filter(|key| before[key] != after[key])
        .map(|key| match key.as_str() {
            "image" => format!(
                "{field} {name}: image {} -> {}",
                text(&before[&key]),
                text(&after[&key])
            ),
            // Their values may be secrets.
            "env" => format!("{field} {name}: env changes; pods get it when they are recreated"),
            _ => format!("{field} {name}: {key} changes; pods get it when they are recreated"),
        })
        .collect()
}

/// Pods that carry this SidecarSet's sidecars, by the hash they carry.
async fn count_pods(door: &Door, name: &str) -> Result<BTreeMap<String, usize>, ApiError> {
    let mut counts = BTreeMap::new();
    let pods = door
        .list_as::<PodView>(&PODS, None, &ListOptions::default())
        .await?;
    for pod in pods.items.iter().filter(|p| p.is_active()) {
        let Some(hashes) = pod.annotations.get(HASH_ANNOTATION) else {
            continue;
        };
        let hashes: Value = serde_json::from_str(hashes).unwrap_or_default();
        if let Some(hash) = hashes[name]["hash"].as_str() {
            *counts.entry(hash.to_owned()).or_default() += 1;
        }
    }
    Ok(counts)
}

/// Field managers other than people's own tools and ours that own something in spec.
fn other_owners(found: &Value) -> Vec<String> {
    const ITS_OWN: [&str; 3] = ["tidegate", "kubectl-edit", "kubectl-patch"];
    let entries = found["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let mut owners: Vec<String> = entries
        .filter(|entry| entry["fieldsV1"].get("f:spec").is_some())
        .filter_map(|entry| entry["manager"].as_str())
        .filter(|manager| !ITS_OWN.iter().any(|own| manager.starts_with(own)))
        .map(str::to_owned)
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(spec: Value) -> SidecarSet {
        let object = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": "log", "resourceVersion": "7"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn revision(number: i64, spec: Value) -> Revision {
        let spec = set(spec).spec;
        Revision {
            name: format!("log-{number}"),
            resource_version: "1".to_owned(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::from([(HASH_ANNOTATION.to_owned(), format!("hash-{number}"))]),
            revision: number,
            data: data(&spec),
        }
    }

    #[test]
    fn rollback_goes_to_the_newest_revision_that_differs_from_spec() {
        let revisions = [
            revision(1, json!({"containers": [{"name": "a", "image": "x:1"}]})),
            revision(
                2,
                json!({"containers": [{"name": "a", "image": "x:2", "resources": {}}]}),
            ),
        ];
        let found = set(json!({"containers": [{"name": "a", "image": "x:2"}]}));
        assert_eq!(choose(&found, "log", &revisions, None).unwrap().revision, 1);
        assert!(matches!(
            choose(&found, "log", &revisions, Some(9)),
            Err(ChangeError::NoSuchRevision { present, .. }) if present == "1, 2"
        ));
    }

    #[test]
    fn rollback_says_what_it_moves_and_keeps_the_strategy() {
        let target = revision(
            1,
            json!({"containers": [{"name": "a", "image": "x:1"}], "volumes": null}),
        );
        let found = set(json!({
            "containers": [{"name": "a", "image": "x:2", "env": [{"name": "K", "value": "hunter2"}]}],
            "volumes": [{"name": "v"}], "updateStrategy": {"partition": 5},
        }));
        let plan = Plan::make("log", &found, &target).unwrap();
        assert_eq!(plan.spec["volumes"], Value::Null);
        assert!(plan.spec.get("updateStrategy").is_none());
        let pods = BTreeMap::from([("hash-1".to_owned(), 3), ("hash-2".to_owned(), 7)]);
        let text = plan.describe(&pods);
        assert!(text.contains("image x:2 -> x:1"), "{text}");
        assert!(text.contains("7 of 10 pods will be moved"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn rollback_that_would_add_a_container_is_refused_with_the_alternative() {
        let target = revision(1, json!({"containers": [{"name": "a"}, {"name": "b"}]}));
        let refused = Plan::make("log", &set(json!({"containers": [{"name": "a"}]})), &target);
        let text = refused.err().unwrap().to_string();
        assert!(
            text.contains("container b") && text.contains("second SidecarSet"),
            "{text}"
        );
    }

    #[test]
    fn a_gitops_owner_of_spec_is_named() {
        let found = json!({"metadata": {"managedFields": [
            {"manager": "argocd-controller", "fieldsV1": {"f:spec": {}}},
            {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {}}},
            {"manager": "tidegate", "fieldsV1": {"f:spec": {}}},
        ]}});
        assert_eq!(other_owners(&found), ["argocd-controller"]);
    }
}
