//! Watch caches: what the API server holds of one kind, projected to what a reader needs.
//!
//! Each object is decoded on its own, straight from bytes into the projection. A cache knows which of our own
//! writes it has not seen yet ([`Cache::is_current_for`]), so that nothing is decided on a state older than them.
mod changes;
mod event;
mod request;
mod snapshot;
mod store;
#[cfg(test)]
mod store_tests;
mod until;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{Notify, watch as channel};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use changes::Changes;
pub use snapshot::Snapshot;

use crate::{Deleted, Door, ObjectKey, Resource, WriteReceipt};
use store::Store;

/// A projection of a kind: the fields somebody reads, decoded straight from the object's JSON.
pub trait Watched: DeserializeOwned + Send + Sync + 'static {
    fn key(&self) -> ObjectKey;
    fn resource_version(&self) -> &str;
    fn uid(&self) -> &str;
}

/// Which objects of the kind are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchScope {
    pub namespace: Option<String>,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
}

/// How a cache fares, for health endpoints and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheHealth {
    pub synced: bool,
    pub objects: usize,
    /// Objects that could not be decoded, with the reason.
    pub bad: BTreeMap<ObjectKey, String>,
    /// Time since the server was last heard on this watch.
    pub age: Duration,
    pub relists: u64,
    pub reconnects: u64,
    /// Why there is no watch at the moment.
    pub trouble: Option<String>,
    /// Objects whose state here is older than our own last write.
    pub awaited_writes: usize,
}

/// A watch cache. Clones share it; it stops with the last of them.
pub struct Cache<T: Watched> {
    shared: Arc<Shared<T>>,
    _task: Arc<StopOnDrop>,
}

struct StopOnDrop(AbortHandle);

struct Shared<T: Watched> {
    store: Mutex<Store<T>>,
    synced: channel::Sender<bool>,
    /// The store's clock when the last complete list began.
    listed: channel::Sender<u64>,
    /// Whether no watch was cut since the last complete list.
    sure: channel::Sender<bool>,
    /// Tells the watch that a write of ours is awaited, or a fresh list is wanted.
    awaiting: Notify,
}

impl<T: Watched> Cache<T> {
    /// Starts watching in a task of its own (needs a tokio runtime).
    pub fn start(door: &Door, resource: Resource, scope: WatchScope) -> Cache<T> {
        let shared = Arc::new(Shared {
            store: Mutex::new(Store::new()),
            synced: channel::Sender::new(false),
            listed: channel::Sender::new(0),
            sure: channel::Sender::new(false),
            awaiting: Notify::new(),
        });
        let task = tokio::spawn(watch::run(door.clone(), resource, scope, shared.clone()));
        Cache {
            shared,
            _task: Arc::new(StopOnDrop(task.abort_handle())),
        }
    }

    /// Waits until everything there was at the start has been seen.
    pub async fn synced(&self) {
        // The sender lives as long as we do.
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Reads everything afresh from the server, and waits until that is here: what others wrote before this call
    /// is then seen. A new leader does this before it acts.
    pub async fn refresh(&self) {
        let wanted = self.shared.store().want_list();
        let mut listed = self.shared.listed.subscribe();
        self.shared.awaiting.notify_one();
        let _ = listed.wait_for(|began| *began >= wanted).await;
    }

    /// Whether no watch was cut since the last complete list. After a cut, what is here may be of a time that never was:
    /// the server may have been put back to an earlier state, which its versions do not always show.
    pub fn is_sure(&self) -> bool {
        *self.shared.sure.borrow()
    }

    /// Waits until it is so; what is in doubt is listed at once.
    pub async fn sure(&self) {
        if !self.is_sure() && self.shared.store().want_list_if_none_runs() {
            self.shared.awaiting.notify_one();
        }
        let _ = self.shared.sure.subscribe().wait_for(|sure| *sure).await;
    }

    /// Waits until what is here is in doubt.
    pub async fn doubted(&self) {
        let _ = self.shared.sure.subscribe().wait_for(|sure| !*sure).await;
    }

    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// One object; nothing before the first sync.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.shared.store().get(key)
    }

    /// All objects as of now, in key order; cheap, and unmoved by what comes later. Empty before the first sync.
    pub fn snapshot(&self) -> Snapshot<T> {
        self.shared.store().snapshot()
    }

    /// Keys of objects that changed or went, beginning with all there are. Keys not yet read are kept once each.
    pub fn changes(&self) -> Changes {
        self.shared.store().subscribe()
    }

    /// Tells of a write of ours: until the cache has seen it, or something newer, the object is not current.
    pub fn observe_write(&self, key: &ObjectKey, uid: &str, resource_version: &str) {
        if self.shared.store().await_write(key, uid, resource_version) {
            self.shared.awaiting.notify_one();
        }
    }

    /// As [`Cache::observe_write`], from a write's answer.
    pub fn observe(&self, receipt: &WriteReceipt) {
        self.observe_write(
            &receipt.key(),
            &receipt.metadata.uid,
            &receipt.metadata.resource_version,
        );
    }

    /// As [`Cache::observe_write`], from a write's whole answer.
    pub fn observe_answer(&self, answer: &serde_json::Value) {
        let field = |name: &str| answer["metadata"][name].as_str().unwrap_or_default();
        let key = ObjectKey::new(field("namespace"), field("name"));
        self.observe_write(&key, field("uid"), field("resourceVersion"));
    }

    /// Tells of a delete of ours: the object is not current until it shows.
    pub fn observe_delete(&self, key: &ObjectKey, uid: &str, deleted: &Deleted) {
        let version = deleted
            .object
            .as_ref()
            .and_then(|o| o["metadata"]["resourceVersion"].as_str());
        let added = match version {
            Some(version) => self.shared.store().await_write(key, uid, version),
            None => self.shared.store().await_delete(key, uid),
        };
        if added {
            self.shared.awaiting.notify_one();
        }
    }

    /// Tells of a write whose outcome is unknown: the object is not current until something newer is seen of it,
    /// or a list that began after this call.
    pub fn observe_unknown(&self, key: &ObjectKey) {
        if self.shared.store().await_unknown(key) {
            self.shared.awaiting.notify_one();
        }
    }

    /// Whether what is here of the object is at least as new as our own last write, and could be decoded.
    pub fn is_current_for(&self, key: &ObjectKey) -> bool {
        self.shared.store().is_current_for(key)
    }

    /// Whether no write of ours is awaited at all.
    pub fn is_current(&self) -> bool {
        self.shared.store().awaited() == 0
    }

    /// Time since the server was last heard on this watch. Real servers send bookmarks about every minute.
    pub fn age(&self) -> Duration {
        self.shared.store().age()
    }

    pub fn health(&self) -> CacheHealth {
        self.shared.store().health()
    }
}

impl<T: Watched> Clone for Cache<T> {
    fn clone(&self) -> Self {
        Cache {
            shared: self.shared.clone(),
            _task: self._task.clone(),
        }
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Watched> Shared<T> {
    fn store(&self) -> MutexGuard<'_, Store<T>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the oldest awaited write becomes suspicious, or a cut has been in doubt for long enough.
    fn suspicious_at(&self) -> Option<Instant> {
        let store = self.store();
        let awaited = store
            .oldest_awaited()
            .map(|since| since + watch::WRITE_SHOWS_WITHIN);
        [awaited, store.doubted_until()].into_iter().flatten().min()
    }
}
