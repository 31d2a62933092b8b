//! One reconcile: dereference, validate, decide, apply, report.
use super::chore::{Chore, Stale};
use super::contain::Step;
use super::injection::Injection;
use super::tracker::Tracker;
use super::views::Caches;
use crate::Options;
use model::decision::{Condition, Report, WaitingOn, merge_conditions};
use model::field::cut;
use model::sidecarset::SidecarSet;
use model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use workload::sidecarset::revision::{self, Revision, RevisionPlan};
use workload::sidecarset::standing::Standing;
use workload::upgrade::{Action, Doubt, Plan, Snapshot, decide, what_changed};

/// Bytes of what status says is wrong with a spec.
const LONGEST: usize = 4 << 10;

/// What a reconcile wants done.
pub(super) struct Wanted {
    pub actions: Vec<Action>,
    pub chore: Chore,
    pub report: Report,
    pub wake_at: Option<Timestamp>,
}

pub(super) fn reconcile(
    tracker: &mut Tracker,
    caches: &Caches,
    injection: &Injection,
    options: &Options,
    (doubt, room): (Option<Doubt>, usize),
    now: Timestamp,
) -> Wanted {
    // Dereference.
    let revisions = revisions_of(&tracker.set, caches);
    let in_use: BTreeSet<&str> = tracker.members.values().map(|f| &*f.revision).collect();
    let in_use: BTreeSet<String> = in_use.into_iter().map(str::to_owned).collect();
    let mut history = revision::plan(&tracker.set, &revisions, &in_use);
    if !tracker.standing.may_be_acted_upon() {
        // Revisions are made of contents that were accepted, and carry their hashes.
        history.actions.clear();
        history.current.clone_from(&tracker.set.status.latest_revision);
    }

    // Validate.
    let plan = match &mut tracker.plan {
        Ok(plan) => {
            plan.revision.clone_from(&history.current);
            plan.hash_problem.clone_from(&tracker.amendment.problem);
            plan.clone()
        }
        Err(error) => {
            let report = invalid(cut(&error.to_string(), LONGEST));
            return wanted(tracker, Vec::new(), report, None, &history, caches, options, now);
        }
    };

    // Decide.
    let changes = changes(tracker, &plan, &revisions, &in_use);
    let snapshot = Snapshot {
        plan: &plan,
        pods: tracker.members.values().map(AsRef::as_ref).collect(),
        not_injected: tracker.not_injected.values().collect(),
        changes: &changes,
        doubt,
        room,
    };
    let mut decision = decide(&snapshot, now);
    decision.report.waiting.extend(tracker.exclusion());
    let (condition, pending) = injection.report(&tracker.set, &options.mutating_configuration);
    decision.report.conditions.push(condition);
    decision.report.waiting.extend(pending);

    // Apply and report: by whoever asked.
    wanted(
        tracker,
        decision.actions,
        decision.report,
        decision.wake_at,
        &history,
        caches,
        options,
        now,
    )
}

/// What status says after a panic: one more condition, and all else as it was. `None` where it says so already.
pub(super) fn broken_status(set: &SidecarSet, step: Step, now: Timestamp) -> Option<Value> {
    let message = format!("an internal error in {}: see the operator's log", step.name());
    let condition = Condition::new("Stalled", true, "InternalError", message);
    let conditions = merge_conditions(&conditions_of(set), vec![condition], set.metadata.generation, now);
    let conditions = json!(conditions);
    (conditions != json!(set.status.conditions))
        .then(|| json!({"metadata": {"uid": set.metadata.uid}, "status": {"conditions": conditions}}))
}

/// A report that says only what is wrong.
fn invalid(message: String) -> Report {
    let conditions = vec![
        Condition::new("Upgraded", false, "Invalid", message.clone()),
        Condition::new("Stalled", true, "Invalid", message.clone()),
        Condition::new("InjectionReady", false, "Invalid", message.clone()),
    ];
    Report {
        waiting: vec![WaitingOn::Invalid { message }],
        conditions,
        ..Report::default()
    }
}

