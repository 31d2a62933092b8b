//! Which pods the API server must ask us about: those some SidecarSet can match, and no others.
//!
//! One webhook entry for each failure policy and namespaceSelector (the API can select namespaces by labels only
//! there), its object selection as exact as the API allows: the selector itself where one SidecarSet is behind
//! the entry, a CEL condition over the pod's labels where several are. A pod that none of them can match is
//! created without a call, whether we are alive or not.
mod standing_for;

use model::selector::{LabelExpression, LabelSelector, Selector};
use model::sidecarset::{SidecarSet, keys};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub use standing_for::{announced, id, ids};

/// What happens to the pods of a SidecarSet while no webhook answers (annotation `tidegate.dev/failure-policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailurePolicy {
    Fail,
    Ignore,
}

impl FailurePolicy {
    /// Anything but `Ignore` fails, as in Kruise.
    pub fn of(set: &SidecarSet) -> Self {
        match set
            .metadata
            .annotations
            .get(keys::FAILURE_POLICY)
            .map(String::as_str)
        {
            Some("Ignore") => Self::Ignore,
            _ => Self::Fail,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "Fail",
            Self::Ignore => "Ignore",
        }
    }
}

pub struct WebhookOptions<'a> {
    /// `clientConfig` for a path: service or url, and caBundle.
    pub client_config: &'a dyn Fn(&str) -> Value,
    /// Namespaces never asked about: our own, and the configured ones.
    pub excluded_namespaces: &'a [String],
    pub timeout_seconds: u32,
}

/// Of entries for pods; what follows it says for which SidecarSets ([`ids`]).
pub const POD_PATH: &str = "/mutate-pod";
pub const MUTATE_PATH: &str = "/mutate-apps-kruise-io-sidecarset";
pub const VALIDATE_PATH: &str = "/validate-apps-kruise-io-sidecarset";
pub const CONVERT_PATH: &str = "/convert";

/// Which of our paths this is, whatever SidecarSets it names; `None` where we answer nothing.
pub fn known(path: &str) -> Option<&'static str> {
    let whole = [MUTATE_PATH, VALIDATE_PATH, CONVERT_PATH];
    let pods = || ids(path).map(|_| POD_PATH);
    whole.into_iter().find(|known| *known == path).or_else(pods)
}

/// SidecarSets behind one entry at most; keeps its CEL condition far below the cost limit.
const SETS_PER_ENTRY: usize = 32;

/// Entries of the mutating configuration for pods. Empty where nothing can be injected.
pub fn desired(sets: &[&SidecarSet], options: &WebhookOptions<'_>) -> Vec<Value> {
    let mut groups: BTreeMap<(FailurePolicy, String), Vec<Candidate<'_>>> = BTreeMap::new();
    for set in sets {
        let Some(candidate) = Candidate::of(set) else {
            continue;
        };
        let namespaces = serde_json::to_string(&set.spec.namespace_selector).unwrap_or_default();
        groups
            .entry((FailurePolicy::of(set), namespaces))
            .or_default()
            .push(candidate);
    }
    let mut entries = Vec::new();
    for ((policy, namespaces), mut candidates) in groups {
        candidates.sort_by(|a, b| a.name.cmp(b.name));
        let id = super::hash::safe_encode(&format!("{:08x}", fnv(&namespaces)));
        for (n, chunk) in candidates.chunks(SETS_PER_ENTRY).enumerate() {
            let name = standing_for::name(policy, &id, n);
            entries.push(entry(&name, policy, chunk, options));
        }
    }
    entries
}

/// Whether there is anything to ask about for this SidecarSet.
pub fn announces(set: &SidecarSet) -> bool {
    Candidate::of(set).is_some()
}

/// The entry of one SidecarSet that is about to be stored: pods created right after it are asked about already.
/// `None` where it injects into no pod. `admission` tells it from other admissions of the same.
pub fn announcement(set: &SidecarSet, admission: &str, options: &WebhookOptions<'_>) -> Option<Value> {
    let candidate = Candidate::of(set)?;
    let name = standing_for::announced_name(&candidate.id, admission);
    Some(entry(&name, FailurePolicy::of(set), &[candidate], options))
}

