//! What a cache holds, and what it still waits to see. No I/O: the watch feeds it, readers ask it.
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use imbl::OrdMap;
use tokio::time::Instant;

use super::changes::{Changes, Queue};
use super::snapshot::{Snapshot, packed};
use super::until::{Awaited, Until, newer_or_same};
use super::{CacheHealth, Watched};
use crate::ObjectKey;
use crate::key::compare_versions;

pub(super) struct Store<T> {
    objects: OrdMap<ObjectKey, Arc<T>>,
    synced: bool,
    /// The newest version the server has told us of: of an object, a list, or a bookmark.
    version: String,
    awaited: BTreeMap<ObjectKey, Awaited>,
    /// Counts what was awaited, to tell what a list that began earlier cannot answer.
    clock: u64,
    relist: Option<Relist>,
    /// A list that begins at this clock or later is wanted.
    wanted: u64,
    /// A watch was cut: all is to be listed by then.
    doubted_until: Option<Instant>,
    bad: BTreeMap<ObjectKey, String>,
    readers: Vec<Weak<Queue>>,
    heard: Instant,
    relists: u64,
    reconnects: u64,
    trouble: Option<String>,
}

/// A list in progress: what of it was seen, and which waits began before it.
struct Relist {
    /// `None` when nothing was held before: then all that is held was seen.
    seen: Option<BTreeSet<ObjectKey>>,
    began: u64,
}

impl<T: Watched> Store<T> {
    pub(super) fn new() -> Self {
        Self {
            objects: OrdMap::new(),
            synced: false,
            version: String::new(),
            awaited: BTreeMap::new(),
            clock: 0,
            relist: None,
            wanted: 0,
            doubted_until: None,
            bad: BTreeMap::new(),
            readers: Vec::new(),
            heard: Instant::now(),
            relists: 0,
            reconnects: 0,
            trouble: None,
        }
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<T>> {
        self.objects.get(key).filter(|_| self.synced).cloned()
    }

    pub(super) fn snapshot(&self) -> Snapshot<T> {
        Snapshot {
            objects: if self.synced {
                self.objects.clone()
            } else {
                OrdMap::new()
            },
        }
    }

    pub(super) fn subscribe(&mut self) -> Changes {
        let queue = Arc::new(Queue::default());
        if self.synced {
            self.objects.keys().for_each(|key| queue.push(key));
        }
        self.readers.retain(|reader| reader.strong_count() > 0);
        self.readers.push(Arc::downgrade(&queue));
        Changes::over(queue)
    }

    // ---- what the watch tells ----

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.trouble = None;
    }

    pub(super) fn in_trouble(&mut self, reason: String) {
        self.trouble = Some(reason);
    }

    pub(super) fn reconnected(&mut self) {
        self.reconnects += 1;
    }

    /// A list begins: what it does not name is gone at its end.
    pub(super) fn begin_relist(&mut self) {
        let seen = (!self.objects.is_empty() || !self.bad.is_empty()).then(BTreeSet::new);
        self.relist = Some(Relist {
            seen,
            began: self.clock,
        });
    }

    /// Whether no list is half done.
    pub(super) fn is_complete(&self) -> bool {
        self.relist.is_none()
    }

    /// Asks for a list that begins from now on; returns the clock it must have begun at.
    pub(super) fn want_list(&mut self) -> u64 {
        self.clock += 1;
        self.wanted = self.clock;
        self.wanted
    }

    /// As [`Store::want_list`], unless a list is wanted or in progress; whether it is wanted now.
    pub(super) fn want_list_if_none_runs(&mut self) -> bool {
        let none_runs = self.relist.is_none() && self.wanted == 0;
        none_runs && self.want_list() > 0
    }

    pub(super) fn doubt(&mut self, until: Instant) {
        self.doubted_until.get_or_insert(until);
    }

    /// None while a list is in progress, as for what is awaited.
    pub(super) fn doubted_until(&self) -> Option<Instant> {
        self.doubted_until.filter(|_| self.relist.is_none())
    }

    /// Whether a list is wanted that the one in progress, if any, began too early for.
    pub(super) fn wants_list(&self) -> bool {
        match &self.relist {
            Some(relist) => relist.began < self.wanted,
            None => self.wanted > 0,
        }
    }

