//! Every fault at every write of the story, one at a time.
//!
//! The run without faults is deterministic: it says which writes there are, and a fault at the nth of them meets
//! just that write. Afterwards the stored state is that of the run without faults, and so is how often each object
//! was written, but for what [`may_differ`] names.
use crate::counts::Counts;
use crate::faults::{Client, Fault, Plan, Written};
use crate::{Outcome, Setup, StormError, run};
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
            cases.extend(written.client.write_faults().iter().map(|fault| Case {
                client: written.client,
                write: *number,
                fault: *fault,
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
        differences(&self.calm.counts, &outcome.counts)?;
        Ok(outcome)
    }
}

fn differences(calm: &Counts, counts: &Counts) -> Result<(), String> {
    let differences = calm.differences(counts);
    let first = differences
        .iter()
        .find(|(kind, calm, now)| !may_differ(kind, calm, now));
    match first {
        None => Ok(()),
        Some((kind, calm, now)) => Err(format!("{kind}: {now:?} times, without the fault {calm:?}")),
    }
}

/// Which counts may differ, why, and how far.
fn may_differ(kind: &str, calm: &[usize], now: &[usize]) -> bool {
    let all = |counts: &[usize]| counts.iter().sum::<usize>();
    match kind {
        // Reports of what was seen: who sees late sees more states at once, or states in between that nobody saw.
        "Operator PATCH sidecarsets/status" => all(now) <= 3 * all(calm),
        "Controllers PATCH deployments/status" | "Controllers PATCH replicasets/status" => {
            all(now) <= 2 * all(calm)
        }
        // Told by whoever led: a leader that ends takes what it was about to tell with it, and the next one tells
        // what it finds.
        "Operator PATCH events" | "Operator POST events" => all(now) <= 2 * all(calm) + 2,
        // An operator that starts again makes sure of its namespace.
        "Operator PATCH namespaces" => all(now) <= all(calm) + 1,
        // A kubelet that starts again says so.
        "Nodes PATCH nodes/status" => now.iter().all(|times| *times <= 1),
        _ => false,
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

    #[test]
    fn reports_may_be_more_or_fewer_but_pods_are_written_as_often_as_without_the_fault() {
        let counts = |pods: usize, status: usize| {
            let of = |kind: &str, times| (kind.to_owned(), vec![times]);
            Counts(
                [
                    of("Operator PATCH pods", pods),
                    of("Operator PATCH sidecarsets/status", status),
                ]
                .into(),
            )
        };
        assert!(differences(&counts(3, 18), &counts(3, 15)).is_ok());
        assert!(differences(&counts(3, 18), &counts(3, 60)).is_err());
        assert!(differences(&counts(3, 18), &counts(4, 18)).is_err());
    }
}
