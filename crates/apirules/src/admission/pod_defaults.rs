//! Small plugins: TaintNodesByCondition, Priority, DefaultTolerationSeconds.

use serde_json::{Value, json};

use super::{Lookup, Operation, Refusal, Request};
use crate::read::{Read, copy_field};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const GROUP: &str = "scheduling.k8s.io";

/// A node takes no pods before it has said that it is ready.
pub(super) fn taint_new_node(request: &Request<'_>, node: &mut Value) {
    let is_node = request.group.is_empty() && request.resource == "nodes" && request.subresource.is_empty();
    if !is_node || request.operation != Operation::Create || !node.is_object() {
        return;
    }
    let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
    let has = node.at("spec").list("taints").iter();
    if has
        .clone()
        .any(|t| t.text("key") == NOT_READY && t.text("effect") == "NoSchedule")
    {
        return;
    }
    match node.pointer_mut("/spec/taints").and_then(Value::as_array_mut) {
        Some(taints) => taints.push(taint),
        None => node["spec"]["taints"] = json!([taint]),
    }
}

pub(super) fn toleration_seconds(request: &Request<'_>, pod: &mut Value) {
    if !request.writes_pod() || !pod.at("spec").is_object() {
        return;
    }
    for key in [NOT_READY, UNREACHABLE] {
        let tolerates = |t: &Value| {
            let (own, effect) = (t.text("key"), t.text("effect"));
            (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
        };
        if pod.at("spec").list("tolerations").iter().any(tolerates) {
            continue;
        }
        let toleration =
            json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        match pod.pointer_mut("/spec/tolerations").and_then(Value::as_array_mut) {
            Some(list) => list.push(toleration),
            None => pod["spec"]["tolerations"] = json!([toleration]),
        }
    }
}

/// What a pod's class says about it.
struct Class {
    name: String,
    value: i64,
    preemption: String,
}

pub(super) fn priority(
    request: &Request<'_>,
    pod: &mut Value,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    if !request.writes_pod() || !pod.at("spec").is_object() {
        return Ok(());
    }
    if request.operation == Operation::Update {
        let before = old.map_or(&Value::Null, |o| o.at("spec"));
        for field in ["priority", "preemptionPolicy"] {
            if !pod.at("spec").has(field) && before.has(field) {
                copy_field(&mut pod["spec"], before, field);
            }
        }
        return Ok(());
    }
    let class = class_of(request, pod.at("spec").text("priorityClassName"), lookup)?;
    if let Some(given) = pod.at("spec").int("priority").filter(|p| *p != class.value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.value
        );
        return Err(Refusal::forbidden(request, &why));
    }
    let given = pod.at("spec").text("preemptionPolicy");
    if !given.is_empty() && given != class.preemption {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {} from the given PriorityClass name",
            class.preemption
        );
        return Err(Refusal::forbidden(request, &why));
    }
    if !class.name.is_empty() {
        pod["spec"]["priorityClassName"] = json!(class.name);
    }
    pod["spec"]["priority"] = json!(class.value);
    pod["spec"]["preemptionPolicy"] = json!(class.preemption);
    Ok(())
}

fn class_of(request: &Request<'_>, name: &str, lookup: &dyn Lookup) -> Result<Class, Refusal> {
    let preemption = |class: &Value| match class.text("preemptionPolicy") {
        "" => "PreemptLowerPriority".to_owned(),
        policy => policy.to_owned(),
    };
    let of = |class: &Value| Class {
        name: class.at("metadata").text("name").to_owned(),
        value: class.int("value").unwrap_or(0),
        preemption: preemption(class),
    };
    if !name.is_empty() {
        let found = lookup.get(GROUP, "priorityclasses", None, name);
        return found.as_ref().map(of).ok_or_else(|| {
            Refusal::forbidden(request, &format!("no PriorityClass with name {name} was found"))
        });
    }
    let classes = lookup.list(GROUP, "priorityclasses", None);
    let default = classes
        .iter()
        .filter(|c| c.flag("globalDefault"))
        .min_by_key(|c| c.int("value"));
    Ok(default.map_or_else(
        || Class {
            name: String::new(),
            value: 0,
            preemption: "PreemptLowerPriority".to_owned(),
        },
        of,
    ))
}

/// Only one PriorityClass may be the default.
pub(super) fn validate_priority(
    request: &Request<'_>,
    class: &Value,
    lookup: &dyn Lookup,
) -> Result<(), Refusal> {
    let concerns = request.group == GROUP && request.resource == "priorityclasses";
    if !concerns || !class.flag("globalDefault") {
        return Ok(());
    }
    let own = class.at("metadata").text("name");
    let classes = lookup.list(GROUP, "priorityclasses", None);
    match classes
        .iter()
        .find(|c| c.flag("globalDefault") && c.at("metadata").text("name") != own)
    {
        Some(other) => {
            let name = other.at("metadata").text("name");
            let why =
                format!("PriorityClass {name} is already marked as default. Only one default can exist");
            Err(Refusal::forbidden(request, &why))
        }
        None => Ok(()),
    }
}

/// Classes that the cluster itself needs stay.
pub(super) fn keep_system_classes(request: &Request<'_>) -> Result<(), Refusal> {
    let is_class = request.group == "scheduling.k8s.io" && request.resource == "priorityclasses";
    let system = ["system-node-critical", "system-cluster-critical"].contains(&request.name);
    match is_class && system && request.operation == Operation::Delete {
        true => Err(Refusal::forbidden(
            request,
            "this is a system priority class and cannot be deleted",
        )),
        false => Ok(()),
    }
}
