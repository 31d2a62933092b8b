//! Label selectors over plain maps.
use std::collections::BTreeMap;

use serde_json::Value;

/// Whether a `metav1.LabelSelector` selects these labels. Nothing selected by an absent or unreadable selector;
/// everything by an empty one.
pub(crate) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector.as_object() else {
        return false;
    };
    let by_label = selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .is_none_or(|wanted| {
            wanted
                .iter()
                .all(|(k, v)| labels.get(k).map(String::as_str) == v.as_str())
        });
    by_label
        && selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .is_none_or(|all| all.iter().all(|e| expression(e, labels)))
}

/// One requirement of a label selector or of a node selector term.
pub(crate) fn expression(expression: &Value, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(expression["key"].as_str().unwrap_or_default());
    let values = || expression["values"].as_array().into_iter().flatten();
    let among = |value: &String| values().any(|v| v.as_str() == Some(value));
    let compare = |holds: fn(i64, i64) -> bool| {
        let bound = values().next().and_then(|v| v.as_str()?.parse().ok());
        match (value.and_then(|v| v.parse().ok()), bound) {
            (Some(value), Some(bound)) => holds(value, bound),
            _ => false,
        }
    };
    match expression["operator"].as_str() {
        Some("In") => value.is_some_and(among),
        Some("NotIn") => !value.is_some_and(among),
        Some("Exists") => value.is_some(),
        Some("DoesNotExist") => value.is_none(),
        Some("Gt") => compare(|value, bound| value > bound),
        Some("Lt") => compare(|value, bound| value < bound),
        _ => false,
    }
}
