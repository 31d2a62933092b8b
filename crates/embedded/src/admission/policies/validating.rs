//! ValidatingAdmissionPolicies: what their expressions say no to.

use http::StatusCode;
use kube_cel::cel::{Context, Value as CelValue};
use serde_json::{Value, json};

use super::expressions::run;
use super::parameters::parameters;
use super::{Bound, Shown, bound};
use crate::admission::Sight;
use crate::admission::conditions::Verdict;
use crate::admission::matching::is_exempt;
use crate::status::{Status, Warnings};

/// One validation of one bound policy that said no.
struct Denial {
    message: String,
    reason: String,
}

pub(in crate::admission) async fn validate(
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Warnings, Status> {
    let attributes = sight.attributes;
    if is_exempt(&attributes.group, &attributes.resource) {
        return Ok(Vec::new());
    }
    let bindings = sight.configurations("validatingadmissionpolicybindings");
    if bindings.is_empty() {
        return Ok(Vec::new());
    }
    let policies = sight.configurations("validatingadmissionpolicies");
    let mut warnings = Vec::new();
    for bound in bound(&policies, &bindings, sight, object, old) {
        let (name, binding) = (bound.policy_name(), bound.binding_name());
        let acts = |action: &str| {
            let actions = bound.binding["spec"]["validationActions"].as_array();
            actions.is_some_and(|all| all.iter().any(|a| a == action))
        };
        for denial in judge(sight, &bound, object, old).await? {
            if acts("Warn") {
                warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{binding}': {}",
                    denial.message
                ));
            }
            if acts("Deny") {
                return Err(refused(sight, name, binding, &denial));
            }
        }
    }
    Ok(warnings)
}

async fn judge(
    sight: &Sight<'_>,
    bound: &Bound<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Vec<Denial>, Status> {
    let ignores = bound.ignores_failures();
    let failed = |why: String| match ignores {
        true => Vec::new(),
        false => vec![Denial {
            message: why,
            reason: "Invalid".to_owned(),
        }],
    };
    let shown = Shown::new(sight, bound, object, old).await?;
    match shown.meets_conditions(bound.policy) {
        Verdict::Call => {}
        Verdict::Skip => return Ok(Vec::new()),
        Verdict::Failed(why) => return Ok(failed(why)),
    }
    let all = match parameters(sight, bound) {
        Ok(all) => all,
        Err(why) => return Ok(failed(format!("failed to configure binding: {why}"))),
    };
    let spec = &bound.policy["spec"];
    let mut out = Vec::new();
    for params in &all {
        match shown.context(params, spec) {
            Ok(context) => out.extend(validations(spec, &context, ignores)),
            Err(why) => out.extend(failed(why)),
        }
    }
    Ok(out)
}

fn validations(spec: &Value, context: &Context<'_>, ignores: bool) -> Vec<Denial> {
    let mut out = Vec::new();
    for validation in spec["validations"].as_array().into_iter().flatten() {
        let expression = validation["expression"].as_str().unwrap_or_default().trim();
        let reason = validation["reason"].as_str().unwrap_or("Invalid").to_owned();
        let message = match run(&validation["expression"], context) {
            Ok(CelValue::Bool(true)) => continue,
            Ok(CelValue::Bool(false)) => {
                said(validation, context).unwrap_or_else(|| format!("failed expression: {expression}"))
            }
            _ if ignores => continue,
            Ok(_) => format!("expression '{expression}' resulted in error: it is no boolean"),
            Err(why) => why,
        };
        out.push(Denial { message, reason });
    }
    out
}

fn said(validation: &Value, context: &Context<'_>) -> Option<String> {
    if let Ok(CelValue::String(text)) = run(&validation["messageExpression"], context)
        && !text.trim().is_empty()
    {
        return Some(text.to_string());
    }
    let message = validation["message"].as_str().map(str::trim);
    message.filter(|text| !text.is_empty()).map(str::to_owned)
}

fn refused(sight: &Sight<'_>, policy: &str, binding: &str, denial: &Denial) -> Status {
    let why = format!(
        "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {}",
        denial.message
    );
    let mut status = sight.forbidden(&why);
    let (code, reason) = match denial.reason.as_str() {
        "Unauthorized" => (StatusCode::UNAUTHORIZED, "Unauthorized"),
        "Forbidden" => (StatusCode::FORBIDDEN, "Forbidden"),
        "RequestEntityTooLarge" => (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge"),
        _ => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
    };
    status.code = code.as_u16();
    status.reason = reason.into();
    if let Some(details) = &mut status.details {
        details["causes"] = json!([{"message": why}]);
    }
    status
}
