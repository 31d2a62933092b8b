//! What changed between two states of an object, as field sets.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::{PathElement, same};
use super::schema::{Form, ListShape, MapShape, Schema, Type};
use super::set::FieldSet;

/// The difference of two objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    pub removed: FieldSet,
    pub modified: FieldSet,
    pub added: FieldSet,
}

/// Compares two states of an object.
pub(super) fn compare(schema: Schema<'_>, old: &Value, new: &Value) -> Comparison {
    let mut walk = Walk {
        schema,
        path: Vec::new(),
        out: Comparison::default(),
    };
    walk.value(schema.root(), Some(old), Some(new));
    walk.out
}

struct Walk<'t> {
    schema: Schema<'t>,
    path: Vec<PathElement>,
    out: Comparison,
}

impl<'t> Walk<'t> {
    fn value(&mut self, ty: Type, old: Option<&Value>, new: Option<&Value>) {
        let old_form = self.schema.form(ty, old);
        let new_form = self.schema.form(ty, new);
        let leaf = match (old, new) {
            (None, None) => return,
            (Some(_), None) => self.form(&old_form, old, new),
            (None, Some(_)) => self.form(&new_form, old, new),
            (Some(_), Some(_)) => {
                // A value whose form changed is looked at in both forms: its old parts go, its new parts come.
                let same_form = std::mem::discriminant(&old_form) == std::mem::discriminant(&new_form);
                if !same_form && !old.is_some_and(Value::is_null) && !new.is_some_and(Value::is_null) {
                    self.form(&old_form, old, new);
                }
                let form = if new.is_some_and(Value::is_null) {
                    &old_form
                } else {
                    &new_form
                };
                self.form(form, old, new)
            }
        };
        if !leaf {
            match (old, new) {
                (None, _) => self.out.added.insert(&self.path),
                (_, None) => self.out.removed.insert(&self.path),
                _ => {}
            }
        }
    }

    /// Whether the place was a leaf, and so has been taken care of.
    fn form(&mut self, form: &Form<'t>, old: Option<&Value>, new: Option<&Value>) -> bool {
        match form {
            Form::Scalar(_) => {
                self.leaf(old, new);
                true
            }
            Form::Map(map) => {
                let (a, b) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let empty = a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty);
                if map.atomic || empty {
                    self.leaf(old, new);
                    return true;
                }
                self.members(map, a, b);
                false
            }
            Form::List(list) => {
                let (a, b) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
                let empty = a.is_none_or(Vec::is_empty) && b.is_none_or(Vec::is_empty);
                if list.is_atomic() || empty {
                    self.leaf(old, new);
                    return true;
                }
                self.items(list, a.map_or(&[], Vec::as_slice), b.map_or(&[], Vec::as_slice));
                false
            }
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            (None, _) => self.out.added.insert(&self.path),
            (_, None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) if !same(old, new) => self.out.modified.insert(&self.path),
            _ => {}
        }
    }

    fn members(
        &mut self,
        map: &MapShape<'_>,
        old: Option<&Map<String, Value>>,
        new: Option<&Map<String, Value>>,
    ) {
        let names: BTreeSet<&String> = old.into_iter().chain(new).flat_map(Map::keys).collect();
        for name in names {
            let ty = map.member(name).unwrap_or(Type::Deduced);
            self.path.push(PathElement::field(name));
            self.value(ty, old.and_then(|m| m.get(name)), new.and_then(|m| m.get(name)));
            self.path.pop();
        }
    }

    fn items(&mut self, list: &ListShape<'_>, old: &[Value], new: &[Value]) {
        let mut by_element: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for item in old {
            if let Ok(element) = list.element(item) {
                by_element.entry(element).or_default().0.push(item);
            }
        }
        for item in new {
            if let Ok(element) = list.element(item) {
                by_element.entry(element).or_default().1.push(item);
            }
        }
        for (element, (old, new)) in by_element {
            self.path.push(element);
            match (old.as_slice(), new.as_slice()) {
                (old, new) if old.len() <= 1 && new.len() <= 1 => {
                    self.value(list.item, old.first().copied(), new.first().copied());
                }
                // Items that share a key count as one leaf.
                (old, new) if old.len() >= 2 && new.len() >= 2 => {
                    if old.len() != new.len() || !old.iter().zip(new).all(|(a, b)| same(a, b)) {
                        self.out.modified.insert(&self.path);
                    }
                }
                (old, new) if old.len() >= 2 => {
                    if let Some(new) = new.first() {
                        self.value(list.item, None, Some(new));
                    }
                    self.out.removed.insert(&self.path);
                }
                (old, _) => {
                    if let Some(old) = old.first() {
                        self.value(list.item, Some(old), None);
                    }
                    self.out.added.insert(&self.path);
                }
            }
            self.path.pop();
        }
    }
}
