//! What keeps Kruise's manager off SidecarSets while it runs for its other kinds.
//!
//! Nothing it is told on its command line does: its SidecarSet controller starts wherever the kind is served. So the
//! API server refuses what that controller writes, by an admission policy, which needs no process of anybody's. All
//! else the manager does to pods (its own workloads' updates, readiness) passes.
use model::sidecarset::keys;
use serde_json::{Value, json};

/// Of the ValidatingAdmissionPolicy and of its binding.
pub const NAME: &str = "sidecarsets.tidegate.dev";
/// A Lease of this name is only ever created in rehearsal: refused once the policy is in force.
pub const PROBE: &str = "tidegate-fence-probe";
pub const SAYS: &str = "SidecarSets of this cluster are run by Tidegate";

/// How far the fence stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fence {
    Absent,
    /// Written, and maybe not yet enforced.
    Written,
    Enforced,
}

pub fn policy(user: &str, namespace: &str) -> Value {
    let rule = |group: &str, resources: Value, operations: Value| {
        json!({"apiGroups": [group], "apiVersions": ["*"], "resources": resources, "operations": operations,
            "scope": "*"})
    };
    let kruise = format!("request.userInfo.username == {user:?}");
    let probe = format!(
        "request.resource.resource == 'leases' && request.namespace == {namespace:?} && request.name == {PROBE:?}"
    );
    let validation =
        |expression: String| json!({"expression": expression, "message": SAYS, "reason": "Forbidden"});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": NAME},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {},
                "resourceRules": [
                    rule("apps.kruise.io", json!(["sidecarsets", "sidecarsets/status"]), json!(["CREATE", "UPDATE"])),
                    rule("apps", json!(["controllerrevisions"]), json!(["CREATE", "UPDATE", "DELETE"])),
                    rule("", json!(["pods", "pods/status"]), json!(["UPDATE"])),
                    rule("coordination.k8s.io", json!(["leases"]), json!(["CREATE"])),
                ]},
            "matchConditions": [{"name": "kruise-or-the-probe",
                "expression": format!("(request.resource.resource != 'leases' && {kruise}) || ({probe})")}],
            "variables": [
                {"name": "it", "expression": "object != null ? object : oldObject"},
                {"name": "new", "expression": annotations("object")},
                {"name": "old", "expression": annotations("oldObject")},
            ],
            "validations": [
                validation("!(request.resource.resource in ['sidecarsets', 'leases'])".to_owned()),
                validation(format!(
                    "request.resource.resource != 'controllerrevisions' || !has(variables.it.metadata.labels) \
                     || !({:?} in variables.it.metadata.labels)", keys::REVISION_OWNER)),
                validation(format!(
                    "request.resource.resource != 'pods' || {}.all(k, (k in variables.new) == (k in variables.old) \
                     && (!(k in variables.new) || variables.new[k] == variables.old[k]))", owned_annotations())),
                validation(format!(
                    "request.resource.resource != 'pods' || request.subResource != 'status' || {} == {}",
                    condition("object"), condition("oldObject"))),
            ],
        },
    })
}

pub fn binding() -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": NAME}, "spec": {"policyName": NAME, "validationActions": ["Deny"]}})
}

/// Whether the object there says all we want; the API server adds defaults.
pub fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(f), Value::Object(w)) => w.iter().all(|(k, w)| f.get(k).is_some_and(|f| says(f, w))),
        (Value::Array(f), Value::Array(w)) => f.len() == w.len() && f.iter().zip(w).all(|(f, w)| says(f, w)),
        (f, w) => f == w,
    }
}

fn annotations(of: &str) -> String {
    format!("{of} != null && has({of}.metadata.annotations) ? {of}.metadata.annotations : {{}}")
}

/// Every annotation a SidecarSet's upgrade writes.
fn owned_annotations() -> String {
    let all = [
        keys::HASH,
        keys::HASH_WITHOUT_IMAGE,
        keys::INPLACE_UPDATE_STATE,
        keys::INJECTED_LIST,
        keys::WORKING_HOT_CONTAINER,
    ];
    format!("{all:?}")
}

fn condition(of: &str) -> String {
    format!(
        "(has({of}.status) && has({of}.status.conditions) ? {of}.status.conditions.filter(c, c.type == {:?})\
         .map(c, c.status + (has(c.message) ? c.message : '')) : [])",
        keys::UPGRADABLE_CONDITION
    )
}
