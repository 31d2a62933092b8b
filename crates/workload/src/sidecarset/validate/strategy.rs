//! updateStrategy; checked only where it is used, as Kruise does.
use super::{Verdict, selector_error};
use model::field::FieldError;
use model::sidecarset::{IntOrPercent, PriorityStrategy, SidecarSet};
use serde_json::json;
use std::collections::BTreeSet;

pub(super) fn validate(set: &SidecarSet, verdict: &mut Verdict) {
    let strategy = &set.spec.update_strategy;
    if strategy.kind != "RollingUpdate" {
        if !matches!(strategy.kind.as_str(), "NotUpdate" | "") {
            verdict.warnings.push(format!(
                "spec.updateStrategy.type: {:?} is unknown and acts as RollingUpdate",
                strategy.kind
            ));
        }
        return;
    }
    let path = "spec.updateStrategy";
    if let Some(selector) = &strategy.selector {
        verdict
            .errors
            .extend(selector_error(&format!("{path}.selector"), selector));
        let partitioned = match &strategy.partition {
            None | Some(IntOrPercent::Int(0)) => false,
            Some(_) => true,
        };
        if partitioned {
            verdict.errors.push(FieldError::invalid(
                path,
                json!(strategy).to_string(),
                "selector and partition cannot be used together",
            ));
        }
    }
    for (field, value) in [
        ("partition", &strategy.partition),
        ("maxUnavailable", &strategy.max_unavailable),
    ] {
        let at = format!("{path}.{field}");
        verdict
            .errors
            .extend(value.as_ref().and_then(|value| count_or_share(at, value)));
    }
    if let Some(priority) = &strategy.priority_strategy {
        priority_terms(&format!("{path}.priorityStrategy"), priority, verdict);
    }
    let mut seen = BTreeSet::new();
    for (i, term) in strategy.scatter_strategy.iter().enumerate() {
        let at = format!("{path}.scatterStrategy[{i}]");
        if term.key.is_empty() {
            verdict
                .errors
                .push(FieldError::required(format!("{at}.key"), "key must not be empty"));
        }
        if !seen.insert((&term.key, &term.value)) {
            verdict
                .errors
                .push(FieldError::duplicate(at, json!(term).to_string()));
        }
    }
}

fn count_or_share(at: String, value: &IntOrPercent) -> Option<FieldError> {
    match value {
        IntOrPercent::Int(n) if *n < 0 => {
            let why = "must be greater than or equal to 0";
            Some(FieldError::invalid(at, n.to_string(), why))
        }
        // What no client's type can hold, none could read back.
        IntOrPercent::Int(n) if i32::try_from(*n).is_err() => {
            let why = format!("must be less than or equal to {}", i32::MAX);
            Some(FieldError::invalid(at, n.to_string(), why))
        }
        IntOrPercent::Text(text) if value.percent().is_none() => {
            let why = "must be a whole number or a percentage (digits and '%')";
            Some(FieldError::invalid(at, json!(text).to_string(), why))
        }
        _ => None,
    }
}

fn priority_terms(path: &str, priority: &PriorityStrategy, verdict: &mut Verdict) {
    if !priority.order_priority.is_empty() && !priority.weight_priority.is_empty() {
        verdict.errors.push(FieldError::invalid(
            path,
            json!(priority).to_string(),
            "orderPriority and weightPriority cannot be used together",
        ));
    }
    for (i, term) in priority.weight_priority.iter().enumerate() {
        let at = format!("{path}.weightPriority[{i}]");
        if !(0..=100).contains(&term.weight) {
            let weight = term.weight.to_string();
            verdict.errors.push(FieldError::invalid(
                format!("{at}.weight"),
                weight,
                "must be between 0 and 100",
            ));
        }
        verdict.errors.extend(selector_error(
            &format!("{at}.matchSelector"),
            &term.match_selector,
        ));
    }
    for (i, term) in priority.order_priority.iter().enumerate() {
        if term.ordered_key.is_empty() {
            let at = format!("{path}.orderPriority[{i}].orderedKey");
            verdict
                .errors
                .push(FieldError::required(at, "orderedKey must not be empty"));
        }
    }
}
