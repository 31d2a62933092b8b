//! SidecarSets that are about to be stored: the API server is told to ask about their pods before it stores them, so
//! that a pod created right after its SidecarSet has its sidecars.
//!
//! What is announced is an entry of its own in the configuration, kept by every replica for a while after it sees the
//! SidecarSet (whose own entry stands beside it by then), and longer where it does not: admission may still end in a
//! refusal by others.
use super::Stored;
use super::entries::entries_of;
use model::sidecarset::SidecarSet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use workload::sidecarset::webhooks::{self, WebhookOptions, announcement};

/// How long the answer about a SidecarSet waits; the API server waits for ten seconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what was announced is kept although no such SidecarSet is seen: longer than any request takes.
const KEPT: Duration = Duration::from_secs(90);
/// How long it is kept beside the SidecarSet's own entry: what is seen as stored may be how it was before the last change
/// but one, which looks the same.
const KEPT_BESIDE: Duration = Duration::from_secs(10);

/// Asks the keeper of the configurations to announce.
#[derive(Clone)]
pub(in crate::sidecarset) struct Announcer {
    requests: Arc<Requests>,
    configuration: Arc<str>,
}

/// What the keeper has not heard of yet.
#[derive(Default)]
pub(in crate::sidecarset) struct Requests {
    waiting: Mutex<Vec<Pending>>,
    came: Notify,
}

/// A SidecarSet whose admission waits.
pub(super) struct Pending {
    set: Box<SidecarSet>,
    /// Name of the entry that announces it, once there is one.
    entry: Option<String>,
    done: oneshot::Sender<()>,
}

impl Requests {
    pub async fn came(&self) {
        self.came.notified().await;
    }

    pub(super) fn take(&self) -> Vec<Pending> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, pending: Pending) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // While nobody takes them, those who gave up are not kept.
        waiting.retain(|p| !p.done.is_closed());
        waiting.push(pending);
        drop(waiting);
        self.came.notify_one();
    }
}

impl Announcer {
    /// `configuration`: the name of the one that is written.
    pub fn new(configuration: &str) -> Self {
        Self {
            requests: Arc::default(),
            configuration: configuration.into(),
        }
    }

    pub fn requests(&self) -> Arc<Requests> {
        self.requests.clone()
    }

    /// Returns when the API server asks about the SidecarSet's pods, or with what to warn of.
    pub async fn announce(&self, set: Box<SidecarSet>) -> Result<(), String> {
        let (done, announced) = oneshot::channel();
        let entry = None;
        self.requests.add(Pending { set, entry, done });
        if matches!(tokio::time::timeout(PATIENCE, announced).await, Ok(Ok(()))) {
            return Ok(());
        }
        Err(format!(
            "webhook configuration {} does not cover this SidecarSet yet: pods may be created without its sidecars \
             until its condition InjectionReady is True",
            self.configuration
        ))
    }
}

/// What the keeper knows of announcements.
#[derive(Default)]
pub(super) struct Announcements {
    pending: Vec<Pending>,
    /// Until when each entry, by name, is kept.
    until: BTreeMap<String, Kept>,
}

/// From when an entry was first seen.
struct Kept {
    beside: Instant,
    alone: Instant,
    /// Which of them holds.
    until: Instant,
}

impl Announcements {
    pub fn ask(&mut self, pending: Vec<Pending>) {
        self.pending.extend(pending);
    }

    /// Entries of those that wait and are not in the configuration.
    pub fn missing(&mut self, found: &Stored, options: &WebhookOptions<'_>) -> Vec<Value> {
        self.pending.retain(|p| !p.done.is_closed());
        let there: BTreeSet<&str> = entries_of(found).filter_map(|e| e["name"].as_str()).collect();
        let mut missing = BTreeMap::new();
        for pending in &mut self.pending {
            if pending.entry.as_deref().is_some_and(|name| there.contains(name)) {
                continue;
            }
            // Only one write can follow this version: no other admission has this name.
            let entry = announcement(&pending.set, &found.metadata.resource_version, options);
            pending.entry = entry.as_ref().and_then(|e| e["name"].as_str()).map(str::to_owned);
            if let (Some(name), Some(entry)) = (&pending.entry, entry) {
                missing.insert(name.clone(), entry);
            }
        }
        missing.into_values().collect()
    }

    /// Entries of the configuration that stay beside those of the SidecarSets that are seen (`stored`: their ids).
    pub fn kept(
        &mut self,
        found: Option<&Stored>,
        stored: &BTreeSet<String>,
        options: &WebhookOptions<'_>,
    ) -> Vec<Value> {
        let now = Instant::now();
        let mut kept = BTreeMap::new();
        for entry in found.into_iter().flat_map(entries_of) {
            let name = entry["name"].as_str().unwrap_or_default();
            let Some(id) = webhooks::announced(name) else {
                continue;
            };
            let times = self.until.entry(name.to_owned()).or_insert(Kept {
                beside: now + KEPT_BESIDE,
                alone: now + KEPT,
                until: now,
            });
            times.until = match stored.contains(id) {
                true => times.beside,
                false => times.alone,
            };
            if now < times.until {
                kept.insert(name.to_owned(), called_as_now(entry, options));
            }
        }
        self.until.retain(|name, _| kept.contains_key(name));
        kept.into_values().collect()
    }

    /// The API server acts by entries of these names.
    pub fn are_in_force(&mut self, names: &BTreeSet<String>) {
        let pending = std::mem::take(&mut self.pending);
        for pending in pending {
            match pending.entry.as_ref().is_some_and(|name| names.contains(name)) {
                // Nobody may be waiting any more.
                true => drop(pending.done.send(())),
                false => self.pending.push(pending),
            }
        }
    }

    /// When something that was announced has been kept for long enough.
    pub fn next_end(&self) -> Option<Instant> {
        self.until.values().map(|times| times.until).min()
    }
}

/// What another replica announced, with the authorities and the address of today.
fn called_as_now(entry: &Value, options: &WebhookOptions<'_>) -> Value {
    let mut entry = entry.clone();
    if let Some(path) = path(&entry) {
        entry["clientConfig"] = (options.client_config)(&path);
    }
    entry
}

/// Where the API server calls for an entry of ours.
pub(super) fn path(entry: &Value) -> Option<String> {
    let config = &entry["clientConfig"];
    if let Some(path) = config["service"]["path"].as_str() {
        return Some(path.to_owned());
    }
    let url: http::Uri = config["url"].as_str()?.parse().ok()?;
    Some(url.path().to_owned())
}
