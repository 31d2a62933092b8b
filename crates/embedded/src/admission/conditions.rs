//! matchConditions: CEL over object, oldObject and request.

use kube_cel::KubeCelExt;
use kube_cel::cel::{Context, Program, Value as CelValue};
use serde_json::Value;

/// What the conditions say together.
pub(super) enum Verdict {
    Call,
    Skip,
    /// None says no, and some could not be evaluated.
    Failed(String),
}

pub(super) fn evaluate(conditions: &[Value], object: &Value, old: &Value, request: &Value) -> Verdict {
    if conditions.is_empty() {
        return Verdict::Call;
    }
    let mut context = Context::default();
    context.register_all();
    for (name, value) in [("object", object), ("oldObject", old), ("request", request)] {
        if let Err(problem) = context.add_variable(name, value) {
            return Verdict::Failed(problem.to_string());
        }
    }
    let mut problems = Vec::new();
    for condition in conditions {
        let expression = condition["expression"].as_str().unwrap_or_default();
        match run(expression, &context) {
            Ok(true) => {}
            Ok(false) => return Verdict::Skip,
            Err(problem) => problems.push(format!("expression '{expression}' resulted in error: {problem}")),
        }
    }
    if problems.is_empty() {
        Verdict::Call
    } else {
        Verdict::Failed(problems.join(", "))
    }
}

fn run(expression: &str, context: &Context<'_>) -> Result<bool, String> {
    let program = Program::compile(expression).map_err(|e| e.to_string())?;
    match program.execute(context).map_err(|e| e.to_string())? {
        CelValue::Bool(answer) => Ok(answer),
        _ => Err("match condition did not return a boolean".to_owned()),
    }
}
