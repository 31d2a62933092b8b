//! From facts to actions: who may move now, and what holds the others.
use super::facts::{InPlace, PodFacts};
use super::order;
use super::patch::{self, PodUpgrade, StatusPatch};
use super::plan::Plan;
use super::report;
use super::scatter::scatter;
use super::share::{held_by_partition, share_of};
use model::budget::{Budget, Disruption};
use model::decision::{Counts, Decision};
use model::pod::PodView;
use model::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything a decision may depend on, beside the time.
pub struct Snapshot<'a> {
    pub plan: &'a Plan,
    /// All matched pods.
    pub pods: Vec<&'a PodFacts>,
    /// Selected pods without the sidecars.
    pub not_injected: Vec<&'a Arc<PodView>>,
    /// By revision name: what, beside images, is different now (`env changed`).
    pub changes: &'a BTreeMap<String, String>,
    /// What all this may be of a time that never was: no pod is moved meanwhile.
    pub doubt: Option<Doubt>,
    /// Writes that the caller has room for now; the others are decided when it has room again.
    pub room: usize,
}

/// The watch of a kind was cut, and what there is was not listed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doubt {
    /// `pods`, `sidecarsets`.
    pub kind: &'static str,
    pub since: Timestamp,
}

/// A doubt that is over sooner is not told of: nearly all are, and each would be two writes of status.
const DOUBT_SHOWS_AFTER_SECONDS: i64 = 1;

impl Doubt {
    pub(super) fn shows_at(&self) -> Timestamp {
        let after = jiff::SignedDuration::from_secs(DOUBT_SHOWS_AFTER_SECONDS);
        self.since.checked_add(after).unwrap_or(Timestamp::MAX)
    }
}

impl Snapshot<'_> {
    pub(super) fn room(&self) -> usize {
        match self.doubt {
            Some(_) => 0,
            None => self.room,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Upgrade(Box<PodUpgrade>),
    Mark(Box<StatusPatch>),
}

/// What the walk over the candidates found.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    pub taken: Vec<&'a PodFacts>,
    pub held_by_partition: u32,
    /// Candidates that it does not hold back.
    pub open: u32,
    pub not_selected: u32,
    /// Candidates the budget had no place for, and the budget then.
    pub short_of: Option<Budget>,
    pub failed: u32,
    pub threshold: Option<u32>,
}

/// Decides for one SidecarSet.
pub fn decide(snapshot: &Snapshot<'_>, now: Timestamp) -> Decision<Action> {
    let plan = snapshot.plan;
    let counts = count(&snapshot.pods, now);
    let outcome = match &plan.hash {
        Some(_) if !plan.is_paused() => choose(snapshot, counts, now),
        _ => Outcome::default(),
    };
    let mut actions = Vec::new();
    if let (Some(hash), false) = (&plan.hash, plan.is_paused()) {
        let upgrades = outcome.taken.iter().map(|f| patch::upgrade(plan, hash, f, now));
        actions.extend(upgrades.map(|u| Action::Upgrade(Box::new(u))));
        actions.extend(marks(snapshot, &outcome, now));
    }
    Decision {
        actions,
        report: report::report(snapshot, counts, &outcome, now),
        wake_at: wake_at(snapshot, now),
    }
}

fn count(pods: &[&PodFacts], now: Timestamp) -> Counts {
    let mut counts = Counts::default();
    for facts in pods {
        let (updated, ready) = (facts.counts_updated(), facts.is_ready(now));
        counts.matched += 1;
        counts.updated += u32::from(updated);
        counts.ready += u32::from(ready);
        counts.updated_ready += u32::from(updated && ready);
    }
    counts
}

fn choose<'a>(snapshot: &Snapshot<'a>, counts: Counts, now: Timestamp) -> Outcome<'a> {
    let plan = snapshot.plan;
    let mut outcome = Outcome {
        failed: failed(snapshot, now),
        threshold: plan
            .failure_threshold
            .as_ref()
            .map(|t| share_of(t, counts.matched).max(1)),
        ..Outcome::default()
    };
    if outcome.threshold.is_some_and(|t| outcome.failed >= t) {
        return outcome;
    }
    let mut candidates = Vec::new();
    for facts in snapshot.pods.iter().copied().filter(|f| !f.counts_updated()) {
        if !is_selected(plan, facts) {
            outcome.not_selected += 1;
        } else if can_change(facts) && facts.refused.as_ref().is_none_or(|(_, until)| *until <= now) {
            candidates.push(facts);
        }
    }
    // What the partition holds back are pods on the old revision, whatever keeps them there.
    let held = held_by_partition(&plan.partition, counts.matched);
    let allowance = counts.matched.saturating_sub(held).saturating_sub(counts.updated);
    let all = candidates.len();
    let open = all.min(usize::try_from(allowance).unwrap_or(usize::MAX));
    outcome.held_by_partition = u32::try_from(all - open).unwrap_or(u32::MAX);
    outcome.open = u32::try_from(open).unwrap_or(u32::MAX);
    let candidates = match plan.scatter.is_empty() || open == 0 {
        true => order::first(plan, candidates, open, snapshot.room()),
        false => {
            let mut scattered = scatter(plan, order::sort(plan, candidates), &snapshot.pods);
            // What a former leader may do anyway is done first, by us: then it cannot come any more.
            scattered.sort_by_key(|f| !f.claimed);
            scattered.truncate(open);
            scattered
        }
    };
    take(snapshot, candidates, counts, now, &mut outcome);
    outcome
}

