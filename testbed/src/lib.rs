//! Real Kubernetes on this machine, built from its Go modules: an API server alone, a control plane, or nodes
//! with real kubelets, containerd and a real OCI registry in network namespaces.
//!
//! Binaries are cached outside the checkout, keyed by what they are built from. `KUBEBUILDER_ASSETS`, where set,
//! is used instead for the API server, etcd and kubectl.
mod bed;
mod control_plane;
mod images;
mod nodes;
mod pki;
mod process;
mod prometheus;
mod toolchain;

pub use bed::{Bed, BedOptions, NodesUnavailable};
pub use control_plane::{ApiServer, ApiServerOptions};
pub use images::ImageSpec;
pub use prometheus::Prometheus;
pub use toolchain::{Binaries, DEFAULT_VERSION, Module, cache_dir, parse_version};

use std::path::PathBuf;

/// What went wrong while building or starting real Kubernetes.
#[derive(Debug, thiserror::Error)]
pub enum TestbedError {
    #[error("{0} is not on this machine's PATH: install it (see testbed/install-packages.sh)")]
    MissingTool(String),
    #[error("{what} failed ({status}): {output}")]
    Command {
        what: String,
        status: String,
        output: String,
    },
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("certificate for {subject}: {source}")]
    Certificate { subject: String, source: rcgen::Error },
    #[error("{process} did not get ready within {seconds} s; its log: {log}")]
    NotReady {
        process: String,
        seconds: u64,
        log: PathBuf,
    },
    #[error("{process} ended while it was starting; its log: {log}")]
    Ended { process: String, log: PathBuf },
    #[error("Kubernetes version {0:?} is not of the form 1.36.3")]
    Version(String),
    #[error("{0}")]
    Nodes(#[from] NodesUnavailable),
}

pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> TestbedError {
    let what = what.into();
    move |source| TestbedError::Io { what, source }
}
