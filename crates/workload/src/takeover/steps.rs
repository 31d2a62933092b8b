//! The order of a move. Each step says of what is observed whether it is done, so that the list of those that are
//! not is where to go on, after a crash as much as after the step before.
use super::revisions::{Copy, copies};
use super::{Actor, Direction, Mode, Observed, Standing, entries, fence::Fence, manager};
use serde_json::Value;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    // Taking over.
    Record,
    AwaitOperator,
    Fence,
    CopyRevisions,
    WidenSchema,
    Activate,
    AwaitAdmitting,
    TakeEntries,
    RestrictManager,
    AwaitRestricted,
    Convert,
    AwaitLeader,
    // Giving back.
    RestoreManager,
    AwaitManager,
    ReturnRevisions,
    ReturnEntries,
    AwaitKruise,
    StandDown,
    AwaitStoodDown,
    ReturnLastRevisions,
    RestoreSchema,
    Unfence,
    Forget,
}

impl Step {
    /// Whether others act and we only look.
    pub fn waits(self) -> bool {
        use Step::*;
        matches!(
            self,
            AwaitOperator
                | AwaitAdmitting
                | AwaitRestricted
                | AwaitLeader
                | AwaitManager
                | AwaitKruise
                | AwaitStoodDown
        )
    }

    pub fn describe(self, mode: Mode) -> &'static str {
        use Step::*;
        match self {
            Record => "record what Kruise has, so that it can be given back",
            AwaitOperator => "the API server reaches the webhook of our operator, which stands by",
            Fence => {
                "fence Kruise's SidecarSet controller by an admission policy: nobody upgrades pods for a moment"
            }
            CopyRevisions => "copy revisions and whitelist into our namespace, under their names",
            WidenSchema => "widen the CRD's schema by the status fields we write",
            Activate => "let our operator act: it upgrades, and admits pods after Kruise",
            AwaitAdmitting => "the API server asks our webhook about pods and SidecarSets",
            TakeEntries => "take pods and SidecarSets out of Kruise's webhook configurations",
            RestrictManager => match mode {
                Mode::Stopped => "stop Kruise's manager: nothing else of it is in use",
                Mode::Beside => "tell Kruise's manager to leave pods alone (CUSTOM_RESOURCE_ENABLE)",
            },
            AwaitRestricted => match mode {
                Mode::Stopped => "Kruise's manager is gone, its lease run out",
                Mode::Beside => "Kruise's manager runs anew without its webhook for pods",
            },
            Convert => "let our webhook convert versions of SidecarSets",
            AwaitLeader => "our operator leads",
            RestoreManager => "restore Kruise's manager as it was",
            AwaitManager => "Kruise's manager runs as before",
            ReturnRevisions | ReturnLastRevisions => "copy revisions back into Kruise's namespace",
            ReturnEntries => "put pods and SidecarSets back into Kruise's webhook configurations",
            AwaitKruise => "the API server asks Kruise's webhook again, before ours",
            StandDown => "tell our operator to stand by",
            AwaitStoodDown => "our operator has let go of its lease and of its webhook entries",
            RestoreSchema => "restore the CRD's schema and conversion",
            Unfence => "take the fence away: Kruise's SidecarSet controller goes on",
            Forget => "close the record",
        }
    }
}

const TAKING: [Step; 12] = [
    Step::Record,
    Step::AwaitOperator,
    Step::Fence,
    Step::CopyRevisions,
    Step::WidenSchema,
    Step::Activate,
    Step::AwaitAdmitting,
    Step::TakeEntries,
    Step::RestrictManager,
    Step::AwaitRestricted,
    Step::Convert,
    Step::AwaitLeader,
];

const GIVING: [Step; 11] = [
    Step::RestoreManager,
    Step::AwaitManager,
    Step::ReturnRevisions,
    Step::ReturnEntries,
    Step::AwaitKruise,
    Step::StandDown,
    Step::AwaitStoodDown,
    Step::ReturnLastRevisions,
    Step::RestoreSchema,
    Step::Unfence,
    Step::Forget,
];

/// What is left to do, in order.
pub fn remaining(seen: &Observed, mode: Mode, direction: Direction) -> Vec<Step> {
    let all = match direction {
        Direction::TakeOver => &TAKING[..],
        Direction::GiveBack if is_given_back(seen) => &[],
        Direction::GiveBack => &GIVING[..],
    };
    all.iter()
        .copied()
        .filter(|step| !is_done(*step, seen, mode))
        .collect()
}

