//! Lists under a strategic merge patch: replaced, merged by key, merged as sets, or cut by a deletion list.
use std::collections::{BTreeMap, BTreeSet};

use apischema::TypeId;
use serde_json::Value;

use super::{DIRECTIVE, ELEMENT_ORDER, FieldRule, List, Merger, Object, directives, order};
use crate::PatchError;

impl Merger<'_> {
    pub(super) fn list(
        self,
        original: List,
        patch: List,
        rule: &FieldRule<'_>,
        deletes: bool,
    ) -> Result<List, PatchError> {
        if !rule.strategy.merge && !deletes {
            return Ok(patch);
        }
        if original.is_empty() && patch.is_empty() {
            return Ok(original);
        }
        if !holds_objects(&[&original, &patch])? {
            if deletes {
                let gone: BTreeSet<String> = patch.iter().map(Value::to_string).collect();
                return Ok(original
                    .into_iter()
                    .filter(|item| !gone.contains(&item.to_string()))
                    .collect());
            }
            return Ok(self.set(original, patch));
        }
        let Some(key) = rule.strategy.merge_key.as_deref() else {
            return Err(PatchError::Internal(
                "cannot merge lists without merge key for struct".to_owned(),
            ));
        };
        self.keyed(original, patch, key, rule.ty)
    }

    fn set(self, original: List, patch: List) -> List {
        let mut seen = BTreeSet::new();
        let both: List = original
            .iter()
            .chain(&patch)
            .filter(|item| seen.insert(item.to_string()))
            .cloned()
            .collect();
        let (named, others) = order::partition(both, &patch, None);
        order::arrange(named, others, &patch, &original, None)
    }

    fn keyed(self, original: List, patch: List, key: &str, item: TypeId) -> Result<List, PatchError> {
        let (original, patch) = special_items(original, patch, key)?;
        let mut merged = original.clone();
        // A key may occur twice in the original: the first one takes the change.
        let mut at: BTreeMap<String, usize> = BTreeMap::new();
        for (position, value) in merged.iter().enumerate() {
            if let Some(name) = value.get(key) {
                at.entry(name.to_string()).or_insert(position);
            }
        }
        for change in &patch {
            let name = key_of(change, key)?.to_string();
            match at.get(&name).copied() {
                Some(position) => {
                    let current = merged[position].as_object().cloned().unwrap_or_default();
                    let change = change.as_object().cloned().unwrap_or_default();
                    merged[position] = Value::Object(self.object(current, change, item)?);
                    // The change may have taken the key away, or given the item another one.
                    if merged[position].get(key).map(Value::to_string).as_ref() != Some(&name) {
                        at.remove(&name);
                    }
                }
                None => {
                    at.insert(name, merged.len());
                    merged.push(change.clone());
                }
            }
        }
        for value in merged.iter().chain(&patch).chain(&original) {
            key_of(value, key)?;
        }
        let (named, others) = order::partition(merged, &patch, Some(key));
        Ok(order::arrange(named, others, &patch, &original, Some(key)))
    }

    /// `$setElementOrder/field`: merges that list at once and puts it into the wanted order.
    pub(super) fn ordered_lists(
        self,
        original: &mut Object,
        patch: &mut Object,
        ty: TypeId,
    ) -> Result<(), PatchError> {
        let directives: Vec<String> = patch
            .keys()
            .filter(|key| key.starts_with(ELEMENT_ORDER))
            .cloned()
            .collect();
        for directive in directives {
            let wanted = as_list(patch.remove(&directive).unwrap_or(Value::Null))?;
            let field = directives::target(&directive, ELEMENT_ORDER)?;
            let current = original.get(field).cloned().map(as_list).transpose()?;
            let change = patch.get(field).cloned().map(as_list).transpose()?;
            let rule = self.list_field(ty, field)?;
            let key = rule.strategy.merge_key.as_deref();
            check_order(change.as_deref().unwrap_or_default(), &wanted, key)?;
            let live = current.clone().unwrap_or_default();
            let merged = match (current, change.clone()) {
                (None, None) => continue,
                (Some(current), None) => current,
                (None, Some(change)) => change.into_iter().filter_map(directives::strip).collect(),
                (Some(current), Some(change)) => self.list(current, change, &rule, false)?,
            };
            holds_objects(&[&live, change.as_deref().unwrap_or_default()])?;
            if let Some(key) = key {
                for value in merged.iter().chain(&wanted) {
                    key_of(value, key)?;
                }
            }
            let (named, others) = order::partition(merged, &wanted, key);
            let arranged = order::arrange(named, others, &wanted, &live, key);
            original.insert(field.to_owned(), Value::Array(arranged));
            patch.remove(field);
        }
        Ok(())
    }
}

