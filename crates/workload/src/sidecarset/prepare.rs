//! A SidecarSet made ready for admitting pods: parsed once, when it or its revisions change.
use super::expression::{Expression, Resource};
use super::hash;
use super::revision::{self, Revision};
use super::webhooks;
use model::selector::{LabelSelector, Selector};
use model::sidecarset::{PatchPodMetadata, SidecarContainer, SidecarSet, SidecarSetSpec, TransferEnv, keys};
use regex::Regex;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything injection needs of one SidecarSet.
///
/// What is wrong with it is kept, too: a pod that it matches is denied with that reason, no other pod is.
#[derive(Debug, Clone)]
pub struct PreparedSidecarSet {
    pub name: String,
    /// `None` where it matches no pod (no selector, or one that cannot be parsed).
    pub selector: Option<Selector>,
    pub namespace_selector: Option<Selector>,
    pub injection_paused: bool,
    pub choice: Choice,
    /// Container names of the current spec, which resourcesPolicy never counts as targets.
    pub declared_names: Vec<String>,
    /// `tidegate.dev/init-container-order: Spec`: init containers keep the order of the spec.
    pub init_in_spec_order: bool,
    /// Failure policy `Ignore`: a pod it cannot be injected into is created without it, with a warning.
    pub ignores_failure: bool,
}

/// Which content a new pod gets.
#[derive(Debug, Clone)]
pub enum Choice {
    Current(Prepared),
    /// Always the pinned one.
    Pinned {
        pinned: Prepared,
        current: Prepared,
    },
    /// The pinned one for pods the selector does not match; else, with this probability in percent.
    Partial {
        pinned: Prepared,
        current: Prepared,
        selector: Option<Selector>,
        pinned_percent: u32,
    },
}

/// One content, or why it cannot be injected.
pub type Prepared = Result<Box<PreparedRevision>, String>;

#[derive(Debug, Clone)]
pub struct PreparedRevision {
    pub hash: String,
    pub hash_without_image: String,
    /// Name of the ControllerRevision; may be empty.
    pub controller_revision: String,
    pub containers: Vec<PreparedContainer>,
    pub init_containers: Vec<PreparedContainer>,
    pub volumes: Vec<NamedValue>,
    pub image_pull_secrets: Vec<NamedValue>,
    pub patches: Vec<PatchPodMetadata>,
    /// As in the pod's hash annotation: sorted, without slot suffixes.
    pub sidecar_list: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct PreparedContainer {
    pub name: String,
    pub before: bool,
    pub native: bool,
    /// The empty image, for a hot-upgrade container.
    pub hot: Option<String>,
    pub share_mounts: bool,
    pub share_devices: bool,
    pub transfer_env: Vec<TransferEnv>,
    pub resources: Option<PreparedResources>,
    /// The core container, without the sidecar's own fields.
    pub body: Map<String, Value>,
    /// What every pod gets, where nothing of it depends on the pod.
    pub ready: Option<Arc<RawValue>>,
}

/// An item of a list that is kept by name, and its text.
#[derive(Debug, Clone)]
pub struct NamedValue {
    pub name: String,
    pub text: Arc<RawValue>,
}

#[derive(Debug, Clone)]
pub struct PreparedResources {
    pub sum: bool,
    pub targets: Regex,
    /// `(is a limit, resource, expression)`.
    pub expressions: Vec<(bool, Resource, Expression)>,
}

pub const INIT_ORDER: &str = "tidegate.dev/init-container-order";

impl PreparedSidecarSet {
    /// `revisions`: the ControllerRevisions of the SidecarSets, or at least those this one may pin.
    pub fn new(set: &SidecarSet, revisions: &[Revision]) -> Self {
        let names = set.spec.init_containers.iter().chain(&set.spec.containers);
        Self {
            name: set.metadata.name.clone(),
            selector: parsed(set.spec.selector.as_ref())
                .and_then(Result::ok)
                .filter(|s| !s.is_empty()),
            // One that cannot be parsed matches nothing, as a namespace that cannot be read.
            namespace_selector: parsed(set.spec.namespace_selector.as_ref())
                .map(|s| s.unwrap_or_else(|_| nothing())),
            injection_paused: set.spec.injection_strategy.paused,
            choice: choose(set, revisions),
            declared_names: names.flat_map(final_names).collect(),
            init_in_spec_order: set
                .metadata
                .annotations
                .get(INIT_ORDER)
                .is_some_and(|o| o == "Spec"),
            ignores_failure: webhooks::FailurePolicy::of(set) == webhooks::FailurePolicy::Ignore,
        }
    }

