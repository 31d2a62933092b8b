//! Writes of many kinds, and what must be true of a store that was opened after them.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tidegate_embedded::StorageKey;
use tidegate_embedded::store::{Change, Expect, Store};

type Place = (usize, String);

/// One revision: what it left at its place.
pub struct Write {
    pub revision: u64,
    place: Place,
    text: Option<String>,
}

/// What clients were told, and when: everything up to `revision` was acknowledged, and shown to watchers, before
/// the disk's operation `at`.
pub struct Promise {
    pub at: usize,
    pub revision: u64,
}

pub struct Story {
    rng: StdRng,
    objects: BTreeMap<Place, u64>,
    pub writes: Vec<Write>,
    pub promises: Vec<Promise>,
}

impl Story {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            objects: BTreeMap::new(),
            writes: Vec::new(),
            promises: Vec::new(),
        }
    }

    /// Bursts of writes, each awaited. Ends early when the store fails; `clock` counts the disk's operations.
    pub async fn tell(&mut self, store: &Store, bursts: usize, clock: impl Fn() -> usize) {
        for _ in 0..bursts {
            // Mostly one: then nothing happens on the disk between the answer and our look at the clock.
            let size = [1, 1, 1, 2, 8][self.rng.random_range(0..5)];
            let from = self.writes.len();
            for _ in 0..size {
                if !self.write(store) {
                    break;
                }
            }
            let mut watched = Vec::new();
            for index in from..self.writes.len() {
                let revision = self.writes[index].revision;
                watched.extend(self.shown(store));
                if store.settled(revision).await.is_err() {
                    return;
                }
                let revision = watched.drain(..).fold(revision, u64::max);
                self.promises.push(Promise {
                    at: clock(),
                    revision,
                });
            }
            if self.writes.len() == from {
                return;
            }
        }
    }

    /// The newest revision a watcher of any table can see.
    fn shown(&self, store: &Store) -> Option<u64> {
        let last = self.promises.last().map_or(1, |p| p.revision);
        let tables = (0..TABLES.len()).filter_map(|t| store.events_after(&table(t), last, 100).ok());
        tables.flatten().map(|event| event.revision).max()
    }

    /// Creates, replaces or deletes one object; false if the store took it not.
    fn write(&mut self, store: &Store) -> bool {
        let place = (
            self.rng.random_range(0..TABLES.len()),
            format!("default/o{}", self.rng.random_range(0..120)),
        );
        let known = self.objects.get(&place).copied();
        let expect = known.map_or(Expect::Absent, Expect::Version);
        let text = "x".repeat(match self.rng.random_range(0..40) {
            0 => 30_000,
            1..8 => 5_000,
            _ => self.rng.random_range(1..300),
        });
        let body = json!({"metadata": {"name": &place.1[8..], "uid": place.1}, "data": {"k": text}});
        let deletes = known.is_some() && self.rng.random_range(0..3) == 0;
        let change = if deletes {
            Change::Delete(body)
        } else {
            Change::Put(body)
        };
        let Ok(made) = store.commit(&table(place.0), &place.1, expect, change, |_| Vec::new()) else {
            return false;
        };
        match deletes {
            true => self.objects.remove(&place),
            false => self.objects.insert(place.clone(), made.revision),
        };
        self.writes.push(Write {
            revision: made.revision,
            place,
            text: (!deletes).then_some(text),
        });
        true
    }

    /// The highest revision a client knew of before operation `at`.
    pub fn promised_before(&self, at: usize) -> u64 {
        let count = self.promises.partition_point(|p| p.at <= at);
        self.promises[..count]
            .iter()
            .map(|p| p.revision)
            .max()
            .unwrap_or(1)
    }

    /// Panics unless `store`, opened after a cut, holds exactly what some revision from `promised` on left.
    pub async fn judge(&self, store: &Store, promised: u64, what: &str) {
        let now = store.revision();
        let newest = self.writes.last().map_or(1, |w| w.revision);
        assert!(
            now >= promised,
            "{what}: {promised} was acknowledged, {now} is there"
        );
        assert!(now <= newest, "{what}: {now} was never given out");
        let expected = self.as_of(now);
        let mut found = 0;
        for (place, (revision, text)) in &expected {
            let object = store
                .get(&table(place.0), &place.1)
                .unwrap_or_else(|| panic!("{what}: {place:?} of revision {revision} is missing"));
            assert_eq!(object.revision, *revision, "{what}: {place:?}");
            let value = object.bare();
            assert_eq!(value["data"]["k"], **text, "{what}: {place:?}");
            assert_eq!(
                value["metadata"]["resourceVersion"],
                revision.to_string(),
                "{what}"
            );
            found += 1;
        }
        let all: usize = (0..TABLES.len()).map(|t| store.count(&table(t), "")).sum();
        assert_eq!(all, found, "{what}: something deleted came back");
        resumes_or_is_told(store, promised, now, what).await;
    }

    fn as_of(&self, revision: u64) -> BTreeMap<&Place, (u64, &str)> {
        let mut out = BTreeMap::new();
        for write in self.writes.iter().take_while(|w| w.revision <= revision) {
            match &write.text {
                Some(text) => out.insert(&write.place, (write.revision, text.as_str())),
                None => out.remove(&write.place),
            };
        }
        out
    }
}

/// A watch from the last revision a client knew goes on without a gap, or is told that its revision has expired.
async fn resumes_or_is_told(store: &Store, known: u64, now: u64, what: &str) {
    let place = table(0);
    assert_eq!(
        store.watch(&place, known).is_ok(),
        known == now,
        "{what}: watching from {known} at {now}"
    );
    store.watch(&place, now).expect(what);
    let body = json!({"metadata": {"name": "after", "uid": "after"}});
    let made = store
        .commit(&place, "default/after", Expect::Absent, Change::Put(body), |_| {
            Vec::new()
        })
        .expect(what);
    assert!(made.revision > now, "{what}: revision {} again", made.revision);
    store.settled(made.revision).await.expect(what);
    let events = store.events_after(&place, now, 10).expect(what);
    let seen: Vec<u64> = events.iter().map(|e| e.revision).collect();
    assert_eq!(seen, [made.revision], "{what}");
}

const TABLES: [(&str, &str); 3] = [("", "configmaps"), ("", "secrets"), ("apps", "deployments")];

fn table(index: usize) -> StorageKey {
    StorageKey::new(TABLES[index].0, TABLES[index].1)
}
