//! Admission policies: CEL over a request, bound to what it applies to.
mod expressions;
mod mutating;
mod parameters;
mod validating;

use kube_cel::KubeCelExt;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::{Value, json};

use super::conditions::{Verdict, evaluate};
use super::matching::{Hook, Invocation, invocation};
use super::{Sight, review};
use crate::status::Status;

pub(super) use mutating::mutate;
pub(super) use validating::validate;

/// A policy and a binding that cover a request, and how they see it.
struct Bound<'a> {
    policy: &'a Value,
    binding: &'a Value,
    seen: Invocation,
}

impl Bound<'_> {
    fn policy_name(&self) -> &str {
        self.policy["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn binding_name(&self) -> &str {
        self.binding["metadata"]["name"].as_str().unwrap_or_default()
    }

    fn ignores_failures(&self) -> bool {
        self.policy["spec"]["failurePolicy"] == "Ignore"
    }
}

fn bound<'a>(
    policies: &'a [Value],
    bindings: &'a [Value],
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Vec<Bound<'a>> {
    let mut out = Vec::new();
    for policy in policies {
        let name = &policy["metadata"]["name"];
        for binding in bindings.iter().filter(|b| b["spec"]["policyName"] == *name) {
            let limits = &binding["spec"]["matchResources"];
            if limits.is_object() && covers_binding(limits, sight, object, old).is_none() {
                continue;
            }
            if let Some(seen) = covers(&policy["spec"]["matchConstraints"], sight, object, old) {
                out.push(Bound {
                    policy,
                    binding,
                    seen,
                });
            }
        }
    }
    out
}

/// A policy's constraints are a webhook's rules under other names.
fn as_hook(constraints: &Value, rules: &Value) -> Hook {
    Hook {
        configuration: String::new(),
        webhook: json!({
            "rules": rules, "namespaceSelector": constraints["namespaceSelector"],
            "objectSelector": constraints["objectSelector"], "matchPolicy": constraints["matchPolicy"],
        }),
    }
}

fn covers(
    constraints: &Value,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Option<Invocation> {
    let excluded = as_hook(constraints, &constraints["excludeResourceRules"]);
    if !named(&constraints["excludeResourceRules"], sight).is_empty()
        && invocation(&excluded, sight, object, old).is_some()
    {
        return None;
    }
    let rules = Value::Array(named(&constraints["resourceRules"], sight));
    invocation(&as_hook(constraints, &rules), sight, object, old)
}

/// A binding without rules of its own only selects.
fn covers_binding(
    limits: &Value,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Option<Invocation> {
    let mut limits = limits.clone();
    if limits["resourceRules"].as_array().is_none_or(Vec::is_empty) {
        limits["resourceRules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
            "resources": ["*", "*/*"]}]);
    }
    covers(&limits, sight, object, old)
}

/// The rules that are for the object's name, or for all names.
fn named(rules: &Value, sight: &Sight<'_>) -> Vec<Value> {
    let fits = |rule: &&Value| match rule["resourceNames"].as_array() {
        Some(names) if !names.is_empty() => names.iter().any(|n| *n == sight.attributes.name),
        _ => true,
    };
    rules
        .as_array()
        .into_iter()
        .flatten()
        .filter(fits)
        .cloned()
        .collect()
}

/// What expressions of a policy look at.
struct Shown {
    object: Value,
    old: Value,
    request: Value,
    namespace: Value,
}

impl Shown {
    async fn new(
        sight: &Sight<'_>,
        bound: &Bound<'_>,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Self, Status> {
        let kind = &bound.seen.kind;
        Ok(Self {
            object: match object {
                Some(object) => sight.converted(object.clone(), kind).await?,
                None => Value::Null,
            },
            old: match old {
                Some(old) => sight.converted(old.clone(), kind).await?,
                None => Value::Null,
            },
            request: review::request(sight.attributes, &bound.seen, "", None, None),
            namespace: sight.namespace_object(),
        })
    }

    fn meets_conditions(&self, policy: &Value) -> Verdict {
        let conditions = policy["spec"]["matchConditions"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        evaluate(conditions, &self.object, &self.old, &self.request)
    }

    /// What expressions see; variables of the policy one after the other, each over those before it.
    fn context<'a>(&'a self, params: &'a Value, spec: &Value) -> Result<Context<'a>, String> {
        let mut context = Context::default();
        context.register_all();
        for (name, value) in [
            ("object", &self.object),
            ("oldObject", &self.old),
            ("request", &self.request),
            ("namespaceObject", &self.namespace),
            ("params", params),
        ] {
            context.add_variable(name, value).map_err(|e| e.to_string())?;
        }
        let mut variables = std::collections::HashMap::new();
        for variable in spec["variables"].as_array().into_iter().flatten() {
            let name = variable["name"].as_str().unwrap_or_default().to_owned();
            let value = expressions::run(&variable["expression"], &context)?;
            variables.insert(Key::from(name), value);
            let all = Map::from(variables.clone());
            context.add_variable_from_value("variables", CelValue::Map(all));
        }
        Ok(context)
    }
}
