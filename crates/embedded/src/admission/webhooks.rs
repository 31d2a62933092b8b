//! Calling webhooks: mutating ones in turn, validating ones together.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use serde_json::Value;

use super::conditions::{Verdict, evaluate};
use super::matching::{Hook, Invocation, hooks, invocation, is_exempt};
use super::{Sight, review, transport};
use crate::status::{Status, Warnings};

/// What reinvocation must remember between the two passes.
#[derive(Default)]
pub(super) struct Passes {
    reinvoking: bool,
    /// Some patch changed the object: built-in plugins, and hooks that ask for it, run again.
    pub changed: bool,
    invoked: BTreeSet<String>,
    due: BTreeSet<String>,
    output: Value,
}

impl Passes {
    /// Starts the second pass.
    pub fn again(&mut self) {
        self.reinvoking = true;
    }

    fn require_previous(&mut self) {
        self.due.append(&mut self.invoked);
    }
}

enum Failed {
    /// Could not be asked: failurePolicy decides.
    Call(String),
    /// Said no, or cannot be asked at all: always refused.
    Refused(Status),
}

/// Runs the mutating webhooks over `object`.
pub(super) async fn mutate(
    sight: &Sight<'_>,
    object: &mut Value,
    old: Option<&Value>,
    passes: &mut Passes,
) -> Result<Warnings, Status> {
    let attributes = sight.attributes;
    if is_exempt(&attributes.group, &attributes.resource) {
        return Ok(Vec::new());
    }
    let mut warnings = Vec::new();
    if passes.reinvoking && passes.output != *object {
        passes.require_previous();
    }
    for hook in hooks(sight.configurations("mutatingwebhookconfigurations")) {
        let Some(seen) = concerned(&hook, sight, present(object), old).await? else {
            continue;
        };
        if passes.reinvoking && !passes.due.contains(&hook.id()) {
            continue;
        }
        match call_mutating(sight, &hook, &seen, object, old).await {
            Ok((changed, more)) => {
                warnings.extend(more);
                if changed {
                    passes.require_previous();
                    passes.changed = true;
                }
            }
            Err(Failed::Refused(status)) => return Err(status),
            Err(Failed::Call(why)) if hook.ignores_failures() => {
                tracing::warn!(webhook = hook.name(), why, "failed calling webhook, failing open");
            }
            Err(Failed::Call(why)) => return Err(review::failure(&hook, &why)),
        }
        if hook.webhook["reinvocationPolicy"] == "IfNeeded" {
            passes.invoked.insert(hook.id());
        }
    }
    passes.output = object.clone();
    Ok(warnings)
}

