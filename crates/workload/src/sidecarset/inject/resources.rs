//! resourcesPolicy: a sidecar's resources computed from those of the pod's own containers.
use super::super::expression::Resource;
use super::super::prepare::PreparedResources;
use super::{PodParts, name_of};
use model::quantity::Quantity;
use serde_json::{Map, Value, json};
use std::collections::HashSet;

/// The `resources` to inject; an error where no container is a target.
pub(super) fn compute(
    policy: &PreparedResources,
    pod: &PodParts<'_>,
    declared: &HashSet<&str>,
) -> Result<Value, String> {
    let is_native = |c: &&Value| c.get("restartPolicy").and_then(Value::as_str) == Some("Always");
    let candidates = pod.init_containers.iter().filter(is_native).chain(pod.containers);
    let targets: Vec<&Value> = candidates
        .filter(|c| policy.targets.is_match(name_of(c)) && !declared.contains(name_of(c)))
        .collect();
    if targets.is_empty() {
        return Err(format!(
            "resourcesPolicy: no container of the pod matches {:?}",
            policy.targets.as_str()
        ));
    }
    let (mut limits, mut requests) = (Map::new(), Map::new());
    for (is_limit, resource, expression) in &policy.expressions {
        let name = resource_name(*resource);
        let Some(aggregate) = aggregate(&targets, *is_limit, name, policy.sum)? else {
            continue;
        };
        let value = expression
            .evaluate(*resource, aggregate)
            .map_err(|e| format!("resourcesPolicy: {name}: {e}"))?;
        let block = if *is_limit { &mut limits } else { &mut requests };
        block.insert(name.to_owned(), Value::String(value.to_string()));
    }
    let mut out = Map::new();
    for (field, block) in [("limits", limits), ("requests", requests)] {
        if !block.is_empty() {
            out.insert(field.to_owned(), json!(block));
        }
    }
    Ok(Value::Object(out))
}

/// Sum or maximum over the targets; `None` (unlimited) where a target lacks the limit.
fn aggregate(targets: &[&Value], is_limit: bool, name: &str, sum: bool) -> Result<Option<Quantity>, String> {
    let mut total = Quantity::ZERO;
    for target in targets {
        let block = target
            .get("resources")
            .and_then(|r| r.get(if is_limit { "limits" } else { "requests" }));
        let value = match block.and_then(|b| b.get(name)) {
            None | Some(Value::Null) if is_limit => return Ok(None),
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => Quantity::parse(text.trim()),
            Some(other) => Quantity::parse(&other.to_string()),
        };
        let value = value.map_err(|e| format!("resourcesPolicy: container {:?}: {e}", name_of(target)))?;
        total = if sum {
            total.plus(value)
        } else if value > total {
            value
        } else {
            total
        };
    }
    Ok(Some(total))
}

fn resource_name(resource: Resource) -> &'static str {
    match resource {
        Resource::Cpu => "cpu",
        Resource::Memory => "memory",
    }
}
