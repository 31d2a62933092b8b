//! ConversionReview: v1alpha1 and v1beta1.
use super::{Outcome, Reviewed};
use model::json::null_default;
use model::sidecarset::{V1ALPHA1, V1BETA1, to_v1alpha1, to_v1beta1};
use serde::Deserialize;
use serde_json::{Value, json};

/// `/convert`: all objects or none, as the API demands.
pub fn review_conversion(body: &[u8]) -> Reviewed {
    let review: Result<Review, _> = serde_json::from_slice(body);
    let (api_version, request) = match review {
        Ok(Review {
            api_version,
            request: Some(request),
        }) => (api_version, request),
        Ok(_) => {
            return failed(
                "apiextensions.k8s.io/v1",
                "",
                "not a ConversionReview: it has no request".into(),
            );
        }
        Err(e) => {
            return failed(
                "apiextensions.k8s.io/v1",
                "",
                format!("not a ConversionReview: {e}"),
            );
        }
    };
    let version = match api_version.as_str() {
        "apiextensions.k8s.io/v1beta1" => "apiextensions.k8s.io/v1beta1",
        _ => "apiextensions.k8s.io/v1",
    };
    let convert = match request.desired_api_version.as_str() {
        V1BETA1 => to_v1beta1,
        V1ALPHA1 => to_v1alpha1,
        other => return failed(version, &request.uid, format!("cannot convert to {other:?}")),
    };
    let mut objects = request.objects;
    for object in &mut objects {
        if let Err(e) = convert(object) {
            return failed(version, &request.uid, e.to_string());
        }
    }
    let count = objects.len();
    let response = json!({"uid": request.uid, "result": {"status": "Success"}, "convertedObjects": objects});
    let outcome = if count == 0 { Outcome::Untouched } else { changed() };
    Reviewed::new(write(version, response), outcome)
}

fn changed() -> Outcome {
    Outcome::Changed {
        sets: Vec::new(),
        skipped: Vec::new(),
    }
}

fn failed(version: &str, uid: &str, message: String) -> Reviewed {
    let response =
        json!({"uid": uid, "result": {"status": "Failure", "message": message}, "convertedObjects": []});
    Reviewed::new(write(version, response), Outcome::Denied(message))
}

fn write(version: &str, response: Value) -> Vec<u8> {
    let review = json!({"apiVersion": version, "kind": "ConversionReview", "response": response});
    serde_json::to_vec(&review).unwrap_or_default()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    #[serde(default, deserialize_with = "null_default")]
    api_version: String,
    #[serde(default)]
    request: Option<WireRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRequest {
    #[serde(default, deserialize_with = "null_default")]
    uid: String,
    #[serde(default, rename = "desiredAPIVersion", deserialize_with = "null_default")]
    desired_api_version: String,
    #[serde(default, deserialize_with = "null_default")]
    objects: Vec<Value>,
}
