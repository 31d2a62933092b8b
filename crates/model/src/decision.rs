//! A decision is data: what to do now, what holds the rest back, and when to look again.
use crate::time::{Timestamp, rfc3339_seconds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a decider says.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision<A> {
    pub actions: Vec<A>,
    pub report: Report,
    /// When time alone may change the decision.
    pub wake_at: Option<Timestamp>,
}

/// What status shows of a decision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    pub counts: Counts,
    pub waiting: Vec<WaitingOn>,
    pub conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub matched: u32,
    pub updated: u32,
    pub ready: u32,
    pub updated_ready: u32,
}

/// A condition as Kubernetes objects carry it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<String>,
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

impl Condition {
    pub fn new(kind: &str, is_true: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            status: if is_true { "True" } else { "False" }.to_owned(),
            observed_generation: None,
            last_transition_time: None,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// The new conditions, dated: a time of transition is kept while the status is the same. Conditions of kinds that
/// `new` does not name are somebody else's and stay.
pub fn merge_conditions(
    old: &[Condition],
    new: Vec<Condition>,
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    let kept = old
        .iter()
        .filter(|o| !new.iter().any(|n| n.kind == o.kind))
        .cloned();
    let mut merged: Vec<Condition> = kept.collect();
    merged.extend(new.iter().cloned().map(|mut condition| {
        let before = old.iter().find(|o| o.kind == condition.kind);
        condition.last_transition_time = before
            .filter(|o| o.status == condition.status)
            .and_then(|o| o.last_transition_time.clone())
            .or_else(|| Some(rfc3339_seconds(now)));
        condition.observed_generation = Some(generation);
        condition
    }));
    merged
}

/// A unit somebody waits for, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waited {
    /// `namespace/name`.
    pub unit: String,
    /// `not ready`, `ErrImagePull`, ...
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

/// Every reason why something does not happen now, with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all_fields = "camelCase")]
pub enum WaitingOn {
    /// Somebody paused it.
    Paused { pods: u32 },
    /// The update strategy says that running pods stay as they are.
    NotUpdate { pods: u32 },
    /// The partition keeps these on the old revision.
    Partition { held: u32, partition: String },
    /// The update selector does not choose these.
    NotSelected { pods: u32 },
    /// The budget is used up by these.
    Unavailable {
        in_use: u32,
        allowed: u32,
        pods: Vec<Waited>,
    },
    /// Updated pods that are not ready long after their deadline; they keep their places.
    PastDeadline {
        pods: Vec<Waited>,
        total: u32,
        deadline_seconds: i64,
    },
    /// Too many updates failed: nothing more is updated.
    FailureThreshold { failed: u32, threshold: u32 },
    /// These cannot change in place.
    Recreation { pods: u32, change: String },
    /// The image of a hot-upgrade container changed, which moves no pod yet.
    HotUpgrade { pods: u32, container: String },
    /// The kubelet of these pods' nodes does not restart native sidecars whose image changed.
    NativeSidecar { pods: u32, example: String },
    /// Their writes were refused; others go on.
    Refused { pods: Vec<Waited>, total: u32 },
    /// Their annotations cannot be read.
    Unreadable { pods: Vec<Waited>, total: u32 },
    /// What these are decided on is in doubt: the watch of this kind was cut, and it was not listed since.
    InDoubt {
        pods: u32,
        kind: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<Timestamp>,
    },
    /// Sent, and not seen yet in what the API server tells.
    OwnWrites { pods: u32 },
    /// Pods created while no webhook answered.
    NotInjected { pods: Vec<Waited>, total: u32 },
    /// Namespaces that are never touched hold pods that match.
    Excluded { pods: u32, namespaces: Vec<String> },
    /// The hash annotations are not those of this content: no webhook was asked when it was written. They are being
    /// written; `problem` says what is in the way.
    HashPending {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
    },
    /// This webhook configuration was not seen to hold the SidecarSet: new pods are not injected yet.
    InjectionPending { configuration: String },
    /// The spec cannot be acted upon.
    Invalid { message: String },
}

impl WaitingOn {
    /// One plain line, with ages as of `now`.
    pub fn line(&self, now: Timestamp) -> String {
        self.write_line(Some(now))
    }

    /// The variant's name, for metrics and conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Paused { .. } => "Paused",
            Self::NotUpdate { .. } => "NotUpdate",
            Self::Partition { .. } => "Partition",
            Self::NotSelected { .. } => "NotSelected",
            Self::Unavailable { .. } => "Unavailable",
            Self::PastDeadline { .. } => "PastDeadline",
            Self::FailureThreshold { .. } => "FailureThreshold",
            Self::Recreation { .. } => "Recreation",
            Self::HotUpgrade { .. } => "HotUpgrade",
            Self::NativeSidecar { .. } => "NativeSidecar",
            Self::Refused { .. } => "Refused",
            Self::Unreadable { .. } => "Unreadable",
            Self::InDoubt { .. } => "InDoubt",
            Self::OwnWrites { .. } => "OwnWrites",
            Self::NotInjected { .. } => "NotInjected",
            Self::Excluded { .. } => "Excluded",
            Self::HashPending { .. } => "HashPending",
            Self::InjectionPending { .. } => "InjectionPending",
            Self::Invalid { .. } => "Invalid",
        }
    }

