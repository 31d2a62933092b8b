//! Field sets: which places of an object a manager owns.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::path::{Path, PathElement};
use super::schema::{Schema, Type};

/// A set of paths, as a tree. A place may be owned, have owned places below it, or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    members: BTreeSet<PathElement>,
    /// Never holds an empty set.
    children: BTreeMap<PathElement, FieldSet>,
}

impl FieldSet {
    pub fn new() -> FieldSet {
        FieldSet::default()
    }

    /// A set of paths made of field names only.
    pub fn of_fields(paths: &[&[&str]]) -> FieldSet {
        let mut set = FieldSet::new();
        for path in paths {
            set.insert(
                &path
                    .iter()
                    .map(|name| PathElement::field(*name))
                    .collect::<Vec<_>>(),
            );
        }
        set
    }

    /// Adds a path; nobody owns the whole object, so the empty path is ignored.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                self.members.insert(last.clone());
            }
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(FieldSet::is_empty)
    }

    pub fn contains(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|set| set.contains(rest)),
        }
    }

    /// Every path in order: a set's own members first, then what lies below.
    pub fn paths(&self) -> Vec<Path> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    pub fn union(&self, other: &FieldSet) -> FieldSet {
        let mut out = self.clone();
        out.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            match out.children.get_mut(element) {
                Some(mine) => *mine = mine.union(set),
                None => {
                    out.children.insert(element.clone(), set.clone());
                }
            }
        }
        out
    }

    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = |(element, set): (&PathElement, &FieldSet)| {
            let common = set.intersection(other.children.get(element)?);
            (!common.is_empty()).then(|| (element.clone(), common))
        };
        FieldSet {
            members: self.members.intersection(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(both).collect(),
        }
    }

    /// What is in this set and not in the other. Removing a parent leaves its children.
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        let left = |(element, set): (&PathElement, &FieldSet)| {
            let left = match other.children.get(element) {
                Some(gone) => set.difference(gone),
                None => set.clone(),
            };
            (!left.is_empty()).then(|| (element.clone(), left))
        };
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(left).collect(),
        }
    }

    /// As `difference`, but a removed place takes everything below it along.
    pub fn without_trees(&self, other: &FieldSet) -> FieldSet {
        let left = |(element, set): (&PathElement, &FieldSet)| {
            if other.members.contains(element) {
                return None;
            }
            let left = match other.children.get(element) {
                Some(gone) => set.without_trees(gone),
                None => set.clone(),
            };
            (!left.is_empty()).then(|| (element.clone(), left))
        };
        FieldSet {
            members: self.members.difference(&other.members).cloned().collect(),
            children: self.children.iter().filter_map(left).collect(),
        }
    }

    /// Adds the struct fields on the way to every member: a struct counts as owned by whoever owns a part of it.
    pub(super) fn with_named_fields(&self, schema: Schema<'_>, ty: Type) -> FieldSet {
        let shape = schema.shape(ty);
        let mut out = FieldSet {
            members: self.members.clone(),
            children: BTreeMap::new(),
        };
        for (element, set) in &self.children {
            let below = match element {
                PathElement::Field(name) => {
                    let known = shape.map.as_ref().and_then(|map| map.declared(name));
                    if known.is_some() {
                        out.members.insert(element.clone());
                    }
                    known.or_else(|| shape.map.as_ref().and_then(|map| map.other))
                }
                PathElement::Key(_) => shape.list.as_ref().map(|list| list.item),
                PathElement::Value(_) | PathElement::Index(_) => None,
            };
            let set = match below {
                Some(below) => set.with_named_fields(schema, below),
                None => set.clone(),
            };
            out.children.insert(element.clone(), set);
        }
        out
    }

    /// FieldsV1 as JSON.
    pub fn to_fields_v1(&self) -> Value {
        Value::Object(self.encode(false))
    }

    /// Reads FieldsV1.
    pub fn from_fields_v1(fields: &Value) -> Result<FieldSet, String> {
        let Value::Object(members) = fields else {
            return Err(format!("expected an object of fields, got {fields}"));
        };
        Ok(FieldSet::decode(members)?.0)
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (&PathElement, &FieldSet)> {
        self.children.iter()
    }

    pub(super) fn child(&self, element: &PathElement) -> Option<&FieldSet> {
        self.children.get(element)
    }

    pub(super) fn has(&self, element: &PathElement) -> bool {
        self.members.contains(element)
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Path>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(Path(path));
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.collect(prefix, out);
            prefix.pop();
        }
    }

    fn encode(&self, owned: bool) -> Map<String, Value> {
        let mut out = Map::new();
        if owned && !self.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for member in &self.members {
            out.insert(member.encode(), Value::Object(Map::new()));
        }
        for (element, set) in &self.children {
            let below = set.encode(self.members.contains(element));
            out.insert(element.encode(), Value::Object(below));
        }
        out
    }

    /// The set below a place, and whether the place itself is owned.
    fn decode(members: &Map<String, Value>) -> Result<(FieldSet, bool), String> {
        let mut set = FieldSet::new();
        let mut owned = false;
        for (key, below) in members {
            if key == "." {
                owned = true;
                continue;
            }
            let Some(element) = PathElement::decode(key)? else {
                continue;
            };
            let Value::Object(below) = below else {
                return Err(format!("expected an object of fields at {key:?}, got {below}"));
            };
            let (below, member) = FieldSet::decode(below)?;
            if member {
                set.members.insert(element.clone());
            }
            if !below.is_empty() {
                set.children.insert(element, below);
            }
        }
        let owned = owned || set.is_empty();
        Ok((set, owned))
    }
}
