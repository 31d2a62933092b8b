//! A SidecarSet as the API server holds it, asked for again and again while its pods are written.
//!
//! A watch is silent where nothing changes, where it is late, and where it is dead. So no pod is written on the word
//! of the watch alone: a pause takes effect within [`FRESH`] of its commit, however far behind the cache is.
use super::views::Set;
use cluster::resource::SIDECAR_SETS;
use cluster::{ApiError, Cache, Door, ObjectKey};
use model::json::null_default;
use model::sidecarset::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A reading that began longer ago is not relied on, unless readings take as long.
const FRESH: Duration = Duration::from_millis(50);

pub(super) struct Sight {
    door: Door,
    sets: Cache<Set>,
    name: String,
    state: Mutex<State>,
    read: Notify,
}

#[derive(Default)]
struct State {
    last: Option<Reading>,
    runs: bool,
    /// How often the watch told something new.
    told: u64,
    /// What it told last: uid and generation.
    latest: (String, i64),
}

struct Reading {
    began: Instant,
    took: Duration,
    found: Result<Found, String>,
}

#[derive(Clone, Deserialize)]
struct Found {
    metadata: Identity,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Identity {
    #[serde(deserialize_with = "null_default")]
    uid: String,
    #[serde(deserialize_with = "null_default")]
    resource_version: String,
    #[serde(deserialize_with = "null_default")]
    generation: i64,
    deletion_timestamp: Option<Value>,
}

impl Sight {
    pub fn new(door: &Door, sets: &Cache<Set>, name: &str) -> Self {
        Self {
            door: door.clone(),
            sets: sets.clone(),
            name: name.to_owned(),
            state: Mutex::default(),
            read: Notify::new(),
        }
    }

    /// Makes sure that there is a reading to rely on: all who wait share one.
    pub async fn look(&self) -> Result<(), String> {
        loop {
            let read = self.read.notified();
            tokio::pin!(read);
            // Registered before looking, so that a reading that ends in between is not missed.
            read.as_mut().enable();
            let turn = {
                let mut state = self.state();
                if let Some(last) = state.last.as_ref().filter(|last| last.is_fresh()) {
                    return last.found.as_ref().map(drop).map_err(Clone::clone);
                }
                !std::mem::replace(&mut state.runs, true)
            };
            match turn {
                true => self.ask().await,
                false => read.await,
            }
        }
    }

    /// Whether the last reading says that it is of this generation, and is to stay.
    pub fn is(&self, uid: &str, generation: i64) -> bool {
        let state = self.state();
        state
            .last
            .as_ref()
            .is_some_and(|last| last.is_of(uid, generation))
    }

    /// Whether the last reading says otherwise: the watch will tell what is true.
    pub fn contradicts(&self, uid: &str, generation: i64) -> bool {
        let is_read = matches!(&self.state().last, Some(Reading { found: Ok(_), .. }));
        is_read && !self.is(uid, generation)
    }

    /// The watch has told this: unless it is what was read, who writes next reads anew.
    pub fn told(&self, told: &ObjectMeta) {
        let mut state = self.state();
        state.told += 1;
        state.latest = (told.uid.clone(), told.generation);
        let last = state.last.as_ref();
        let agrees = last.is_some_and(|last| last.is_of(&told.uid, told.generation));
        if !agrees {
            state.last = None;
        }
    }

    /// Whether a reading that began now would replace the last one in time, and none earlier would have to.
    pub fn is_due(&self) -> bool {
        let state = self.state();
        !state.runs && state.last.as_ref().is_some_and(Reading::is_due)
    }

    /// Reads while the last reading may still be relied on: writers do not wait for it.
    pub async fn renew(&self) {
        if !std::mem::replace(&mut self.state().runs, true) {
            self.ask().await;
        }
    }

    async fn ask(&self) {
        let turn = Turn(self);
        let told = self.state().told;
        let began = Instant::now();
        let answer: Result<Found, ApiError> = self.door.get_as(&SIDECAR_SETS, None, &self.name).await;
        let found = match answer {
            Err(error) if error.is_not_found() => Ok(Found {
                metadata: Identity::default(),
            }),
            answer => answer.map_err(|error| error.to_string()),
        };
        if let Ok(Found { metadata }) = &found {
            self.expect(metadata);
        }
        let reading = Reading {
            began,
            took: began.elapsed(),
            found,
        };
        let mut state = self.state();
        let (uid, generation) = &state.latest;
        // Of two that disagree it is not known which is newer.
        if state.told == told || reading.is_of(uid, *generation) {
            state.last = Some(reading);
        }
        drop(state);
        drop(turn);
    }

    /// A watch that does not show in time what was read here is begun anew.
    fn expect(&self, read: &Identity) {
        let key = ObjectKey::cluster(&self.name);
        let known = self.sets.get(&key);
        let is_news = known.is_some_and(|set| {
            let known = &set.0.metadata;
            known.uid == read.uid && known.generation < read.generation
        });
        if is_news {
            self.sets.observe_write(&key, &read.uid, &read.resource_version);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn is_fresh(&self) -> bool {
        self.began.elapsed() < self.lasts()
    }

    /// The next one may take twice as long.
    fn is_due(&self) -> bool {
        self.began.elapsed() + self.took * 2 >= self.lasts()
    }

    /// On an API server that takes longer to answer, what it says is as fresh as can be had: the next one begins no
    /// sooner than this one ended, or the next write did, and takes as long.
    fn lasts(&self) -> Duration {
        FRESH.max(self.took * 2 + FRESH / 2)
    }

    /// Whether it is of this generation, and is to stay.
    fn is_of(&self, uid: &str, generation: i64) -> bool {
        self.found.as_ref().is_ok_and(|Found { metadata }| {
            metadata.uid == uid && metadata.generation == generation && metadata.deletion_timestamp.is_none()
        })
    }
}

/// Ends with the reading, also where the one who made it is dropped.
struct Turn<'a>(&'a Sight);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state().runs = false;
        self.0.read.notify_waiters();
    }
}
