//! Every fault at every write of the story, one at a time.
//!
//! The run without faults is deterministic: it says which writes there are, and a fault at the nth of them meets
//! just that write. Afterwards the stored state is that of the run without faults, and so is how often each object
//! was written, but for what [`Case::may_differ`] gives a reason for.
use crate::counts::Counts;
use crate::faults::{Client, Fault, Plan, Written};
use crate::{Outcome, Setup, StormError, run, story};
use std::collections::BTreeMap;
use std::fmt;

/// One fault at one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub client: Client,
    /// Counted from 1 among the client's writes.
    pub write: usize,
    pub fault: Fault,
    /// What is written there.
    pub what: String,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{}:{}", self.client, self.write, self.fault)
    }
}

/// The story without faults, which writes it has, and every case there is.
pub struct Matrix {
    pub setup: Setup,
    pub calm: Outcome,
    pub cases: Vec<Case>,
}

impl Matrix {
    pub fn of(setup: Setup) -> Result<Self, StormError> {
        let calm = run(&setup)?;
        let mut numbers: BTreeMap<Client, usize> = BTreeMap::new();
        let mut cases = Vec::new();
        for written in &calm.written {
            let number = numbers.entry(written.client).or_default();
            *number += 1;
            cases.extend(Fault::of(written.client).map(|fault| Case {
                client: written.client,
                write: *number,
                fault,
                what: format!("{} {}", written.method, written.resource()),
            }));
        }
        Ok(Self { setup, calm, cases })
    }

    /// Every `of`th case, beginning with number `part`.
    pub fn part(&self, part: usize, of: usize) -> Vec<Case> {
        self.cases.iter().skip(part).step_by(of.max(1)).cloned().collect()
    }

    /// Runs one case and holds it against the run without faults.
    pub fn judge(&self, case: &Case) -> Result<Outcome, String> {
        let setup = Setup {
            plan: Plan::At {
                client: case.client,
                write: case.write,
                fault: case.fault,
            },
            ..self.setup.clone()
        };
        let outcome = run(&setup).map_err(|error| error.to_string())?;
        if outcome.faults.is_empty() {
            return Err("the fault did not strike".to_owned());
        }
        if outcome.stored != self.calm.stored {
            return Err(format!(
                "stored: {:?}, not {:?}",
                outcome.stored, self.calm.stored
            ));
        }
        for (kind, calm, now) in self.calm.counts.differences(&outcome.counts) {
            tracing::debug!(%case, what = case.what, kind, ?calm, ?now, "written more or less often");
        }
        self.differences(case, &outcome.counts)?;
        Ok(outcome)
    }

    fn differences(&self, case: &Case, counts: &Counts) -> Result<(), String> {
        let pods = usize::try_from(self.setup.tale.pods + story::OTHERS).unwrap_or(usize::MAX);
        let differences = self.calm.counts.differences(counts);
        let bad = |(kind, calm, now): &&(&str, &[usize], &[usize])| !case.may_differ(kind, calm, now, pods);
        match differences.iter().find(bad) {
            None => Ok(()),
            Some((kind, calm, now)) => Err(format!("{kind}: {now:?} times, without the fault {calm:?}")),
        }
    }
}

impl Case {
    /// Whether the fault is a reason for writing objects of a kind more or less often, and as much as this. Pods' specs,
    /// SidecarSets, revisions and webhooks have no line here: they are written as often as without the fault.
    fn may_differ(&self, kind: &str, calm: &[usize], now: &[usize], pods: usize) -> bool {
        let (before, after) = (calm.iter().sum::<usize>(), now.iter().sum::<usize>());
        match kind {
            // Kinds overtake each other from then on: what was one change is seen, and told, as two.
            "Operator PATCH sidecarsets/status" if self.fault.lags() => {
                (before.saturating_sub(pods)..=2 * before + pods).contains(&after)
            }
            // Reports of what was seen. The fault delays what is known of some pods once: each of them is then told
            // of alone that was told of with others, or the other way round.
            "Operator PATCH sidecarsets/status"
            | "Controllers PATCH deployments/status"
            | "Controllers PATCH replicasets/status" => before.abs_diff(after) <= pods,
            // Told once, and by whoever leads: who leads next tells what it finds, and does not know what to count
            // up. After an hour, the same is told as something new.
            "Operator POST events" | "Operator PATCH events" => {
                let told_by_another = self.is_followed_by_another() || self.fault.sets_the_clock();
                let lost = self.what.ends_with(" events");
                told_by_another && before.abs_diff(after) <= 2 || lost && before.abs_diff(after) <= 1
            }
            // An operator that starts makes sure of its namespace; a kubelet that starts says so.
            "Operator PATCH namespaces" => {
                (self.is_followed_by_another() || self.is_of_the_start()) && after == before + 1
            }
            // A SidecarSet is announced, has its own entry, and the announcement goes. One that came before our webhooks
            // were there has its own entry only.
            "Operator PATCH mutatingwebhookconfigurations" => self.client == Client::Operator && after == 1,
            // A mark that arrives 40 s late, beside the one of who leads since: it says the same at another time.
            "Operator PATCH pods/status" if self.fault == Fault::Late && self.what == "PATCH pods/status" => {
                after == before + 1
            }
            "Nodes PATCH nodes/status" => self.client == Client::Nodes && now.iter().all(|times| *times <= 1),
            _ => false,
        }
    }

    /// An operator that cannot install what it needs ends, and is started again.
    fn is_of_the_start(&self) -> bool {
        self.client == Client::Operator
            && ["PATCH namespaces", "PATCH customresourcedefinitions"].contains(&self.what.as_str())
    }

    /// Whether another process, or another term, goes on.
    fn is_followed_by_another(&self) -> bool {
        self.client == Client::Operator && self.fault.ends_a_term()
    }
}

/// What was written, by kind and client: what the matrix goes over.
pub fn inventory(written: &[Written]) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for write in written {
        let kind = format!("{:?} {} {}", write.client, write.method, write.resource());
        *out.entry(kind).or_default() += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::WatchFault;

    fn may_differ(fault: Fault, kind: &str, calm: usize, now: usize) -> bool {
        let case = Case {
            client: Client::Operator,
            write: 1,
            fault,
            what: "PATCH pods".to_owned(),
        };
        case.may_differ(kind, &[calm], &[now], 5)
    }

    #[test]
    fn pods_are_written_as_often_as_without_the_fault_whatever_it_is() {
        for fault in Fault::of(Client::Operator) {
            assert!(!may_differ(fault, "Operator PATCH pods", 3, 4), "{fault}");
            assert!(!may_differ(fault, "Operator PATCH pods/status", 3, 2), "{fault}");
        }
    }

    #[test]
    fn a_report_for_each_pod_more_is_the_most_unless_kinds_overtake_each_other() {
        let status = "Operator PATCH sidecarsets/status";
        assert!(may_differ(Fault::Answer(500), status, 18, 23));
        assert!(!may_differ(Fault::Answer(500), status, 18, 24));
        assert!(may_differ(Fault::Watches(WatchFault::LagOfPods), status, 18, 36));
    }

    #[test]
    fn events_are_told_again_only_by_another_leader_or_when_the_clock_was_set() {
        let events = "Operator POST events";
        assert!(may_differ(Fault::CrashAfter, events, 3, 5));
        assert!(may_differ(Fault::ClockJump(3600), events, 3, 4));
        assert!(!may_differ(Fault::ReplyLost, events, 3, 4));
    }
}