    /// All names, for metrics that must go back to 0.
    pub const REASONS: [&'static str; 19] = [
        "Paused",
        "NotUpdate",
        "Partition",
        "NotSelected",
        "Unavailable",
        "PastDeadline",
        "FailureThreshold",
        "Recreation",
        "HotUpgrade",
        "NativeSidecar",
        "Refused",
        "Unreadable",
        "InDoubt",
        "OwnWrites",
        "NotInjected",
        "Excluded",
        "HashPending",
        "InjectionPending",
        "Invalid",
    ];

    /// How many pods wait for this; 0 where it is not about pods.
    pub fn pods(&self) -> u32 {
        match self {
            Self::Paused { pods }
            | Self::NotUpdate { pods }
            | Self::Partition { held: pods, .. }
            | Self::NotSelected { pods }
            | Self::Unavailable { in_use: pods, .. }
            | Self::PastDeadline { total: pods, .. }
            | Self::FailureThreshold { failed: pods, .. }
            | Self::Recreation { pods, .. }
            | Self::HotUpgrade { pods, .. }
            | Self::NativeSidecar { pods, .. }
            | Self::Refused { total: pods, .. }
            | Self::Unreadable { total: pods, .. }
            | Self::InDoubt { pods, .. }
            | Self::OwnWrites { pods }
            | Self::NotInjected { total: pods, .. }
            | Self::Excluded { pods, .. } => *pods,
            Self::HashPending { .. } | Self::InjectionPending { .. } | Self::Invalid { .. } => 0,
        }
    }

    fn write_line(&self, now: Option<Timestamp>) -> String {
        match self {
            Self::Paused { pods } => format!("paused: {}", stay(*pods)),
            Self::NotUpdate { pods } => format!("updateStrategy.type is NotUpdate: {}", stay(*pods)),
            Self::Partition { held, .. } => format!("partition holds {} back", count(*held)),
            Self::NotSelected { pods } => format!("the update selector leaves {} out", count(*pods)),
            Self::Unavailable {
                in_use,
                allowed,
                pods,
            } => format!("{in_use} of {allowed} unavailable{}", list(pods, *in_use, now)),
            Self::PastDeadline {
                pods,
                total,
                deadline_seconds,
            } => format!(
                "{} not ready {deadline_seconds}s after the update{}; fix or delete them, or set another image",
                count(*total),
                list(pods, *total, now)
            ),
            Self::FailureThreshold { failed, threshold } => stopped_by_failures(*failed, *threshold),
            Self::Recreation { pods, change } => {
                format!("waiting for {} to be recreated: {change}", count(*pods))
            }
            Self::HotUpgrade { pods, container } => {
                format!(
                    "{} stay: {container} is a HotUpgrade container, which is not upgraded in place yet",
                    count(*pods)
                )
            }
            Self::NativeSidecar { pods, example } => format!(
                "{} stay: the kubelet of {example} does not restart native sidecars on an image change",
                count(*pods)
            ),
            Self::Refused { pods, total } => {
                format!(
                    "the API server refused {}{}",
                    count(*total),
                    list(pods, *total, now)
                )
            }
            Self::Unreadable { pods, total } => {
                format!(
                    "annotations of {} cannot be read{}",
                    count(*total),
                    list(pods, *total, now)
                )
            }
            Self::InDoubt { pods, kind, since } => in_doubt(*pods, kind, age(*since, now)),
            Self::OwnWrites { pods } => format!("waiting to see the writes to {}", count(*pods)),
            Self::NotInjected { pods, total } => {
                format!(
                    "{} created without the sidecars{}",
                    count(*total),
                    list(pods, *total, now)
                )
            }
            Self::Excluded { pods, namespaces } => format!(
                "{} in namespaces that are never touched: {}",
                count(*pods),
                namespaces.join(", ")
            ),
            Self::HashPending { problem } => hash_pending(problem.as_deref()),
            Self::InjectionPending { configuration } => {
                format!("injection is not in force yet: {configuration} was not seen to hold this SidecarSet")
            }
            Self::Invalid { message } => message.clone(),
        }
    }
}

