//! How running pods change: which pods get a new image in place, when, and why the others wait.
//!
//! A SidecarSet is parsed once into a [`Plan`]; each of its pods is read once per change into [`PodFacts`]; and
//! [`decide`] looks at facts alone. Nothing here knows a clock or a connection.
mod annotations;
mod changed;
mod completion;
mod decide;
mod facts;
mod order;
mod patch;
mod plan;
mod report;
mod scatter;
mod share;

pub use annotations::{HashEntry, WaitList};
pub use changed::what_changed;
pub use completion::{Completion, SETTLE_SECONDS};
pub use decide::{Action, Doubt, Snapshot, decide};
pub use facts::{InPlace, Membership, PodFacts};
pub use patch::{ImageChange, PodUpgrade, StatusPatch};
pub use plan::{Plan, PlanError};
pub use share::{held_by_partition, share_of};

/// On the SidecarSet: seconds or a duration (`10m`) after which an updated pod that is not ready counts as failed.
pub const READY_DEADLINE: &str = "tidegate.dev/ready-deadline";
/// On the SidecarSet: failed pods (a count, or a share of the matched ones) that stop the upgrade.
pub const FAILURE_THRESHOLD: &str = "tidegate.dev/failure-threshold";
/// On the SidecarSet: failures up to this time (RFC 3339) do not count against the threshold; `tidegate resume` sets it.
pub const FAILURES_FORGIVEN: &str = "tidegate.dev/failures-forgiven-until";
/// On the SidecarSet: `All` lets every unavailable matched pod use up maxUnavailable, not only updated ones.
pub const UNAVAILABLE_COUNTS: &str = "tidegate.dev/max-unavailable-counts";
/// On the pod: the containerIDs at the moment of an update, by SidecarSet and container.
pub const REPLACED_CONTAINERS: &str = "tidegate.dev/sidecarset-replaced-containers";

#[cfg(test)]
mod tests;