    /// A list is complete, as of `version`. Returns how many objects there are and the clock when it began.
    pub(super) fn end_relist(&mut self, version: &str) -> (usize, u64) {
        let Some(Relist { seen, began }) = self.relist.take() else {
            return (self.objects.len(), 0);
        };
        if began >= self.wanted {
            self.wanted = 0;
        }
        match seen {
            None => self.objects = packed(std::mem::take(&mut self.objects)),
            Some(seen) => self.keep_only(&seen),
        }
        self.version = version.to_owned();
        self.doubted_until = None;
        // The list was asked for after these waits began, and lists are consistent: it shows what they waited for.
        // The others could not show as long as it took.
        let (version, now) = (&self.version, Instant::now());
        self.awaited.retain(|_, awaited| {
            awaited.since = now;
            awaited.order > began && !awaited.until.reached_by(version)
        });
        self.relists += 1;
        if !self.synced {
            self.synced = true;
            let keys: Vec<ObjectKey> = self.objects.keys().cloned().collect();
            keys.iter().for_each(|key| self.tell(key));
        }
        (self.objects.len(), began)
    }

    /// An object is there, as decoded. False if its version lies before what we have been told already.
    pub(super) fn put(&mut self, object: T) -> bool {
        let key = object.key();
        let listing = self.note_seen(&key);
        if !listing && !self.advance(object.resource_version()) {
            return false;
        }
        self.bad.remove(&key);
        // A server that was put back may give a version that it gave before to another state of the same object.
        let in_doubt = self.doubted_until.is_some();
        let same = self.objects.get(&key).filter(|_| !in_doubt).is_some_and(|old| {
            old.uid() == object.uid() && old.resource_version() == object.resource_version()
        });
        if !same {
            self.settle(&key, object.uid(), object.resource_version());
            self.objects.insert(key.clone(), Arc::new(object));
            self.tell(&key);
        }
        true
    }

    /// An object is gone (or out of scope). False as in [`Store::put`].
    pub(super) fn delete(&mut self, key: &ObjectKey, version: &str) -> bool {
        if self.relist.is_none() && !self.advance(version) {
            return false;
        }
        if let Some(Relist { seen: Some(seen), .. }) = &mut self.relist {
            seen.remove(key);
        }
        self.bad.remove(key);
        let waits_on = self.awaited.get(key).is_some_and(|awaited| match &awaited.until {
            Until::Version(wanted) => compare_versions(version, wanted) == Some(Ordering::Less),
            Until::Gone | Until::AnyChange => false,
        });
        if !waits_on {
            self.awaited.remove(key);
        }
        if self.objects.remove(key).is_some() {
            self.tell(key);
        }
        true
    }

    /// An object is there, but could not be decoded: its last good state stays, and is not current.
    pub(super) fn put_bad(&mut self, key: ObjectKey, version: &str, reason: String) -> bool {
        let listing = self.note_seen(&key);
        if !listing && !version.is_empty() && !self.advance(version) {
            return false;
        }
        self.bad.insert(key.clone(), reason);
        self.tell(&key);
        true
    }

    /// The server says how far we are. False as in [`Store::put`].
    pub(super) fn bookmark(&mut self, version: &str) -> bool {
        if !self.advance(version) {
            return false;
        }
        let version = &self.version;
        self.awaited
            .retain(|_, awaited| !awaited.until.reached_by(version));
        true
    }

    // ---- our own writes ----

    /// Returns whether the write is now awaited (it may have been seen already).
    pub(super) fn await_write(&mut self, key: &ObjectKey, uid: &str, version: &str) -> bool {
        let until = Until::Version(version.to_owned());
        if until.reached_by(&self.version) {
            return self.is_older_than(key, uid, version) && {
                self.want_list();
                self.wait_for(key, uid, until)
            };
        }
        let shown = self
            .objects
            .get(key)
            .is_some_and(|object| object.uid() == uid && newer_or_same(object.resource_version(), version));
        if shown {
            return false;
        }
        // An earlier write answered later waits for less than is waited for already.
        if let Some(Awaited {
            until: Until::Version(waited),
            uid: waited_uid,
            ..
        }) = self.awaited.get(key)
            && waited_uid == uid
            && compare_versions(waited, version) == Some(Ordering::Greater)
        {
            return false;
        }
        self.wait_for(key, uid, until)
    }

