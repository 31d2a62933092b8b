//! Objects, revisions and history: what etcd is to a real API server.
//!
//! One global revision counts every write. An object is kept as its encoded JSON (without `apiVersion` and
//! `kind`, which belong to the version it is served in) beside the few fields that selectors and garbage
//! collection read. Readers see nothing that a crash could still take back: they wait until it is durable.
mod durable;
mod object;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

pub use durable::{Durable, StorageFailure};
pub use object::{FieldExtractor, OwnerRef, Stored, object_key};
pub use table::{Change, Event, EventKind};

use crate::catalog::StorageKey;
use table::Table;

/// The revision asked for is older than the history kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    pub oldest: u64,
}

/// What a write expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Absent,
    Version(u64),
}

#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the object exists already")]
    Exists,
    #[error("the object is gone")]
    Missing,
    #[error("the object has changed since it was read")]
    Modified,
    #[error("the object cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

/// Objects that name an owner, by the owner's uid.
pub type Dependents = BTreeSet<(StorageKey, Box<str>)>;

pub struct Store {
    state: Arc<Mutex<State>>,
    /// Highest revision that a crash cannot take back.
    settled: Arc<watch::Sender<u64>>,
    durable: Option<Durable>,
    history: usize,
}

struct State {
    revision: u64,
    /// History before this is unknown to every table (what a restart forgets).
    epoch: u64,
    tables: BTreeMap<StorageKey, Table>,
    dependents: BTreeMap<Box<str>, Dependents>,
}

impl Store {
    /// A store that lives and dies with the process.
    pub fn in_memory(history: usize) -> Arc<Self> {
        Arc::new(Self::build(1, BTreeMap::new(), BTreeMap::new(), None, history))
    }

    /// A store that answers a write once it is on disk.
    pub fn open(path: &Path, history: usize) -> Result<Arc<Self>, StorageFailure> {
        Self::with_durable(Durable::open(path)?, history)
    }

    pub fn with_durable(durable: Durable, history: usize) -> Result<Arc<Self>, StorageFailure> {
        let loaded = durable.load()?;
        let mut tables: BTreeMap<StorageKey, Table> = BTreeMap::new();
        let mut dependents: BTreeMap<Box<str>, Dependents> = BTreeMap::new();
        for (table_key, object) in loaded.objects {
            for owner in &object.owners {
                let entry = (table_key.clone(), object.key.clone());
                dependents.entry(owner.uid.clone()).or_default().insert(entry);
            }
            let table = tables
                .entry(table_key)
                .or_insert_with(|| Table::new(loaded.revision));
            table.objects.insert(object.key.clone(), Arc::new(object));
        }
        let store = Arc::new(Self::build(
            loaded.revision,
            tables,
            dependents,
            Some(durable),
            history,
        ));
        // The committing thread holds what it announces to, never the store: the store waits for that thread to end.
        let (state, settled) = (store.state.clone(), store.settled.clone());
        if let Some(durable) = &store.durable {
            durable.on_settled(move |revision| announce_settled(&state, &settled, revision));
        }
        Ok(store)
    }

    /// What a restore from a backup taken at `revision` finds, in memory. Nothing before it is remembered.
    pub fn restored_to(&self, revision: u64) -> Result<Arc<Self>, Compacted> {
        let state = self.lock();
        let mut tables: BTreeMap<StorageKey, Table> = BTreeMap::new();
        let mut dependents: BTreeMap<Box<str>, Dependents> = BTreeMap::new();
        for (key, table) in &state.tables {
            let mut restored = Table::new(revision);
            for object in table.at("", revision)? {
                for owner in &object.owners {
                    let entry = (key.clone(), object.key.clone());
                    dependents.entry(owner.uid.clone()).or_default().insert(entry);
                }
                restored.objects.insert(object.key.clone(), object);
            }
            tables.insert(key.clone(), restored);
        }
        Ok(Arc::new(Self::build(
            revision,
            tables,
            dependents,
            None,
            self.history,
        )))
    }