fn take<'a>(
    snapshot: &Snapshot<'a>,
    candidates: Vec<&'a PodFacts>,
    counts: Counts,
    now: Timestamp,
    outcome: &mut Outcome<'a>,
) {
    let plan = snapshot.plan;
    let may_go: BTreeSet<*const PodFacts> = candidates
        .iter()
        .filter(|f| is_mid_update(f, now))
        .map(|f| std::ptr::from_ref::<PodFacts>(f))
        .collect();
    let counted = |facts: &PodFacts| -> bool {
        if facts.claimed {
            return true;
        }
        if facts.is_ready(now) {
            return false;
        }
        // An older update that the kubelet has not followed yet takes a place too, until this one takes it over.
        facts.counts_updated()
            || plan.counts_all_unavailable
            || (is_mid_update(facts, now) && (facts.available || may_go.contains(&std::ptr::from_ref(facts))))
    };
    let in_use = snapshot.pods.iter().filter(|f| counted(f)).count();
    let allowed = share_of(&plan.max_unavailable, counts.matched);
    let mut budget = Budget::new(allowed, u32::try_from(in_use).unwrap_or(u32::MAX));
    for facts in candidates.into_iter().take(snapshot.room()) {
        let disruption = match (counted(facts), facts.available) {
            (true, _) => Disruption::Counted,
            (false, true) => Disruption::Available,
            (false, false) => Disruption::Unavailable,
        };
        // A pod whose kubelet has not acted on the last update may wait for it while too much is down already.
        let overdrawn = facts.available && budget.in_use > budget.allowed;
        if overdrawn || !budget.take(disruption) {
            outcome.short_of = Some(budget);
            return;
        }
        outcome.taken.push(facts);
    }
}

fn is_selected(plan: &Plan, facts: &PodFacts) -> bool {
    plan.update_selector
        .as_ref()
        .is_none_or(|s| s.matches(|key| facts.pod.labels.get(key)))
}

fn can_change(facts: &PodFacts) -> bool {
    match facts.in_place {
        InPlace::Possible => true,
        InPlace::Native => !facts.old_kubelet,
        _ => false,
    }
}

fn is_mid_update(facts: &PodFacts, now: Timestamp) -> bool {
    !facts.counts_updated() && facts.was_updated && !facts.completion.is_done(now)
}

/// When an updated pod should have been ready; `None` where it is, or nothing tells when it was updated.
pub(super) fn deadline(plan: &Plan, facts: &PodFacts, now: Timestamp) -> Option<Timestamp> {
    if !facts.updated || facts.is_ready(now) || facts.in_flight {
        return None;
    }
    let since = facts.updated_at.max(facts.pod.creation_timestamp)?;
    since
        .checked_add(jiff::SignedDuration::from_secs(plan.ready_deadline_seconds))
        .ok()
}

fn failed(snapshot: &Snapshot<'_>, now: Timestamp) -> u32 {
    let forgiven = snapshot.plan.failures_forgiven;
    let late = |f: &&&PodFacts| {
        deadline(snapshot.plan, f, now).is_some_and(|at| at <= now && forgiven.is_none_or(|until| at > until))
    };
    u32::try_from(snapshot.pods.iter().filter(late).count()).unwrap_or(u32::MAX)
}

/// Conditions to write: False on pods that cannot follow, True on those updated, or marked and able again. No more
/// than there is room for: the others are found again when these are written.
fn marks(snapshot: &Snapshot<'_>, outcome: &Outcome<'_>, now: Timestamp) -> Vec<Action> {
    let plan = snapshot.plan;
    let taken: BTreeSet<*const PodFacts> = outcome
        .taken
        .iter()
        .map(|f| std::ptr::from_ref::<PodFacts>(f))
        .collect();
    let room = snapshot.room().saturating_sub(taken.len());
    let wanted = snapshot.pods.iter().copied().filter_map(|facts| {
        let upgradable = mark_wanted(plan, facts, now)?;
        let is_taken = taken.contains(&std::ptr::from_ref(facts));
        (facts.marked != Some(upgradable) && !is_taken).then_some((facts, upgradable))
    });
    wanted
        .take(room)
        .filter_map(|(facts, upgradable)| patch::mark(plan, facts, upgradable, now))
        .map(|mark| Action::Mark(Box::new(mark)))
        .collect()
}

/// What the pod's condition should say of the SidecarSet; `None` where it may say what it says.
fn mark_wanted(plan: &Plan, facts: &PodFacts, now: Timestamp) -> Option<bool> {
    if facts.in_flight || facts.refused.as_ref().is_some_and(|(_, until)| *until > now) {
        return None;
    }
    let is_marked = facts.pod.upgradable.is_some();
    match (&facts.in_place, facts.updated) {
        (InPlace::OtherChange, false) if is_selected(plan, facts) => Some(false),
        (_, true) if facts.was_updated || is_marked => Some(true),
        (InPlace::Possible, false) if is_marked => Some(true),
        _ => None,
    }
}

/// The next moment at which time alone changes something.
fn wake_at(snapshot: &Snapshot<'_>, now: Timestamp) -> Option<Timestamp> {
    let of_pod = |facts: &&PodFacts| {
        let settles = match facts.completion {
            super::Completion::DoneAt(at) => Some(at),
            _ => None,
        };
        let refused = facts.refused.as_ref().map(|(_, until)| *until);
        let due = deadline(snapshot.plan, facts, now);
        [settles, refused, due]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    };
    let doubt = snapshot.doubt.map(|doubt| doubt.shows_at());
    let all = snapshot.pods.iter().filter_map(of_pod);
    all.chain(doubt.filter(|at| *at > now)).min()
}
