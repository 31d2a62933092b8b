//! Figures for Prometheus. One value counts everything: the door reports to it, and so do the shells.
mod labels;

use cluster::observe::{RequestSeen, WatchTurn};
use cluster::{DoorOptions, Observer, Resource};
use labels::{
    CacheLabels, OperationLabels, PathLabels, ReasonLabels, RequestLabels, ResourceLabels, ResultLabels,
    ReviewLabels, SetLabels, StateLabels, TurnLabels, VerbLabels,
};
pub(crate) use labels::{Operation, Outcome, PodState};
use model::decision::{Counts, WaitingOn};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Seconds<VerbLabels>,
    queue_seconds: Seconds<VerbLabels>,
    in_flight_limit: Family<ResourceLabels, Gauge<f64, AtomicU64>>,
    watch_turns: Family<TurnLabels, Counter>,
    operations: Family<ResultLabels, Counter>,
    operation_seconds: Seconds<OperationLabels>,
    pods_touched: Family<OperationLabels, Counter>,
    pods: Family<StateLabels, Gauge>,
    waiting: Family<ReasonLabels, Gauge>,
    reconcile_seconds: Seconds<SetLabels>,
    panics: Family<SetLabels, Counter>,
    admission_seconds: Seconds<PathLabels>,
    reviews: Family<ReviewLabels, Counter>,
    leading: Gauge,
    epoch: Gauge,
    age: Family<CacheLabels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tidegate");
        let r = &mut registry;
        Self {
            requests: registered(
                r,
                "api_requests",
                "Requests to the API server; code 0 where no answer came",
            ),
            request_seconds: timed(r, "api_request_seconds", "Time of one attempt on the wire"),
            queue_seconds: timed(r, "api_queue_seconds", "Time one attempt waited for its turn"),
            in_flight_limit: registered(
                r,
                "api_in_flight_limit",
                "Requests on their way at once that the API server bears at present",
            ),
            watch_turns: registered(r, "watch_turns", "What happened to watches"),
            operations: registered(r, "sidecarset_operations", "Operations by result"),
            operation_seconds: timed(
                r,
                "sidecarset_operation_seconds",
                "Time of an operation, from its start to the API server's answer",
            ),
            pods_touched: registered(r, "sidecarset_pods_touched", "Pods changed by an operation"),
            pods: registered(r, "sidecarset_pods", "Pods by what they are"),
            waiting: registered(r, "sidecarset_waiting_pods", "Pods by what they wait for"),
            reconcile_seconds: timed(r, "sidecarset_reconcile_seconds", "Time to decide"),
            panics: registered(r, "sidecarset_panics", "Decisions that panicked"),
            admission_seconds: timed(r, "admission_seconds", "Time to answer a review"),
            reviews: registered(r, "admission_reviews", "Reviews by what they came to"),
            leading: registered(r, "leading", "1 while this process leads, 0 otherwise"),
            epoch: registered(
                r,
                "leader_epoch",
                "Epoch in which this process led last; the first is 0",
            ),
            age: registered(r, "cache_age_seconds", "Time since a watch last heard the server"),
            registry,
        }
    }

    /// The same door options, reporting to these metrics: what [`crate::run`]'s door should be made with.
    pub fn observing(self: &Arc<Self>, options: DoorOptions) -> DoorOptions {
        DoorOptions {
            observer: self.clone(),
            ..options
        }
    }

    /// Everything, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut out, &self.registry);
        out
    }

    /// An operation on behalf of a SidecarSet has ended. One that succeeded on a pod has touched it.
    pub(crate) fn operated(&self, sidecarset: &str, operation: Operation, outcome: Outcome, took: Duration) {
        let labels = OperationLabels::new(sidecarset, operation);
        self.operation_seconds
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
        if outcome == Outcome::Success && operation.is_on_pods() {
            self.pods_touched.get_or_create(&labels).inc();
        }
        self.operations
            .get_or_create(&ResultLabels::new(sidecarset, operation, outcome))
            .inc();
    }

    pub(crate) fn pods(&self, sidecarset: &str, counts: &Counts, waiting: &[WaitingOn]) {
        for state in PodState::ALL {
            let pods = match state {
                PodState::Matched => counts.matched,
                PodState::Updated => counts.updated,
                PodState::Ready => counts.ready,
                PodState::UpdatedReady => counts.updated_ready,
            };
            self.pods
                .get_or_create(&StateLabels::new(sidecarset, state))
                .set(i64::from(pods));
        }
        // Reasons that no longer hold go to 0.
        for reason in WaitingOn::REASONS {
            let here = waiting.iter().filter(|w| w.reason() == reason);
            let pods = here.map(WaitingOn::pods).sum::<u32>();
            self.waiting
                .get_or_create(&ReasonLabels::new(sidecarset, reason))
                .set(i64::from(pods));
        }
    }

    /// A deleted SidecarSet has no series.
    pub(crate) fn forget(&self, sidecarset: &str) {
        let set = SetLabels::new(sidecarset);
        self.reconcile_seconds.remove(&set);
        self.panics.remove(&set);
        for operation in Operation::ALL {
            let labels = OperationLabels::new(sidecarset, operation);
            self.operation_seconds.remove(&labels);
            self.pods_touched.remove(&labels);
            for outcome in Outcome::ALL {
                self.operations
                    .remove(&ResultLabels::new(sidecarset, operation, outcome));
            }
        }
        for state in PodState::ALL {
            self.pods.remove(&StateLabels::new(sidecarset, state));
        }
        for reason in WaitingOn::REASONS {
            self.waiting.remove(&ReasonLabels::new(sidecarset, reason));
        }
    }

    pub(crate) fn reconciled(&self, sidecarset: &str, took: Duration) {
        self.reconcile_seconds
            .get_or_create(&SetLabels::new(sidecarset))
            .observe(took.as_secs_f64());
    }

    pub(crate) fn panicked(&self, sidecarset: &str) {
        self.panics.get_or_create(&SetLabels::new(sidecarset)).inc();
    }

    pub(crate) fn admitted(&self, path: &'static str, outcome: &'static str, took: Duration) {
        self.admission_seconds
            .get_or_create(&PathLabels { path })
            .observe(took.as_secs_f64());
        self.reviews.get_or_create(&ReviewLabels { path, outcome }).inc();
    }

    pub(crate) fn leads(&self, epoch: u64) {
        self.epoch.set(i64::try_from(epoch).unwrap_or(i64::MAX));
        self.leading.set(1);
    }

    pub(crate) fn leads_no_more(&self) {
        self.leading.set(0);
    }

    pub(crate) fn cache_age(&self, cache: &str, age: Duration) {
        let cache = cache.to_owned();
        self.age
            .get_or_create(&CacheLabels { cache })
            .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
    }
}

