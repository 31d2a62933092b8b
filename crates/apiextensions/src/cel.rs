//! `x-kubernetes-validations`: rules checked when the definition is made, and evaluated on objects.

use std::sync::Arc;

use kube_cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use model::field::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use crate::cel_cost::Costs;
use crate::cel_optional;
use crate::cel_types;
use crate::schema::{Additional, Rule, Schema};

/// The compiled rules of one version.
#[derive(Clone)]
pub(crate) struct Rules {
    compiled: Arc<CompiledSchema>,
    any: bool,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules")
            .field("any", &self.any)
            .finish_non_exhaustive()
    }
}

/// Checks every rule of a schema: syntax, names, types as far as they are known, and cost.
pub(crate) fn check(schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    let mut costs = Costs::default();
    node(schema, path, 1, true, &mut costs, errors);
    costs.check_total(path, errors);
}

fn node(
    schema: &Schema,
    path: &str,
    times: u64,
    is_root: bool,
    costs: &mut Costs,
    errors: &mut Vec<FieldError>,
) {
    for (i, rule) in schema.rules.iter().enumerate() {
        let at = format!("{path}.x-kubernetes-validations[{i}]");
        check_rule(rule, schema, &at, (times, is_root), costs, errors);
    }
    for (name, child) in &schema.properties {
        node(
            child,
            &format!("{path}.properties[{name}]"),
            times,
            child.embedded_resource,
            costs,
            errors,
        );
    }
    if let Additional::Of(child) = &schema.additional {
        let inner = times.saturating_mul(Costs::length(schema));
        node(
            child,
            &format!("{path}.additionalProperties"),
            inner,
            child.embedded_resource,
            costs,
            errors,
        );
    }
    if let Some(items) = &schema.items {
        let inner = times.saturating_mul(Costs::length(schema));
        node(
            items,
            &format!("{path}.items"),
            inner,
            items.embedded_resource,
            costs,
            errors,
        );
    }
    for (name, parts) in [
        ("allOf", &schema.all_of),
        ("anyOf", &schema.any_of),
        ("oneOf", &schema.one_of),
    ] {
        let with_rules = parts
            .iter()
            .enumerate()
            .filter(|(_, part)| !part.rules.is_empty());
        for (i, _) in with_rules {
            let at = format!("{path}.{name}[{i}].x-kubernetes-validations");
            errors.push(FieldError::forbidden(at, "must be empty to be structural"));
        }
    }
}

fn check_rule(
    rule: &Rule,
    schema: &Schema,
    at: &str,
    (times, is_resource): (u64, bool),
    costs: &mut Costs,
    errors: &mut Vec<FieldError>,
) {
    if rule.rule.trim().is_empty() {
        errors.push(FieldError::required(
            format!("{at}.rule"),
            "rule is not specified",
        ));
        return;
    }
    if let Some(reason) = rule.reason.as_deref().filter(|reason| kind_of(reason).is_none()) {
        let options = "supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \
                       \"FieldValueRequired\"";
        let at = format!("{at}.reason");
        errors.push(FieldError::new(
            at,
            FieldErrorKind::NotSupported,
            format!("{reason:?}"),
            options,
        ));
    }
    if !rule.message.is_empty() && rule.message.trim().is_empty() {
        let detail = "message must be non-empty if specified";
        errors.push(FieldError::invalid(
            format!("{at}.message"),
            format!("{:?}", rule.message),
            detail,
        ));
    }
    if !rule.field_path.is_empty() && !names_a_field(&rule.field_path, schema) {
        let detail = "fieldPath must be a valid path: does not refer to a valid field";
        errors.push(FieldError::invalid(
            format!("{at}.fieldPath"),
            format!("{:?}", rule.field_path),
            detail,
        ));
    }
    let expressions = [
        ("rule", rule.rule.as_str(), true),
        ("messageExpression", rule.message_expression.as_str(), false),
    ];
    for (field, text, is_rule) in expressions.into_iter().filter(|(_, text, _)| !text.is_empty()) {
        let at = format!("{at}.{field}");
        match cel_types::check(text, schema, is_resource, is_rule) {
            Ok(program) => costs.add(program.expression(), schema, times, &at, errors),
            Err(problem) => errors.push(FieldError::invalid(at, shown(rule), problem)),
        }
    }
}

/// A real server prints the rule as its Go struct in JSON.
fn shown(rule: &Rule) -> String {
    let escape = |text: &str| {
        let quoted = Value::from(text).to_string();
        quoted
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    };
    let optional = rule
        .optional_old_self
        .map_or("null".to_owned(), |b| b.to_string());
    let reason = rule.reason.as_deref().map_or("null".to_owned(), escape);
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
        escape(&rule.rule),
        escape(&rule.message),
        escape(&rule.message_expression),
        escape(&rule.field_path),
    )
}