    /// Whether the namespaceSelector names this namespace: such SidecarSets inject first.
    pub fn pins_namespace(&self, namespace: &str) -> bool {
        let pinned = self
            .namespace_selector
            .as_ref()
            .and_then(|s| s.pinned_values(keys::NAMESPACE_NAME));
        pinned.is_some_and(|names| names.contains(namespace))
    }

    /// Selector and namespaceSelector accept the pod; unknown namespace labels match no namespaceSelector.
    pub fn matches<'a>(
        &self,
        pod_label: impl Fn(&str) -> Option<&'a str>,
        namespace_labels: Option<&BTreeMap<String, String>>,
    ) -> bool {
        let namespace = match (&self.namespace_selector, namespace_labels) {
            (None, _) => true,
            (Some(selector), Some(labels)) => selector.matches_map(labels),
            (Some(_), None) => false,
        };
        namespace && self.selector.as_ref().is_some_and(|s| s.matches(pod_label))
    }

    /// The content with this hash, if it is one a pod may get from this SidecarSet as it is now.
    pub fn content_with_hash(&self, hash: &str) -> Option<&PreparedRevision> {
        let both = match &self.choice {
            Choice::Current(current) => [Some(current), None],
            Choice::Pinned { pinned, current } | Choice::Partial { pinned, current, .. } => {
                [Some(current), Some(pinned)]
            }
        };
        both.into_iter()
            .flatten()
            .filter_map(|p| p.as_deref().ok())
            .find(|p| p.hash == hash)
    }
}

/// Names the container has in the pod.
pub(super) fn final_names(c: &SidecarContainer) -> Vec<String> {
    if c.is_hot() {
        c.hot_slots().into()
    } else {
        vec![c.name().to_owned()]
    }
}

fn choose(set: &SidecarSet, revisions: &[Revision]) -> Choice {
    let current = prepare_current(set, revisions);
    let pin = match revision::pinned(set, revisions) {
        Ok(None) => return Choice::Current(current),
        Ok(Some(found)) => prepare_pinned(found),
        Err(why) => Err(why),
    };
    let strategy = &set.spec.update_strategy;
    let partial = set
        .spec
        .injection_strategy
        .revision
        .as_ref()
        .is_some_and(|r| r.policy == "Partial");
    if strategy.paused || !partial {
        return Choice::Pinned { pinned: pin, current };
    }
    let selector = match parsed(strategy.selector.as_ref()) {
        Some(Err(why)) => {
            return Choice::Pinned {
                pinned: Err(why),
                current,
            };
        }
        Some(Ok(selector)) => Some(selector),
        None => None,
    };
    let pinned_percent = strategy.partition.as_ref().and_then(|p| p.percent()).unwrap_or(0);
    Choice::Partial {
        pinned: pin,
        current,
        selector,
        pinned_percent,
    }
}

fn prepare_current(set: &SidecarSet, revisions: &[Revision]) -> Prepared {
    let stored = |key: &str| {
        set.metadata
            .annotations
            .get(key)
            .filter(|h| !h.is_empty())
            .cloned()
    };
    // Without stored hashes the object came past the mutating webhook: the computed ones are what it would write.
    let hash = stored(keys::HASH).unwrap_or_else(|| hash::hash(&set.spec));
    let without_image =
        stored(keys::HASH_WITHOUT_IMAGE).unwrap_or_else(|| hash::hash_without_image(&set.spec));
    prepare(&set.spec, hash, without_image, current_revision(set, revisions))
}

/// As status names it, where that speaks of the spec there is; else what it will be named: a pod that names none would
/// not keep its revision in the history.
fn current_revision(set: &SidecarSet, revisions: &[Revision]) -> String {
    match set.status.observed_generation == set.metadata.generation {
        true => set.status.latest_revision.clone(),
        false => revision::plan(set, revisions, &BTreeSet::new()).current,
    }
}

fn prepare_pinned(found: &Revision) -> Prepared {
    let spec = found
        .spec()
        .map_err(|e| format!("revision {:?} cannot be read: {e}", found.name))?;
    let stored = |key: &str| found.annotations.get(key).cloned().unwrap_or_default();
    prepare(
        &spec,
        stored(keys::HASH),
        stored(keys::HASH_WITHOUT_IMAGE),
        found.name.clone(),
    )
}