    /// Told of all up to this version, and still without it: the server has gone back (a restored etcd does), and
    /// what is held is of a time that never was.
    fn is_older_than(&self, key: &ObjectKey, uid: &str, version: &str) -> bool {
        let held = self.objects.get(key).filter(|held| held.uid() == uid);
        let is_older = held
            .is_some_and(|held| compare_versions(held.resource_version(), version) == Some(Ordering::Less));
        is_older && !self.bad.contains_key(key)
    }

    pub(super) fn await_delete(&mut self, key: &ObjectKey, uid: &str) -> bool {
        let there = self.objects.get(key).is_some_and(|object| object.uid() == uid);
        there && self.wait_for(key, uid, Until::Gone)
    }

    pub(super) fn await_unknown(&mut self, key: &ObjectKey) -> bool {
        let uid = self
            .objects
            .get(key)
            .map_or(String::new(), |object| object.uid().to_owned());
        self.wait_for(key, &uid, Until::AnyChange)
    }

    pub(super) fn is_current_for(&self, key: &ObjectKey) -> bool {
        self.synced && !self.awaited.contains_key(key) && !self.bad.contains_key(key)
    }

    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// None while a list is in progress: it is the answer to what does not show, and is not to be cut short by it.
    pub(super) fn oldest_awaited(&self) -> Option<Instant> {
        let all = self.awaited.values().filter(|_| self.relist.is_none());
        all.map(|awaited| awaited.since).min()
    }

    // ---- how it fares ----

    pub(super) fn age(&self) -> Duration {
        self.heard.elapsed()
    }

    pub(super) fn health(&self) -> CacheHealth {
        CacheHealth {
            synced: self.synced,
            objects: self.objects.len(),
            bad: self.bad.clone(),
            age: self.age(),
            relists: self.relists,
            reconnects: self.reconnects,
            trouble: self.trouble.clone(),
            awaited_writes: self.awaited.len(),
        }
    }

    /// Marks a key as seen by the list in progress; false if there is none.
    fn note_seen(&mut self, key: &ObjectKey) -> bool {
        if let Some(Relist { seen: Some(seen), .. }) = &mut self.relist {
            seen.insert(key.clone());
        }
        self.relist.is_some()
    }

    /// Moves on to a version told by the watch; refuses to go back (a restored etcd does).
    fn advance(&mut self, version: &str) -> bool {
        if compare_versions(version, &self.version) == Some(Ordering::Less) {
            return false;
        }
        self.version = version.to_owned();
        true
    }

    /// Something newer was seen of the object: is it what we waited for?
    fn settle(&mut self, key: &ObjectKey, uid: &str, version: &str) {
        let Some(awaited) = self.awaited.get(key) else {
            return;
        };
        if awaited.is_reached_by(uid, version) {
            self.awaited.remove(key);
        }
    }

    fn keep_only(&mut self, seen: &BTreeSet<ObjectKey>) {
        let all = self.objects.keys();
        let gone: Vec<ObjectKey> = all.filter(|key| !seen.contains(*key)).cloned().collect();
        for key in gone {
            self.objects.remove(&key);
            self.tell(&key);
        }
        self.bad.retain(|key, _| seen.contains(key));
    }

    fn wait_for(&mut self, key: &ObjectKey, uid: &str, until: Until) -> bool {
        self.clock += 1;
        let awaited = Awaited {
            uid: uid.to_owned(),
            until,
            order: self.clock,
            since: Instant::now(),
        };
        self.awaited.insert(key.clone(), awaited);
        true
    }

    fn tell(&self, key: &ObjectKey) {
        if self.synced {
            let readers = self.readers.iter().filter_map(Weak::upgrade);
            readers.for_each(|reader| reader.push(key));
        }
    }
}

impl<T> Drop for Store<T> {
    fn drop(&mut self) {
        let readers = self.readers.iter().filter_map(Weak::upgrade);
        readers.for_each(|reader| reader.close());
    }
}
