//! What a scale subresource asks of the objects it is of.

use apiextensions::Scale;
use model::field::FieldError;
use serde_json::Value;

/// The spec says how many are wanted, the status how many there are.
pub(super) fn errors(scale: &Scale, subresource: &str, object: &Value) -> Option<FieldError> {
    let path = match subresource {
        "status" => &scale.status_replicas,
        _ => &scale.spec_replicas,
    };
    let found = at(object, path);
    let invalid = |shown: String, why: String| Some(FieldError::invalid(path, shown, why));
    match found {
        Ok(replicas) if replicas.is_f64() => {
            let shown = replicas.as_f64().unwrap_or_default();
            let why = format!("{path} accessor error: {shown} is of the type float64, expected int64");
            invalid("0".to_owned(), why)
        }
        Ok(replicas) => match replicas.as_i64() {
            Some(count) if count < 0 => {
                invalid(count.to_string(), "should be a non-negative integer".to_owned())
            }
            Some(count) if count > i64::from(i32::MAX) => invalid(
                count.to_string(),
                format!("should be less than or equal to {}", i32::MAX),
            ),
            _ => None,
        },
        Err((shown, kind)) => invalid(
            "0".to_owned(),
            format!(
                "{path} accessor error: {shown} is of the type {kind}, expected map[string]interface{{}}"
            ),
        ),
    }
}

/// What is at the path, null where nothing is; or what stands on the way there that is no object.
fn at<'a>(object: &'a Value, path: &str) -> Result<&'a Value, (String, &'static str)> {
    let mut here = object;
    for step in path.split('.').skip(1) {
        here = match here {
            Value::Object(map) => match map.get(step) {
                Some(next) => next,
                None => return Ok(&Value::Null),
            },
            Value::String(text) => return Err((text.clone(), "string")),
            Value::Bool(flag) => return Err((flag.to_string(), "bool")),
            Value::Array(_) => return Err((here.to_string(), "[]interface {}")),
            other if other.is_i64() => return Err((other.to_string(), "int64")),
            other => return Err((other.to_string(), "float64")),
        };
    }
    Ok(here)
}
