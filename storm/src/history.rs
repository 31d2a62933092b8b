//! What the server stored, in the order it was stored.
use crate::StormError;
use crate::backend::Backend;
use embedded::store::{Compacted, Event};
use embedded::{ApiServer, StorageKey};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stored change of an object of a kind.
pub type Entry = (StorageKey, Arc<Event>);

/// Every change, of all kinds.
pub struct History {
    /// Of servers whose storage was put back: what was before, and what it was put back to.
    past: Vec<(Vec<Entry>, u64)>,
    present: Vec<Entry>,
}

impl History {
    pub fn of(backend: &Backend) -> Result<Self, StormError> {
        let past = backend.past().into_iter();
        let past: Result<Vec<_>, StormError> = past.map(|(server, to)| Ok((entries(&server)?, to))).collect();
        Ok(Self {
            past: past?,
            present: entries(&backend.server())?,
        })
    }

    /// The lives of the storage, one after another: what was there at the beginning, and what happened then.
    pub fn eras(&self) -> Vec<(Vec<&Entry>, &[Entry])> {
        let mut eras = Vec::new();
        let mut base: Vec<&Entry> = Vec::new();
        for (entries, back_to) in &self.past {
            let kept = entries.iter().filter(|(_, event)| event.revision <= *back_to);
            let next: Vec<&Entry> = base.iter().copied().chain(kept).collect();
            eras.push((std::mem::replace(&mut base, next), entries.as_slice()));
        }
        eras.push((base, self.present.as_slice()));
        eras
    }

    /// Since the storage was put back last, or from the beginning.
    pub fn present(&self) -> &[Entry] {
        &self.present
    }

    /// The objects there are at the end.
    pub fn last(&self) -> BTreeMap<(String, Box<str>), &Arc<Event>> {
        let mut last: BTreeMap<(String, Box<str>), &Arc<Event>> = BTreeMap::new();
        let eras = self.eras();
        let Some((base, present)) = eras.last() else {
            return last;
        };
        for (table, event) in base.iter().copied().chain(present.iter()) {
            let key = (table.plural.clone(), event.object.key.clone());
            match event.kind.as_str() {
                "DELETED" => last.remove(&key),
                _ => last.insert(key, event),
            };
        }
        last
    }

    pub fn len(&self) -> usize {
        self.eras().iter().map(|(_, entries)| entries.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// SHA-256 of everything.
    pub fn digest(&self) -> String {
        let mut trace = Sha256::new();
        for (table, event) in self.eras().iter().flat_map(|(_, entries)| entries.iter()) {
            let head = (event.revision, &table.plural, event.kind.as_str());
            trace.update(format!("{head:?}"));
            trace.update(event.object.key.as_bytes());
            trace.update(&event.object.body);
        }
        trace.finalize().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// One line for each change: where two traces part.
    pub fn lines(&self) -> Vec<String> {
        let line = |(table, event): &Entry| {
            let body = String::from_utf8_lossy(&event.object.body).into_owned();
            format!(
                "{} {} {} {}",
                event.revision,
                table.plural,
                event.kind.as_str(),
                body
            )
        };
        let eras = self.eras();
        let all = eras.iter().flat_map(|(_, entries)| entries.iter());
        all.map(line).collect()
    }
}

fn entries(server: &ApiServer) -> Result<Vec<Entry>, StormError> {
    let store = server.store();
    let mut all = Vec::new();
    for table in store.populated() {
        let events = match store.events_after(&table, 0, usize::MAX) {
            Err(Compacted { oldest }) => store.events_after(&table, oldest, usize::MAX),
            events => events,
        };
        let events = events.map_err(|_| StormError::Forgotten)?;
        all.extend(events.into_iter().map(|event| (table.clone(), event)));
    }
    all.sort_by_key(|(_, event)| event.revision);
    Ok(all)
}
