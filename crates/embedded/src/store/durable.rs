//! Objects on disk (redb). One thread commits; writes that wait together share one fsync.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::watch;

use super::Stored;
use crate::catalog::StorageKey;

const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
const REVISION: &str = "revision";
const FILE: &str = "tidegate.redb";

/// The disk did not take it; nothing more is written until a restart.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StorageFailure(pub String);

impl StorageFailure {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

pub struct Loaded {
    pub revision: u64,
    pub objects: Vec<(StorageKey, Stored)>,
}

pub struct Durable {
    database: Arc<Database>,
    queue: Arc<Queue>,
    progress: watch::Receiver<Progress>,
    thread: Option<JoinHandle<()>>,
    on_settled: Arc<OnceLock<SettledHook>>,
}

/// Told the revision up to which everything is on disk.
type SettledHook = Box<dyn Fn(u64) + Send + Sync>;

#[derive(Clone, Debug)]
struct Progress {
    settled: u64,
    failure: Option<String>,
}

#[derive(Default)]
struct Queue {
    pending: Mutex<Pending>,
    wake: Condvar,
}

#[derive(Default)]
struct Pending {
    writes: BTreeMap<String, Option<Arc<Stored>>>,
    revision: u64,
    closed: bool,
}

impl Durable {
    pub fn open(path: &Path) -> Result<Self, StorageFailure> {
        let file = path.join(FILE);
        if !file.exists() {
            create_whole(path, &file)?;
        }
        let database = Database::open(&file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => {
                StorageFailure("another process serves from this directory".to_owned())
            }
            other => StorageFailure::of(other),
        })?;
        Self::over(database)
    }

    /// Over any backend, such as one that tears what was not synced.
    pub fn with_backend(backend: impl redb::StorageBackend) -> Result<Self, StorageFailure> {
        let database = Database::builder()
            .create_with_backend(backend)
            .map_err(StorageFailure::of)?;
        Self::over(database)
    }

    fn over(database: Database) -> Result<Self, StorageFailure> {
        let database = Arc::new(database);
        let transaction = database.begin_write().map_err(StorageFailure::of)?;
        transaction.open_table(OBJECTS).map_err(StorageFailure::of)?;
        transaction.open_table(FACTS).map_err(StorageFailure::of)?;
        transaction.commit().map_err(StorageFailure::of)?;
        let settled = stored_revision(&database)?;
        let (sender, progress) = watch::channel(Progress {
            settled,
            failure: None,
        });
        let queue = Arc::new(Queue::default());
        let on_settled = Arc::new(OnceLock::new());
        let (writer_queue, writer_database, hook) = (queue.clone(), database.clone(), on_settled.clone());
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_batches(&writer_database, &writer_queue, &sender, &hook))
            .map_err(StorageFailure::of)?;
        Ok(Self {
            database,
            queue,
            progress,
            thread: Some(thread),
            on_settled,
        })
    }

    /// Calls `hook` after each batch; only the first hook counts.
    pub fn on_settled(&self, hook: impl Fn(u64) + Send + Sync + 'static) {
        if self.on_settled.set(Box::new(hook)).is_err() {
            tracing::warn!("the store has a hook already");
        }
    }

    pub fn load(&self) -> Result<Loaded, StorageFailure> {
        let revision = stored_revision(&self.database)?;
        let transaction = self.database.begin_read().map_err(StorageFailure::of)?;
        let table = transaction.open_table(OBJECTS).map_err(StorageFailure::of)?;
        let mut objects = Vec::new();
        for row in table.iter().map_err(StorageFailure::of)? {
            let (key, value) = row.map_err(StorageFailure::of)?;
            objects.push(decode_row(key.value(), value.value())?);
        }
        Ok(Loaded { revision, objects })
    }

    /// Hands a write to the committing thread; called in the order of revisions.
    pub fn enqueue(
        &self,
        revision: u64,
        table: &StorageKey,
        key: &str,
        body: Option<Arc<Stored>>,
    ) -> Result<(), StorageFailure> {
        if let Some(failure) = self.failure() {
            return Err(StorageFailure(failure));
        }
        let mut pending = self.queue.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.writes.insert(row_key(table, key), body);
        pending.revision = revision;
        self.queue.wake.notify_one();
        Ok(())
    }

    pub async fn wait(&self, revision: u64) -> Result<(), StorageFailure> {
        let mut progress = self.progress.clone();
        let reached = progress
            .wait_for(|p| p.settled >= revision || p.failure.is_some())
            .await
            .map_err(|_| StorageFailure("the writer has ended".to_owned()))?;
        match &reached.failure {
            Some(failure) if reached.settled < revision => Err(StorageFailure(failure.clone())),
            _ => Ok(()),
        }
    }

    pub fn failure(&self) -> Option<String> {
        self.progress.borrow().failure.clone()
    }

    pub fn fact(&self, name: &str) -> Result<Option<Vec<u8>>, StorageFailure> {
        let transaction = self.database.begin_read().map_err(StorageFailure::of)?;
        let table = transaction.open_table(FACTS).map_err(StorageFailure::of)?;
        let value = table.get(name).map_err(StorageFailure::of)?;
        Ok(value.map(|v| v.value().to_vec()))
    }

    pub fn keep_fact(&self, name: &str, value: &[u8]) -> Result<(), StorageFailure> {
        let transaction = self.database.begin_write().map_err(StorageFailure::of)?;
        {
            let mut table = transaction.open_table(FACTS).map_err(StorageFailure::of)?;
            table.insert(name, value).map_err(StorageFailure::of)?;
        }
        transaction.commit().map_err(StorageFailure::of)
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        {
            let mut pending = self.queue.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.closed = true;
            self.queue.wake.notify_one();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the committing thread of the store panicked");
        }
    }
}