fn is_given_back(seen: &Observed) -> bool {
    seen.record
        .as_ref()
        .is_none_or(|r| r.actor == Actor::Kruise && r.before.is_none())
}

fn is_done(step: Step, seen: &Observed, mode: Mode) -> bool {
    let record = seen.record.as_ref();
    let before = record.and_then(|r| r.before.as_ref());
    let actor = record.map(|r| r.actor);
    let mode = before.map_or(mode, |b| b.mode);
    let stop = mode == Mode::Stopped;
    match step {
        Step::Record => before.is_some(),
        Step::AwaitOperator => !matches!(seen.standing, Standing::Silent(_)),
        Step::Fence => seen.fence == Fence::Enforced,
        // Ours write their own as soon as they act; what is left in Kruise's namespace then is history.
        Step::CopyRevisions => {
            actor == Some(Actor::Tidegate) || copies(&seen.theirs, &seen.ours, "").is_empty()
        }
        Step::WidenSchema => seen.crd["spec"]["versions"].is_null() || has_our_schema(seen),
        Step::Activate => actor == Some(Actor::Tidegate),
        Step::AwaitAdmitting => seen.standing == Standing::Admitting,
        Step::TakeEntries => !entries::are_there(&seen.mutating) && !entries::are_there(&seen.validating),
        Step::RestrictManager => {
            seen.manager.is_null() || manager::restricted(&seen.manager, stop) == seen.manager
        }
        Step::AwaitRestricted => {
            seen.manager.is_null()
                || manager::rolled_out(&seen.manager).is_ok() && !(stop && seen.manager_leads)
        }
        // Kruise's manager, where it stays, would take the block back, and converts as well.
        Step::Convert => !stop || seen.our_conversion.is_null() || converts_here(seen),
        Step::AwaitLeader => seen.operator_leads,
        Step::RestoreManager => match (before.and_then(|b| b.manager.as_ref()), seen.manager.is_null()) {
            (Some(before), false) => manager::restored(&seen.manager, before) == seen.manager,
            _ => true,
        },
        Step::AwaitManager => seen.manager.is_null() || manager::rolled_out(&seen.manager).is_ok(),
        Step::ReturnRevisions | Step::ReturnLastRevisions => {
            actor == Some(Actor::Kruise) && seen.fence == Fence::Absent
                || revisions_to_return(seen).is_empty()
        }
        Step::ReturnEntries => before.is_none_or(|b| {
            entries::are_returned(&seen.mutating, &b.mutating)
                && entries::are_returned(&seen.validating, &b.validating)
        }),
        Step::AwaitKruise => {
            let listed = before.is_none_or(|b| {
                entries::are_listed(&seen.mutating, &b.mutating)
                    && entries::are_listed(&seen.validating, &b.validating)
            });
            actor == Some(Actor::Kruise) || listed && seen.manager_answers
        }
        Step::StandDown => actor == Some(Actor::Kruise),
        Step::AwaitStoodDown => {
            !seen.operator_leads && !seen.entries_of_ours && seen.standing != Standing::Admitting
        }
        Step::RestoreSchema => {
            before.is_none_or(|b| seen.crd["spec"]["versions"] == b.versions && !converts_here(seen))
        }
        Step::Unfence => seen.fence == Fence::Absent,
        Step::Forget => before.is_none() && actor == Some(Actor::Kruise),
    }
}

/// The whitelist goes only one way: Kruise's is the one people know.
pub fn revisions_to_return(seen: &Observed) -> Vec<Copy> {
    let all = copies(&seen.ours, &seen.theirs, &seen.manager_namespace);
    all.into_iter()
        .filter(|c| !matches!(c, Copy::Whitelist(_)))
        .collect()
}

fn has_our_schema(seen: &Observed) -> bool {
    super::fence::says(&seen.crd["spec"]["versions"], &seen.our_versions)
}

fn converts_here(seen: &Observed) -> bool {
    let client = &seen.crd["spec"]["conversion"]["webhook"]["clientConfig"];
    let place = |c: &Value| {
        (
            c["url"].clone(),
            c["service"]["namespace"].clone(),
            c["service"]["name"].clone(),
        )
    };
    !seen.our_conversion.is_null() && place(client) == place(&seen.our_conversion)
}