    fn build(
        revision: u64,
        tables: BTreeMap<StorageKey, Table>,
        dependents: BTreeMap<Box<str>, Dependents>,
        durable: Option<Durable>,
        history: usize,
    ) -> Self {
        let settled = Arc::new(watch::channel(revision).0);
        let state = State {
            revision,
            epoch: revision,
            tables,
            dependents,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            settled,
            durable,
            history,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last revision given out.
    pub fn revision(&self) -> u64 {
        self.lock().revision
    }

    pub fn get(&self, table: &StorageKey, key: &str) -> Option<Arc<Stored>> {
        self.lock().tables.get(table)?.objects.get(key).cloned()
    }

    /// All objects whose key starts with `prefix`, with the revision they were read at.
    pub fn snapshot(&self, table: &StorageKey, prefix: &str) -> (u64, Vec<Arc<Stored>>) {
        let state = self.lock();
        let objects = state
            .tables
            .get(table)
            .map(|t| t.with_prefix(prefix).cloned().collect())
            .unwrap_or_default();
        (state.revision, objects)
    }

    /// The objects as they were at an earlier revision.
    pub fn snapshot_at(
        &self,
        table: &StorageKey,
        prefix: &str,
        revision: u64,
    ) -> Result<Vec<Arc<Stored>>, Compacted> {
        let state = self.lock();
        match state.tables.get(table) {
            Some(t) => t.at(prefix, revision),
            None if revision < state.epoch => Err(Compacted { oldest: state.epoch }),
            None => Ok(Vec::new()),
        }
    }

    pub fn count(&self, table: &StorageKey, prefix: &str) -> usize {
        self.lock()
            .tables
            .get(table)
            .map_or(0, |t| t.with_prefix(prefix).count())
    }

    /// Every table that holds objects.
    pub fn populated(&self) -> Vec<StorageKey> {
        let state = self.lock();
        let filled = state.tables.iter().filter(|(_, t)| !t.objects.is_empty());
        filled.map(|(key, _)| key.clone()).collect()
    }

    /// What names `uid` as an owner.
    pub fn dependents_of(&self, uid: &str) -> Vec<(StorageKey, Box<str>)> {
        let state = self.lock();
        state
            .dependents
            .get(uid)
            .map(|d| d.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Stores `value` (its resourceVersion is set here) or deletes, if the object is as expected.
    ///
    /// Returns what was written; the caller answers only after [`Store::settled`] of its revision.
    pub fn commit(
        &self,
        table_key: &StorageKey,
        key: &str,
        expect: Expect,
        change: Change,
        fields: FieldExtractor,
    ) -> Result<Arc<Stored>, CommitError> {
        let mut state = self.lock();
        let epoch = state.epoch;
        let revision = state.revision + 1;
        let current = state
            .tables
            .get(table_key)
            .and_then(|t| t.objects.get(key))
            .cloned();
        check(expect, current.as_ref())?;
        let (kind, object, previous) = match (change, current) {
            (Change::Put(mut value), previous) => {
                set_resource_version(&mut value, revision);
                let object = Arc::new(Stored::encode(key, revision, &value, fields)?);
                let kind = if previous.is_some() {
                    EventKind::Modified
                } else {
                    EventKind::Added
                };
                (kind, object, previous)
            }
            (Change::Delete(mut last), Some(previous)) => {
                set_resource_version(&mut last, revision);
                let object = Arc::new(Stored::encode(key, revision, &last, fields)?);
                (EventKind::Deleted, object, Some(previous))
            }
            (Change::Delete(_), None) => return Err(CommitError::Missing),
        };
        if let Some(durable) = &self.durable {
            let body = (kind != EventKind::Deleted).then(|| object.clone());
            durable.enqueue(revision, table_key, key, body)?;
        }
        state.revision = revision;
        state.index_owners(
            table_key,
            previous.as_deref(),
            (kind != EventKind::Deleted).then_some(&*object),
        );
        let table = state
            .tables
            .entry(table_key.clone())
            .or_insert_with(|| Table::new(epoch));
        table.record(
            Event {
                revision,
                kind,
                object: object.clone(),
                previous,
                lines: Default::default(),
            },
            self.history,
        );
        if self.durable.is_none() {
            self.settled.send_replace(revision);
            table.announce(revision);
        }
        Ok(object)
    }

    /// Waits until `revision` cannot be lost any more.
    pub async fn settled(&self, revision: u64) -> Result<(), StorageFailure> {
        let Some(durable) = &self.durable else {
            return Ok(());
        };
        durable.wait(revision).await
    }

    /// The events of a table after `revision`, in order, and a signal for later ones.
    pub fn watch(&self, table_key: &StorageKey, revision: u64) -> Result<watch::Receiver<u64>, Compacted> {
        let mut state = self.lock();
        let epoch = state.epoch;
        let table = state
            .tables
            .entry(table_key.clone())
            .or_insert_with(|| Table::new(epoch));
        if revision < table.compacted {
            return Err(Compacted {
                oldest: table.compacted,
            });
        }
        Ok(table.subscribe())
    }

    /// At most `max` events after `revision` that are settled.
    pub fn events_after(
        &self,
        table: &StorageKey,
        revision: u64,
        max: usize,
    ) -> Result<Vec<Arc<Event>>, Compacted> {
        let limit = *self.settled.borrow();
        match self.lock().tables.get(table) {
            Some(t) => t.events_after(revision, limit, max),
            None => Ok(Vec::new()),
        }
    }

    /// The last settled revision.
    pub fn settled_revision(&self) -> u64 {
        *self.settled.borrow()
    }

    /// Signals every settled revision.
    pub fn revisions(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Small facts kept beside the objects (key seeds); `None` where nothing was kept.
    pub fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StorageFailure> {
        self.durable.as_ref().map_or(Ok(None), |d| d.fact(name))
    }

    pub fn keep_fact(&self, name: &str, value: &[u8]) -> Result<(), StorageFailure> {
        self.durable.as_ref().map_or(Ok(()), |d| d.keep_fact(name, value))
    }

    /// Why nothing can be written any more, if so.
    pub fn failure(&self) -> Option<String> {
        self.durable.as_ref().and_then(Durable::failure)
    }
}

/// Tells readers and watchers that everything up to `now` is there to stay.
fn announce_settled(state: &Mutex<State>, settled: &watch::Sender<u64>, now: u64) {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    settled.send_if_modified(|known| {
        let grows = now > *known;
        if grows {
            *known = now;
        }
        grows
    });
    for table in state.tables.values() {
        table.announce(now);
    }
}

impl State {
    fn index_owners(&mut self, table: &StorageKey, before: Option<&Stored>, after: Option<&Stored>) {
        let owners = |s: Option<&Stored>| -> BTreeSet<Box<str>> {
            s.map(|s| s.owners.iter().map(|o| o.uid.clone()).collect())
                .unwrap_or_default()
        };
        let Some(key) = after.or(before).map(|s| s.key.clone()) else {
            return;
        };
        let (old, new) = (owners(before), owners(after));
        for gone in old.difference(&new) {
            if let Some(set) = self.dependents.get_mut(gone) {
                set.remove(&(table.clone(), key.clone()));
                if set.is_empty() {
                    self.dependents.remove(gone);
                }
            }
        }
        for added in new.difference(&old) {
            let set = self.dependents.entry(added.clone()).or_default();
            set.insert((table.clone(), key.clone()));
        }
    }
}

fn check(expect: Expect, current: Option<&Arc<Stored>>) -> Result<(), CommitError> {
    match (expect, current) {
        (Expect::Absent, Some(_)) => Err(CommitError::Exists),
        (Expect::Version(_), None) => Err(CommitError::Missing),
        (Expect::Version(wanted), Some(found)) if found.revision != wanted => Err(CommitError::Modified),
        _ => Ok(()),
    }
}

fn set_resource_version(value: &mut Value, revision: u64) {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::from(revision.to_string()));
    }
}
