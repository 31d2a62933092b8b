//! Taking fields out of an object.
use serde_json::{Map, Value};

use super::path::PathElement;
use super::schema::{Form, Schema, Type};
use super::set::FieldSet;

/// The object without the fields of the set. What is emptied by it becomes null.
pub(super) fn remove(schema: Schema<'_>, object: &Value, gone: &FieldSet) -> Value {
    value(schema, schema.root(), object, gone)
}

fn value(schema: Schema<'_>, ty: Type, object: &Value, gone: &FieldSet) -> Value {
    match (schema.form(ty, Some(object)), object) {
        (Form::Scalar(_), scalar) => scalar.clone(),
        // Of an atomic place nothing can go but the whole.
        (Form::Map(map), Value::Object(members)) if !map.atomic => {
            let mut left = Map::new();
            for (name, member) in members {
                let element = PathElement::field(name);
                if gone.has(&element) {
                    continue;
                }
                let kept = match gone.child(&element).filter(|below| !below.is_empty()) {
                    Some(below) => value(schema, map.member(name).unwrap_or(Type::Deduced), member, below),
                    None => member.clone(),
                };
                left.insert(name.clone(), kept);
            }
            if left.is_empty() {
                Value::Null
            } else {
                Value::Object(left)
            }
        }
        (Form::List(list), Value::Array(items)) if !list.is_atomic() => {
            let mut left = Vec::with_capacity(items.len());
            for item in items {
                let Ok(element) = list.element(item) else {
                    left.push(item.clone());
                    continue;
                };
                if gone.has(&element) {
                    continue;
                }
                left.push(match gone.child(&element).filter(|below| !below.is_empty()) {
                    Some(below) => value(schema, list.item, item, below),
                    None => item.clone(),
                });
            }
            if left.is_empty() {
                Value::Null
            } else {
                Value::Array(left)
            }
        }
        _ => Value::Null,
    }
}

/// Ownership of parts of a place that the schema has made atomic since becomes ownership of the whole.
pub(super) fn reconcile(schema: Schema<'_>, set: &FieldSet) -> FieldSet {
    let mut lifted = Vec::new();
    find_lifted(schema, schema.root(), set, false, &mut Vec::new(), &mut lifted);
    if lifted.is_empty() {
        return set.clone();
    }
    let mut places = FieldSet::new();
    for path in &lifted {
        places.insert(path);
    }
    set.without_trees(&places).union(&places)
}

fn find_lifted(
    schema: Schema<'_>,
    ty: Type,
    set: &FieldSet,
    whole: bool,
    path: &mut Vec<PathElement>,
    lifted: &mut Vec<Vec<PathElement>>,
) {
    let shape = schema.shape(ty);
    let atomic = match (&shape.map, &shape.list) {
        // Types that are only deduced say nothing about who may own what.
        (Some(_), Some(_)) => return,
        (Some(map), None) => map.atomic && !set.is_empty(),
        (None, Some(list)) => list.is_atomic(),
        (None, None) => return,
    };
    if atomic {
        if !whole {
            lifted.push(path.clone());
        }
        return;
    }
    for (element, below) in set.children() {
        let ty = match element {
            PathElement::Field(name) => shape.map.as_ref().and_then(|map| map.member(name)),
            _ => shape.list.as_ref().map(|list| list.item),
        };
        if let Some(ty) = ty {
            path.push(element.clone());
            find_lifted(schema, ty, below, false, path, lifted);
            path.pop();
        }
    }
}
