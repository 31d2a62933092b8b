//! Where in an object the field is that does not fit its type: serde's own errors name no path.
use super::SidecarSet;
use serde_json::{Map, Value};

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The path of the first field that cannot be read as what it is, and why; `None` where all of it can.
pub fn misfit(object: &Value) -> Option<String> {
    let mut path = Vec::new();
    let mut why = fault(object.clone())?;
    let mut value = object;
    // Every field has a default, so a part that alone brings the error holds it; unless it is the part's own kind.
    while fault(at(&path, emptied(value))).is_none()
        && let Some((step, child, error)) = children(value).find_map(|(step, child)| {
            let error = fault(at(&path, within(&step, child.clone())))?;
            Some((step, child, error))
        })
    {
        path.push(step);
        value = child;
        why = error;
    }
    Some(format!("{}: {why}", text(&path)))
}

/// The object that has this alone at the path.
fn at(path: &[Step<'_>], value: Value) -> Value {
    path.iter().rev().fold(value, |value, step| within(step, value))
}

fn emptied(value: &Value) -> Value {
    match value {
        Value::Object(_) => Value::Object(Map::new()),
        Value::Array(_) => Value::Array(Vec::new()),
        // Without parts: all of it is at fault.
        other => other.clone(),
    }
}

fn fault(object: Value) -> Option<String> {
    serde_json::from_value::<SidecarSet>(object)
        .err()
        .map(|e| e.to_string())
}

fn children(value: &Value) -> Box<dyn Iterator<Item = (Step<'_>, &Value)> + '_> {
    match value {
        Value::Object(fields) => Box::new(fields.iter().map(|(k, v)| (Step::Key(k), v))),
        Value::Array(items) => Box::new(items.iter().enumerate().map(|(i, v)| (Step::Index(i), v))),
        _ => Box::new(std::iter::empty()),
    }
}

fn within(step: &Step<'_>, value: Value) -> Value {
    match step {
        Step::Key(key) => Value::Object(Map::from_iter([((*key).to_owned(), value)])),
        Step::Index(_) => Value::Array(vec![value]),
    }
}

fn text(path: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", *key]),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_of_a_wrong_type_is_named_by_its_path() {
        let set = |spec: Value| json!({"metadata": {"name": "log"}, "spec": spec});
        for (spec, path) in [
            (
                json!({"updateStrategy": {"paused": "yes"}}),
                "spec.updateStrategy.paused: invalid type",
            ),
            (
                json!({"containers": [{"name": "a"}, {"transferEnv": [{"envNames": ["A", 1]}]}]}),
                "spec.containers[1].transferEnv[0].envNames[1]: invalid type",
            ),
            (
                json!({"containers": {"name": "a"}}),
                "spec.containers: invalid type",
            ),
            (
                json!({"updateStrategy": {"partition": []}}),
                "spec.updateStrategy.partition: ",
            ),
        ] {
            let found = misfit(&set(spec)).unwrap_or_default();
            assert!(found.starts_with(path), "{found}");
        }
        assert_eq!(misfit(&set(json!({"containers": [{"name": "a"}]}))), None);
    }
}
