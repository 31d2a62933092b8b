//! `serviceaccounts/NAME/token`.

use model::time::rfc3339_seconds;
use serde_json::{Value, json};

use super::{create, read};
use crate::answer::Answer;
use crate::pipeline::{self, Writer};
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::status::Status;
use crate::tokens::Claims;
use crate::{decode, metadata};

const DEFAULT_SECONDS: i64 = 3600;

pub(crate) fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let account = read::find(call, target)?;
    let mut request = decode::of_kind(call, "authentication.k8s.io", "v1", "TokenRequest")?;
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let writer = Writer {
        manager: &create::manager(call, &options),
        subresource: "token",
        now: call.server.now(),
    };
    if request
        .pointer("/spec/expirationSeconds")
        .is_none_or(Value::is_null)
    {
        request["spec"]["expirationSeconds"] = DEFAULT_SECONDS.into();
    }
    pipeline::track_sent("authentication.k8s.io/v1", "TokenRequest", &mut request, &writer);
    metadata::set(&mut request, "uid", call.server.new_uid());
    let seconds = request
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(DEFAULT_SECONDS);
    if seconds < 600 {
        let why = "may not specify a duration less than 10 minutes";
        let error = model::field::FieldError::invalid("spec.expirationSeconds", seconds.to_string(), why);
        return Err(Status::invalid(
            "authentication.k8s.io",
            "TokenRequest",
            metadata::name(&request),
            &[error],
        ));
    }
    let audiences: Vec<String> = match request.pointer("/spec/audiences").and_then(Value::as_array) {
        Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => vec![crate::tokens::ISSUER.to_owned()],
    };
    let now = call.server.now();
    let claims = Claims::service_account(
        target.namespace.as_deref().unwrap_or_default(),
        target.name(),
        &account.uid,
        &audiences,
        now.as_second(),
        seconds,
    );
    let token = call.server.inner.pki.sign_token(&claims, &call.server.new_uid());
    let bound = request.pointer("/spec/boundObjectRef").cloned();
    request["spec"] = json!({"audiences": audiences, "expirationSeconds": seconds});
    if let Some(bound) = bound {
        request["spec"]["boundObjectRef"] = bound;
    }
    metadata::set(&mut request, "name", target.name());
    metadata::set(
        &mut request,
        "namespace",
        target.namespace.clone().unwrap_or_default(),
    );
    metadata::set(&mut request, "creationTimestamp", rfc3339_seconds(now));
    let expiry = now + jiff::SignedDuration::from_secs(seconds);
    request["status"] = json!({"token": token, "expirationTimestamp": rfc3339_seconds(expiry)});
    Answer::json(201, &request)
}
