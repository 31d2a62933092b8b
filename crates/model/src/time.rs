//! Time as an argument: deciders get a [`Timestamp`], shells get a [`Clock`].

pub use jiff::Timestamp;

/// Wall-clock time for shells: the system's, or the simulator's virtual one.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Timestamp;
}

/// `2026-11-21T12:00:00Z`, as Kubernetes writes metav1.Time.
pub fn rfc3339_seconds(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-21T12:00:00.000000Z`, as Kubernetes writes metav1.MicroTime.
pub fn rfc3339_micros(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}
