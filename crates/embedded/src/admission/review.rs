//! AdmissionReview: what is asked, and what an answer must look like.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};

use super::matching::{Hook, Invocation};
use crate::attributes::Attributes;
use crate::status::{Status, Warnings};

/// What a webhook answered, checked.
#[derive(Debug)]
pub(super) struct Answer {
    pub allowed: bool,
    pub patch: Option<Vec<u8>>,
    pub warnings: Warnings,
    pub audit: Vec<(String, String)>,
    /// `metav1.Status` of a denial.
    pub result: Value,
}

/// The `request` of the review, also what CEL calls `request`.
pub(super) fn request(
    attributes: &Attributes,
    seen: &Invocation,
    uid: &str,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Value {
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let resource = |group: &str, version: &str, name: &str| json!({"group": group, "version": version, "resource": name});
    let own = &attributes.kind;
    let mut out = json!({
        "uid": uid,
        "kind": kind(&seen.kind.group, &seen.kind.version, &seen.kind.kind),
        "resource": resource(&seen.group, &seen.version, &seen.resource),
        "requestKind": kind(&own.group, &own.version, &own.kind),
        "requestResource": resource(&attributes.group, &attributes.version, &attributes.resource),
        "operation": attributes.operation.as_str(),
        "userInfo": attributes.user.to_value(),
        "object": object.cloned().unwrap_or(Value::Null),
        "oldObject": old.cloned().unwrap_or(Value::Null),
        "dryRun": attributes.dry_run,
        "options": attributes.options,
    });
    let mut put = |name: &str, text: &str| {
        if !text.is_empty() {
            out[name] = text.into();
        }
    };
    put("subResource", &attributes.subresource);
    put("requestSubResource", &attributes.subresource);
    put("name", &attributes.name);
    put("namespace", attributes.namespace.as_deref().unwrap_or_default());
    out
}

/// The version of AdmissionReview to speak: the first that both sides know.
pub(super) fn version(hook: &Hook) -> Option<&'static str> {
    let versions = hook.webhook["admissionReviewVersions"].as_array()?;
    versions.iter().find_map(|v| match v.as_str() {
        Some("v1") => Some("admission.k8s.io/v1"),
        Some("v1beta1") => Some("admission.k8s.io/v1beta1"),
        _ => None,
    })
}

pub(super) fn envelope(version: &str, request: Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": version, "request": request})
}

/// Checks an answer as a real server does; the error says what is wrong with it.
pub(super) fn read(body: &[u8], version: &str, uid: &str, mutating: bool) -> Result<Answer, String> {
    let review: Value = serde_json::from_slice(body)
        .map_err(|e| format!("couldn't get version/kind; json parse error: {e}"))?;
    let response = &review["response"];
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let (patch, kind) = (text(&response["patch"]), &response["patchType"]);
    if version.ends_with("/v1") {
        let answered = text(&response["uid"]);
        if answered != uid {
            return Err(format!("expected response.uid={uid:?}, got {answered:?}"));
        }
        if review["apiVersion"] != version || review["kind"] != "AdmissionReview" {
            let got = format!("{}, Kind={}", text(&review["apiVersion"]), text(&review["kind"]));
            return Err(format!(
                "expected webhook response of {version}, Kind=AdmissionReview, got {got}"
            ));
        }
        check_patch(&patch, kind, mutating)?;
    }
    let patch = match patch.is_empty() || !mutating {
        true => None,
        false => Some(
            STANDARD
                .decode(patch)
                .map_err(|e| format!("illegal base64 data: {e}"))?,
        ),
    };
    let strings = response["warnings"].as_array().into_iter().flatten();
    let audit = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Answer {
        allowed: response["allowed"] == true,
        patch,
        warnings: strings.filter_map(Value::as_str).map(str::to_owned).collect(),
        audit: audit.map(|(k, v)| (k.clone(), text(v))).collect(),
        result: response["status"].clone(),
    })
}

fn check_patch(patch: &str, kind: &Value, mutating: bool) -> Result<(), String> {
    let problem = match (mutating, patch.is_empty(), kind.is_null()) {
        (true, false, true) => "webhook returned response.patch but not response.patchType",
        (true, true, false) => "webhook returned response.patchType but not response.patch",
        (false, false, _) => "validating webhook may not return response.patch",
        (false, _, false) => "validating webhook may not return response.patchType",
        _ => return Ok(()),
    };
    Err(problem.to_owned())
}

/// The refusal a client sees.
pub(super) fn denial(hook: &Hook, result: &Value) -> Status {
    let text = |name: &str| result[name].as_str().unwrap_or_default();
    let denied = format!("admission webhook {:?} denied the request", hook.name());
    let message = match (text("message"), text("reason")) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = result["code"]
        .as_u64()
        .and_then(|c| u16::try_from(c).ok())
        .unwrap_or(0)
        .max(400);
    Status {
        code,
        reason: std::borrow::Cow::Owned(text("reason").to_owned()),
        message,
        details: result.get("details").filter(|d| d.is_object()).cloned(),
        continue_token: None,
    }
}

/// The webhook could not be asked, and its policy is Fail.
pub(super) fn failure(hook: &Hook, why: &str) -> Status {
    Status::internal(format!("failed calling webhook {:?}: {why}", hook.name()))
}

pub(super) fn no_dry_run(hook: &Hook) -> Status {
    let message = format!("admission webhook {:?} does not support dry run", hook.name());
    Status::new(StatusCode::BAD_REQUEST, "BadRequest", message)
}
