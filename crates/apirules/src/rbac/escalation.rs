//! Nobody grants what he does not hold: checks on writes of roles and bindings.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::path::{go_quote, go_quote_list};
use crate::rbac::authorize::{Request, Subject, authorize, url_covers};
use crate::rbac::rules::{PolicyRule, RoleRef, RuleSource};
use crate::read::Read;

/// The answer of [`grant_check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantCheck {
    Allowed,
    /// Why a 403 is due.
    Forbidden(String),
    /// The binding's role does not exist: a 404 naming (resource, name).
    RoleMissing(&'static str, String),
    /// The binding's role is of a kind that there is not: a 500.
    NoSuchKind(String),
}

/// Checks a create or update of `resource` (one of the four RBAC kinds) by `who`.
pub fn grant_check(
    who: Subject<'_>,
    resource: &str,
    object: &Value,
    old: Option<&Value>,
    source: &RuleSource,
) -> GrantCheck {
    if who.groups.iter().any(|g| g == "system:masters") {
        return GrantCheck::Allowed;
    }
    if old.is_some_and(|old| only_collection_fields_change(object, old)) {
        return GrantCheck::Allowed;
    }
    let namespace = object.at("metadata").text("namespace");
    let name = object.at("metadata").text("name");
    let verb = match resource {
        "roles" | "clusterroles" => "escalate",
        "rolebindings" | "clusterrolebindings" => "bind",
        _ => return GrantCheck::Allowed,
    };
    if verb == "escalate" {
        let what = Request {
            verb,
            namespace,
            group: GROUP,
            resource,
            name,
            ..Request::default()
        };
        if authorize(who, &what, source).allowed {
            return GrantCheck::Allowed;
        }
        let rules: Vec<PolicyRule> = object.list("rules").iter().map(PolicyRule::parse).collect();
        return verdict(who, namespace, &rules, source);
    }
    check_binding(who, namespace, object.at("roleRef"), source)
}

/// Garbage collection may do its work on what it could not grant.
fn only_collection_fields_change(new: &Value, old: &Value) -> bool {
    const COLLECTION: [&str; 4] = ["finalizers", "managedFields", "ownerReferences", "selfLink"];
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|key, _| !COLLECTION.contains(&key.as_str()));
        }
        object
    };
    rest(new) == rest(old)
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn check_binding(who: Subject<'_>, namespace: &str, role: &Value, source: &RuleSource) -> GrantCheck {
    let role = RoleRef {
        kind: role.text("kind").to_owned(),
        name: role.text("name").to_owned(),
    };
    let (resource, singular) = match role.kind.as_str() {
        "Role" => ("roles", "role"),
        "ClusterRole" => ("clusterroles", "clusterrole"),
        other => {
            return GrantCheck::NoSuchKind(format!("unsupported role reference kind: {}", go_quote(other)));
        }
    };
    let what = Request {
        verb: "bind",
        namespace,
        group: GROUP,
        resource,
        name: &role.name,
        ..Request::default()
    };
    if authorize(who, &what, source).allowed {
        return GrantCheck::Allowed;
    }
    match source.rules_of(&role, namespace) {
        Ok(rules) => verdict(who, namespace, &rules, source),
        Err(_) => GrantCheck::RoleMissing(singular, role.name),
    }
}

fn verdict(who: Subject<'_>, namespace: &str, rules: &[PolicyRule], source: &RuleSource) -> GrantCheck {
    let (owned, errors) = source.rules_for(who, namespace);
    let missing = missing_rights(&owned, rules);
    if missing.is_empty() {
        return GrantCheck::Allowed;
    }
    let lines: BTreeSet<String> = compacted(missing).iter().map(compact_text).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    let mut text = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        go_quote(who.name),
        go_quote_list(who.groups),
        lines.join("\n")
    );
    if !errors.is_empty() {
        let all = if errors.len() == 1 {
            errors.concat()
        } else {
            format!("[{}]", errors.join(", "))
        };
        text.push_str(&format!("; resolution errors: [{all}]"));
    }
    GrantCheck::Forbidden(text)
}

/// The single rights of `wanted` that no rule of `owned` covers.
pub fn missing_rights(owned: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let single = wanted.iter().flat_map(broken_down);
    single
        .filter(|right| !owned.iter().any(|rule| covers(rule, right)))
        .collect()
}

fn broken_down(rule: &PolicyRule) -> Vec<PolicyRule> {
    let one = |s: &String| vec![s.clone()];
    let mut out = Vec::new();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let right = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: one(verb),
                    ..PolicyRule::default()
                };
                if rule.resource_names.is_empty() {
                    out.push(right.clone());
                }
                for name in &rule.resource_names {
                    out.push(PolicyRule {
                        resource_names: one(name),
                        ..right.clone()
                    });
                }
            }
        }
    }
    for url in &rule.non_resource_urls {
        for verb in &rule.verbs {
            out.push(PolicyRule {
                non_resource_urls: one(url),
                verbs: one(verb),
                ..PolicyRule::default()
            });
        }
    }
    out
}

fn covers(owner: &PolicyRule, right: &PolicyRule) -> bool {
    let all = |set: &[String], wanted: &[String]| {
        set.iter().any(|s| s == "*") || wanted.iter().all(|w| set.contains(w))
    };
    let resources = all(&owner.resources, &right.resources)
        || right.resources.iter().all(|path| {
            path.split_once('/')
                .is_some_and(|(_, sub)| owner.resources.contains(&format!("*/{sub}")))
        });
    let urls = right
        .non_resource_urls
        .iter()
        .all(|url| owner.non_resource_urls.iter().any(|own| url_covers(own, url)));
    let names = owner.resource_names.is_empty()
        || (!right.resource_names.is_empty()
            && right
                .resource_names
                .iter()
                .all(|n| owner.resource_names.contains(n)));
    all(&owner.verbs, &right.verbs) && all(&owner.api_groups, &right.api_groups) && resources && urls && names
}

/// Rights on the same resource become one rule with several verbs.
fn compacted(rights: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut out: Vec<PolicyRule> = Vec::new();
    for right in rights {
        let same = out.iter_mut().find(|o| {
            !o.resources.is_empty()
                && o.api_groups == right.api_groups
                && o.resources == right.resources
                && o.resource_names == right.resource_names
        });
        match same {
            Some(rule) => {
                for verb in right.verbs {
                    if !rule.verbs.contains(&verb) {
                        rule.verbs.push(verb);
                    }
                }
            }
            None => out.push(right),
        }
    }
    out
}

fn compact_text(rule: &PolicyRule) -> String {
    let parts: Vec<String> = [
        ("APIGroups", &rule.api_groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.non_resource_urls),
        ("ResourceNames", &rule.resource_names),
        ("Verbs", &rule.verbs),
    ]
    .iter()
    .filter(|(_, items)| !items.is_empty())
    .map(|(name, items)| format!("{name}:{}", go_quote_list(items)))
    .collect();
    format!("{{{}}}", parts.join(", "))
}