/// Asks the validating webhooks, all at once; the first refusal by order of configuration wins.
pub(super) async fn validate(
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Warnings, Status> {
    let attributes = sight.attributes;
    if is_exempt(&attributes.group, &attributes.resource) {
        return Ok(Vec::new());
    }
    let mut concerned_hooks = Vec::new();
    for hook in hooks(sight.configurations("validatingwebhookconfigurations")) {
        if let Some(seen) = concerned(&hook, sight, object, old).await? {
            concerned_hooks.push((hook, seen));
        }
    }
    let calls = concerned_hooks.iter().map(|(hook, seen)| async move {
        let shown = sight.seen_as(object, seen).await?;
        let before = sight.seen_as(old, seen).await?;
        call(sight, hook, seen, shown.as_ref(), before.as_ref(), false).await
    });
    let mut warnings = Vec::new();
    let mut refusal = None;
    for ((hook, _), answer) in concerned_hooks.iter().zip(join_all(calls).await) {
        let refused = match answer {
            Ok(answer) => {
                warnings.extend(answer.warnings);
                continue;
            }
            Err(Failed::Refused(status)) => status,
            Err(Failed::Call(why)) if hook.ignores_failures() => {
                tracing::warn!(webhook = hook.name(), why, "failed calling webhook, failing open");
                continue;
            }
            Err(Failed::Call(why)) => review::failure(hook, &why),
        };
        refusal.get_or_insert(refused);
    }
    refusal.map_or(Ok(warnings), Err)
}

fn present(object: &Value) -> Option<&Value> {
    (!object.is_null()).then_some(object)
}

async fn concerned(
    hook: &Hook,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Option<Invocation>, Status> {
    let Some(seen) = invocation(hook, sight, object, old) else {
        return Ok(None);
    };
    let conditions = hook.webhook["matchConditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if conditions.is_empty() {
        return Ok(Some(seen));
    }
    let shown = sight.seen_as(object, &seen).await.map_err(Failed::into_status)?;
    let before = sight.seen_as(old, &seen).await.map_err(Failed::into_status)?;
    let request = review::request(sight.attributes, &seen, "", None, None);
    let null = Value::Null;
    match evaluate(
        conditions,
        shown.as_ref().unwrap_or(&null),
        before.as_ref().unwrap_or(&null),
        &request,
    ) {
        Verdict::Call => Ok(Some(seen)),
        Verdict::Skip => Ok(None),
        Verdict::Failed(_) if hook.ignores_failures() => Ok(None),
        Verdict::Failed(why) => Err(sight.forbidden(&why)),
    }
}

impl Failed {
    fn into_status(self) -> Status {
        match self {
            Self::Call(why) => Status::internal(why),
            Self::Refused(status) => status,
        }
    }
}

impl Sight<'_> {
    async fn seen_as(&self, object: Option<&Value>, seen: &Invocation) -> Result<Option<Value>, Failed> {
        let Some(object) = object else { return Ok(None) };
        self.converted(object.clone(), &seen.kind)
            .await
            .map(Some)
            .map_err(Failed::Refused)
    }
}

async fn call_mutating(
    sight: &Sight<'_>,
    hook: &Hook,
    seen: &Invocation,
    object: &mut Value,
    old: Option<&Value>,
) -> Result<(bool, Warnings), Failed> {
    let shown = sight.seen_as(present(object), seen).await?;
    let before = sight.seen_as(old, seen).await?;
    let answer = call(sight, hook, seen, shown.as_ref(), before.as_ref(), true).await?;
    let Some(patch) = answer.patch else {
        return Ok((false, answer.warnings));
    };
    let patch: json_patch::Patch = serde_json::from_slice(&patch)
        .map_err(|e| Failed::Call(format!("received undecodable patch in webhook response: {e}")))?;
    if patch.0.is_empty() {
        return Ok((false, answer.warnings));
    }
    let Some(mut patched) = shown else {
        let why = format!(
            "admission webhook {:?} attempted to modify the object, which is not supported for this operation",
            hook.name()
        );
        return Err(Failed::Refused(Status::internal(why)));
    };
    json_patch::patch(&mut patched, &patch).map_err(|e| Failed::Refused(Status::internal(e)))?;
    let own = &sight.attributes.kind;
    let mut patched = sight.converted(patched, own).await.map_err(Failed::Refused)?;
    sight.decode_and_default(&mut patched);
    let changed = patched != *object;
    *object = patched;
    Ok((changed, answer.warnings))
}

async fn call(
    sight: &Sight<'_>,
    hook: &Hook,
    seen: &Invocation,
    object: Option<&Value>,
    old: Option<&Value>,
    mutating: bool,
) -> Result<review::Answer, Failed> {
    let side_effects = hook.webhook["sideEffects"].as_str();
    if sight.attributes.dry_run {
        match side_effects {
            Some("None" | "NoneOnDryRun") => {}
            None => return Err(Failed::Call("Webhook SideEffects is nil".to_owned())),
            Some(_) => return Err(Failed::Refused(review::no_dry_run(hook))),
        }
    }
    let Some(version) = review::version(hook) else {
        let why = "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        return Err(Failed::Call(why.to_owned()));
    };
    let uid = sight.server.new_uid();
    let request = review::request(sight.attributes, seen, &uid, object, old);
    let body = serde_json::to_vec(&review::envelope(version, request))
        .map_err(|e| Failed::Call(format!("could not create admission objects: {e}")))?;
    let seconds = hook.webhook["timeoutSeconds"].as_u64().unwrap_or(10);
    let posted = transport::post(
        sight.server,
        &hook.webhook["clientConfig"],
        seconds,
        Bytes::from(body),
    );
    let bytes = match tokio::time::timeout(Duration::from_secs(seconds), posted).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(why)) => return Err(Failed::Call(format!("failed to call webhook: {why}"))),
        Err(_) => {
            return Err(Failed::Call(
                "failed to call webhook: context deadline exceeded".to_owned(),
            ));
        }
    };
    let answer = review::read(&bytes, version, &uid, mutating)
        .map_err(|why| Failed::Call(format!("received invalid webhook response: {why}")))?;
    for (key, value) in &answer.audit {
        tracing::debug!(webhook = hook.name(), key, value, "audit annotation");
    }
    if answer.allowed {
        Ok(answer)
    } else {
        Err(Failed::Refused(review::denial(hook, &answer.result)))
    }
}
