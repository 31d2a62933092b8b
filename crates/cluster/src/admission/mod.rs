//! The admission server: HTTPS for webhooks, lean on the path of every pod.
//!
//! It knows nothing of what it is asked: a [`Reviewer`] turns a path and a body into an answer. Connections, bodies
//! and time are bounded, since anybody who can reach the port may talk to it. Certificates are looked up per
//! handshake, so they change without a restart.
mod budget;
mod bundle;
mod certificate;
mod keeper;
mod rotation;
mod server;

use std::future::Future;

use bytes::Bytes;

pub use bundle::BundleTarget;
pub use certificate::{CertificateError, Identity};
pub use keeper::{CertificateKeeper, KeeperOptions};
pub use rotation::{Credentials, RotationOptions, Step};
pub use server::{AdmissionServer, AdmissionServerOptions, ServerIdentity};

/// Answers what an API server asks.
pub trait Reviewer: Send + Sync + 'static {
    /// The answer's body, or the HTTP status of a refusal (404 for an unknown path).
    fn review(&self, path: &str, body: Bytes) -> impl Future<Output = Result<Bytes, u16>> + Send;
}
