//! Laying an applied configuration over the live object.
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::{Map, Value};

use super::path::PathElement;
use super::schema::{Form, ListShape, MapShape, Schema, Type};

/// The live object with everything that the configuration says.
pub(super) fn merge(schema: Schema<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    Ok(value(schema, schema.root(), Some(live), Some(config))?.unwrap_or(Value::Null))
}

/// `None`: nothing is left of the place.
fn value(
    schema: Schema<'_>,
    ty: Type,
    live: Option<&Value>,
    config: Option<&Value>,
) -> Result<Option<Value>, String> {
    let decisive = match config {
        Some(config) if !config.is_null() => Some(config),
        _ => live,
    };
    match schema.form(ty, decisive) {
        Form::Scalar(_) => Ok(config.or(live).cloned()),
        Form::Map(map) => {
            let (a, b) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            let empty = a.is_none_or(Map::is_empty) && b.is_none_or(Map::is_empty);
            if map.atomic || empty {
                return Ok(config.or(live).cloned());
            }
            let members = members(schema, &map, a, b)?;
            Ok((!members.is_empty()).then_some(Value::Object(members)))
        }
        Form::List(list) => {
            let (a, b) = (live.and_then(Value::as_array), config.and_then(Value::as_array));
            let empty = a.is_none_or(Vec::is_empty) && b.is_none_or(Vec::is_empty);
            if list.is_atomic() || empty {
                return Ok(config.or(live).cloned());
            }
            let items = items(
                schema,
                &list,
                a.map_or(&[], Vec::as_slice),
                b.map_or(&[], Vec::as_slice),
            )?;
            Ok((!items.is_empty()).then_some(Value::Array(items)))
        }
    }
}

fn members(
    schema: Schema<'_>,
    map: &MapShape<'_>,
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, String> {
    let names: BTreeSet<&String> = live.into_iter().chain(config).flat_map(Map::keys).collect();
    let mut out = Map::new();
    for name in names {
        let ty = map.member(name).unwrap_or(Type::Deduced);
        let merged = value(
            schema,
            ty,
            live.and_then(|m| m.get(name)),
            config.and_then(|m| m.get(name)),
        )?;
        if let Some(merged) = merged {
            out.insert(name.clone(), merged);
        }
    }
    Ok(out)
}

/// An item with the name that paths give it.
type Named<'v> = (PathElement, &'v Value);

fn named<'v>(list: &ListShape<'_>, items: &'v [Value]) -> Result<Vec<Named<'v>>, String> {
    let name = |(index, item)| match list.element(item) {
        Ok(element) => Ok((element, item)),
        Err(error) => Err(format!("element {index}: {error}")),
    };
    items.iter().enumerate().map(name).collect()
}

fn refuse_duplicates(config: &[Named<'_>]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match config.iter().find(|(name, _)| !seen.insert(name)) {
        Some((name, _)) => Err(format!("duplicate entries for key {name}")),
        None => Ok(()),
    }
}

/// Merges items by name. The configuration's order wins for the items it names; the others stay near the
/// neighbours that they had in the live list.
fn items(
    schema: Schema<'_>,
    list: &ListShape<'_>,
    live: &[Value],
    config: &[Value],
) -> Result<Vec<Value>, String> {
    let (live, config) = (named(list, live)?, named(list, config)?);
    let in_config: BTreeMap<&PathElement, &Value> = config.iter().map(|(name, item)| (name, *item)).collect();
    refuse_duplicates(&config)?;
    // An item whose name occurs twice in the live list is not merged with the new one, but replaced by it.
    let mut in_live: BTreeMap<&PathElement, Option<&Value>> = BTreeMap::new();
    for (name, item) in &live {
        in_live
            .entry(name)
            .and_modify(|item| *item = None)
            .or_insert(Some(item));
    }
    let mut shared: VecDeque<&PathElement> = config
        .iter()
        .map(|(name, _)| name)
        .filter(|name| in_live.contains_key(name))
        .collect();
    let mut next_shared = shared.pop_front();
    let mut done: BTreeSet<&PathElement> = BTreeSet::new();
    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let mut emit = |name: &PathElement, config: Option<&Value>, own: Option<&Value>| -> Result<(), String> {
        let below = match (own, in_live.get(name)) {
            (Some(own), _) => Some(own),
            (None, Some(Some(item))) => Some(*item),
            (None, Some(None)) => Some(&Value::Null),
            (None, None) => None,
        };
        let merged = value(schema, list.item, below, config).map_err(|error| format!("{name}: {error}"))?;
        out.extend(merged);
        Ok(())
    };
    let (mut l, mut c) = (0, 0);
    while l < live.len() || c < config.len() {
        if let (Some((name, _)), Some((wanted, item))) = (live.get(l), config.get(c)) {
            if name == wanted {
                emit(name, Some(item), None)?;
                done.insert(wanted);
                (l, c) = (l + 1, c + 1);
                next_shared = shared.pop_front();
                continue;
            }
            if in_config.contains_key(name) && next_shared.is_some_and(|next| next != name) {
                // The configuration puts this item later.
                l += 1;
                continue;
            }
        }
        if let Some((name, item)) = live.get(l) {
            if !in_config.contains_key(name) {
                emit(name, None, Some(item))?;
                l += 1;
                continue;
            }
            if done.contains(name) {
                l += 1;
            }
        }
        if let Some((name, item)) = config.get(c) {
            emit(name, Some(item), None)?;
            done.insert(name);
            c += 1;
            if next_shared == Some(name) {
                next_shared = shared.pop_front();
            }
        }
    }
    Ok(out)
}