/// An empty database under its name, or nothing: what a cut in the middle of its making leaves behind could not be
/// opened again. The names are on disk before anything is acknowledged.
fn create_whole(directory: &Path, file: &Path) -> Result<(), StorageFailure> {
    std::fs::create_dir_all(directory).map_err(StorageFailure::of)?;
    let unfinished = directory.join(format!("{FILE}.new"));
    if unfinished.exists() {
        std::fs::remove_file(&unfinished).map_err(StorageFailure::of)?;
    }
    drop(Database::create(&unfinished).map_err(StorageFailure::of)?);
    std::fs::rename(&unfinished, file).map_err(StorageFailure::of)?;
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    for directory in [Some(directory), parent].into_iter().flatten() {
        let opened = std::fs::File::open(directory).map_err(StorageFailure::of)?;
        opened.sync_all().map_err(StorageFailure::of)?;
    }
    Ok(())
}

fn write_batches(
    database: &Database,
    queue: &Queue,
    progress: &watch::Sender<Progress>,
    hook: &OnceLock<SettledHook>,
) {
    loop {
        let (writes, revision) = {
            let mut pending = queue.pending.lock().unwrap_or_else(PoisonError::into_inner);
            while pending.writes.is_empty() && !pending.closed {
                pending = queue.wake.wait(pending).unwrap_or_else(PoisonError::into_inner);
            }
            if pending.writes.is_empty() {
                return;
            }
            (std::mem::take(&mut pending.writes), pending.revision)
        };
        match write_batch(database, &writes, revision) {
            Ok(()) => {
                // Watchers first: who has an answer finds his write wherever he looks.
                if let Some(hook) = hook.get() {
                    hook(revision);
                }
                progress.send_modify(|p| p.settled = revision);
            }
            Err(failure) => {
                tracing::error!(%failure, "the store takes no more writes");
                progress.send_modify(|p| p.failure = Some(failure.0));
                return;
            }
        }
    }
}

fn write_batch(
    database: &Database,
    writes: &BTreeMap<String, Option<Arc<Stored>>>,
    revision: u64,
) -> Result<(), StorageFailure> {
    let transaction = database.begin_write().map_err(StorageFailure::of)?;
    {
        let mut objects = transaction.open_table(OBJECTS).map_err(StorageFailure::of)?;
        for (key, object) in writes {
            match object {
                Some(object) => {
                    let row = encode_row(object);
                    objects
                        .insert(key.as_str(), row.as_slice())
                        .map_err(StorageFailure::of)?;
                }
                None => {
                    objects.remove(key.as_str()).map_err(StorageFailure::of)?;
                }
            }
        }
        let mut facts = transaction.open_table(FACTS).map_err(StorageFailure::of)?;
        facts
            .insert(REVISION, revision.to_be_bytes().as_slice())
            .map_err(StorageFailure::of)?;
    }
    transaction.commit().map_err(StorageFailure::of)
}

fn stored_revision(database: &Database) -> Result<u64, StorageFailure> {
    let transaction = database.begin_read().map_err(StorageFailure::of)?;
    let facts = transaction.open_table(FACTS).map_err(StorageFailure::of)?;
    let value = facts.get(REVISION).map_err(StorageFailure::of)?;
    let bytes = value.and_then(|v| v.value().try_into().ok());
    Ok(bytes.map_or(1, u64::from_be_bytes))
}

fn row_key(table: &StorageKey, key: &str) -> String {
    format!("{}\0{}\0{key}", table.group, table.plural)
}

fn encode_row(object: &Stored) -> Vec<u8> {
    let mut row = Vec::with_capacity(8 + object.body.len());
    row.extend_from_slice(&object.revision.to_be_bytes());
    row.extend_from_slice(&object.body);
    row
}

fn decode_row(key: &str, row: &[u8]) -> Result<(StorageKey, Stored), StorageFailure> {
    let bad = |what: &str| StorageFailure(format!("row {:?} {what}", key.replace('\0', "/")));
    let mut parts = key.splitn(3, '\0');
    let (Some(group), Some(plural), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(bad("has no table"));
    };
    let (head, body) = row.split_first_chunk::<8>().ok_or_else(|| bad("is too short"))?;
    let value = serde_json::from_slice(body).map_err(|e| bad(&e.to_string()))?;
    let table = StorageKey::new(group, plural);
    let fields = crate::fields::extractor(&table);
    let mut object =
        Stored::encode(name, u64::from_be_bytes(*head), &value, fields).map_err(|e| bad(&e.to_string()))?;
    object.body = Bytes::copy_from_slice(body);
    Ok((table, object))
}
