//! What a store holds and waits for, against a history of one server.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use proptest::prelude::*;
use serde::Deserialize;
use tokio::time::Instant;

use super::store::Store;
use super::{ObjectKey, Watched};

#[derive(Clone, Debug, Deserialize)]
struct Thing {
    name: String,
    uid: String,
    version: String,
}

impl Watched for Thing {
    fn key(&self) -> ObjectKey {
        ObjectKey::new("ns", &self.name)
    }
    fn resource_version(&self) -> &str {
        &self.version
    }
    fn uid(&self) -> &str {
        &self.uid
    }
}

fn thing(name: &str, uid: &str, version: u64) -> Thing {
    Thing {
        name: name.into(),
        uid: uid.into(),
        version: version.to_string(),
    }
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

fn synced(things: &[Thing], version: u64) -> Store<Thing> {
    let mut store = Store::new();
    store.begin_relist();
    for thing in things {
        assert!(store.put(thing.clone()));
    }
    store.end_relist(&version.to_string());
    store
}

#[test]
fn a_write_is_awaited_until_it_or_something_newer_shows() {
    let mut store = synced(&[thing("a", "u", 5)], 10);
    assert!(store.await_write(&key("a"), "u", "12"));
    assert!(!store.is_current_for(&key("a")));
    store.put(thing("a", "u", 11));
    assert!(!store.is_current_for(&key("a")), "another's earlier write");
    store.put(thing("a", "u", 13));
    assert!(store.is_current_for(&key("a")));
}

#[test]
fn a_write_whose_event_came_before_its_reply_is_not_awaited() {
    let mut store = synced(&[thing("a", "u", 5)], 10);
    store.put(thing("a", "u", 12));
    assert!(!store.await_write(&key("a"), "u", "12"));
    store.delete(&key("a"), "14");
    assert!(!store.await_write(&key("a"), "u", "13"), "and gone since");
    assert!(store.is_current_for(&key("a")));
}

#[test]
fn a_write_that_was_told_of_and_does_not_show_means_that_the_server_went_back_and_a_list_is_wanted() {
    let mut store = synced(&[thing("a", "u", 5)], 20);
    assert!(store.await_write(&key("a"), "u", "12"));
    assert!(!store.is_current_for(&key("a")));
    assert!(store.wants_list());
    store.begin_relist();
    store.put(thing("a", "u", 12));
    store.end_relist("13");
    assert!(store.is_current_for(&key("a")));
    assert!(!store.wants_list());
}

#[test]
fn a_delete_a_recreation_a_bookmark_and_a_list_each_end_the_wait() {
    let ends: [fn(&mut Store<Thing>); 4] = [
        |store| assert!(store.delete(&key("a"), "13")),
        |store| assert!(store.put(thing("a", "another", 13))),
        |store| assert!(store.bookmark("13")),
        |store| {
            store.begin_relist();
            store.end_relist("");
        },
    ];
    for (n, end) in ends.into_iter().enumerate() {
        let mut store = synced(&[thing("a", "u", 5)], 10);
        store.await_write(&key("a"), "u", "12");
        assert!(!store.is_current_for(&key("a")));
        end(&mut store);
        assert!(store.is_current_for(&key("a")), "{n}");
    }
}

#[test]
fn a_list_that_began_before_the_write_does_not_end_the_wait_unless_it_shows_it() {
    let mut store = synced(&[thing("a", "u", 5)], 10);
    store.begin_relist();
    store.await_write(&key("a"), "u", "12");
    store.put(thing("a", "u", 5));
    store.end_relist("11");
    assert!(!store.is_current_for(&key("a")));
    store.begin_relist();
    store.await_write(&key("a"), "u", "20");
    store.put(thing("a", "u", 20));
    store.end_relist("21");
    assert!(store.is_current_for(&key("a")));
}

#[test]
fn an_unknown_outcome_is_awaited_until_anything_of_the_object_shows() {
    let mut store = synced(&[thing("a", "u", 5)], 10);
    store.await_unknown(&key("a"));
    store.bookmark("50");
    assert!(!store.is_current_for(&key("a")));
    store.put(thing("a", "u", 51));
    assert!(store.is_current_for(&key("a")));
}

#[test]
fn a_store_shows_nothing_before_its_first_list_is_whole() {
    let mut store = Store::new();
    store.begin_relist();
    store.put(thing("a", "u", 5));
    assert!(store.get(&key("a")).is_none() && store.snapshot().is_empty());
    assert!(!store.is_current_for(&key("a")));
    store.end_relist("5");
    assert!(store.get(&key("a")).is_some());
}

#[test]
fn a_snapshot_does_not_move_and_finds_a_namespace() {
    let mut store = synced(&[thing("a", "u", 5), thing("b", "v", 6)], 10);
    let snapshot = store.snapshot();
    store.delete(&key("a"), "11");
    assert_eq!((snapshot.len(), store.snapshot().len()), (2, 1));
    assert_eq!(snapshot.in_namespace("ns").count(), 2);
    assert_eq!(
        snapshot.in_namespace("n").count() + snapshot.in_namespace("nsx").count(),
        0
    );
}

/// An object, its uid and version (none: it is gone), and the version of the event.
type Told = (u8, Option<(u64, u64)>, u64);

#[derive(Clone, Debug)]
enum Turn {
    /// Somebody writes the object.
    Other(u8),
    /// We do, and know the answer.
    Ours(u8),
    Delete(u8),
    /// The watch delivers so many events.
    Deliver(u8),
    /// The watch is replaced by a list.
    Relist,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        (0..4u8).prop_map(Turn::Other),
        (0..4u8).prop_map(Turn::Ours),
        (0..4u8).prop_map(Turn::Delete),
        (1..4u8).prop_map(Turn::Deliver),
        Just(Turn::Relist),
    ]
}

