//! What an operator is told when it starts.
use cluster::Clocks;
use cluster::lease::Patience;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

#[derive(Clone)]
pub struct Options {
    /// The operator's own namespace: revisions, lease, certificates. Its pods are never touched.
    pub namespace: String,
    /// Where admission requests are answered over HTTPS; `None` where reviews come without sockets.
    pub listen: Option<SocketAddr>,
    /// Where metrics and health are served.
    pub metrics: Option<SocketAddr>,
    /// How the API server reaches `listen`: a URL for an operator outside the cluster, or a Service of ours.
    pub webhook: Webhook,
    /// Create the CRD and the webhook configurations where they are missing.
    pub install: bool,
    /// Names of the two webhook configurations.
    pub mutating_configuration: String,
    pub validating_configuration: String,
    /// Namespaces whose pods are never touched, beside our own.
    pub excluded: BTreeSet<String>,
    /// The lease the controllers lead by; `None` where there is only ever one operator.
    pub lease: Option<String>,
    /// How long a leader leads without renewing, and all that follows from it.
    pub patience: Patience,
    /// This process among replicas: its pod's or machine's name.
    pub identity: String,
    pub clocks: Clocks,
    /// Seed of everything random; from the system if none.
    pub seed: Option<u64>,
    /// Status of one SidecarSet is written at most this often.
    pub status_every: Duration,
    /// Pod writes of one SidecarSet that are on their way at once; the door's adaptive limit is below it.
    pub writes_in_flight: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Webhook {
    Url(String),
    Service { name: String, port: u16 },
}

impl Options {
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            listen: None,
            metrics: None,
            webhook: Webhook::Service {
                name: "tidegate-webhook".to_owned(),
                port: 443,
            },
            install: false,
            mutating_configuration: "tidegate-mutating-webhook-configuration".to_owned(),
            validating_configuration: "tidegate-validating-webhook-configuration".to_owned(),
            excluded: BTreeSet::from(["kube-system".to_owned()]),
            lease: Some("tidegate-operator".to_owned()),
            patience: Patience::default(),
            identity: "tidegate".to_owned(),
            clocks: Clocks::system(),
            seed: None,
            status_every: Duration::from_secs(1),
            writes_in_flight: 160,
        }
    }

    pub fn is_excluded(&self, namespace: &str) -> bool {
        namespace == self.namespace || self.excluded.contains(namespace)
    }
}
