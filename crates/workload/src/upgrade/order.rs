//! Which pods go first: what disturbs least, then what the user ranks.
use super::facts::PodFacts;
use super::plan::Plan;
use model::pod::{PodPhase, PodView};
use model::time::Timestamp;
use std::cmp::Reverse;

type Rank<'a> = (
    bool,
    u8,
    bool,
    Reverse<Option<Timestamp>>,
    Reverse<i32>,
    Reverse<Option<Timestamp>>,
    &'a str,
    &'a str,
);

/// Unassigned, Pending and unready pods first; then those ready for the shortest time, those that restarted
/// most, and the youngest. Names make the order total.
fn rank(pod: &PodView) -> Rank<'_> {
    let phase = match pod.phase {
        PodPhase::Pending => 0,
        PodPhase::Unknown => 1,
        _ => 2,
    };
    let ready = pod.is_ready();
    let since = pod.ready.filter(|_| ready).and_then(|r| r.last_transition_time);
    let statuses = pod.container_statuses.iter().chain(&pod.init_container_statuses);
    let restarts = statuses.map(|s| s.restart_count).max().unwrap_or(0);
    (
        pod.node_name.is_some(),
        phase,
        ready,
        Reverse(since),
        Reverse(restarts),
        Reverse(pod.creation_timestamp),
        &pod.namespace,
        &pod.name,
    )
}

/// Orders candidates by the base order and the priority strategy. Scattering comes after.
pub(super) fn sort<'a>(plan: &Plan, candidates: Vec<&'a PodFacts>) -> Vec<&'a PodFacts> {
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|f| (priority(plan, &f.pod), rank(&f.pod), f))
        .collect();
    ranked.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    ranked.into_iter().map(|(_, _, f)| f).collect()
}

/// Smaller goes first.
fn priority(plan: &Plan, pod: &PodView) -> (usize, Reverse<i128>) {
    let label = |key: &str| pod.labels.get(key);
    if !plan.weights.is_empty() {
        let matching = plan
            .weights
            .iter()
            .filter(|(_, s)| !s.is_empty() && s.matches(label));
        return (0, Reverse(matching.map(|(w, _)| i128::from(*w)).sum()));
    }
    for (index, key) in plan.order_keys.iter().enumerate() {
        if let Some(value) = label(key) {
            return (index, Reverse(trailing_integer(value)));
        }
    }
    // Pods without any of the keys were not ranked by the user: they come last.
    (plan.order_keys.len(), Reverse(0))
}

fn trailing_integer(value: &str) -> i128 {
    let digits = value.len() - value.bytes().rev().take_while(u8::is_ascii_digit).count();
    value[digits..].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_at_the_end_of_a_value_ranks_it() {
        assert_eq!(trailing_integer("stage-12"), 12);
        assert_eq!(trailing_integer("7"), 7);
        for none in ["", "abc", "1a"] {
            assert_eq!(trailing_integer(none), 0);
        }
    }
}