/// Carries out the items of a patch list that are directives; what remains are original and ordinary changes.
fn special_items(original: List, patch: List, key: &str) -> Result<(List, List), PatchError> {
    let mut original = original;
    let mut changes = List::new();
    let mut replaces = false;
    for item in patch {
        match item.get(DIRECTIVE) {
            None => changes.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                let gone = key_of(&item, key)?;
                original.retain(|value| value.get(key) != Some(gone));
            }
            Some(Value::String(directive)) if directive == "replace" => replaces = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(PatchError::Internal(
                    "merging lists cannot yet be specified in the patch".to_owned(),
                ));
            }
            Some(other) => {
                return Err(directives::unknown(
                    other,
                    item.as_object().unwrap_or(&Object::new()),
                ));
            }
        }
    }
    Ok(if replaces {
        (changes, List::new())
    } else {
        (original, changes)
    })
}

/// The changes must come in the order that the directive gives, and be named by it.
fn check_order(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mismatch = || {
        PatchError::Internal(format!(
            "The order in patch list:\n{}\n doesn't match {ELEMENT_ORDER} list:\n{}\n",
            directives::go_list(patch),
            directives::go_list(wanted)
        ))
    };
    let deletes = |item: &Value| key.is_some() && item.get(DIRECTIVE).is_some_and(|it| it == "delete");
    let mut slots = wanted.iter().peekable();
    for item in patch.iter().filter(|item| !deletes(item)) {
        if slots.peek().is_none() {
            return Err(mismatch());
        }
        if item.get(DIRECTIVE).is_some() {
            continue;
        }
        let matches = |slot: &&Value| -> Result<bool, PatchError> {
            match key {
                Some(key) => Ok(key_of(item, key)? == key_of(slot, key)?),
                None => Ok(item == *slot),
            }
        };
        loop {
            let slot = slots.next().ok_or_else(mismatch)?;
            if matches(&slot)? {
                break;
            }
        }
    }
    Ok(())
}

/// Whether the items are objects. They must all be of one kind, and not lists.
fn holds_objects(lists: &[&[Value]]) -> Result<bool, PatchError> {
    let mut items = lists.iter().flat_map(|list| list.iter());
    let Some(first) = items.next() else {
        return Err(PatchError::Internal(
            "no elements in any of the given slices".to_owned(),
        ));
    };
    if first.is_array() {
        return Err(PatchError::Unprocessable(
            "lists of lists are not supported".to_owned(),
        ));
    }
    if first.is_null() || items.any(|item| !same_kind(item, first)) {
        let all: Vec<String> = lists.iter().map(|list| directives::go_list(list)).collect();
        return Err(PatchError::Internal(format!(
            "list element types are not identical: [{}]",
            all.join(" ")
        )));
    }
    Ok(first.is_object())
}

fn same_kind(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.is_f64() == b.is_f64(),
        _ => std::mem::discriminant(a) == std::mem::discriminant(b),
    }
}

fn key_of<'v>(item: &'v Value, key: &str) -> Result<&'v Value, PatchError> {
    let map = item
        .as_object()
        .ok_or_else(|| PatchError::Internal("expected a map[string]interface {}".to_owned()))?;
    map.get(key).ok_or_else(|| {
        PatchError::Internal(format!(
            "map: {} does not contain declared merge key: {key}",
            directives::go_map(map)
        ))
    })
}

fn as_list(value: Value) -> Result<List, PatchError> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(PatchError::Internal(format!(
            "expected a []interface {{}}, but received a {}",
            match other {
                Value::Object(_) => "map[string]interface {}",
                Value::String(_) => "string",
                Value::Bool(_) => "bool",
                Value::Number(_) => "int64",
                _ => "%!s(<nil>)",
            }
        ))),
    }
}
