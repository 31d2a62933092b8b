//! Kubernetes events (`events.k8s.io/v1`) without spam: the first of a kind at once, repetitions as a series now and
//! then, and a bound per object. Recording never waits and never fails; an event is not worth that.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, Timestamp, rfc3339_micros};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::resource::EVENTS;
use crate::{ApiError, Door, PatchKind};

/// Same event again within this time: part of its series.
const SERIES_ENDS_AFTER: Duration = Duration::from_secs(360);
/// Series are written at most this often.
const FLUSH_EVERY: Duration = Duration::from_secs(300);
/// Different events about one object: so many at once, then one per refill.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(60);
/// What is remembered, at most.
const MAX_SERIES: usize = 4096;
/// The API's own bound.
const MAX_NOTE: usize = 1024;

/// The object an event is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Regarding {
    pub api_version: String,
    pub kind: String,
    /// Empty for cluster-scoped objects, whose events live in `default`.
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// An event to record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub regarding: Regarding,
    pub warning: bool,
    /// CamelCase, machine-readable.
    pub reason: String,
    /// CamelCase: what was done or tried.
    pub action: String,
    pub note: String,
}

/// Takes events from anywhere; one task writes them. Clones share it; it stops with the last of them.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Event>,
    _task: Arc<StopOnDrop>,
}

struct StopOnDrop(AbortHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Recorder {
    /// `controller` as in `tidegate.dev/sidecarset`, `instance` the process.
    pub fn start(door: &Door, controller: &str, instance: &str, clock: Arc<dyn Clock>) -> Recorder {
        let (queue, events) = mpsc::channel(256);
        let writer = Writer {
            door: door.clone(),
            controller: controller.to_owned(),
            instance: instance.chars().take(128).collect(),
            clock,
            series: BTreeMap::new(),
            buckets: BTreeMap::new(),
        };
        let task = tokio::spawn(writer.run(events)).abort_handle();
        Recorder {
            queue,
            _task: Arc::new(StopOnDrop(task)),
        }
    }

    /// Records an event; dropped (and counted in the log) if the writer cannot keep up.
    pub fn record(&self, event: Event) {
        if self.queue.try_send(event).is_err() {
            tracing::debug!("an event was dropped: too many at once");
        }
    }
}

type SeriesKey = (Regarding, bool, String, String);

struct Series {
    name: String,
    count: u32,
    last: Instant,
    last_wall: Timestamp,
    unwritten: bool,
}

struct Bucket {
    left: u32,
    refilled: Instant,
}

struct Writer {
    door: Door,
    controller: String,
    instance: String,
    clock: Arc<dyn Clock>,
    series: BTreeMap<SeriesKey, Series>,
    buckets: BTreeMap<Regarding, Bucket>,
}

impl Writer {
    async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let mut flush_at: Option<Instant> = None;
        loop {
            let flush = async {
                match flush_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => return,
                },
                () = flush => {
                    flush_at = None;
                    self.flush().await;
                }
            }
            // An idle recorder has no timer.
            if flush_at.is_none() && self.series.values().any(|series| series.unwritten) {
                flush_at = Some(Instant::now() + FLUSH_EVERY);
            }
        }
    }

    async fn take(&mut self, event: Event) {
        let (now, wall) = (Instant::now(), self.clock.now());
        let note: String = event.note.chars().take(MAX_NOTE / 4).collect();
        let key = (
            event.regarding.clone(),
            event.warning,
            event.reason.clone(),
            note.clone(),
        );
        if let Some(series) = self.series.get_mut(&key)
            && now - series.last < SERIES_ENDS_AFTER
        {
            series.count += 1;
            (series.last, series.last_wall, series.unwritten) = (now, wall, true);
            return;
        }
        if !self.allowed(&event.regarding, now) {
            return;
        }
        self.make_room(now);
        // The name depends on what is said and when: sent twice, it is still one event.
        let name = format!("{}.{:016x}", event.regarding.name, fingerprint(&key, wall));
        let series = Series {
            name,
            count: 1,
            last: now,
            last_wall: wall,
            unwritten: false,
        };
        if let Err(error) = self.create(&event, &series.name, &note, wall).await {
            tracing::debug!(%error, reason = event.reason, "an event was not written");
        }
        self.series.insert(key, series);
    }

    async fn create(&self, event: &Event, name: &str, note: &str, wall: Timestamp) -> Result<(), ApiError> {
        let Regarding {
            api_version,
            kind,
            namespace,
            name: about,
            uid,
        } = &event.regarding;
        let mut regarding = json!({"apiVersion": api_version, "kind": kind, "name": about, "uid": uid});
        if !namespace.is_empty() {
            regarding["namespace"] = json!(namespace);
        }
        let home = home(&event.regarding);
        let body = json!({
            "apiVersion": EVENTS.api_version(), "kind": "Event",
            "metadata": {"namespace": home, "name": name},
            "eventTime": rfc3339_micros(wall),
            "reportingController": self.controller, "reportingInstance": self.instance,
            "regarding": regarding, "reason": event.reason, "action": event.action, "note": note,
            "type": if event.warning { "Warning" } else { "Normal" },
        });
        self.door.create(&EVENTS, Some(home), &body).await.map(drop)
    }

    async fn flush(&mut self) {
        let now = Instant::now();
        for ((regarding, ..), series) in self.series.iter_mut().filter(|(_, series)| series.unwritten) {
            series.unwritten = false;
            let patch = json!({"series":
                {"count": series.count, "lastObservedTime": rfc3339_micros(series.last_wall)}});
            let written = self
                .door
                .patch(
                    &EVENTS,
                    Some(home(regarding)),
                    &series.name,
                    PatchKind::Merge,
                    &patch,
                    None,
                )
                .await;
            if let Err(error) = written {
                tracing::debug!(%error, "an event series was not written");
            }
        }
        self.series
            .retain(|_, series| now - series.last < SERIES_ENDS_AFTER);
        self.buckets
            .retain(|_, bucket| now - bucket.refilled < REFILL * BURST);
    }

    fn allowed(&mut self, regarding: &Regarding, now: Instant) -> bool {
        if self.buckets.len() >= MAX_SERIES {
            self.buckets.retain(|_, bucket| now - bucket.refilled < REFILL);
        }
        let bucket = self.buckets.entry(regarding.clone()).or_insert(Bucket {
            left: BURST,
            refilled: now,
        });
        let refills = (now - bucket.refilled).as_secs() / REFILL.as_secs();
        if refills > 0 {
            bucket.left = bucket
                .left
                .saturating_add(u32::try_from(refills).unwrap_or(BURST))
                .min(BURST);
            bucket.refilled = now;
        }
        let allowed = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        allowed
    }

    fn make_room(&mut self, now: Instant) {
        if self.series.len() < MAX_SERIES {
            return;
        }
        self.series
            .retain(|_, series| now - series.last < SERIES_ENDS_AFTER);
        while self.series.len() >= MAX_SERIES {
            let oldest = self
                .series
                .iter()
                .min_by_key(|(_, series)| series.last)
                .map(|(key, _)| key.clone());
            match oldest {
                Some(oldest) => drop(self.series.remove(&oldest)),
                None => break,
            }
        }
    }
}

fn home(regarding: &Regarding) -> &str {
    if regarding.namespace.is_empty() {
        "default"
    } else {
        &regarding.namespace
    }
}

/// FNV-1a: the same in every process.
fn fingerprint(key: &SeriesKey, wall: Timestamp) -> u64 {
    let text = format!("{key:?}{}", wall.as_nanosecond());
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
