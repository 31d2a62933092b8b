//! MutatingAdmissionPolicies: what their expressions make of an object, before webhooks see it.

use kube_cel::cel::{Context, Value as CelValue};
use serde_json::Value;

use super::expressions::run;
use super::parameters::parameters;
use super::{Bound, Shown, bound};
use crate::admission::Sight;
use crate::admission::conditions::Verdict;
use crate::admission::matching::is_exempt;
use crate::pipeline;
use crate::status::Status;

/// Whether the object changed. The second time (`again`) only policies that ask for it act.
pub(in crate::admission) async fn mutate(
    sight: &Sight<'_>,
    object: &mut Value,
    old: Option<&Value>,
    again: bool,
) -> Result<bool, Status> {
    let attributes = sight.attributes;
    if object.is_null() || is_exempt(&attributes.group, &attributes.resource) {
        return Ok(false);
    }
    let bindings = sight.configurations("mutatingadmissionpolicybindings");
    if bindings.is_empty() {
        return Ok(false);
    }
    let policies = sight.configurations("mutatingadmissionpolicies");
    let before = object.clone();
    for bound in bound(&policies, &bindings, sight, Some(object), old) {
        if again && bound.policy["spec"]["reinvocationPolicy"] != "IfNeeded" {
            continue;
        }
        match mutated(sight, &bound, object, old).await? {
            Ok(next) => *object = next,
            Err(why) if bound.ignores_failures() => {
                tracing::warn!(
                    policy = bound.policy_name(),
                    why,
                    "a mutating policy failed, failing open"
                );
            }
            Err(why) => return Err(refused(sight, &bound, &why)),
        }
    }
    if before == *object {
        return Ok(false);
    }
    sight.decode_and_default(object);
    Ok(true)
}

async fn mutated(
    sight: &Sight<'_>,
    bound: &Bound<'_>,
    object: &Value,
    old: Option<&Value>,
) -> Result<Result<Value, String>, Status> {
    let mut shown = Shown::new(sight, bound, Some(object), old).await?;
    match shown.meets_conditions(bound.policy) {
        Verdict::Call => {}
        Verdict::Skip => return Ok(Ok(object.clone())),
        Verdict::Failed(why) => return Ok(Err(why)),
    }
    let all = match parameters(sight, bound) {
        Ok(all) => all,
        Err(why) => return Ok(Err(why)),
    };
    for params in all {
        for mutation in bound.policy["spec"]["mutations"].as_array().into_iter().flatten() {
            match step(sight, bound, &shown, &params, mutation) {
                Ok(next) => shown.object = next,
                Err(why) => return Ok(Err(why)),
            }
        }
    }
    let own = &sight.attributes.kind;
    Ok(Ok(sight.converted(shown.object, own).await?))
}

fn step(
    sight: &Sight<'_>,
    bound: &Bound<'_>,
    shown: &Shown,
    params: &Value,
    mutation: &Value,
) -> Result<Value, String> {
    let context = shown.context(params, &bound.policy["spec"])?;
    match mutation["patchType"].as_str() {
        Some("JSONPatch") => {
            let operations = json(&mutation["jsonPatch"]["expression"], &context)?;
            match apimerge::json_patch(&shown.object, operations.to_string().as_bytes()) {
                Ok(patched) => Ok(patched),
                // A test that fails says that the patch is not for this object.
                Err(error) if error.is_failed_test() => Ok(shown.object.clone()),
                Err(error) => Err(format!("JSON Patch: {error}")),
            }
        }
        _ => {
            let laid_over = json(&mutation["applyConfiguration"]["expression"], &context)?;
            let seen = &bound.seen;
            let resource = sight.server.resource(&seen.group, &seen.version, &seen.resource);
            let resource = resource.ok_or_else(|| format!("{} is not served", seen.resource))?;
            pipeline::lay_over(&resource, &shown.object, &laid_over)
        }
    }
}

fn json(expression: &Value, context: &Context<'_>) -> Result<Value, String> {
    as_json(&run(expression, context)?)
        .ok_or_else(|| "the expression gives something that is no part of an object".to_owned())
}

fn as_json(value: &CelValue) -> Option<Value> {
    Some(match value {
        CelValue::Null => Value::Null,
        CelValue::Bool(flag) => Value::from(*flag),
        CelValue::Int(number) => Value::from(*number),
        CelValue::UInt(number) => Value::from(*number),
        CelValue::Float(number) => Value::from(*number),
        CelValue::String(text) => Value::from(text.as_str()),
        CelValue::List(items) => Value::Array(items.iter().map(as_json).collect::<Option<_>>()?),
        CelValue::Map(map) => {
            let entries = map.map.iter();
            Value::Object(
                entries
                    .map(|(key, value)| Some((key.to_string(), as_json(value)?)))
                    .collect::<Option<_>>()?,
            )
        }
        _ => return None,
    })
}

fn refused(sight: &Sight<'_>, bound: &Bound<'_>, why: &str) -> Status {
    let (policy, binding) = (bound.policy_name(), bound.binding_name());
    let why = format!("policy '{policy}' with binding '{binding}' denied request: {why}");
    let mut status = sight.forbidden(&why);
    status.reason = "Invalid".into();
    if let Some(details) = &mut status.details {
        details["causes"] = serde_json::json!([{"message": why}]);
    }
    status.message = why;
    status
}
