//! What status says of a decision.
use super::decide::{Outcome, Snapshot, deadline};
use super::facts::{InPlace, PodFacts};
use super::plan::Plan;
use model::decision::{Condition, Counts, Report, Waited, WaitingOn};
use model::field::cut;
use model::pod::PodView;
use model::time::Timestamp;
use std::collections::BTreeMap;

/// How many pods a line names.
const NAMED: usize = 5;
/// Of a reason that a pod brings with it.
const WHY_BYTES: usize = 160;

pub(super) fn report(
    snapshot: &Snapshot<'_>,
    counts: Counts,
    outcome: &Outcome<'_>,
    now: Timestamp,
) -> Report {
    let waiting = waiting(snapshot, counts, outcome, now);
    let conditions = conditions(snapshot, counts, outcome, &waiting);
    Report {
        counts,
        waiting,
        conditions,
    }
}

fn waiting(snapshot: &Snapshot<'_>, counts: Counts, outcome: &Outcome<'_>, now: Timestamp) -> Vec<WaitingOn> {
    let plan = snapshot.plan;
    let mut out = Vec::new();
    let outdated = counts.matched - counts.updated;
    if plan.hash.is_none() {
        let problem = plan.hash_problem.clone();
        out.push(WaitingOn::HashPending { problem });
    } else if !plan.rolling && outdated > 0 {
        out.push(WaitingOn::NotUpdate { pods: outdated });
    } else if plan.paused && outdated > 0 {
        out.push(WaitingOn::Paused { pods: outdated });
    }
    out.extend(in_doubt(snapshot, outcome, now));
    if let Some(threshold) = outcome.threshold.filter(|t| outcome.failed >= *t) {
        out.push(WaitingOn::FailureThreshold {
            failed: outcome.failed,
            threshold,
        });
    }
    if let Some(budget) = outcome.short_of {
        let holding = |f: &&&PodFacts| {
            f.claimed
                || (!f.is_ready(now) && (f.counts_updated() || plan.counts_all_unavailable || f.was_updated))
        };
        let pods = snapshot
            .pods
            .iter()
            .filter(holding)
            .take(NAMED)
            .map(|f| waited(f, now))
            .collect();
        out.push(WaitingOn::Unavailable {
            in_use: budget.in_use,
            allowed: budget.allowed,
            pods,
        });
    }
    if outcome.held_by_partition > 0 {
        let partition = plan.partition.to_string();
        out.push(WaitingOn::Partition {
            held: outcome.held_by_partition,
            partition,
        });
    }
    if outcome.not_selected > 0 {
        out.push(WaitingOn::NotSelected {
            pods: outcome.not_selected,
        });
    }
    out.extend(blocked(snapshot));
    out.extend(past_deadline(plan, snapshot, now));
    out.extend(named(
        snapshot,
        |f| f.refused.as_ref().map(|(why, _)| why.as_str()),
        |pods, total| WaitingOn::Refused { pods, total },
    ));
    let in_flight = snapshot.pods.iter().filter(|f| f.in_flight).count();
    if in_flight > 0 {
        out.push(WaitingOn::OwnWrites {
            pods: count(in_flight),
        });
    }
    if !snapshot.not_injected.is_empty() {
        out.push(not_injected(&snapshot.not_injected));
    }
    out
}

fn in_doubt(snapshot: &Snapshot<'_>, outcome: &Outcome<'_>, now: Timestamp) -> Option<WaitingOn> {
    let doubt = snapshot
        .doubt
        .filter(|d| outcome.open > 0 && d.shows_at() <= now)?;
    Some(WaitingOn::InDoubt {
        pods: outcome.open,
        kind: doubt.kind.to_owned(),
        since: Some(doubt.since),
    })
}

/// Outdated pods that no budget helps.
fn blocked(snapshot: &Snapshot<'_>) -> Vec<WaitingOn> {
    let mut recreate: BTreeMap<&str, u32> = BTreeMap::new();
    let mut hot: BTreeMap<&str, u32> = BTreeMap::new();
    let mut native: Option<(u32, String)> = None;
    let mut out = Vec::new();
    for facts in snapshot.pods.iter().filter(|f| !f.counts_updated()) {
        match &facts.in_place {
            InPlace::OtherChange => {
                let change = snapshot.changes.get(&*facts.revision);
                *recreate
                    .entry(change.map_or("more than images changed", String::as_str))
                    .or_default() += 1;
            }
            InPlace::Hot(container) => *hot.entry(container).or_default() += 1,
            InPlace::Native if facts.old_kubelet => {
                let node = facts.pod.node_name.as_deref().unwrap_or("their node").to_owned();
                native.get_or_insert((0, node)).0 += 1;
            }
            _ => {}
        }
    }
    out.extend(recreate.into_iter().map(|(change, pods)| WaitingOn::Recreation {
        pods,
        change: change.to_owned(),
    }));
    out.extend(hot.into_iter().map(|(c, pods)| WaitingOn::HotUpgrade {
        pods,
        container: c.to_owned(),
    }));
    out.extend(native.map(|(pods, example)| WaitingOn::NativeSidecar { pods, example }));
    out.extend(named(snapshot, unreadable, |pods, total| WaitingOn::Unreadable {
        pods,
        total,
    }));
    out
}

