//! What series are told apart by.
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use std::fmt::{self, Write as _};

/// What is done on behalf of a SidecarSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Sidecars into a pod that is being created.
    Inject,
    /// New images into a running pod.
    Upgrade,
    /// What the operator notes on a pod, without moving a container.
    Mark,
    /// Status, revisions and hashes.
    Status,
}

impl Operation {
    pub const ALL: [Self; 4] = [Self::Inject, Self::Upgrade, Self::Mark, Self::Status];

    pub fn is_on_pods(self) -> bool {
        self != Self::Status
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    /// Not sent: the spec had changed, or leadership was lost.
    Dropped,
    /// Sent, and no answer came.
    Unknown,
    Refused,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Success, Self::Dropped, Self::Unknown, Self::Refused];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PodState {
    Matched,
    Updated,
    Ready,
    UpdatedReady,
}

impl PodState {
    pub const ALL: [Self; 4] = [Self::Matched, Self::Updated, Self::Ready, Self::UpdatedReady];
}

macro_rules! written_as {
    ($($kind:ident { $($variant:ident => $text:literal),+ $(,)? })+) => {$(
        impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                encoder.write_str(match self { $(Self::$variant => $text),+ })
            }
        }
    )+};
}

written_as! {
    Operation { Inject => "inject", Upgrade => "upgrade", Mark => "mark", Status => "status" }
    Outcome { Success => "success", Dropped => "dropped", Unknown => "unknown", Refused => "refused" }
    PodState { Matched => "matched", Updated => "updated", Ready => "ready", UpdatedReady => "updated-ready" }
}

macro_rules! label_sets {
    ($($name:ident { $($label:ident: $kind:ty),+ })+) => {$(
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            $(pub $label: $kind),+
        }
    )+};
}

label_sets! {
    RequestLabels { verb: &'static str, resource: String, code: u16 }
    VerbLabels { verb: &'static str, resource: String }
    ResourceLabels { resource: String }
    TurnLabels { resource: String, turn: &'static str }
    SetLabels { sidecarset: String }
    PathLabels { path: &'static str }
    ReviewLabels { path: &'static str, outcome: &'static str }
    CacheLabels { cache: String }
    ReasonLabels { sidecarset: String, reason: &'static str }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationLabels {
    sidecarset: String,
    operation: Operation,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ResultLabels {
    sidecarset: String,
    operation: Operation,
    result: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabels {
    sidecarset: String,
    state: PodState,
}

impl SetLabels {
    pub fn new(sidecarset: &str) -> Self {
        let sidecarset = sidecarset.to_owned();
        Self { sidecarset }
    }
}

impl OperationLabels {
    pub fn new(sidecarset: &str, operation: Operation) -> Self {
        let sidecarset = sidecarset.to_owned();
        Self {
            sidecarset,
            operation,
        }
    }
}

impl ResultLabels {
    pub fn new(sidecarset: &str, operation: Operation, result: Outcome) -> Self {
        Self {
            sidecarset: sidecarset.to_owned(),
            operation,
            result,
        }
    }
}

impl StateLabels {
    pub fn new(sidecarset: &str, state: PodState) -> Self {
        let sidecarset = sidecarset.to_owned();
        Self { sidecarset, state }
    }
}

impl ReasonLabels {
    pub fn new(sidecarset: &str, reason: &'static str) -> Self {
        let sidecarset = sidecarset.to_owned();
        Self { sidecarset, reason }
    }
}