fn kind_of(reason: &str) -> Option<FieldErrorKind> {
    match reason {
        "FieldValueInvalid" => Some(FieldErrorKind::Invalid),
        "FieldValueForbidden" => Some(FieldErrorKind::Forbidden),
        "FieldValueRequired" => Some(FieldErrorKind::Required),
        "FieldValueDuplicate" => Some(FieldErrorKind::Duplicate),
        _ => None,
    }
}

/// `.spec.a['b.c']` from the schema on; list indices are not allowed.
fn names_a_field(field_path: &str, schema: &Schema) -> bool {
    let mut here = schema;
    let mut rest = field_path;
    while !rest.is_empty() {
        let (name, tail) = if let Some(tail) = rest.strip_prefix("['") {
            match tail.split_once("']") {
                Some(split) => split,
                None => return false,
            }
        } else {
            let tail = rest.strip_prefix('.').unwrap_or(rest);
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            tail.split_at(end)
        };
        match here.child(name) {
            Some(child) if !name.is_empty() => here = child,
            _ => return false,
        }
        rest = tail;
    }
    true
}

impl Rules {
    pub(crate) fn compile(raw: &Value, schema: &Schema) -> Self {
        Self {
            compiled: Arc::new(compile_schema(&cel_optional::for_evaluator(raw))),
            any: has_rules(schema),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.any
    }

    /// Failures of all rules on an object, and of transition rules where there is an old one.
    pub(crate) fn evaluate(&self, object: &Value, old: Option<&Value>, schema: &Schema) -> Vec<FieldError> {
        if !self.any {
            return Vec::new();
        }
        match Validator::new().validate_compiled(&self.compiled, object, old) {
            Ok(()) => Vec::new(),
            Err(failures) => failures
                .into_vec()
                .iter()
                .filter(|failure| !is_unchanged(failure, object, old))
                .map(|failure| field_error(failure, object, schema))
                .collect(),
        }
    }
}

fn has_rules(schema: &Schema) -> bool {
    let additional = match &schema.additional {
        Additional::Of(child) => has_rules(child),
        _ => false,
    };
    !schema.rules.is_empty()
        || additional
        || schema.properties.values().any(has_rules)
        || schema.items.as_deref().is_some_and(has_rules)
}

/// What an update leaves as it was is not refused.
fn is_unchanged(failure: &kube_cel::ValidationError, object: &Value, old: Option<&Value>) -> bool {
    let path = &failure.field_path;
    !path.is_empty() && old.is_some_and(|old| value_at(old, path) == value_at(object, path))
}

fn field_error(failure: &kube_cel::ValidationError, object: &Value, schema: &Schema) -> FieldError {
    let path = failure.field_path.clone();
    let detail = match failure.kind {
        ErrorKind::ValidationFailure => failure.message.clone(),
        _ => format!("rule could not be evaluated: {}", failure.message),
    };
    let kind = failure
        .reason
        .as_deref()
        .and_then(kind_of)
        .unwrap_or(FieldErrorKind::Invalid);
    let value = value_at(object, &path).cloned().unwrap_or(json!(null));
    let at = if path.is_empty() {
        "<nil>".to_owned()
    } else {
        path.clone()
    };
    let is_whole = value.is_object() || value.is_array() || !has_rule(schema, &path, &failure.rule);
    if kind == FieldErrorKind::Invalid && is_whole {
        // Objects and lists are not shown: the message stands in the value's place. So it is where the rule of an
        // object names one of its fields.
        return FieldError::new(at, kind, detail, "");
    }
    FieldError::new(at, kind, value.to_string(), detail)
}

/// Whether the rule is that of the very value at `path`.
fn has_rule(schema: &Schema, path: &str, rule: &str) -> bool {
    let mut here = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        let named = if name.is_empty() {
            Some(here)
        } else {
            here.child(name)
        };
        let Some(mut node) = named else { return false };
        for index in indices.split('[').filter(|i| !i.is_empty()) {
            let key = index.trim_end_matches(']').trim_matches(['"', '\'']);
            match node.items.as_deref().or_else(|| node.child(key)) {
                Some(inner) => node = inner,
                None => return false,
            }
        }
        here = node;
    }
    here.rules.iter().any(|own| cel_optional::text(own) == rule)
}

/// The value at `spec.list[0].name`.
fn value_at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        if !name.is_empty() {
            here = here.get(name)?;
        }
        for index in indices
            .split('[')
            .map(|i| i.trim_end_matches(']'))
            .filter(|i| !i.is_empty())
        {
            here = match index.parse::<usize>() {
                Ok(index) => here.get(index)?,
                Err(_) => here.get(index.trim_matches(['"', '\'']))?,
            };
        }
    }
    Some(here)
}
