//! Where figures go: the door reports each request and each turn of a watch to one observer.
use std::time::Duration;

use crate::Resource;

/// What a request came to. `verb` and `resource` are short and few, fit for metric labels.
#[derive(Clone, Debug)]
pub struct RequestSeen<'a> {
    pub verb: &'static str,
    pub resource: &'a Resource,
    pub subresource: Option<&'a str>,
    /// The HTTP status; 0 where no answer came.
    pub code: u16,
    /// Time on the wire of this attempt.
    pub latency: Duration,
    /// Time this attempt waited for its turn.
    pub queued: Duration,
    /// 0 for the first attempt.
    pub attempt: u32,
}

/// What happened to a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchTurn {
    Relisted { objects: usize, reason: &'static str },
    Connected,
    Closed,
    Failed { reason: String },
    Stalled,
    WentBack,
    BadObject,
}

/// Metrics hook. Calls are made on the request path: they must not block.
pub trait Observer: Send + Sync + 'static {
    fn request(&self, _seen: &RequestSeen<'_>) {}
    fn watch(&self, _resource: &Resource, _turn: &WatchTurn) {}
    fn limit(&self, _resource: &Resource, _in_flight_limit: f64) {}
}

/// Looks the other way.
pub struct Unobserved;

impl Observer for Unobserved {}
