//! The order of a merged list: items the patch names in the patch's order, the others in the order they had,
//! interleaved so that both keep the place that the live list suggests.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::List;

/// Splits `items` into those that `by` names and the others.
pub(super) fn partition(items: List, by: &[Value], key: Option<&str>) -> (List, List) {
    let named: BTreeSet<String> = by.iter().map(|item| identity(item, key)).collect();
    items
        .into_iter()
        .partition(|item| named.contains(&identity(item, key)))
}

/// Puts both parts into their order and interleaves them.
pub(super) fn arrange(
    named: List,
    others: List,
    wanted: &[Value],
    live: &[Value],
    key: Option<&str>,
) -> List {
    let live = positions(live, key);
    let named = sorted(named, &positions(wanted, key), key);
    let others = sorted(others, &live, key);
    interleave(others, named, &live, key)
}

fn sorted(mut items: List, order: &BTreeMap<String, usize>, key: Option<&str>) -> List {
    // Every item has a place in `order` unless the directive left it out; those stay behind.
    items.sort_by_cached_key(|item| order.get(&identity(item, key)).copied().unwrap_or(usize::MAX));
    items
}

/// An item of `others` goes before the first item of `named` that follows it in the live list.
fn interleave(others: List, named: List, live: &BTreeMap<String, usize>, key: Option<&str>) -> List {
    let mut out = List::with_capacity(others.len() + named.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        if let Some(place) = live.get(&identity(&item, key)) {
            let earlier = |other: &Value| live.get(&identity(other, key)).is_some_and(|at| at < place);
            while let Some(other) = others.next_if(earlier) {
                out.push(other);
            }
        }
        out.push(item);
    }
    out.extend(others);
    out
}

fn positions(items: &[Value], key: Option<&str>) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (position, item) in items.iter().enumerate() {
        found.entry(identity(item, key)).or_insert(position);
    }
    found
}

fn identity(item: &Value, key: Option<&str>) -> String {
    match key {
        Some(key) => item.get(key).map_or_else(String::new, Value::to_string),
        None => item.to_string(),
    }
}
