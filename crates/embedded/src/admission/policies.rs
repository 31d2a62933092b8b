//! ValidatingAdmissionPolicies: CEL over a request, bound to what it applies to.
//!
//! Parameters are not looked up: a binding that names some refuses what it covers, as its policy's failure does.

use http::StatusCode;
use kube_cel::KubeCelExt;
use kube_cel::cel::objects::{Key, Map};
use kube_cel::cel::{Context, Program, Value as CelValue};
use serde_json::{Value, json};

use super::conditions::{Verdict, evaluate};
use super::matching::{Hook, Invocation, invocation, is_exempt};
use super::{Sight, review};
use crate::status::{Status, Warnings};

/// One validation of one bound policy that said no.
struct Denial {
    message: String,
    reason: String,
}

pub(super) async fn validate(
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
    for policy in &policies {
        let Some(seen) = covers(&policy["spec"]["matchConstraints"], sight, object, old) else {
            continue;
        };
        let name = policy["metadata"]["name"].as_str().unwrap_or_default();
        for binding in bindings.iter().filter(|b| b["spec"]["policyName"] == name) {
            let limits = &binding["spec"]["matchResources"];
            if limits.is_object() && covers_binding(limits, sight, object, old).is_none() {
                continue;
            }
            let denials = judge(sight, policy, binding, &seen, (object, old)).await?;
            let bound = binding["metadata"]["name"].as_str().unwrap_or_default();
            for denial in denials {
                let acts = |action: &str| {
                    let actions = binding["spec"]["validationActions"].as_array();
                    actions.is_some_and(|all| all.iter().any(|a| a == action))
                };
                if acts("Warn") {
                    warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {}",
                        denial.message
                    ));
                }
                if acts("Deny") {
                    return Err(refused(sight, name, bound, &denial));
                }
            }
        }
    }
    Ok(warnings)
}

/// A policy's constraints are a webhook's rules under other names.
fn as_hook(constraints: &Value, rules: &Value) -> Hook {
    Hook {
        configuration: String::new(),
        webhook: json!({
            "rules": rules, "namespaceSelector": constraints["namespaceSelector"],
            "objectSelector": constraints["objectSelector"], "matchPolicy": constraints["matchPolicy"],
        }),
    }
}

fn covers(
    constraints: &Value,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Option<Invocation> {
    let excluded = as_hook(constraints, &constraints["excludeResourceRules"]);
    if !named(&constraints["excludeResourceRules"], sight).is_empty()
        && invocation(&excluded, sight, object, old).is_some()
    {
        return None;
    }
    let rules = Value::Array(named(&constraints["resourceRules"], sight));
    invocation(&as_hook(constraints, &rules), sight, object, old)
}

/// A binding without rules of its own only selects.
fn covers_binding(
    limits: &Value,
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Option<Invocation> {
    let mut limits = limits.clone();
    if limits["resourceRules"].as_array().is_none_or(Vec::is_empty) {
        limits["resourceRules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"],
            "resources": ["*", "*/*"]}]);
    }
    covers(&limits, sight, object, old)
}

/// The rules that are for the object's name, or for all names.
fn named(rules: &Value, sight: &Sight<'_>) -> Vec<Value> {
    let fits = |rule: &&Value| match rule["resourceNames"].as_array() {
        Some(names) if !names.is_empty() => names.iter().any(|n| *n == sight.attributes.name),
        _ => true,
    };
    rules
        .as_array()
        .into_iter()
        .flatten()
        .filter(fits)
        .cloned()
        .collect()
}

async fn judge(
    sight: &Sight<'_>,
    policy: &Value,
    binding: &Value,
    seen: &Invocation,
    (object, old): (Option<&Value>, Option<&Value>),
) -> Result<Vec<Denial>, Status> {
    let spec = &policy["spec"];
    let ignores = spec["failurePolicy"] == "Ignore";
    let failed = |why: String| match ignores {
        true => Vec::new(),
        false => vec![Denial {
            message: why,
            reason: "Invalid".to_owned(),
        }],
    };
    if binding["spec"]["paramRef"].is_object() || spec["paramKind"].is_object() {
        let why = "the embedded API server does not look up parameters of admission policies";
        return Ok(failed(why.to_owned()));
    }
    let shown = match object {
        Some(object) => sight.converted(object.clone(), &seen.kind).await?,
        None => Value::Null,
    };
    let before = match old {
        Some(old) => sight.converted(old.clone(), &seen.kind).await?,
        None => Value::Null,
    };
    let request = review::request(sight.attributes, seen, "", None, None);
    let conditions = spec["matchConditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    match evaluate(conditions, &shown, &before, &request) {
        Verdict::Call => {}
        Verdict::Skip => return Ok(Vec::new()),
        Verdict::Failed(why) => return Ok(failed(why)),
    }
    let namespace = sight.namespace_object();
    let variables = [
        ("object", &shown),
        ("oldObject", &before),
        ("request", &request),
        ("namespaceObject", &namespace),
    ];
    match context(&variables, spec) {
        Ok(context) => Ok(validations(spec, &context, ignores)),
        Err(why) => Ok(failed(why)),
    }
}

/// What expressions see; variables of the policy one after the other, each over those before it.
fn context<'a>(known: &[(&'a str, &'a Value)], spec: &Value) -> Result<Context<'a>, String> {
    let mut context = Context::default();
    context.register_all();
    for (name, value) in known {
        context.add_variable(*name, value).map_err(|e| e.to_string())?;
    }
    let mut variables = std::collections::HashMap::new();
    for variable in spec["variables"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().unwrap_or_default().to_owned();
        let value = run(&variable["expression"], &context)?;
        variables.insert(Key::from(name), value);
        let all = Map::from(variables.clone());
        context.add_variable_from_value("variables", CelValue::Map(all));
    }
    Ok(context)
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

fn run(expression: &Value, context: &Context<'_>) -> Result<CelValue, String> {
    let text = expression.as_str().unwrap_or_default();
    let failed = |why: String| format!("expression '{}' resulted in error: {why}", text.trim());
    let program = Program::compile(text).map_err(|e| failed(e.to_string()))?;
    program.execute(context).map_err(|e| failed(e.to_string()))
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
