//! The objects of one resource and its recent history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use super::{Compacted, Stored};

/// History is cut at this many bytes per resource, whatever its length.
const HISTORY_BYTES: usize = 16 * 1024 * 1024;

pub enum Change {
    Put(Value),
    /// The last state of the object, as the watchers of its deletion see it.
    Delete(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

#[derive(Debug)]
pub struct Event {
    pub revision: u64,
    pub kind: EventKind,
    /// The new state; of a deletion the last one, carrying the revision of the deletion.
    pub object: Arc<Stored>,
    pub previous: Option<Arc<Stored>>,
    /// The encoded watch line in the storage version, shared by all watchers: added, modified, deleted.
    pub lines: [OnceLock<Bytes>; 3],
}

pub struct Table {
    pub objects: BTreeMap<Box<str>, Arc<Stored>>,
    log: VecDeque<Arc<Event>>,
    log_bytes: usize,
    /// Events up to this revision are forgotten.
    pub compacted: u64,
    changed: Option<watch::Sender<u64>>,
}

impl Table {
    pub fn new(epoch: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            log_bytes: 0,
            compacted: epoch,
            changed: None,
        }
    }

    pub fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<Stored>> {
        let from = std::ops::Bound::Included(prefix);
        self.objects
            .range::<str, _>((from, std::ops::Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, object)| object)
    }

    /// Applies an event and keeps at most `history` of them.
    pub fn record(&mut self, event: Event, history: usize) {
        let key = event.object.key.clone();
        match event.kind {
            EventKind::Deleted => {
                self.objects.remove(&key);
            }
            EventKind::Added | EventKind::Modified => {
                self.objects.insert(key, event.object.clone());
            }
        }
        self.log_bytes += event.object.body.len();
        self.log.push_back(Arc::new(event));
        while self.log.len() > history || self.log_bytes > HISTORY_BYTES {
            let Some(dropped) = self.log.pop_front() else {
                break;
            };
            self.log_bytes = self.log_bytes.saturating_sub(dropped.object.body.len());
            self.compacted = dropped.revision;
        }
    }

    /// The objects as of `revision`: today's, with later events undone.
    pub fn at(&self, prefix: &str, revision: u64) -> Result<Vec<Arc<Stored>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted {
                oldest: self.compacted,
            });
        }
        let mut view: BTreeMap<Box<str>, Arc<Stored>> = self
            .with_prefix(prefix)
            .map(|o| (o.key.clone(), o.clone()))
            .collect();
        for event in self.log.iter().rev().take_while(|e| e.revision > revision) {
            if !event.object.key.starts_with(prefix) {
                continue;
            }
            match &event.previous {
                Some(previous) => view.insert(previous.key.clone(), previous.clone()),
                None => view.remove(&event.object.key),
            };
        }
        Ok(view.into_values().collect())
    }

    pub fn events_after(&self, revision: u64, limit: u64, max: usize) -> Result<Vec<Arc<Event>>, Compacted> {
        if revision < self.compacted {
            return Err(Compacted {
                oldest: self.compacted,
            });
        }
        let start = self.log.partition_point(|e| e.revision <= revision);
        let events = self
            .log
            .range(start..)
            .take_while(|e| e.revision <= limit)
            .take(max);
        Ok(events.cloned().collect())
    }

    pub fn subscribe(&mut self) -> watch::Receiver<u64> {
        let last = self.log.back().map_or(self.compacted, |e| e.revision);
        self.changed
            .get_or_insert_with(|| watch::channel(last).0)
            .subscribe()
    }

    /// Wakes the watchers, if this table has events up to `settled` they have not been told of.
    pub fn announce(&self, settled: u64) {
        let Some(sender) = &self.changed else { return };
        let end = self.log.partition_point(|e| e.revision <= settled);
        let Some(last) = end
            .checked_sub(1)
            .and_then(|i| self.log.get(i))
            .map(|e| e.revision)
        else {
            return;
        };
        sender.send_if_modified(|known| {
            let grows = last > *known;
            if grows {
                *known = last;
            }
            grows
        });
    }
}
