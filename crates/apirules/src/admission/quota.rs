//! ResourceQuota: what a request adds to each quota of its namespace, checked against `status`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Lookup, Operation, Refusal, Request};
use crate::quantity::Quantity;
use crate::read::Read;
use crate::validation::pod::qos_class;
use crate::validation::pod::resources::{container_limits, container_requests, quantities, quantity_of};

type Amounts = BTreeMap<String, Quantity>;

/// One quota's new usage.
#[derive(Debug, Clone, PartialEq)]
pub struct Charge {
    pub namespace: String,
    pub name: String,
    /// The version of the quota that was read.
    pub resource_version: String,
    /// `status.used` once the request is accepted.
    pub used: Map<String, Value>,
}

/// Charges to write, possibly none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evaluation {
    pub charges: Vec<Charge>,
}

pub(super) fn evaluate(
    request: &Request<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
    lookup: &dyn Lookup,
) -> Result<Evaluation, Refusal> {
    let mut out = Evaluation::default();
    let (Some(namespace), Some(object)) = (request.namespace, object) else {
        return Ok(out);
    };
    let counted = request.subresource.is_empty() || (request.is_pod() && request.subresource == "resize");
    if !counted || !matches!(request.operation, Operation::Create | Operation::Update) {
        return Ok(out);
    }
    let mut delta = usage(request, object);
    if request.operation == Operation::Update {
        let Some(old) = old else { return Ok(out) };
        for (name, amount) in usage(request, old) {
            let slot = delta.entry(name).or_insert(Quantity::ZERO);
            *slot = slot.minus(amount);
        }
        delta.retain(|_, amount| !amount.is_zero());
    }
    for quota in lookup.list("", "resourcequotas", Some(namespace)) {
        if let Some(charge) = charge(request, object, &quota, &delta)? {
            out.charges.push(charge);
        }
    }
    Ok(out)
}

fn charge(
    request: &Request<'_>,
    object: &Value,
    quota: &Value,
    delta: &Amounts,
) -> Result<Option<Charge>, Refusal> {
    let hard = quantities(quota.at("spec").map("hard"));
    let name = quota.at("metadata").text("name");
    if !in_scope(request, object, quota.at("spec")) {
        return Ok(None);
    }
    let tracked: Vec<&str> = hard.keys().copied().filter(|r| delta.contains_key(*r)).collect();
    if request.is_pod() && request.operation == Operation::Create {
        required_resources(request, object, &hard, name)?;
    }
    if tracked.is_empty() {
        return Ok(None);
    }
    let status = quota.at("status");
    let unknown: Vec<&str> = tracked
        .iter()
        .copied()
        .filter(|r| !status.at("hard").has(r))
        .collect();
    if !unknown.is_empty() {
        let why = format!(
            "status unknown for quota: {name}, resources: {}",
            unknown.join(",")
        );
        return Err(Refusal::forbidden(request, &why));
    }
    let mut used = status.map("used").cloned().unwrap_or_default();
    let mut exceeded = Vec::new();
    for resource in tracked {
        let (limit, add) = (hard[resource], delta[resource]);
        let before = used.get(resource).and_then(quantity_of).unwrap_or(Quantity::ZERO);
        let after = before.plus(add);
        let raises = add > Quantity::ZERO;
        if raises && after > limit {
            exceeded.push((resource, add, before, limit));
        }
        used.insert(resource.to_owned(), json!(after.to_string()));
    }
    if !exceeded.is_empty() {
        let list = |pick: fn(&(&str, Quantity, Quantity, Quantity)) -> Quantity| {
            let shown: Vec<String> = exceeded.iter().map(|e| format!("{}={}", e.0, pick(e))).collect();
            shown.join(",")
        };
        let why = format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            list(|e| e.1),
            list(|e| e.2),
            list(|e| e.3)
        );
        return Err(Refusal::forbidden(request, &why));
    }
    Ok(Some(Charge {
        namespace: quota.at("metadata").text("namespace").to_owned(),
        name: name.to_owned(),
        resource_version: quota.at("metadata").text("resourceVersion").to_owned(),
        used,
    }))
}

