//! AdmissionReview around the objects.
use super::super::inject::PatchOp;
use super::object::{Pod, Whole};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::field::{cut, shortened};
use model::json::null_default;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Of a refusal, and of the warnings beside a consent: objects may be made to have any number of faults.
const LONGEST: usize = 10 << 10;
const WARNINGS: usize = 16;

/// Bytes beyond which a buffer grows while it is written.
const USUAL_PATCH: usize = 8 << 10;

pub(super) struct Request {
    pub uid: String,
    pub api_version: String,
    pub operation: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub object: Value,
    pub old_object: Value,
    pub dry_run: bool,
}

impl Request {
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        Self::read_as::<Whole>(body)
    }

    /// Of the pod what injection looks at.
    pub(super) fn read_pod(body: &[u8]) -> Result<Self, String> {
        Self::read_as::<Pod>(body)
    }

    fn read_as<O: DeserializeOwned + Default + Into<Value>>(body: &[u8]) -> Result<Self, String> {
        let review: Review<O> =
            serde_json::from_slice(body).map_err(|e| format!("not an AdmissionReview: {e}"))?;
        let request = review
            .request
            .ok_or("not an AdmissionReview: it has no request")?;
        Ok(Self {
            uid: request.uid,
            api_version: review.api_version,
            operation: request.operation,
            resource: request.resource.resource,
            subresource: request.sub_resource,
            namespace: request.namespace,
            name: request.name,
            object: request.object.into(),
            old_object: request.old_object.into(),
            dry_run: request.dry_run,
        })
    }

    pub(super) fn is_write_of(&self, resource: &str) -> bool {
        matches!(self.operation.as_str(), "CREATE" | "UPDATE")
            && self.subresource.is_empty()
            && self.resource == resource
    }
}

/// Who is answered.
pub(super) struct Answer<'a> {
    pub uid: &'a str,
    pub api_version: &'a str,
}

impl<'a> Answer<'a> {
    pub(super) fn to(request: &'a Request) -> Self {
        let known = request.api_version == "admission.k8s.io/v1beta1";
        let api_version = if known {
            &request.api_version
        } else {
            "admission.k8s.io/v1"
        };
        Self {
            uid: &request.uid,
            api_version,
        }
    }

    pub(super) fn allowed(&self, patch: &[PatchOp], warnings: &[String]) -> Vec<u8> {
        let mut response = Response {
            uid: self.uid,
            allowed: true,
            ..Response::default()
        };
        if !patch.is_empty() {
            response.patch_type = Some("JSONPatch");
            response.patch = encoded(patch);
        }
        let warnings: Vec<String> = warnings.iter().take(WARNINGS).map(|w| shortened(w)).collect();
        response.warnings = &warnings;
        self.write(response)
    }

    pub(super) fn denied(&self, code: u16, message: &str) -> Vec<u8> {
        let status = Some(json!({"code": code, "message": cut(message, LONGEST)}));
        self.write(Response {
            uid: self.uid,
            status,
            ..Response::default()
        })
    }

    fn write(&self, response: Response<'_>) -> Vec<u8> {
        let review = Answered {
            api_version: self.api_version,
            kind: "AdmissionReview",
            response,
        };
        let patch = review
            .response
            .patch
            .as_ref()
            .map_or(0, |patch| patch.get().len());
        let mut body = Vec::with_capacity(patch + 512);
        match serde_json::to_writer(&mut body, &review) {
            Ok(()) => body,
            Err(_) => Vec::new(),
        }
    }
}

/// As base64, which has nothing to escape: text of JSON as it is.
fn encoded(patch: &[PatchOp]) -> Option<Box<RawValue>> {
    let mut written = Vec::with_capacity(USUAL_PATCH);
    serde_json::to_writer(&mut written, patch).ok()?;
    RawValue::from_string(format!("\"{}\"", STANDARD.encode(written))).ok()
}

/// A consent of ours with one more warning.
pub(super) fn warned(body: Vec<u8>, warning: &str) -> Vec<u8> {
    let Ok(mut review) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let warning = json!(shortened(warning));
    match &mut review["response"]["warnings"] {
        Value::Array(warnings) => warnings.insert(0, warning),
        none => *none = json!([warning]),
    }
    review.to_string().into_bytes()
}

/// Adds and replacements that make `before` into `after`, which has at least the members of `before`: objects are
/// compared member by member, lists of equal length item by item, anything else as a whole.
pub(super) fn top_level_difference(before: &Value, after: &Value) -> Vec<PatchOp> {
    let mut ops = Vec::new();
    difference(&mut String::new(), before, after, &mut ops);
    ops
}

fn difference(path: &mut String, before: &Value, after: &Value, ops: &mut Vec<PatchOp>) {
    if before == after {
        return;
    }
    let parent = path.len();
    match (before, after) {
        (Value::Object(old), Value::Object(new)) if old.keys().all(|k| new.contains_key(k)) => {
            members(path, old, new, ops);
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (i, (old, new)) in old.iter().zip(new).enumerate() {
                path.push_str(&format!("/{i}"));
                difference(path, old, new, ops);
                path.truncate(parent);
            }
        }
        _ => ops.push(PatchOp {
            op: "replace",
            path: path.clone(),
            value: after.clone().into(),
        }),
    }
}

fn members(path: &mut String, old: &Map<String, Value>, new: &Map<String, Value>, ops: &mut Vec<PatchOp>) {
    let parent = path.len();
    for (key, new) in new {
        path.push('/');
        path.push_str(&key.replace('~', "~0").replace('/', "~1"));
        match old.get(key) {
            Some(old) => difference(path, old, new, ops),
            None => ops.push(PatchOp {
                op: "add",
                path: path.clone(),
                value: new.clone().into(),
            }),
        }
        path.truncate(parent);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(bound(deserialize = "O: DeserializeOwned + Default"))]
struct Review<O> {
    #[serde(default, deserialize_with = "null_default")]
    api_version: String,
    #[serde(default)]
    request: Option<WireRequest<O>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(bound(deserialize = "O: DeserializeOwned + Default"))]
struct WireRequest<O> {
    #[serde(default, deserialize_with = "null_default")]
    uid: String,
    #[serde(default, deserialize_with = "null_default")]
    operation: String,
    #[serde(default, deserialize_with = "null_default")]
    resource: WireResource,
    #[serde(default, deserialize_with = "null_default")]
    sub_resource: String,
    #[serde(default, deserialize_with = "null_default")]
    namespace: String,
    #[serde(default, deserialize_with = "null_default")]
    name: String,
    #[serde(default)]
    object: O,
    #[serde(default)]
    old_object: O,
    #[serde(default, deserialize_with = "null_default")]
    dry_run: bool,
}

#[derive(Deserialize, Default)]
struct WireResource {
    #[serde(default, deserialize_with = "null_default")]
    resource: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answered<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}
