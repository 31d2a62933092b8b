//! The order of a merged list: items the patch names in the patch's order, the others in the order they had,
//! interleaved so that both keep the place that the live list suggests.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::List;

/// Up to this many items Go's stable sort is an insertion sort.
const GO_INSERTION_SORT: usize = 20;

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
    let place = |item: &Value| order.get(&identity(item, key)).copied();
    let all_known = items.iter().all(|item| place(item).is_some());
    if all_known || items.len() > GO_INSERTION_SORT {
        items.sort_by_cached_key(|item| place(item).unwrap_or(usize::MAX));
        return items;
    }
    // Only an order list that names nothing leaves items without a place. A real server then calls any such item
    // less than its neighbour in the insertion sort of Go's library, which turns new items around.
    for at in 1..items.len() {
        let mut at = at;
        while at > 0 {
            let stays = matches!((place(&items[at]), place(&items[at - 1])), (Some(a), Some(b)) if a >= b);
            if stays {
                break;
            }
            items.swap(at, at - 1);
            at -= 1;
        }
    }
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
