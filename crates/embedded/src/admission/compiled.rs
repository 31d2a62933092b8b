//! Expressions of policies and webhook configurations are compiled when they are written.

use kube_cel::cel::Program;
use model::field::FieldError;
use serde_json::Value;

use crate::catalog::Resource;

/// Those that do not compile.
pub(crate) fn expression_errors(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if resource.group != "admissionregistration.k8s.io" {
        return errors;
    }
    for (i, hook) in items(&object["webhooks"]).enumerate() {
        conditions(hook, &format!("webhooks[{i}]"), &mut errors);
    }
    let spec = &object["spec"];
    conditions(spec, "spec", &mut errors);
    for (list, field) in [
        ("variables", "expression"),
        ("auditAnnotations", "valueExpression"),
    ] {
        for (i, item) in items(&spec[list]).enumerate() {
            check(&item[field], &format!("spec.{list}[{i}].{field}"), &mut errors);
        }
    }
    for (i, validation) in items(&spec["validations"]).enumerate() {
        for field in ["expression", "messageExpression"] {
            let at = format!("spec.validations[{i}].{field}");
            check(&validation[field], &at, &mut errors);
        }
    }
    for (i, mutation) in items(&spec["mutations"]).enumerate() {
        for form in ["applyConfiguration", "jsonPatch"] {
            let at = format!("spec.mutations[{i}].{form}.expression");
            check(&mutation[form]["expression"], &at, &mut errors);
        }
    }
    errors
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn conditions(of: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for (i, condition) in items(&of["matchConditions"]).enumerate() {
        let at = format!("{path}.matchConditions[{i}].expression");
        check(&condition["expression"], &at, errors);
    }
}

fn check(expression: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let Some(text) = expression.as_str().filter(|text| !text.trim().is_empty()) else {
        return;
    };
    if let Err(problem) = Program::compile(text) {
        let problem = problem.to_string();
        let first = problem.lines().next().unwrap_or_default();
        let first = first.strip_prefix("ERROR: ").unwrap_or(first);
        let detail = format!("compilation failed: ERROR: {first}\n | {text}");
        errors.push(FieldError::invalid(at, format!("{text:?}"), detail));
    }
}
