//! The authorizers in order: system:masters, a simplified Node authorizer, RBAC.

use crate::path::go_quote;
use crate::rbac::rules::{Binding, BoundSubject, PolicyRule, RuleSource};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    pub name: &'a str,
    pub groups: &'a [String],
}

/// What is asked: a resource, or a path where `path` is set.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request<'a> {
    pub verb: &'a str,
    /// Empty for cluster scope and for all namespaces.
    pub namespace: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    /// Empty on collections and on create.
    pub name: &'a str,
    /// A non-resource URL such as `/healthz`.
    pub path: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// As in SubjectAccessReview.status.reason; for a denial possibly empty.
    pub reason: String,
}

/// Decides one request.
///
/// Nodes (`system:nodes`) are authorized in a simplified way: a node may do whatever a kubelet needs, on all
/// objects, where a real server looks up which objects are related to this very node.
pub fn authorize(who: Subject<'_>, what: &Request<'_>, source: &RuleSource) -> Decision {
    if who.groups.iter().any(|g| g == "system:masters") {
        return Decision {
            allowed: true,
            reason: String::new(),
        };
    }
    if is_node(who) && node_may(what) {
        return Decision {
            allowed: true,
            reason: String::new(),
        };
    }
    let mut errors = Vec::new();
    for (binding, rules, subject) in granted(who, what.namespace, source, &mut errors) {
        if rules.iter().any(|rule| rule.allows(what)) {
            return Decision {
                allowed: true,
                reason: describe(binding, subject),
            };
        }
    }
    let reason = match errors.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    };
    Decision {
        allowed: false,
        reason,
    }
}

impl RuleSource {
    /// All rules that hold for `who` in `namespace`, for SelfSubjectRulesReview; with what could not be resolved.
    pub fn rules_for(&self, who: Subject<'_>, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let mut errors = Vec::new();
        let mut out = Vec::new();
        if who.groups.iter().any(|g| g == "system:masters") {
            let all = || vec!["*".to_owned()];
            out.push(PolicyRule {
                api_groups: all(),
                resources: all(),
                verbs: all(),
                ..PolicyRule::default()
            });
            out.push(PolicyRule {
                non_resource_urls: all(),
                verbs: all(),
                ..PolicyRule::default()
            });
        }
        for (_, rules, _) in granted(who, namespace, self, &mut errors) {
            out.extend(rules.iter().cloned());
        }
        (out, errors)
    }
}

impl Request<'_> {
    /// `User "x" cannot list resource "pods" in API group "" in the namespace "y"`, as denials read.
    pub fn refusal(&self, user: &str, reason: &str) -> String {
        let user = go_quote(user);
        let mut out = match self.path {
            Some(path) => format!("User {user} cannot {} path {}", self.verb, go_quote(path)),
            None => {
                let resource = self.full_resource();
                let place = if self.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {}", go_quote(self.namespace))
                };
                let (resource, group) = (go_quote(&resource), go_quote(self.group));
                format!(
                    "User {user} cannot {} resource {resource} in API group {group} {place}",
                    self.verb
                )
            }
        };
        if !reason.is_empty() {
            out.push_str(": ");
            out.push_str(reason);
        }
        out
    }

    pub(super) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

impl PolicyRule {
    pub fn allows(&self, what: &Request<'_>) -> bool {
        if !has(&self.verbs, "*") && !has(&self.verbs, what.verb) {
            return false;
        }
        if let Some(path) = what.path {
            return self.non_resource_urls.iter().any(|url| url_covers(url, path));
        }
        let group = has(&self.api_groups, "*") || has(&self.api_groups, what.group);
        group
            && self.resource_allows(what)
            && (self.resource_names.is_empty() || has(&self.resource_names, what.name))
    }

    fn resource_allows(&self, what: &Request<'_>) -> bool {
        let full = what.full_resource();
        self.resources.iter().any(|r| {
            r == "*"
                || *r == full
                || (!what.subresource.is_empty() && r.strip_prefix("*/") == Some(what.subresource))
        })
    }
}

