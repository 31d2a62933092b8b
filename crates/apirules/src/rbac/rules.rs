//! Roles and bindings, parsed once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::read::{Read, texts};
use crate::validation::labels::selector_matches;

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyRule {
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
    pub verbs: Vec<String>,
}

/// What a binding points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    pub name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub name: String,
    /// Empty for a ClusterRoleBinding.
    pub namespace: String,
    pub role: RoleRef,
    pub(super) subjects: Vec<BoundSubject>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BoundSubject {
    pub kind: String,
    pub name: String,
    pub namespace: String,
}

struct ClusterRole {
    labels: Value,
    rules: Arc<Vec<PolicyRule>>,
    /// Label selectors of `aggregationRule`.
    aggregates: Vec<Value>,
}

/// All roles and bindings of a cluster. Aggregated ClusterRoles are resolved here, so no controller is needed.
#[derive(Default)]
pub struct RuleSource {
    cluster_roles: BTreeMap<String, ClusterRole>,
    roles: BTreeMap<(String, String), Arc<Vec<PolicyRule>>>,
    cluster_bindings: BTreeMap<String, Binding>,
    bindings: BTreeMap<String, BTreeMap<String, Binding>>,
}

impl PolicyRule {
    pub fn parse(value: &Value) -> Self {
        let owned = |name: &str| texts(value.list(name)).into_iter().map(str::to_owned).collect();
        Self {
            api_groups: owned("apiGroups"),
            resources: owned("resources"),
            resource_names: owned("resourceNames"),
            non_resource_urls: owned("nonResourceURLs"),
            verbs: owned("verbs"),
        }
    }

    /// As an entry of SelfSubjectRulesReview's `resourceRules` or `nonResourceRules`.
    pub fn review_entry(&self) -> Value {
        if !self.non_resource_urls.is_empty() {
            return json!({"verbs": self.verbs, "nonResourceURLs": self.non_resource_urls});
        }
        let mut out = json!({"verbs": self.verbs, "apiGroups": self.api_groups, "resources": self.resources});
        if let (false, Some(map)) = (self.resource_names.is_empty(), out.as_object_mut()) {
            map.insert("resourceNames".to_owned(), json!(self.resource_names));
        }
        out
    }
}

impl RuleSource {
    /// From all objects of the four kinds.
    pub fn build(
        cluster_roles: &[Value],
        roles: &[Value],
        cluster_bindings: &[Value],
        bindings: &[Value],
    ) -> Self {
        let mut out = Self::default();
        for (kind, objects) in [
            ("clusterroles", cluster_roles),
            ("roles", roles),
            ("clusterrolebindings", cluster_bindings),
            ("rolebindings", bindings),
        ] {
            for object in objects {
                out.put(kind, object);
            }
        }
        out
    }

    /// Adds or replaces one object of `resource` (`roles`, `clusterroles`, ...). Other resources are ignored.
    pub fn put(&mut self, resource: &str, object: &Value) {
        let meta = object.at("metadata");
        let (name, namespace) = (meta.text("name").to_owned(), meta.text("namespace").to_owned());
        match resource {
            "clusterroles" => {
                let aggregates = object.at("aggregationRule").list("clusterRoleSelectors").to_vec();
                let role = ClusterRole {
                    labels: meta.at("labels").clone(),
                    rules: rules_of(object),
                    aggregates,
                };
                self.cluster_roles.insert(name, role);
            }
            "roles" => {
                self.roles.insert((namespace, name), rules_of(object));
            }
            "clusterrolebindings" => {
                self.cluster_bindings.insert(name, binding_of(object, ""));
            }
            "rolebindings" => {
                let binding = binding_of(object, &namespace);
                self.bindings.entry(namespace).or_default().insert(name, binding);
            }
            _ => {}
        }
    }

    /// Forgets one object.
    pub fn remove(&mut self, resource: &str, namespace: &str, name: &str) {
        match resource {
            "clusterroles" => {
                self.cluster_roles.remove(name);
            }
            "roles" => {
                self.roles.remove(&(namespace.to_owned(), name.to_owned()));
            }
            "clusterrolebindings" => {
                self.cluster_bindings.remove(name);
            }
            "rolebindings" => {
                if let Some(bindings) = self.bindings.get_mut(namespace) {
                    bindings.remove(name);
                }
            }
            _ => {}
        }
    }

    pub(super) fn cluster_bindings(&self) -> impl Iterator<Item = &Binding> {
        self.cluster_bindings.values()
    }

    pub(super) fn bindings(&self, namespace: &str) -> impl Iterator<Item = &Binding> {
        self.bindings
            .get(namespace)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// The rules a binding grants, or the words for a missing role.
    pub fn rules_of(&self, role: &RoleRef, namespace: &str) -> Result<Arc<Vec<PolicyRule>>, String> {
        let missing = |kind: &str| format!("{kind}.rbac.authorization.k8s.io {:?} not found", role.name);
        if role.kind == "Role" {
            let key = (namespace.to_owned(), role.name.clone());
            return self.roles.get(&key).cloned().ok_or_else(|| missing("role"));
        }
        let found = self
            .cluster_roles
            .get(&role.name)
            .ok_or_else(|| missing("clusterrole"))?;
        if found.aggregates.is_empty() {
            return Ok(found.rules.clone());
        }
        let mut seen = vec![role.name.as_str()];
        let mut rules = Vec::new();
        self.aggregate(found, &mut seen, &mut rules);
        Ok(Arc::new(rules))
    }

    fn aggregate<'a>(&'a self, role: &ClusterRole, seen: &mut Vec<&'a str>, rules: &mut Vec<PolicyRule>) {
        for (name, other) in &self.cluster_roles {
            let selected = role.aggregates.iter().any(|s| selector_matches(s, &other.labels));
            if !selected || seen.contains(&name.as_str()) {
                continue;
            }
            seen.push(name);
            if other.aggregates.is_empty() {
                rules.extend(
                    other
                        .rules
                        .iter()
                        .filter(|r| !rules.contains(r))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            } else {
                self.aggregate(other, seen, rules);
            }
        }
    }
}

fn rules_of(object: &Value) -> Arc<Vec<PolicyRule>> {
    Arc::new(object.list("rules").iter().map(PolicyRule::parse).collect())
}

fn binding_of(object: &Value, namespace: &str) -> Binding {
    let role = object.at("roleRef");
    let subjects = object.list("subjects").iter().map(|s| BoundSubject {
        kind: s.text("kind").to_owned(),
        name: s.text("name").to_owned(),
        namespace: s.text("namespace").to_owned(),
    });
    Binding {
        name: object.at("metadata").text("name").to_owned(),
        namespace: namespace.to_owned(),
        role: RoleRef {
            kind: role.text("kind").to_owned(),
            name: role.text("name").to_owned(),
        },
        subjects: subjects.collect(),
    }
}
