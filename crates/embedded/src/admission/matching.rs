//! Which webhooks a request meets: rules, selectors, equivalent versions.

use apirules::validation::selector_matches;
use serde_json::Value;

use super::Sight;
use crate::attributes::Kind;

/// One webhook of one configuration.
#[derive(Debug, Clone)]
pub(super) struct Hook {
    pub configuration: String,
    pub webhook: Value,
}

impl Hook {
    pub fn name(&self) -> &str {
        self.webhook["name"].as_str().unwrap_or_default()
    }

    pub fn ignores_failures(&self) -> bool {
        self.webhook["failurePolicy"] == "Ignore"
    }

    /// Identity across a reinvocation.
    pub fn id(&self) -> String {
        format!("{}/{}", self.configuration, self.name())
    }
}

/// How a hook sees the request: possibly in another version of the resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invocation {
    pub kind: Kind,
    pub group: String,
    pub version: String,
    pub resource: String,
}

/// All hooks of the configurations, which come by name.
pub(super) fn hooks(configurations: Vec<Value>) -> Vec<Hook> {
    let mut named: Vec<(String, Value)> = configurations
        .into_iter()
        .map(|c| (c["metadata"]["name"].as_str().unwrap_or_default().to_owned(), c))
        .collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |(name, mut configuration): (String, Value)| {
        let webhooks = match configuration.get_mut("webhooks").map(Value::take) {
            Some(Value::Array(webhooks)) => webhooks,
            _ => Vec::new(),
        };
        webhooks.into_iter().map(move |webhook| Hook {
            configuration: name.clone(),
            webhook,
        })
    };
    named.into_iter().flat_map(of).collect()
}

/// Configurations themselves never meet webhooks: a broken one could not be repaired.
pub(super) fn is_exempt(group: &str, resource: &str) -> bool {
    group == "admissionregistration.k8s.io"
        && matches!(
            resource,
            "mutatingwebhookconfigurations"
                | "validatingwebhookconfigurations"
                | "validatingadmissionpolicies"
                | "validatingadmissionpolicybindings"
                | "mutatingadmissionpolicies"
                | "mutatingadmissionpolicybindings"
        )
}

/// How `hook` would see this request; None where it does not concern it.
pub(super) fn invocation(
    hook: &Hook,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Option<Invocation> {
    let webhook = &hook.webhook;
    if !namespace_matches(webhook, sight, object) || !object_matches(webhook, object, old) {
        return None;
    }
    let attributes = sight.attributes;
    let rules = webhook["rules"].as_array()?;
    let own = Invocation {
        kind: attributes.kind.clone(),
        group: attributes.group.clone(),
        version: attributes.version.clone(),
        resource: attributes.resource.clone(),
    };
    if rules.iter().any(|rule| rule_matches(rule, sight, &own)) {
        return Some(own);
    }
    if webhook["matchPolicy"] == "Exact" {
        return None;
    }
    let equivalents = sight.equivalents();
    rules
        .iter()
        .find_map(|rule| {
            equivalents
                .iter()
                .find(|other| **other != own && rule_matches(rule, sight, other))
        })
        .cloned()
}

fn listed(list: &Value, wanted: &str) -> bool {
    list.as_array()
        .into_iter()
        .flatten()
        .any(|item| item == "*" || item == wanted)
}

fn rule_matches(rule: &Value, sight: &Sight<'_>, seen: &Invocation) -> bool {
    let attributes = sight.attributes;
    let namespaces = seen.group.is_empty() && seen.resource == "namespaces";
    let cluster_wide = namespaces || attributes.namespace.is_none();
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => !cluster_wide,
        Some("Cluster") => cluster_wide,
        _ => true,
    };
    let resource = rule["resources"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|text| {
            let (resource, subresource) = text.split_once('/').unwrap_or((text, ""));
            (resource == "*" || resource == seen.resource)
                && (subresource == "*" || subresource == attributes.subresource)
        });
    scope
        && resource
        && listed(&rule["operations"], attributes.operation.as_str())
        && listed(&rule["apiGroups"], &seen.group)
        && listed(&rule["apiVersions"], &seen.version)
}

fn is_everything(selector: &Value) -> bool {
    let empty = |v: &Value| v.as_object().is_none_or(serde_json::Map::is_empty);
    empty(&selector["matchLabels"]) && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty)
}

fn namespace_matches(webhook: &Value, sight: &Sight<'_>, object: Option<&Value>) -> bool {
    let selector = &webhook["namespaceSelector"];
    if is_everything(selector) {
        return true;
    }
    let attributes = sight.attributes;
    let namespaces = attributes.group.is_empty() && attributes.resource == "namespaces";
    if namespaces {
        // A namespace is judged by its own labels: the new ones where there are new ones.
        let stored = || sight.namespace_labels(&attributes.name);
        let labels = match object.filter(|_| attributes.subresource.is_empty()) {
            Some(object) => object["metadata"]["labels"].clone(),
            None => stored(),
        };
        return selector_matches(selector, &labels);
    }
    match &attributes.namespace {
        Some(namespace) => selector_matches(selector, &sight.namespace_labels(namespace)),
        None => true,
    }
}

fn object_matches(webhook: &Value, object: Option<&Value>, old: Option<&Value>) -> bool {
    let selector = &webhook["objectSelector"];
    let fits = |object: Option<&Value>| {
        object.is_some_and(|o| {
            o["metadata"].is_object() && selector_matches(selector, &o["metadata"]["labels"])
        })
    };
    is_everything(selector) || fits(object) || fits(old)
}
