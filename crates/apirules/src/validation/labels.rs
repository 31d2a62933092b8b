//! Labels and label selectors.

use model::selector::{LabelSelector, Selector};
use serde_json::Value;

use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::names::{label_value, qualified_name};

/// Whether a LabelSelector object matches `labels`; one that does not parse matches nothing.
pub fn selector_matches(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let parsed = serde_json::from_value::<LabelSelector>(selector.clone());
    let Ok(selector) = parsed
        .map_err(drop)
        .and_then(|s| Selector::try_from(&s).map_err(drop))
    else {
        return false;
    };
    selector.matches(|key| labels.get(key).and_then(Value::as_str))
}

pub(crate) fn validate_labels(labels: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        errors.invalid_each(path, key, qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        errors.invalid_each(path, value, label_value(value));
    }
}

pub(crate) fn validate_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    validate_labels(selector.at("matchLabels"), &path.child("matchLabels"), errors);
    for (i, expression) in selector.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.required(&path.child("values"), detail);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.forbidden(&path.child("values"), detail);
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = expression.text("key");
        errors.invalid_each(&path.child("key"), key, qualified_name(key));
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            errors.invalid_each(&path.child("values").index(j), value, label_value(value));
        }
    }
}

/// Whether a selector has no requirement at all.
pub(crate) fn is_empty_selector(selector: &Value) -> bool {
    selector.map("matchLabels").is_none_or(serde_json::Map::is_empty)
        && selector.list("matchExpressions").is_empty()
}

/// A label selector in JSON, its fields in the order of Go's types.
pub(crate) fn as_go_writes(selector: &Value) -> String {
    let ordered = |value: &Value, names: &[&str], write: &dyn Fn(&Value) -> String| {
        let fields = names.iter().filter(|name| value.has(name));
        let fields: Vec<String> = fields
            .map(|name| format!("{name:?}:{}", write(value.at(name))))
            .collect();
        format!("{{{}}}", fields.join(","))
    };
    let expressions = |value: &Value| match value.as_array() {
        Some(all) => {
            let all = all
                .iter()
                .map(|e| ordered(e, &["key", "operator", "values"], &Value::to_string));
            format!("[{}]", all.collect::<Vec<_>>().join(","))
        }
        None => value.to_string(),
    };
    ordered(selector, &["matchLabels", "matchExpressions"], &expressions)
}