/// One plain line without ages, the same at any time.
impl fmt::Display for WaitingOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.write_line(None))
    }
}

fn stopped_by_failures(failed: u32, threshold: u32) -> String {
    format!(
        "{failed} failed, {threshold} reach the failure threshold: no more pods are updated until they are ready, \
         deleted or given another image, or until tidegate resume goes on without them"
    )
}

fn in_doubt(pods: u32, kind: &str, age: String) -> String {
    let pods = count(pods);
    format!("{pods} wait: the watch of {kind} was cut, and they are not listed yet{age}")
}

fn hash_pending(problem: Option<&str>) -> String {
    match problem {
        None => {
            "no webhook was asked when this was written: its defaults and hashes are being written".to_owned()
        }
        Some(problem) => {
            format!("defaults and hashes, which no webhook wrote, could not be written: {problem}")
        }
    }
}

fn count(pods: u32) -> String {
    format!("{pods} {}", if pods == 1 { "pod" } else { "pods" })
}

fn stay(pods: u32) -> String {
    match pods {
        0 => "nothing to update".to_owned(),
        _ => format!("{} not updated", count(pods)),
    }
}

/// `: ns/a not ready for 41s, ns/b ...`, with what is left out counted.
fn list(pods: &[Waited], total: u32, now: Option<Timestamp>) -> String {
    if pods.is_empty() {
        return String::new();
    }
    let mut parts: Vec<String> = pods.iter().map(|p| waited(p, now)).collect();
    let unnamed = usize::try_from(total)
        .unwrap_or(usize::MAX)
        .saturating_sub(pods.len());
    if unnamed > 0 {
        parts.push(format!("and {unnamed} more"));
    }
    format!(": {}", parts.join(", "))
}

fn waited(pod: &Waited, now: Option<Timestamp>) -> String {
    format!("{} {}{}", pod.unit, pod.why, age(pod.since, now))
}

fn age(since: Option<Timestamp>, now: Option<Timestamp>) -> String {
    match (since, now) {
        (Some(since), Some(now)) => format!(" for {}s", now.duration_since(since).as_secs().max(0)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    #[test]
    fn lines_carry_their_numbers() {
        let partition = WaitingOn::Partition {
            held: 980,
            partition: "98%".to_owned(),
        };
        assert_eq!(partition.to_string(), "partition holds 980 pods back");
        let pods = vec![Waited {
            unit: "ns/pod-a".to_owned(),
            why: "not ready".to_owned(),
            since: Some(at(0)),
        }];
        let budget = WaitingOn::Unavailable {
            in_use: 2,
            allowed: 2,
            pods,
        };
        assert_eq!(
            budget.line(at(41)),
            "2 of 2 unavailable: ns/pod-a not ready for 41s, and 1 more"
        );
        assert_eq!(
            budget.to_string(),
            "2 of 2 unavailable: ns/pod-a not ready, and 1 more"
        );
        let recreate = WaitingOn::Recreation {
            pods: 12,
            change: "env changed".to_owned(),
        };
        assert_eq!(
            recreate.to_string(),
            "waiting for 12 pods to be recreated: env changed"
        );
    }

    #[test]
    fn what_is_waited_for_survives_the_wire() {
        let budget = WaitingOn::Unavailable {
            in_use: 1,
            allowed: 1,
            pods: vec![],
        };
        let wire = serde_json::to_value(&budget).unwrap();
        assert_eq!(
            wire,
            serde_json::json!({"reason": "Unavailable", "inUse": 1, "allowed": 1, "pods": []})
        );
        assert_eq!(serde_json::from_value::<WaitingOn>(wire).unwrap(), budget);
    }

    #[test]
    fn a_condition_keeps_its_date_while_its_status_is_the_same() {
        let first = merge_conditions(
            &[],
            vec![Condition::new("Upgraded", false, "Upgrading", "")],
            1,
            at(0),
        );
        let second = merge_conditions(
            &first,
            vec![Condition::new("Upgraded", false, "Paused", "")],
            2,
            at(9),
        );
        assert_eq!(second[0].last_transition_time, first[0].last_transition_time);
        let third = merge_conditions(
            &second,
            vec![Condition::new("Upgraded", true, "Complete", "")],
            2,
            at(9),
        );
        assert_ne!(third[0].last_transition_time, first[0].last_transition_time);
    }
}