#[allow(clippy::too_many_arguments)]
fn wanted(
    tracker: &Tracker,
    actions: Vec<Action>,
    report: Report,
    wake_at: Option<Timestamp>,
    history: &RevisionPlan,
    caches: &Caches,
    options: &Options,
    now: Timestamp,
) -> Wanted {
    let current = caches.revisions.is_current();
    let (amend, try_at) = amendment(tracker, now);
    let wake_at = wake_at.into_iter().chain(try_at).min();
    let chore = Chore {
        amend,
        set: tracker.set.metadata.name.clone(),
        namespace: options.namespace.clone(),
        // Decided on revisions that include our own last writes, or not at all.
        revisions: if current {
            history.actions.clone()
        } else {
            Vec::new()
        },
        status: status_patch(&tracker.set, &report, history, now),
    };
    Wanted {
        actions,
        chore,
        report,
        wake_at,
    }
}

/// What the webhooks missed, if it is to be written now; or when it is tried again.
fn amendment(tracker: &Tracker, now: Timestamp) -> (Option<Stale>, Option<Timestamp>) {
    if !matches!(tracker.standing, Standing::Missed(_)) {
        return (None, None);
    }
    if let Some(at) = tracker.amendment.not_before.filter(|at| *at > now) {
        return (None, Some(at));
    }
    let stale = Stale {
        uid: tracker.set.metadata.uid.clone(),
        generation: tracker.set.metadata.generation,
    };
    (Some(stale), None)
}

fn revisions_of(set: &SidecarSet, caches: &Caches) -> Vec<Revision> {
    let all = caches.revisions.snapshot();
    let own = all.values().filter(|r| {
        r.metadata.labels.get(model::sidecarset::keys::REVISION_OWNER) == Some(&set.metadata.name)
    });
    own.map(|r| r.revision.clone()).collect()
}

/// What, beside images, is different from the revisions that outdated pods carry.
fn changes(
    tracker: &Tracker,
    plan: &Plan,
    revisions: &[Revision],
    in_use: &BTreeSet<String>,
) -> BTreeMap<String, String> {
    let old = revisions
        .iter()
        .filter(|r| r.name != plan.revision && in_use.contains(&r.name));
    old.filter_map(|r| Some((r.name.clone(), what_changed(&r.spec().ok()?, &tracker.set.spec))))
        .collect()
}

/// The whole status as a merge patch bound to the object; `None` where it says that already.
fn status_patch(set: &SidecarSet, report: &Report, history: &RevisionPlan, now: Timestamp) -> Option<Value> {
    let conditions = merge_conditions(
        &conditions_of(set),
        report.conditions.clone(),
        set.metadata.generation,
        now,
    );
    let waiting: Vec<Value> = report.waiting.iter().map(waiting).collect();
    let collisions = (history.collision_count > 0).then_some(history.collision_count);
    let counts = &report.counts;
    let wanted = json!({
        "observedGeneration": set.metadata.generation, "matchedPods": counts.matched,
        "updatedPods": counts.updated, "readyPods": counts.ready, "updatedReadyPods": counts.updated_ready,
        "latestRevision": history.current, "conditions": conditions, "waiting": waiting,
        "collisionCount": collisions,
    });
    let status = &set.status;
    let have = json!({
        "observedGeneration": status.observed_generation, "matchedPods": status.matched_pods,
        "updatedPods": status.updated_pods, "readyPods": status.ready_pods,
        "updatedReadyPods": status.updated_ready_pods, "latestRevision": status.latest_revision,
        "conditions": status.conditions, "waiting": status.waiting, "collisionCount": status.collision_count,
    });
    (wanted != have).then(|| json!({"metadata": {"uid": set.metadata.uid}, "status": wanted}))
}

fn conditions_of(set: &SidecarSet) -> Vec<Condition> {
    let all = set.status.conditions.iter();
    all.filter_map(|c| serde_json::from_value(c.clone()).ok())
        .collect()
}

/// A reason with its numbers for machines, and its line for people.
fn waiting(on: &WaitingOn) -> Value {
    let mut value = json!(on);
    value["message"] = json!(on.to_string());
    value
}