/// The entry for SidecarSets themselves, of the mutating and of the validating configuration.
pub fn for_sidecarsets(options: &WebhookOptions<'_>) -> (Value, Value) {
    let rule = json!([{"apiGroups": ["apps.kruise.io"], "apiVersions": ["v1alpha1", "v1beta1"],
        "operations": ["CREATE", "UPDATE"], "resources": ["sidecarsets"], "scope": "*"}]);
    let webhook = |name: &str, path: &str, side_effects: &str| {
        json!({"name": name, "admissionReviewVersions": ["v1"], "clientConfig": (options.client_config)(path),
            "failurePolicy": "Fail", "matchPolicy": "Equivalent", "rules": rule, "sideEffects": side_effects,
            "timeoutSeconds": options.timeout_seconds})
    };
    (
        webhook("msidecarset.kb.io", MUTATE_PATH, "None"),
        // One that may be stored is announced: see `announcement`.
        webhook("vsidecarset.kb.io", VALIDATE_PATH, "NoneOnDryRun"),
    )
}

struct Candidate<'a> {
    name: &'a str,
    id: String,
    selector: &'a LabelSelector,
    namespaces: Option<&'a LabelSelector>,
}

impl<'a> Candidate<'a> {
    /// `None` where the SidecarSet injects into no pod.
    fn of(set: &'a SidecarSet) -> Option<Self> {
        let spec = &set.spec;
        let selector = spec.selector.as_ref().filter(|s| !s.is_empty())?;
        let valid = |s: &LabelSelector| Selector::try_from(s).is_ok();
        let injects = !spec.injection_strategy.paused
            && valid(selector)
            && spec.namespace_selector.as_ref().is_none_or(valid);
        injects.then_some(Self {
            name: &set.metadata.name,
            id: id(set),
            selector,
            namespaces: spec.namespace_selector.as_ref(),
        })
    }
}

fn entry(name: &str, policy: FailurePolicy, sets: &[Candidate<'_>], options: &WebhookOptions<'_>) -> Value {
    let mut out = json!({
        "name": name,
        "admissionReviewVersions": ["v1"],
        "clientConfig": (options.client_config)(&standing_for::path(sets.iter().map(|s| &*s.id))),
        "failurePolicy": policy.as_str(),
        "matchPolicy": "Equivalent",
        "reinvocationPolicy": "Never",
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"],
            "scope": "Namespaced"}],
        "sideEffects": "None",
        "timeoutSeconds": options.timeout_seconds,
        "namespaceSelector": namespace_selector(sets.first().and_then(|s| s.namespaces), options),
        "objectSelector": {},
    });
    let Some((first, rest)) = sets.split_first() else {
        return out;
    };
    if rest.iter().all(|s| s.selector == first.selector) {
        out["objectSelector"] = json!(first.selector);
        return out;
    }
    let any: Vec<String> = sets
        .iter()
        .map(|s| format!("({})", condition(s.selector)))
        .collect();
    out["matchConditions"] =
        json!([{"name": "some-sidecarset-selects-the-pod", "expression": any.join(" || ")}]);
    out
}

fn namespace_selector(selector: Option<&LabelSelector>, options: &WebhookOptions<'_>) -> Value {
    let mut selector = selector.cloned().unwrap_or_default();
    if !options.excluded_namespaces.is_empty() {
        selector.match_expressions.push(LabelExpression {
            key: keys::NAMESPACE_NAME.to_owned(),
            operator: "NotIn".to_owned(),
            values: options.excluded_namespaces.to_vec(),
        });
    }
    json!(selector)
}

/// The selector in CEL. Label keys and values cannot contain quotes: the selector was checked.
fn condition(selector: &LabelSelector) -> String {
    let labels = "object.metadata.labels";
    let has = |key: &str| format!("has({labels}) && '{key}' in {labels}");
    let listed = |key: &str, values: &[String]| {
        let values: Vec<String> = values.iter().map(|v| format!("'{v}'")).collect();
        format!("{} && {labels}['{key}'] in [{}]", has(key), values.join(", "))
    };
    let mut all: Vec<String> = Vec::new();
    for (key, value) in &selector.match_labels {
        all.push(listed(key, std::slice::from_ref(value)));
    }
    for e in &selector.match_expressions {
        all.push(match e.operator.as_str() {
            "In" => listed(&e.key, &e.values),
            "NotIn" => format!("!({})", listed(&e.key, &e.values)),
            "Exists" => has(&e.key),
            _ => format!("!({})", has(&e.key)),
        });
    }
    all.join(" && ")
}