/// Where cpu or memory is limited by quota, every container must say what it takes.
fn required_resources(
    request: &Request<'_>,
    pod: &Value,
    hard: &BTreeMap<&str, Quantity>,
    quota: &str,
) -> Result<(), Refusal> {
    const CHECKED: [&str; 6] = [
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "limits.cpu",
        "limits.memory",
    ];
    let own = pod.at("spec").at("resources");
    if ["requests", "limits"]
        .iter()
        .any(|k| own.map(k).is_some_and(|m| !m.is_empty()))
    {
        return Ok(());
    }
    let mut missing: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in CHECKED.into_iter().filter(|r| hard.contains_key(r)) {
        let (list, bare) = match resource.split_once('.') {
            Some((list, bare)) => (list, bare),
            None => ("requests", resource),
        };
        let spec = pod.at("spec");
        for container in spec.list("containers").iter().chain(spec.list("initContainers")) {
            if !container.at("resources").at(list).has(bare) {
                missing.entry(resource).or_default().push(container.text("name"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let parts = missing.into_iter().map(|(resource, mut names)| {
        names.sort_unstable();
        format!("{resource} for: {}", names.join(","))
    });
    let text = parts.collect::<Vec<_>>().join("; ");
    Err(Refusal::forbidden(
        request,
        &format!("failed quota: {quota}: must specify {text}"),
    ))
}

fn in_scope(request: &Request<'_>, object: &Value, spec: &Value) -> bool {
    let scopes = spec.list("scopes").iter().filter_map(Value::as_str);
    let selectors = spec.at("scopeSelector").list("matchExpressions");
    if scopes.clone().next().is_none() && selectors.is_empty() {
        return true;
    }
    if !request.is_pod() {
        return false;
    }
    let exists = json!({"operator": "Exists"});
    scopes
        .map(|s| (s, &exists))
        .chain(selectors.iter().map(|s| (s.text("scopeName"), s)))
        .all(|(scope, rule)| {
            let pod = object.at("spec");
            match scope {
                "Terminating" => pod.has("activeDeadlineSeconds"),
                "NotTerminating" => !pod.has("activeDeadlineSeconds"),
                "BestEffort" => qos_class(object) == "BestEffort",
                "NotBestEffort" => qos_class(object) != "BestEffort",
                "PriorityClass" => class_matches(pod.text("priorityClassName"), rule),
                "CrossNamespacePodAffinity" => crosses_namespaces(pod),
                _ => false,
            }
        })
}

fn class_matches(class: &str, rule: &Value) -> bool {
    let listed = rule.list("values").iter().any(|v| v.as_str() == Some(class));
    match rule.text("operator") {
        "In" => listed,
        "NotIn" => !listed,
        "DoesNotExist" => class.is_empty(),
        _ => !class.is_empty(),
    }
}

fn crosses_namespaces(pod: &Value) -> bool {
    let kinds = ["podAffinity", "podAntiAffinity"].map(|k| pod.at("affinity").at(k));
    let crosses = |t: &Value| !t.list("namespaces").is_empty() || t.has("namespaceSelector");
    kinds.iter().any(|k| {
        k.list("requiredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .any(crosses)
            || k.list("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|w| crosses(w.at("podAffinityTerm")))
    })
}

fn usage(request: &Request<'_>, object: &Value) -> Amounts {
    let one = Quantity::from_int(1);
    let mut out = Amounts::new();
    let counted = match request.group {
        "" => format!("count/{}", request.resource),
        group => format!("count/{}.{group}", request.resource),
    };
    out.insert(counted, one);
    match (request.group, request.resource) {
        ("", "pods") => pod_usage(object, &mut out),
        ("", "services") => {
            out.insert("services".to_owned(), one);
            let ports = Quantity::from_int(i64::try_from(object.at("spec").list("ports").len()).unwrap_or(0));
            match object.at("spec").text("type") {
                "NodePort" => {
                    out.insert("services.nodeports".to_owned(), ports);
                }
                "LoadBalancer" => {
                    out.insert("services.loadbalancers".to_owned(), one);
                    if object.at("spec").at("allocateLoadBalancerNodePorts").as_bool() != Some(false) {
                        out.insert("services.nodeports".to_owned(), ports);
                    }
                }
                _ => {}
            }
        }
        ("", "persistentvolumeclaims") => {
            out.insert("persistentvolumeclaims".to_owned(), one);
            let requests = object.at("spec").at("resources").at("requests");
            if let Some(storage) = quantity_of(requests.at("storage")) {
                out.insert("requests.storage".to_owned(), storage);
            }
        }
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            out.insert(request.resource.to_owned(), one);
        }
        _ => {}
    }
    out
}

fn pod_usage(pod: &Value, out: &mut Amounts) {
    let phase = pod.at("status").text("phase");
    if phase == "Failed" || phase == "Succeeded" {
        return;
    }
    out.insert("pods".to_owned(), Quantity::from_int(1));
    let spec = pod.at("spec");
    let (mut requests, mut limits) = (container_requests(spec), container_limits(spec));
    for (list, amounts) in [("requests", &mut requests), ("limits", &mut limits)] {
        for (name, amount) in quantities(spec.at("resources").map(list)) {
            amounts.insert(name.to_owned(), amount);
        }
        for (name, amount) in quantities(spec.map("overhead")) {
            if let Some(slot) = amounts.get_mut(name) {
                *slot = slot.plus(amount);
            }
        }
    }
    for (name, amount) in requests {
        if ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) || name.starts_with("hugepages-") {
            out.insert(name.clone(), amount);
        }
        out.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in limits {
        if ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) {
            out.insert(format!("limits.{name}"), amount);
        }
    }
}
