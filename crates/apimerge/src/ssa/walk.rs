//! Reading an object in the light of its schema: is it valid, and which fields does it set.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::path::{Path, PathElement};
use super::schema::{Form, ListShape, MapShape, ScalarKind, Schema, Type};
use super::set::FieldSet;

/// Checks that an applied configuration fits its schema. The text lists every fault with its path.
pub(super) fn validate(schema: Schema<'_>, object: &Value) -> Result<(), String> {
    let mut faults = Vec::new();
    check(schema, schema.root(), object, &mut Vec::new(), &mut faults);
    told(&faults)
}

/// The same of an object that is stored or will be: items that share a key are let pass.
pub(super) fn validate_object(schema: Schema<'_>, object: &Value) -> Result<(), String> {
    // Nearly all fit, and paths are dear.
    if fits(schema, schema.root(), object) {
        return Ok(());
    }
    let mut faults = Vec::new();
    check(schema, schema.root(), object, &mut Vec::new(), &mut faults);
    faults.retain(|fault| !fault.contains(DUPLICATE));
    told(&faults)
}

const DUPLICATE: &str = ": duplicate entries for key ";

fn fits(schema: Schema<'_>, ty: Type, value: &Value) -> bool {
    match (schema.form(ty, Some(value)), value) {
        (_, Value::Null) => true,
        (Form::Scalar(kind), value) => wrong_scalar(kind, value).is_none(),
        (Form::Map(map), Value::Object(members)) => members
            .iter()
            .all(|(name, value)| map.member(name).is_some_and(|below| fits(schema, below, value))),
        (Form::List(list), Value::Array(items)) => items
            .iter()
            .all(|item| list.names(item) && fits(schema, list.item, item)),
        _ => false,
    }
}

fn told(faults: &[String]) -> Result<(), String> {
    match faults {
        [] => Ok(()),
        [only] => Err(only.clone()),
        many => Err(many.iter().fold("errors:".to_owned(), |mut text, fault| {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  {fault}");
            text
        })),
    }
}

/// The fields that an object sets: what applying it would own.
pub(super) fn fields_of(schema: Schema<'_>, object: &Value) -> FieldSet {
    let mut set = FieldSet::new();
    collect(schema, schema.root(), object, &mut Vec::new(), &mut set);
    set
}

fn check(schema: Schema<'_>, ty: Type, value: &Value, path: &mut Vec<PathElement>, faults: &mut Vec<String>) {
    match (schema.form(ty, Some(value)), value) {
        (_, Value::Null) => {}
        (Form::Scalar(kind), value) => {
            if let Some(text) = wrong_scalar(kind, value) {
                fault(faults, path, &text);
            }
        }
        (Form::Map(map), Value::Object(members)) => {
            for (name, value) in members {
                let Some(below) = map.member(name) else {
                    path.push(PathElement::field(name));
                    fault(faults, path, "field not declared in schema");
                    path.pop();
                    return;
                };
                path.push(PathElement::field(name));
                check(schema, below, value, path, faults);
                path.pop();
            }
        }
        (Form::Map(_), other) => fault(faults, path, &format!("expected map, got &{{{}}}", plain(other))),
        (Form::List(list), Value::Array(items)) => check_items(schema, &list, items, path, faults),
        (Form::List(_), other) => fault(faults, path, &format!("expected list, got &{{{}}}", plain(other))),
    }
}

fn fault(faults: &mut Vec<String>, path: &[PathElement], text: &str) {
    let at = Path(path.to_vec()).to_string();
    faults.push(if at.is_empty() {
        text.to_owned()
    } else {
        format!("{at}: {text}")
    });
}

fn check_items(
    schema: Schema<'_>,
    list: &ListShape<'_>,
    items: &[Value],
    path: &mut Vec<PathElement>,
    faults: &mut Vec<String>,
) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = if list.is_atomic() {
            PathElement::Index(i64::try_from(index).unwrap_or(i64::MAX))
        } else {
            match list.element(item) {
                Ok(element) => {
                    if !seen.insert(element.clone()) {
                        let at = Path(path.clone());
                        faults.push(format!("{at}{DUPLICATE}{element}"));
                    }
                    element
                }
                Err(error) => {
                    faults.push(format!("{}: element {index}: {error}", Path(path.clone())));
                    return;
                }
            }
        };
        path.push(element);
        check(schema, list.item, item, path, faults);
        path.pop();
    }
}

fn collect(schema: Schema<'_>, ty: Type, value: &Value, path: &mut Vec<PathElement>, set: &mut FieldSet) {
    match (schema.form(ty, Some(value)), value) {
        (Form::Scalar(_), _) => set.insert(path),
        (Form::Map(MapShape { atomic: true, .. }), _) => set.insert(path),
        (Form::List(list), _) if list.is_atomic() => set.insert(path),
        (Form::Map(map), Value::Object(members)) => {
            for (name, value) in members {
                path.push(PathElement::field(name));
                if let Some(below) = map.member(name) {
                    collect(schema, below, value, path, set);
                }
                let empty = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
                if empty || map.declared(name).is_none() {
                    set.insert(path);
                }
                path.pop();
            }
        }
        (Form::List(list), Value::Array(items)) => collect_items(schema, &list, items, path, set),
        _ => {}
    }
}

fn collect_items(
    schema: Schema<'_>,
    list: &ListShape<'_>,
    items: &[Value],
    path: &mut Vec<PathElement>,
    set: &mut FieldSet,
) {
    let mut by_element: BTreeMap<PathElement, Vec<&Value>> = BTreeMap::new();
    for item in items {
        if let Ok(element) = list.element(item) {
            by_element.entry(element).or_default().push(item);
        }
    }
    for (element, items) in by_element {
        path.push(element);
        // Of items that share a key only the place is owned, not what each of them holds.
        if let [item] = items.as_slice() {
            collect(schema, list.item, item, path, set);
        }
        set.insert(path);
        path.pop();
    }
}

pub(super) fn wrong_scalar(kind: ScalarKind, value: &Value) -> Option<String> {
    if let (_, Value::Null)
    | (ScalarKind::Numeric, Value::Number(_))
    | (ScalarKind::String, Value::String(_))
    | (ScalarKind::Boolean, Value::Bool(_))
    | (ScalarKind::Untyped, Value::Number(_) | Value::String(_) | Value::Bool(_)) = (kind, value)
    {
        return None;
    }
    let got = plain(value);
    match (kind, value) {
        (ScalarKind::Numeric, value) => {
            Some(format!("expected numeric (int or float), got {}", go_type(value)))
        }
        (ScalarKind::String, value) => {
            let value = match value {
                Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => got,
                other => format!("{}{got}", go_type(other)),
            };
            Some(format!(
                "expected string, got &value.valueUnstructured{{Value:{value}}}"
            ))
        }
        (ScalarKind::Boolean, _) => Some(format!("expected boolean, got &{{{got}}}")),
        (ScalarKind::Untyped, _) => Some(format!("expected any scalar, got &{{{got}}}")),
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go's `%v` prints it.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let members: Vec<String> = map
                .iter()
                .map(|(name, value)| format!("{name}:{}", plain(value)))
                .collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}
