//! SidecarSets that are about to be stored: the API server is told to ask about their pods before it stores them, so
//! that a pod created right after its SidecarSet has its sidecars.
//!
//! What is announced is an entry of its own in the configuration, kept by every replica until it sees the SidecarSet
//! (whose own entry takes its place in the same write), or for a while: admission may still end in a refusal by others.
use super::Stored;
use crate::sidecarset::injection::InjectionSender;
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

/// Asks the keeper of the configurations to announce.
#[derive(Clone)]
pub(in crate::sidecarset) struct Announcer {
    requests: Arc<Requests>,
    told: Arc<InjectionSender>,
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
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pending);
        self.came.notify_one();
    }
}

impl Announcer {
    /// `configuration`: the name of the one that is written.
    pub fn new(told: Arc<InjectionSender>, configuration: &str) -> Self {
        Self {
            requests: Arc::default(),
            told,
            configuration: configuration.into(),
        }
    }

    pub fn requests(&self) -> Arc<Requests> {
        self.requests.clone()
    }

    /// Returns when the API server asks about the SidecarSet's pods, or with what to warn of.
    pub async fn announce(&self, set: Box<SidecarSet>) -> Result<(), String> {
        if self.told.borrow().is_in_force(&set) {
            return Ok(());
        }
        let (done, announced) = oneshot::channel();
        self.requests.add(Pending { set, done });
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
    /// When each, by id, was first seen in the configuration.
    since: BTreeMap<String, Instant>,
}

impl Announcements {
    pub fn ask(&mut self, pending: Vec<Pending>) {
        self.pending.extend(pending);
    }

    /// Entries of those that wait and are not in the configuration.
    pub fn missing(&mut self, found: &Stored, options: &WebhookOptions<'_>) -> Vec<Value> {
        self.pending.retain(|p| !p.done.is_closed());
        let there = super::ids(found.body["webhooks"].as_array().into_iter().flatten());
        let missing: BTreeMap<String, Value> = self
            .pending
            .iter()
            .map(|p| (webhooks::id(&p.set), p))
            .filter(|(id, _)| !there.contains(id))
            .filter_map(|(id, p)| Some((id, announcement(&p.set, options)?)))
            .collect();
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
        let webhooks = found.and_then(|f| f.body["webhooks"].as_array());
        for entry in webhooks.into_iter().flatten() {
            let Some(id) = entry["name"].as_str().and_then(webhooks::announced) else {
                continue;
            };
            let since = *self.since.entry(id.to_owned()).or_insert(now);
            if !stored.contains(id) && now.duration_since(since) < KEPT {
                kept.insert(id.to_owned(), called_as_now(entry, options));
            }
        }
        self.since.retain(|id, _| kept.contains_key(id));
        kept.into_values().collect()
    }

    /// The API server asks about the pods of these.
    pub fn are_in_force(&mut self, ids: &BTreeSet<String>) {
        let pending = std::mem::take(&mut self.pending);
        for pending in pending {
            match ids.contains(&webhooks::id(&pending.set)) {
                // Nobody may be waiting any more.
                true => drop(pending.done.send(())),
                false => self.pending.push(pending),
            }
        }
    }

    /// When something that was announced has been kept for long enough.
    pub fn next_end(&self) -> Option<Instant> {
        self.since.values().min().map(|since| *since + KEPT)
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
