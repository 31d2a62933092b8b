//! Requests and limits of containers and of the pod.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::path::{Errors, Path};
use crate::quantity::Quantity;
use crate::read::Read;
use crate::validation::names::{dns_label, qualified_name};

const STANDARD: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Also standard, yet not for containers.
const ELSEWHERE: [&str; 15] = [
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
];

pub(crate) fn quantities(map: Option<&Map<String, Value>>) -> BTreeMap<&str, Quantity> {
    let pairs = map.into_iter().flatten();
    pairs
        .map(|(k, v)| (k.as_str(), quantity_of(v).unwrap_or(Quantity::ZERO)))
        .collect()
}

pub(crate) fn quantity_of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}

pub(super) fn validate_requirements(requirements: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    validate_lists(requirements, path, container_resource, errors);
    let names: Vec<&str> = spec
        .list("resourceClaims")
        .iter()
        .map(|c| c.text("name"))
        .collect();
    validate_claims(requirements.list("claims"), &names, &path.child("claims"), errors);
}

pub(super) fn validate_pod_resources(spec: &Value, path: &Path, errors: &mut Errors) {
    let resources = spec.at("resources");
    if resources.is_null() {
        return;
    }
    let path = path.child("resources");
    if spec.at("os").text("name") == "windows" {
        return errors.forbidden(&path, "may not be set for a windows pod");
    }
    if resources.has("claims") {
        errors.forbidden(
            &path.child("claims"),
            "claims may not be set for Resources at pod-level",
        );
    }
    validate_lists(resources, &path, pod_resource, errors);
    let own = quantities(resources.map("requests"));
    for (name, total) in &container_requests(spec) {
        if let Some(pod) = own.get(name.as_str()).filter(|pod| total > *pod) {
            let detail = format!("must be greater than or equal to aggregate container requests of {total}");
            errors.invalid(&path.child("requests").key(name), pod.to_string(), detail);
        }
    }
    let own = quantities(resources.map("limits"));
    for (i, container) in spec.list("containers").iter().enumerate() {
        for (name, limit) in quantities(container.at("resources").map("limits")) {
            if let Some(pod) = own.get(name).filter(|pod| limit > **pod) {
                let at = path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {pod}");
                errors.invalid(&at, limit.to_string(), detail);
            }
        }
    }
}

