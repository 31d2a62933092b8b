//! Figures for Prometheus. One value counts everything: the door reports to it, and so do the shells.
use cluster::observe::{RequestSeen, WatchTurn};
use cluster::{DoorOptions, Observer, Resource};
use model::decision::WaitingOn;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Mutex;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    verb: &'static str,
    resource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SetLabels {
    sidecarset: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CountLabels {
    sidecarset: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabels {
    sidecarset: String,
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PathLabels {
    path: String,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Mutex<Registry>,
    requests: Family<RequestLabels, Counter>,
    watch_turns: Family<CountLabels, Counter>,
    writes: Family<ResultLabels, Counter>,
    pods: Family<CountLabels, Gauge>,
    waiting: Family<CountLabels, Gauge>,
    reconciles: Family<SetLabels, Histogram>,
    panics: Family<SetLabels, Counter>,
    admission: Family<PathLabels, Histogram>,
    epoch: Gauge,
    age: Family<PathLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_05, 2.0, 18));
        let metrics = Self {
            registry: Mutex::default(),
            requests: Family::default(),
            watch_turns: Family::default(),
            writes: Family::default(),
            pods: Family::default(),
            waiting: Family::default(),
            reconciles: Family::new_with_constructor(seconds),
            panics: Family::default(),
            admission: Family::new_with_constructor(seconds),
            epoch: Gauge::default(),
            age: Family::default(),
        };
        let mut r = Registry::with_prefix("tidegate");
        r.register(
            "api_requests",
            "Requests to the API server",
            metrics.requests.clone(),
        );
        r.register(
            "watch_turns",
            "What happened to watches",
            metrics.watch_turns.clone(),
        );
        r.register(
            "sidecarset_writes",
            "Writes by operation and result",
            metrics.writes.clone(),
        );
        r.register("sidecarset_pods", "Pods by what they are", metrics.pods.clone());
        r.register(
            "sidecarset_waiting_pods",
            "Pods by what they wait for",
            metrics.waiting.clone(),
        );
        r.register(
            "sidecarset_reconcile_seconds",
            "Time to decide",
            metrics.reconciles.clone(),
        );
        r.register(
            "sidecarset_panics",
            "Decisions that panicked",
            metrics.panics.clone(),
        );
        r.register(
            "admission_seconds",
            "Time to answer a review",
            metrics.admission.clone(),
        );
        r.register(
            "leader_epoch",
            "Epoch of this process' leadership; 0 without",
            metrics.epoch.clone(),
        );
        r.register(
            "cache_age_seconds",
            "Time since a watch last heard the server",
            metrics.age.clone(),
        );
        if let Ok(mut registry) = metrics.registry.lock() {
            *registry = r;
        }
        metrics
    }

    /// The same door options, reporting to these metrics: what [`crate::run`]'s door should be made with.
    pub fn observing(self: &std::sync::Arc<Self>, options: DoorOptions) -> DoorOptions {
        DoorOptions {
            observer: self.clone(),
            ..options
        }
    }

    /// Everything, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        if let Ok(registry) = self.registry.lock() {
            // Writing into a String cannot fail.
            let _ = prometheus_client::encoding::text::encode(&mut out, &registry);
        }
        out
    }

    pub(crate) fn wrote(&self, sidecarset: &str, operation: &'static str, result: &'static str) {
        let sidecarset = sidecarset.to_owned();
        self.writes
            .get_or_create(&ResultLabels {
                sidecarset,
                operation,
                result,
            })
            .inc();
    }

    pub(crate) fn count(&self, sidecarset: &str, kind: &'static str, pods: u32) {
        let sidecarset = sidecarset.to_owned();
        self.pods
            .get_or_create(&CountLabels { sidecarset, kind })
            .set(i64::from(pods));
    }

    /// Reasons that no longer hold go to 0.
    pub(crate) fn waits(&self, sidecarset: &str, waiting: &[WaitingOn]) {
        for kind in WaitingOn::REASONS {
            let pods = waiting
                .iter()
                .filter(|w| w.reason() == kind)
                .map(WaitingOn::pods)
                .sum::<u32>();
            let labels = CountLabels {
                sidecarset: sidecarset.to_owned(),
                kind,
            };
            self.waiting.get_or_create(&labels).set(i64::from(pods));
        }
    }

    pub(crate) fn reconciled(&self, sidecarset: &str, took: Duration) {
        let sidecarset = sidecarset.to_owned();
        self.reconciles
            .get_or_create(&SetLabels { sidecarset })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn panicked(&self, sidecarset: &str) {
        let sidecarset = sidecarset.to_owned();
        self.panics.get_or_create(&SetLabels { sidecarset }).inc();
    }

    pub(crate) fn admitted(&self, path: &str, took: Duration) {
        let path = path.to_owned();
        self.admission
            .get_or_create(&PathLabels { path })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn leads(&self, epoch: u64) {
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
    }

    pub(crate) fn cache_age(&self, cache: &str, age: Duration) {
        let path = cache.to_owned();
        self.age
            .get_or_create(&PathLabels { path })
            .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }
}

impl Observer for Metrics {
    fn request(&self, seen: &RequestSeen<'_>) {
        let labels = RequestLabels {
            verb: seen.verb,
            resource: seen.resource.name(),
            code: seen.code,
        };
        self.requests.get_or_create(&labels).inc();
    }

    fn watch(&self, resource: &Resource, turn: &WatchTurn) {
        let kind = match turn {
            WatchTurn::Relisted { .. } => "relisted",
            WatchTurn::Connected => "connected",
            WatchTurn::Closed => "closed",
            WatchTurn::Failed { .. } => "failed",
            WatchTurn::Stalled => "stalled",
            WatchTurn::WentBack => "went-back",
            WatchTurn::BadObject => "bad-object",
        };
        self.watch_turns
            .get_or_create(&CountLabels {
                sidecarset: resource.name(),
                kind,
            })
            .inc();
    }
}