pub(super) fn url_covers(owner: &str, path: &str) -> bool {
    owner == "*"
        || owner == path
        || owner
            .strip_suffix('*')
            .is_some_and(|prefix| path.starts_with(prefix))
}

fn has(set: &[String], item: &str) -> bool {
    set.iter().any(|s| s == item)
}

type Grant<'a> = (&'a Binding, std::sync::Arc<Vec<PolicyRule>>, &'a BoundSubject);

fn granted<'a>(
    who: Subject<'a>,
    namespace: &'a str,
    source: &'a RuleSource,
    errors: &mut Vec<String>,
) -> Vec<Grant<'a>> {
    let mut out = Vec::new();
    let bindings = source.cluster_bindings().chain(source.bindings(namespace));
    for binding in bindings {
        let Some(subject) = binding
            .subjects
            .iter()
            .find(|s| applies(s, who, &binding.namespace))
        else {
            continue;
        };
        match source.rules_of(&binding.role, &binding.namespace) {
            Ok(rules) => out.push((binding, rules, subject)),
            Err(missing) => errors.push(missing),
        }
    }
    out
}

fn applies(subject: &BoundSubject, who: Subject<'_>, binding_namespace: &str) -> bool {
    match subject.kind.as_str() {
        "User" => subject.name == who.name,
        "Group" => who.groups.contains(&subject.name),
        "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() {
                binding_namespace
            } else {
                subject.namespace.as_str()
            };
            let parts = who
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'));
            !namespace.is_empty() && parts == Some((namespace, subject.name.as_str()))
        }
        _ => false,
    }
}

fn describe(binding: &Binding, subject: &BoundSubject) -> String {
    let (kind, name) = if binding.namespace.is_empty() {
        ("ClusterRoleBinding", binding.name.clone())
    } else {
        ("RoleBinding", format!("{}/{}", binding.name, binding.namespace))
    };
    let who = if subject.kind == "ServiceAccount" {
        let namespace = if subject.namespace.is_empty() {
            &binding.namespace
        } else {
            &subject.namespace
        };
        format!("{}/{namespace}", subject.name)
    } else {
        subject.name.clone()
    };
    let role = &binding.role;
    format!(
        "RBAC: allowed by {kind} {} of {} {} to {} {}",
        go_quote(&name),
        role.kind,
        go_quote(&role.name),
        subject.kind,
        go_quote(&who)
    )
}

fn is_node(who: Subject<'_>) -> bool {
    who.name.starts_with("system:node:") && who.groups.iter().any(|g| g == "system:nodes")
}

fn node_may(what: &Request<'_>) -> bool {
    if what.path.is_some() {
        return false;
    }
    let reads = matches!(what.verb, "get" | "list" | "watch");
    let writes = matches!(what.verb, "create" | "update" | "patch" | "delete");
    match (what.group, what.resource, what.subresource) {
        ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "persistentvolumes" | "services", "") => {
            reads
        }
        ("", "nodes", "" | "status") => reads || writes,
        ("", "pods", "") => reads || matches!(what.verb, "create" | "delete"),
        ("", "pods", "status") => reads || matches!(what.verb, "update" | "patch"),
        ("", "pods", "eviction") | ("", "serviceaccounts", "token") => what.verb == "create",
        ("", "serviceaccounts", "") => what.verb == "get",
        ("", "events", "") | ("events.k8s.io", "events", "") => {
            matches!(what.verb, "create" | "update" | "patch")
        }
        ("coordination.k8s.io", "leases", "") => what.verb == "get" || writes,
        ("storage.k8s.io", "csinodes", "") => what.verb == "get" || writes,
        ("storage.k8s.io", "volumeattachments", "") => what.verb == "get",
        ("storage.k8s.io", "csidrivers", "") | ("node.k8s.io", "runtimeclasses", "") => reads,
        ("resource.k8s.io", "resourceclaims", "") => what.verb == "get",
        ("resource.k8s.io", "resourceslices", "") => reads || writes,
        ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => {
            what.verb == "create"
        }
        ("certificates.k8s.io", "certificatesigningrequests", "") => reads || what.verb == "create",
        _ => false,
    }
}