proptest! {
    #[test]
    fn what_is_current_is_never_older_than_our_last_write_and_no_wait_outlives_the_events(
        turns in prop::collection::vec(turn(), 1..60),
    ) {
        let mut server: std::collections::BTreeMap<u8, (u64, u64)> = Default::default();
        let mut events: std::collections::VecDeque<Told> = Default::default();
        let mut ours: std::collections::BTreeMap<u8, u64> = Default::default();
        let mut store = synced(&[], 1);
        let mut version = 1u64;
        let name = |n: u8| format!("o{n}");
        for turn in turns {
            version += 1;
            match turn {
                Turn::Other(n) | Turn::Ours(n) => {
                    let uid = server.get(&n).map_or(version, |old| old.0);
                    server.insert(n, (uid, version));
                    events.push_back((n, Some((uid, version)), version));
                    if matches!(turn, Turn::Ours(_)) {
                        ours.insert(n, version);
                        store.await_write(&key(&name(n)), &uid.to_string(), &version.to_string());
                    }
                }
                Turn::Delete(n) => {
                    if server.remove(&n).is_some() {
                        events.push_back((n, None, version));
                    }
                }
                Turn::Deliver(count) => {
                    for _ in 0..count {
                        let Some((n, state, at)) = events.pop_front() else { break };
                        match state {
                            Some((uid, at)) => prop_assert!(store.put(thing(&name(n), &uid.to_string(), at))),
                            None => prop_assert!(store.delete(&key(&name(n)), &at.to_string())),
                        }
                    }
                }
                Turn::Relist => {
                    events.clear();
                    store.begin_relist();
                    for (n, (uid, at)) in &server {
                        store.put(thing(&name(*n), &uid.to_string(), *at));
                    }
                    store.end_relist(&version.to_string());
                }
            }
            for (n, written) in &ours {
                if store.is_current_for(&key(&name(*n))) {
                    let told: u64 = store.version().parse().unwrap();
                    let held = store.get(&key(&name(*n))).map(|held| held.version.parse::<u64>().unwrap());
                    prop_assert!(told >= *written, "told up to {told}, wrote at {written}");
                    if let Some(held) = held {
                        prop_assert!(held >= *written);
                    }
                }
            }
        }
        for (n, state, at) in events {
            match state {
                Some((uid, at)) => prop_assert!(store.put(thing(&name(n), &uid.to_string(), at))),
                None => prop_assert!(store.delete(&key(&name(n)), &at.to_string())),
            }
        }
        prop_assert_eq!(store.awaited(), 0);
    }
}

#[test]
fn a_list_that_ends_a_doubt_replaces_an_object_of_the_same_version() {
    let mut store = synced(&[thing("a", "u", 5)], 20);
    let before = store.get(&key("a"));
    let relist = |store: &mut Store<Thing>| {
        store.begin_relist();
        store.put(thing("a", "u", 5));
        store.end_relist("20");
        store.get(&key("a"))
    };
    let is_same = |one: &Option<Arc<Thing>>, two: &Option<Arc<Thing>>| match (one, two) {
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        _ => false,
    };
    assert!(is_same(&before, &relist(&mut store)));
    store.doubt(Instant::now());
    let after = relist(&mut store);
    assert!(!is_same(&before, &after));
    assert!(is_same(&after, &relist(&mut store)));
}
