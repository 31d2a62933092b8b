//! Floor 3: shells around the deciders. Watch, snapshot, decide, apply, report.
//!
//! A shell holds connections and time, and decides nothing: what it does is what a decider told it, and what it
//! shows is what the decider reported.
mod health;
mod metrics;
mod options;
pub mod sidecarset;
pub mod takeover;

pub use metrics::Metrics;
pub use options::{Options, Webhook};

use cluster::Door;
use std::future::Future;
use std::sync::Arc;

/// Why an operator could not run.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error("installing {what}: {source}")]
    Install {
        what: String,
        #[source]
        source: cluster::ApiError,
    },
    #[error("{what} is not understood: {reason}")]
    Malformed { what: String, reason: String },
    #[error("listening on {address}: {source}")]
    Listen {
        address: std::net::SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("certificates: {0}")]
    Certificate(#[from] cluster::admission::CertificateError),
}

/// Runs every operator until `shutdown`.
///
/// The door reports its requests and watches to the observer in its options: without
/// `DoorOptions { observer: metrics.clone(), .. }` those figures stay empty (see [`Metrics::observing`]).
pub async fn run(
    door: Door,
    options: Options,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), OperatorError> {
    sidecarset::run(door, options, metrics, shutdown).await
}