fn prepare(spec: &SidecarSetSpec, hash: String, hash_without_image: String, revision: String) -> Prepared {
    let all = |list: &[SidecarContainer], default_before| {
        list.iter()
            .map(|c| container(c, default_before))
            .collect::<Result<Vec<_>, _>>()
    };
    let natives = spec.init_containers.iter().filter(|c| c.is_native());
    let mut sidecar_list: Vec<String> = spec
        .containers
        .iter()
        .chain(natives)
        .map(|c| c.name().to_owned())
        .collect();
    sidecar_list.sort();
    sidecar_list.dedup();
    let named = |v: &Value| -> Result<NamedValue, String> {
        let name = v.get("name").and_then(Value::as_str).unwrap_or_default();
        Ok(NamedValue {
            name: name.to_owned(),
            text: text(v)?,
        })
    };
    Ok(Box::new(PreparedRevision {
        hash,
        hash_without_image,
        controller_revision: revision,
        containers: all(&spec.containers, true)?,
        init_containers: all(&spec.init_containers, false)?,
        volumes: spec.volumes.iter().map(named).collect::<Result<_, _>>()?,
        image_pull_secrets: spec
            .image_pull_secrets
            .iter()
            .map(named)
            .collect::<Result<_, _>>()?,
        patches: spec.patch_pod_metadata.clone(),
        sidecar_list,
    }))
}

fn container(c: &SidecarContainer, default_before: bool) -> Result<PreparedContainer, String> {
    let SidecarContainer {
        pod_inject_policy,
        upgrade_strategy,
        share_volume_policy,
        share_volume_device_policy,
        transfer_env,
        resources_policy,
        body,
    } = c;
    let before = match pod_inject_policy.as_str() {
        "BeforeAppContainer" => true,
        "AfterAppContainer" => false,
        _ => default_before,
    };
    let resources = match resources_policy {
        Some(policy) => Some(resources(c.name(), policy)?),
        None => None,
    };
    let (mounts, devices) = (
        share_volume_policy.is_enabled(),
        share_volume_device_policy
            .as_ref()
            .is_some_and(|p| p.is_enabled()),
    );
    let depends = mounts || devices || c.is_hot() || !transfer_env.is_empty() || resources.is_some();
    Ok(PreparedContainer {
        name: c.name().to_owned(),
        before,
        native: c.is_native(),
        hot: c
            .is_hot()
            .then(|| upgrade_strategy.hot_upgrade_empty_image.clone()),
        share_mounts: mounts,
        share_devices: devices,
        transfer_env: transfer_env.clone(),
        resources,
        body: body.clone(),
        ready: match depends {
            true => None,
            false => Some(text(&with_injected_env(body.clone()))?),
        },
    })
}

fn with_injected_env(mut body: Map<String, Value>) -> Value {
    let mut env = take_list(&mut body, "env");
    env.push(injected_env());
    body.insert("env".into(), Value::Array(env));
    Value::Object(body)
}

pub(super) fn take_list(body: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match body.remove(field) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Marks a container as ours.
pub(super) fn injected_env() -> Value {
    json!({"name": keys::ENV_INJECTED, "value": "true"})
}

fn text(value: &Value) -> Result<Arc<RawValue>, String> {
    let text = to_raw_value(value).map_err(|e| e.to_string())?;
    Ok(text.into())
}

fn resources(name: &str, policy: &model::sidecarset::ResourcesPolicy) -> Result<PreparedResources, String> {
    let targets = Regex::new(&policy.target_containers_name_regex)
        .map_err(|e| format!("container {name:?}: resourcesPolicy.targetContainersNameRegex: {e}"))?;
    let mut expressions = Vec::new();
    for (limit, exprs) in [
        (true, &policy.resources_expr.limits),
        (false, &policy.resources_expr.requests),
    ] {
        let Some(exprs) = exprs else { continue };
        for (resource, text) in [(Resource::Cpu, &exprs.cpu), (Resource::Memory, &exprs.memory)] {
            if !text.is_empty() {
                let parsed = Expression::parse(text).map_err(|e| format!("container {name:?}: {e}"))?;
                expressions.push((limit, resource, parsed));
            }
        }
    }
    Ok(PreparedResources {
        sum: policy.target_containers_mode != "max",
        targets,
        expressions,
    })
}

fn parsed(selector: Option<&LabelSelector>) -> Option<Result<Selector, String>> {
    selector.map(|s| Selector::try_from(s).map_err(|e| e.to_string()))
}

/// A selector no label map satisfies.
fn nothing() -> Selector {
    Selector::parse("tidegate.dev/never,!tidegate.dev/never").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn a_namespace_that_cannot_be_read_matches_no_namespace_selector() {
        let prepared = |namespaces: Value| {
            let set = json!({"metadata": {"name": "log"}, "spec": {"containers": [{"name": "log", "image": "log:1"}],
                "selector": {"matchLabels": {"app": "web"}}, "namespaceSelector": namespaces}});
            PreparedSidecarSet::new(&serde_json::from_value(set).unwrap(), &[])
        };
        let label = |key: &str| (key == "app").then_some("web");
        let without = json!({"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]});
        assert!(prepared(without.clone()).matches(label, Some(&BTreeMap::new())));
        assert!(!prepared(without).matches(label, None));
        assert!(prepared(Value::Null).matches(label, None));
    }
}
