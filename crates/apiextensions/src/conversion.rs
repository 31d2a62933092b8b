//! `ConversionReview`: what is asked of a conversion webhook, and the check of what it answers.

use serde_json::{Value, json};

/// Worded as a real server words it, after `conversion webhook for GVK failed: `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    #[error("expected response.uid={wanted:?}, got {got:?}")]
    Uid { wanted: String, got: String },
    #[error("{0}")]
    Failed(String),
    #[error("expected {wanted} converted objects, got {got}")]
    Count { wanted: usize, got: usize },
    #[error("invalid converted object at index {index}: {problem}")]
    Object { index: usize, problem: String },
}

/// The review to send; `uid` names the request.
pub fn conversion_review(uid: &str, desired_api_version: &str, objects: &[Value]) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "request": { "uid": uid, "desiredAPIVersion": desired_api_version, "objects": objects },
    })
}

/// The converted objects of an answer, if it is a proper one: same names and uids, the wanted version, and no
/// metadata changed but labels and annotations.
pub fn check_review(
    uid: &str,
    desired_api_version: &str,
    sent: &[Value],
    answer: &Value,
) -> Result<Vec<Value>, ConversionError> {
    let response = &answer["response"];
    let got = response["uid"].as_str().unwrap_or_default();
    if got != uid {
        return Err(ConversionError::Uid {
            wanted: uid.to_owned(),
            got: got.to_owned(),
        });
    }
    if response["result"]["status"] != "Success" {
        let message = response["result"]["message"]
            .as_str()
            .filter(|message| !message.is_empty());
        return Err(ConversionError::Failed(
            message
                .unwrap_or("no result.status.message was provided")
                .to_owned(),
        ));
    }
    let converted = response["convertedObjects"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    if converted.len() != sent.len() {
        return Err(ConversionError::Count {
            wanted: sent.len(),
            got: converted.len(),
        });
    }
    let pairs = sent.iter().zip(converted).enumerate();
    pairs
        .map(|(index, (original, object))| checked(index, desired_api_version, original, object))
        .collect()
}

fn checked(
    index: usize,
    api_version: &str,
    original: &Value,
    mut object: Value,
) -> Result<Value, ConversionError> {
    let fail = |problem: String| Err(ConversionError::Object { index, problem });
    if object["apiVersion"] != api_version {
        return fail(format!(
            "invalid groupVersion (expected {api_version}, received {})",
            shown(&object["apiVersion"])
        ));
    }
    if object["kind"] != original["kind"] {
        let (wanted, got) = (shown(&original["kind"]), shown(&object["kind"]));
        return fail(format!("invalid kind (expected {wanted}, received {got})"));
    }
    for field in ["name", "namespace", "uid"] {
        if object["metadata"][field] != original["metadata"][field] {
            let (wanted, got) = (
                shown(&original["metadata"][field]),
                shown(&object["metadata"][field]),
            );
            return fail(format!("must have the same {field}: {wanted} != {got}"));
        }
    }
    // Everything else in metadata stays as it was.
    let mut metadata = original["metadata"].clone();
    for field in ["labels", "annotations"] {
        if let Some(map) = metadata.as_object_mut() {
            map.remove(field);
            if let Some(value) = object["metadata"].get(field).filter(|value| !value.is_null()) {
                map.insert(field.to_owned(), value.clone());
            }
        }
    }
    object["metadata"] = metadata;
    Ok(object)
}

fn shown(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