fn unreadable(facts: &PodFacts) -> Option<&str> {
    match &facts.in_place {
        InPlace::Unreadable(problem) => Some(problem),
        _ => None,
    }
}

fn named<'a>(
    snapshot: &Snapshot<'a>,
    why: impl Fn(&'a PodFacts) -> Option<&'a str>,
    make: impl Fn(Vec<Waited>, u32) -> WaitingOn,
) -> Option<WaitingOn> {
    let all: Vec<(&PodFacts, &str)> = snapshot.pods.iter().filter_map(|f| Some((*f, why(f)?))).collect();
    let pods = all.iter().take(NAMED).map(|(f, why)| Waited {
        unit: f.unit(),
        why: cut(why, WHY_BYTES),
        since: None,
    });
    (!all.is_empty()).then(|| make(pods.collect(), count(all.len())))
}

fn past_deadline(plan: &Plan, snapshot: &Snapshot<'_>, now: Timestamp) -> Option<WaitingOn> {
    let late: Vec<_> = snapshot
        .pods
        .iter()
        .filter(|f| deadline(plan, f, now).is_some_and(|at| at <= now))
        .collect();
    (!late.is_empty()).then(|| WaitingOn::PastDeadline {
        pods: late.iter().take(NAMED).map(|f| waited(f, now)).collect(),
        total: count(late.len()),
        deadline_seconds: plan.ready_deadline_seconds,
    })
}

fn not_injected(pods: &[&std::sync::Arc<PodView>]) -> WaitingOn {
    let name = |p: &&std::sync::Arc<PodView>| Waited {
        unit: format!("{}/{}", p.namespace, p.name),
        why: "not injected".to_owned(),
        since: p.creation_timestamp,
    };
    WaitingOn::NotInjected {
        pods: pods.iter().take(NAMED).map(name).collect(),
        total: count(pods.len()),
    }
}

fn waited(facts: &PodFacts, now: Timestamp) -> Waited {
    let pod = &*facts.pod;
    let trouble = pod
        .container_statuses
        .iter()
        .chain(&pod.init_container_statuses)
        .filter_map(|s| s.waiting.as_ref())
        .find(|w| !matches!(&*w.reason, "" | "ContainerCreating" | "PodInitializing"));
    let why = match trouble {
        Some(w) => cut(&w.reason, WHY_BYTES),
        None if facts.claimed => "may be updated by a former leader".to_owned(),
        None if !facts.available => "not ready".to_owned(),
        None if facts.in_flight || !facts.completion.is_done(now) => "being updated".to_owned(),
        None => "not ready".to_owned(),
    };
    let since = match facts.available {
        // The pod's record is still that of the update before, which says nothing of this one.
        true if facts.in_flight => None,
        true => facts.updated_at,
        false => pod
            .ready
            .and_then(|r| r.last_transition_time)
            .or(facts.updated_at),
    };
    Waited {
        unit: facts.unit(),
        why,
        since,
    }
}

fn conditions(
    snapshot: &Snapshot<'_>,
    counts: Counts,
    outcome: &Outcome<'_>,
    waiting: &[WaitingOn],
) -> Vec<Condition> {
    let lines = || {
        waiting
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    let upgraded = if counts.updated_ready == counts.matched && snapshot.plan.hash.is_some() {
        Condition::new(
            "Upgraded",
            true,
            "Complete",
            format!("{} pods are updated and ready", counts.matched),
        )
    } else {
        match waiting.first() {
            _ if !outcome.taken.is_empty() => Condition::new("Upgraded", false, "Upgrading", ""),
            Some(first) => Condition::new("Upgraded", false, first.reason(), lines()),
            None => Condition::new("Upgraded", false, "Upgrading", ""),
        }
    };
    let stalled = waiting.iter().find(|w| {
        matches!(
            w,
            WaitingOn::PastDeadline { .. } | WaitingOn::FailureThreshold { .. } | WaitingOn::Refused { .. }
        )
    });
    let stalled = match stalled {
        Some(why) => Condition::new("Stalled", true, why.reason(), why.to_string()),
        None => Condition::new("Stalled", false, "Moving", ""),
    };
    let missing = waiting
        .iter()
        .find(|w| matches!(w, WaitingOn::NotInjected { .. }));
    let injected = match missing {
        Some(why) => Condition::new("Injected", false, "NotInjected", why.to_string()),
        None => Condition::new("Injected", true, "AllInjected", ""),
    };
    vec![upgraded, stalled, injected]
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
