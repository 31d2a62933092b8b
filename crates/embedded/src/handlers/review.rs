//! Access, token and self-subject reviews: questions that are asked by creating an object.

use std::collections::BTreeMap;

use model::field::FieldError;
use model::time::rfc3339_seconds;
use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::attributes::Access;
use crate::catalog::Resource;
use crate::decode;
use crate::handlers::create;
use crate::pipeline::{self, Writer};
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::status::Status;
use crate::user::UserInfo;

pub(crate) fn is_review(resource: &Resource) -> bool {
    matches!(
        resource.group.as_str(),
        "authorization.k8s.io" | "authentication.k8s.io"
    ) && !resource.is_stored()
}

pub(crate) fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let resource = &target.resource;
    let mut review = decode::of_kind(call, &resource.group, &resource.version, &resource.kind)?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let writer = Writer {
        manager: &create::manager(call, &options),
        subresource: "",
        now: call.server.now(),
    };
    pipeline::track_update(resource, &Value::Null, &mut review, &writer);
    check_access_review(resource, &review)?;
    let status = match resource.plural.as_str() {
        "selfsubjectaccessreviews" => access(call, &call.user, &review)?,
        "subjectaccessreviews" => access(call, &subject(&review), &review)?,
        "localsubjectaccessreviews" => {
            let own = review
                .pointer("/spec/resourceAttributes/namespace")
                .and_then(Value::as_str);
            if own != target.namespace.as_deref() {
                let why = "spec.resourceAttributes.namespace must match the namespace of the request";
                return Err(Status::bad_request(why));
            }
            access(call, &subject(&review), &review)?
        }
        "selfsubjectrulesreviews" => {
            let namespace = review
                .pointer("/spec/namespace")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if namespace.is_empty() {
                return Err(Status::bad_request("no namespace on request"));
            }
            let rules = call.server.inner.rbac.rules(&call.user, namespace);
            // A real server answers with the rules alone.
            review["metadata"] = json!({});
            review["spec"] = json!({});
            rules
        }
        "selfsubjectreviews" => {
            crate::metadata::set(
                &mut review,
                "creationTimestamp",
                rfc3339_seconds(call.server.now()),
            );
            json!({"userInfo": call.user.to_value()})
        }
        "tokenreviews" => token(call, &review),
        other => return Err(Status::not_implemented(other)),
    };
    review["status"] = status;
    if review.get("metadata").is_none() {
        review["metadata"] = Value::Object(Map::new());
    }
    Answer::json(201, &review)
}

fn check_access_review(resource: &Resource, review: &Value) -> Result<(), Status> {
    if !resource.plural.ends_with("subjectaccessreviews") {
        return Ok(());
    }
    let spec = &review["spec"];
    let mut errors = Vec::new();
    match (
        spec["resourceAttributes"].is_object(),
        spec["nonResourceAttributes"].is_object(),
    ) {
        (true, true) => {
            let shown = spec["nonResourceAttributes"].to_string();
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", shown, why));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid("spec.resourceAttributes", "null", why));
        }
        _ => {}
    }
    let empty = |field: &str| match &spec[field] {
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if !resource.plural.starts_with("self") && empty("user") && empty("groups") {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "\"\"", why));
    }
    match errors.is_empty() {
        true => Ok(()),
        // Without a kind, as a real server words it.
        false => Err(Status::invalid(&resource.group, "", "", &errors)),
    }
}

fn subject(review: &Value) -> UserInfo {
    let text = |name: &str| review["spec"][name].as_str().unwrap_or_default().to_owned();
    let strings = |v: &Value| -> Vec<String> {
        v.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    let extra: BTreeMap<String, Vec<String>> = review["spec"]["extra"]
        .as_object()
        .map(|m| m.iter().map(|(k, v)| (k.clone(), strings(v))).collect())
        .unwrap_or_default();
    UserInfo {
        name: text("user"),
        uid: text("uid"),
        groups: strings(&review["spec"]["groups"]),
        extra,
    }
}

fn access(call: &Call, user: &UserInfo, review: &Value) -> Result<Value, Status> {
    let text = |v: &Value, name: &str| v[name].as_str().unwrap_or_default().to_owned();
    let resource = &review["spec"]["resourceAttributes"];
    let path = &review["spec"]["nonResourceAttributes"];
    let asked = if resource.is_object() {
        Access {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: Some(text(resource, "namespace")).filter(|n| !n.is_empty()),
            name: text(resource, "name"),
            path: String::new(),
        }
    } else if path.is_object() {
        Access {
            verb: text(path, "verb"),
            path: text(path, "path"),
            ..Access::default()
        }
    } else {
        Access::default()
    };
    let decision = call.server.inner.rbac.authorize(user, &asked);
    let mut out = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        out["reason"] = decision.reason.into();
    }
    Ok(out)
}

fn token(call: &Call, review: &Value) -> Value {
    let text = review["spec"]["token"].as_str().unwrap_or_default();
    match call.server.authenticate_token(text) {
        Some(user) => json!({
            "authenticated": true, "user": user.to_value(), "audiences": [crate::tokens::ISSUER],
        }),
        None => json!({"user": {}, "error": "invalid bearer token"}),
    }
}
