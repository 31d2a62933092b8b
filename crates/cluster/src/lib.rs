//! The only door to Kubernetes.
//!
//! * [`Door`]: requests with deadlines, a retry policy per verb, and an adaptive limit of what is in flight;
//! * [`Cache`]: a watch cache that decodes each object straight into a projection, survives every way a watch
//!   can end, and knows whether it has seen our own last write;
//! * [`Leader`]: leadership that every write through [`Door::fenced`] checks;
//! * [`admission`]: the HTTPS server of webhooks, and its certificates;
//! * [`resource`]: which objects there are.
//!
//! `kube` is the transport underneath (kubeconfig, TLS, credentials) and is named nowhere else.
pub mod admission;
pub mod cache;
pub mod door;
pub mod error;
pub mod events;
pub mod frame;
pub mod key;
pub mod lease;
pub mod limit;
pub mod observe;
pub mod resource;
pub mod trace;
mod transport;

pub use admission::{
    AdmissionServer, AdmissionServerOptions, BundleTarget, CertificateKeeper, KeeperOptions, Reviewer,
    RotationOptions, ServerIdentity,
};
pub use cache::{Cache, CacheHealth, Changes, Snapshot, WatchScope, Watched};
pub use door::{
    DeleteOptions, Deleted, Door, DoorOptions, ListOptions, Listed, Page, PatchKind, Preconditions,
    Propagation, WriteReceipt,
};
pub use error::{ApiError, DoorError, Outcome};
pub use events::Recorder;
pub use key::ObjectKey;
pub use lease::{Clocks, Leader, LeaderGuard, LeaderOptions, SystemClock};
pub use observe::Observer;
pub use resource::Resource;
