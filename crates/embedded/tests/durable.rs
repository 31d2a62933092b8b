//! What survives a torn disk: every write that was answered, and no version twice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;
use serde_json::json;
use tidegate_embedded::StorageKey;
use tidegate_embedded::store::{Change, Durable, Expect, Store};

/// A disk that loses what was not synced: at a cut, unsynced writes are dropped, torn or kept at random.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    synced: Vec<u8>,
    /// Writes since the last sync, in order; a change of length is a write of nothing.
    pending: Vec<Pending>,
    operations: usize,
    /// From this operation on everything fails.
    dies_at: usize,
}

#[derive(Debug, Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Pending) {
    match change {
        Pending::Length(length) => bytes.resize(*length, 0),
        Pending::Write(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

impl State {
    fn current(&self) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        self.pending.iter().for_each(|p| apply(&mut bytes, p));
        bytes
    }

    fn step(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.dies_at > 0 && self.operations >= self.dies_at {
            true => Err(io::Error::other("the power is out")),
            false => Ok(()),
        }
    }
}

impl Disk {
    fn dying_at(operation: usize) -> Self {
        let disk = Self::default();
        disk.0.lock().unwrap().dies_at = operation;
        disk
    }

    /// The disk after the power comes back: each unsynced write is lost, torn or kept, by `seed`.
    fn reborn(&self, mut seed: u64) -> Self {
        let state = self.0.lock().unwrap();
        let mut bytes = state.synced.clone();
        for change in &state.pending {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            match (change, (seed >> 33) % 3) {
                (_, 0) => {}
                (Pending::Write(at, data), 1) => {
                    let kept = data[..data.len() / 2].to_vec();
                    apply(&mut bytes, &Pending::Write(*at, kept));
                }
                (change, _) => apply(&mut bytes, change),
            }
        }
        let fresh = State {
            synced: bytes,
            ..State::default()
        };
        Self(Arc::new(Mutex::new(fresh)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().current().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap().current();
        let at = usize::try_from(offset).unwrap();
        out.copy_from_slice(&bytes[at..at + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        state.pending.push(Pending::Length(usize::try_from(len).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        state.synced = state.current();
        state.pending.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        state
            .pending
            .push(Pending::Write(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

fn maps() -> StorageKey {
    StorageKey::new("", "configmaps")
}

/// Writes until the disk dies; returns the acknowledged writes as (key, revision).
async fn write_until_death(store: &Store) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    for index in 0..40 {
        let key = format!("default/{index}");
        let object =
            json!({"metadata": {"name": index.to_string(), "uid": index.to_string()}, "data": {"k": "v"}});
        let Ok(made) = store.commit(&maps(), &key, Expect::Absent, Change::Put(object), |_| Vec::new())
        else {
            break;
        };
        if store.settled(made.revision).await.is_err() {
            break;
        }
        acknowledged.push((key, made.revision));
    }
    acknowledged
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_and_no_revision_is_reused_at_any_cut() {
    let points: usize = std::env::var("TIDEGATE_CUTS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(150);
    let mut seen_partial = 0;
    for point in 0..points {
        // A story has about 200 operations; beyond that the same cuts tear differently.
        let (cut, seed) = (20 + point % 180, point as u64);
        let disk = Disk::dying_at(cut);
        let Ok(durable) = Durable::with_backend(disk.clone()) else {
            continue;
        };
        let Ok(store) = Store::with_durable(durable, 64) else {
            continue;
        };
        let acknowledged = write_until_death(&store).await;
        let highest = acknowledged.iter().map(|(_, r)| *r).max().unwrap_or(1);
        drop(store);
        let again = Durable::with_backend(disk.reborn(seed)).expect("the disk can be read after a cut");
        let store = Store::with_durable(again, 64).expect("the objects can be read after a cut");
        for (key, revision) in &acknowledged {
            let found = store
                .get(&maps(), key)
                .unwrap_or_else(|| panic!("point {point}: {key} is lost"));
            assert_eq!(found.revision, *revision, "point {point}: {key}");
        }
        assert!(store.revision() >= highest, "point {point}: revisions went back");
        let watched = store.watch(&maps(), highest);
        assert!(
            watched.is_ok() || highest < store.revision(),
            "point {point}: a current watch must resume"
        );
        seen_partial += usize::from(acknowledged.len() < 40);
    }
    assert!(seen_partial > 0, "some cut must have hit the writes");
}
