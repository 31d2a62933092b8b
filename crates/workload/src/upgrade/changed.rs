//! What, beside images, makes two revisions different: said in the words of the spec.
use model::field::cut;
use model::sidecarset::{SidecarContainer, SidecarSetSpec};
use serde_json::Value;
use std::collections::BTreeSet;

/// Bytes of what is said.
const LONGEST: usize = 256;

/// `env changed`, `mesh: env, resources changed; log removed`; where nothing shows, says so.
pub fn what_changed(old: &SidecarSetSpec, new: &SidecarSetSpec) -> String {
    let mut parts = compare(&old.containers, &new.containers);
    if new.init_containers.iter().any(SidecarContainer::is_native) {
        parts.extend(compare(&old.init_containers, &new.init_containers));
    }
    match parts.as_slice() {
        [] => "more than images changed".to_owned(),
        // The container's name matters only where there are several.
        [only] if new.containers.len() + new.init_containers.len() == 1 => only
            .split_once(": ")
            .map_or(only.clone(), |(_, what)| what.to_owned()),
        _ => cut(&parts.join("; "), LONGEST),
    }
}

fn compare(old: &[SidecarContainer], new: &[SidecarContainer]) -> Vec<String> {
    let mut parts = Vec::new();
    for container in new {
        let name = container.name();
        match old.iter().find(|c| c.name() == name) {
            None => parts.push(format!("{name} added")),
            Some(before) => {
                let fields = fields_changed(before, container);
                if !fields.is_empty() {
                    parts.push(format!("{name}: {} changed", fields.join(", ")));
                }
            }
        }
    }
    let removed = old.iter().filter(|c| !new.iter().any(|n| n.name() == c.name()));
    parts.extend(removed.map(|c| format!("{} removed", c.name())));
    parts
}

fn fields_changed(old: &SidecarContainer, new: &SidecarContainer) -> Vec<String> {
    let value = |c: &SidecarContainer| serde_json::to_value(c).unwrap_or(Value::Null);
    let (old, new) = (value(old), value(new));
    let keys = |v: &Value| {
        v.as_object()
            .map(|o| o.keys().cloned().collect::<BTreeSet<_>>())
            .unwrap_or_default()
    };
    let empty = |v: Option<&Value>| match v {
        None | Some(Value::Null) => true,
        Some(Value::Object(o)) => o.is_empty(),
        Some(Value::Array(a)) => a.is_empty(),
        Some(_) => false,
    };
    let all: BTreeSet<String> = keys(&old).union(&keys(&new)).cloned().collect();
    all.into_iter()
        .filter(|k| k != "image")
        .filter(|k| {
            let (a, b) = (old.get(k), new.get(k));
            a != b && !(empty(a) && empty(b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_named_by_its_fields() {
        let spec = |v: Value| serde_json::from_value::<SidecarSetSpec>(v).unwrap_or_default();
        let old = spec(json!({"containers": [{"name": "a", "image": "x:1"}]}));
        let new = spec(json!({"containers": [{"name": "a", "image": "x:2", "env": [{"name": "E"}]}]}));
        assert_eq!(what_changed(&old, &new), "env changed");
        let two = spec(json!({"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}));
        assert_eq!(what_changed(&two, &new), "a: env changed; b removed");
        assert_eq!(what_changed(&old, &old), "more than images changed");
    }
}