fn fnv(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |h: u32, b| {
        (h ^ u32::from(b)).wrapping_mul(16_777_619)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn set(name: &str, policy: &str, spec: Value) -> SidecarSet {
        serde_json::from_value(
            json!({"metadata": {"name": name, "annotations": {keys::FAILURE_POLICY: policy}},
            "spec": spec}),
        )
        .unwrap()
    }

    fn entries(sets: &[SidecarSet]) -> Vec<Value> {
        let config = |path: &str| json!({"url": format!("https://localhost{path}")});
        let excluded = ["kube-system".to_owned()];
        let options = WebhookOptions {
            client_config: &config,
            excluded_namespaces: &excluded,
            timeout_seconds: 10,
        };
        desired(&sets.iter().collect::<Vec<_>>(), &options)
    }

    #[test]
    fn one_sidecarset_selects_by_its_own_selectors() {
        let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "namespaceSelector": {"matchLabels": {"t": "x"}}});
        let made = entries(&[set("s", "Fail", spec)]);
        assert_eq!(made.len(), 1);
        assert_eq!(made[0]["objectSelector"], json!({"matchLabels": {"app": "a"}}));
        assert_eq!(
            made[0]["namespaceSelector"],
            json!({"matchLabels": {"t": "x"}, "matchExpressions":
                [{"key": keys::NAMESPACE_NAME, "operator": "NotIn", "values": ["kube-system"]}]})
        );
        assert_eq!(made[0]["failurePolicy"], "Fail");
        assert_eq!(made[0].get("matchConditions"), None);
    }

    #[test]
    fn several_share_an_entry_by_a_condition_over_labels() {
        let a = json!({"selector": {"matchLabels": {"app": "a"}}});
        let b = json!({"selector": {"matchExpressions": [{"key": "b", "operator": "NotIn", "values": ["x", "y"]},
            {"key": "c", "operator": "DoesNotExist"}]}});
        let made = entries(&[set("a", "Fail", a), set("b", "Fail", b)]);
        assert_eq!(made.len(), 1);
        assert_eq!(
            made[0]["matchConditions"][0]["expression"],
            "(has(object.metadata.labels) && 'app' in object.metadata.labels && object.metadata.labels['app'] in ['a']) || (!(has(object.metadata.labels) && 'b' in object.metadata.labels && object.metadata.labels['b'] in ['x', 'y']) && !(has(object.metadata.labels) && 'c' in object.metadata.labels))"
        );
    }

    #[test]
    fn policies_and_namespaces_are_kept_apart_and_what_injects_nothing_makes_no_entry() {
        let of = |ns: &str| json!({"selector": {"matchLabels": {"app": "a"}}, "namespaceSelector": {"matchLabels": {"t": ns}}});
        let made = entries(&[
            set("a", "Fail", of("x")),
            set("b", "Ignore", of("x")),
            set("c", "Fail", of("y")),
        ]);
        let policies: Vec<_> = made
            .iter()
            .map(|e| e["failurePolicy"].as_str().unwrap())
            .collect();
        assert_eq!(policies, ["Fail", "Fail", "Ignore"]);
        let names: std::collections::BTreeSet<_> = made.iter().map(|e| e["name"].as_str().unwrap()).collect();
        assert_eq!(names.len(), 3);
        let paused = json!({"selector": {"matchLabels": {"a": "b"}}, "injectionStrategy": {"paused": true}});
        assert_eq!(
            entries(&[
                set("p", "Fail", paused),
                set("e", "Fail", json!({"selector": {}}))
            ]),
            Vec::<Value>::new()
        );
    }

    #[test]
    fn many_sidecarsets_are_spread_over_entries_of_bounded_cost() {
        let sets: Vec<_> = (0..100)
            .map(|n| {
                set(
                    &format!("s{n}"),
                    "Fail",
                    json!({"selector": {"matchLabels": {"n": format!("{n}")}}}),
                )
            })
            .collect();
        assert_eq!(entries(&sets).len(), 4);
    }
}