impl Observer for Metrics {
    fn request(&self, seen: &RequestSeen<'_>) {
        let labels = VerbLabels {
            verb: seen.verb,
            resource: seen.resource.name(),
        };
        self.request_seconds
            .get_or_create(&labels)
            .observe(seen.latency.as_secs_f64());
        self.queue_seconds
            .get_or_create(&labels)
            .observe(seen.queued.as_secs_f64());
        let labels = RequestLabels {
            verb: labels.verb,
            resource: labels.resource,
            code: seen.code,
        };
        self.requests.get_or_create(&labels).inc();
    }

    fn watch(&self, resource: &Resource, turn: &WatchTurn) {
        let turn = match turn {
            WatchTurn::Relisted { .. } => "relisted",
            WatchTurn::Connected => "connected",
            WatchTurn::Closed => "closed",
            WatchTurn::Failed { .. } => "failed",
            WatchTurn::Stalled => "stalled",
            WatchTurn::WentBack => "went-back",
            WatchTurn::BadObject => "bad-object",
        };
        let resource = resource.name();
        self.watch_turns
            .get_or_create(&TurnLabels { resource, turn })
            .inc();
    }

    fn limit(&self, resource: &Resource, in_flight_limit: f64) {
        let resource = resource.name();
        self.in_flight_limit
            .get_or_create(&ResourceLabels { resource })
            .set(in_flight_limit);
    }
}

fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, text: &str) -> M {
    let metric = M::default();
    registry.register(name, text, metric.clone());
    metric
}

/// From 50 microseconds to 6.5 seconds.
fn timed<L>(registry: &mut Registry, name: &str, text: &str) -> Seconds<L>
where
    L: Clone + std::hash::Hash + Eq,
    Seconds<L>: Metric,
{
    let metric: Seconds<L> =
        Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.000_05, 2.0, 18)));
    registry.register(name, text, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_sidecarset_leaves_no_series_behind() {
        let metrics = Metrics::new();
        let waiting = [WaitingOn::Paused { pods: 2 }];
        for set in ["gone", "stays"] {
            metrics.operated(
                set,
                Operation::Upgrade,
                Outcome::Success,
                Duration::from_millis(3),
            );
            metrics.operated(set, Operation::Status, Outcome::Refused, Duration::from_millis(3));
            metrics.pods(set, &Counts::default(), &waiting);
            metrics.reconciled(set, Duration::from_millis(1));
            metrics.panicked(set);
        }
        assert!(metrics.text().contains("sidecarset=\"gone\""));
        metrics.forget("gone");
        let text = metrics.text();
        assert!(!text.contains("gone"), "{text}");
        let touched = r#"tidegate_sidecarset_pods_touched_total{sidecarset="stays",operation="upgrade"} 1"#;
        assert!(text.contains(touched), "{text}");
        let touched = r#"tidegate_sidecarset_pods_touched_total{sidecarset="stays",operation="status"}"#;
        assert!(!text.contains(touched), "{text}");
    }
}