fn validate_lists(
    requirements: &Value,
    path: &Path,
    name_rule: fn(&str, &Path, &mut Errors),
    errors: &mut Errors,
) {
    let limits = quantities(requirements.map("limits"));
    let requests = quantities(requirements.map("requests"));
    for (name, quantity) in &limits {
        let at = path.child("limits").key(name);
        name_rule(name, &at, errors);
        validate_amount(name, *quantity, &at, errors);
    }
    for (name, quantity) in &requests {
        let at = path.child("requests").key(name);
        name_rule(name, &at, errors);
        validate_amount(name, *quantity, &at, errors);
        let overcommits = overcommit_allowed(name);
        match limits.get(name) {
            Some(limit) if quantity != limit && !overcommits && !same(*quantity, *limit) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&path.child("requests"), quantity.to_string(), detail);
            }
            Some(limit) if quantity > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&path.child("requests"), quantity.to_string(), detail);
            }
            None if !overcommits => {
                errors.required(
                    &path.child("limits"),
                    "Limit must be set for non overcommitable resources",
                );
            }
            _ => {}
        }
    }
    let all: Vec<&str> = limits.keys().chain(requests.keys()).copied().collect();
    let huge = all.iter().any(|n| n.starts_with("hugepages-"));
    if huge && !all.iter().any(|n| ["cpu", "memory"].contains(n)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn same(a: Quantity, b: Quantity) -> bool {
    a.partial_cmp(&b) == Some(std::cmp::Ordering::Equal)
}

fn validate_amount(name: &str, quantity: Quantity, path: &Path, errors: &mut Errors) {
    if quantity.is_negative() {
        errors.invalid(path, quantity.to_string(), "must be greater than or equal to 0");
    }
    if is_integer_resource(name) && !quantity.is_whole() {
        errors.invalid(path, quantity.to_string(), "must be an integer");
    }
}

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_integer_resource(name: &str) -> bool {
    const COUNTED: [&str; 8] = [
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
    ];
    COUNTED.contains(&name) || !is_native(name)
}

fn overcommit_allowed(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// For containers, or for what counts them.
pub(crate) fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || ELSEWHERE.contains(&name)
}

fn any_resource(name: &str, path: &Path, errors: &mut Errors) -> bool {
    let problems = qualified_name(name);
    if !problems.is_empty() {
        errors.invalid_each(path, name, problems);
        return false;
    }
    if !name.contains('/') && !is_standard(name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
        return false;
    }
    true
}

fn container_resource(name: &str, path: &Path, errors: &mut Errors) {
    any_resource(name, path, errors);
    if !name.contains('/') {
        if !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name)
        && (name.starts_with("requests.") || !qualified_name(&format!("requests.{name}")).is_empty())
    {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource(name: &str, path: &Path, errors: &mut Errors) {
    if any_resource(name, path, errors)
        && !["cpu", "memory"].contains(&name)
        && !name.starts_with("hugepages-")
    {
        errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

fn validate_claims(claims: &[Value], names: &[&str], path: &Path, errors: &mut Errors) {
    let mut seen: Vec<String> = Vec::new();
    for (i, claim) in claims.iter().enumerate() {
        let (at, name, request) = (path.index(i), claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let key = if request.is_empty() {
            name.to_owned()
        } else {
            format!("{name}/{request}")
        };
        if !request.is_empty() {
            errors.invalid_each(&at.child("request"), request, dns_label(request));
        }
        let covered = seen.iter().any(|s| s == name || *s == key)
            || (request.is_empty() && seen.iter().any(|s| s.split('/').next() == Some(name)));
        if covered {
            errors.duplicate(&at, key.clone());
        }
        seen.push(key);
        if !names.contains(&name) {
            errors.not_found(&at, name);
            let list = if names.is_empty() {
                " which is empty".to_owned()
            } else {
                let mut sorted = names.to_vec();
                sorted.sort_unstable();
                format!(": {}", sorted.join(", "))
            };
            if let Some(last) = errors.0.last_mut() {
                last.detail = format!("must be one of the names in pod.spec.resourceClaims{list}");
            }
        }
    }
}

/// What all containers request together: init containers run before, sidecars beside the others.
pub(crate) fn container_requests(spec: &Value) -> BTreeMap<String, Quantity> {
    aggregate(spec, "requests")
}

/// What all containers may use together, by their limits.
pub(crate) fn container_limits(spec: &Value) -> BTreeMap<String, Quantity> {
    aggregate(spec, "limits")
}

fn aggregate(spec: &Value, list: &str) -> BTreeMap<String, Quantity> {
    let mut total = BTreeMap::new();
    for container in spec.list("containers") {
        add(&mut total, &quantities(container.at("resources").map(list)));
    }
    let (mut sidecars, mut peak) = (BTreeMap::new(), BTreeMap::new());
    for container in spec.list("initContainers") {
        let own = quantities(container.at("resources").map(list));
        if container.text("restartPolicy") == "Always" {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, &own);
            raise(&mut peak, &now);
        }
    }
    raise(&mut total, &peak);
    total
}

fn add(total: &mut BTreeMap<String, Quantity>, more: &BTreeMap<&str, Quantity>) {
    for (name, quantity) in more {
        let slot = total.entry((*name).to_owned()).or_insert(Quantity::ZERO);
        *slot = slot.plus(*quantity);
    }
}

fn raise(total: &mut BTreeMap<String, Quantity>, floor: &BTreeMap<String, Quantity>) {
    for (name, quantity) in floor {
        let slot = total.entry(name.clone()).or_insert(*quantity);
        *slot = slot.max(*quantity);
    }
}
