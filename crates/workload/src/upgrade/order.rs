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

/// A candidate with all that ranks it: what a former leader may do anyway goes first, done by us; then it cannot come
/// any more.
type Ranked<'a> = (bool, (usize, Reverse<i128>), Rank<'a>, &'a PodFacts);

/// Orders candidates by the base order and the priority strategy. Scattering comes after.
pub(super) fn sort<'a>(plan: &Plan, candidates: Vec<&'a PodFacts>) -> Vec<&'a PodFacts> {
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|f| (priority(plan, &f.pod), rank(&f.pod), f))
        .collect();
    ranked.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    ranked.into_iter().map(|(_, _, f)| f).collect()
}

/// The first `open` candidates, of which only the first `walked` are in order: nobody looks at the order of the others,
/// and ordering a hundred thousand pods to move a few takes longer than all the rest.
pub(super) fn first<'a>(
    plan: &Plan,
    candidates: Vec<&'a PodFacts>,
    open: usize,
    walked: usize,
) -> Vec<&'a PodFacts> {
    if open == 0 {
        return Vec::new();
    }
    let mut ranked: Vec<Ranked<'a>> = candidates
        .into_iter()
        .map(|f| (!f.claimed, priority(plan, &f.pod), rank(&f.pod), f))
        .collect();
    let order = |a: &Ranked<'_>, b: &Ranked<'_>| (a.0, a.1, a.2).cmp(&(b.0, b.1, b.2));
    if open < ranked.len() {
        ranked.select_nth_unstable_by(open, order);
        ranked.truncate(open);
    }
    let walked = walked.min(ranked.len());
    if walked < ranked.len() {
        ranked.select_nth_unstable_by(walked, order);
    }
    ranked[..walked].sort_unstable_by(order);
    ranked.into_iter().map(|(_, _, _, f)| f).collect()
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
    #![allow(clippy::unwrap_used)]
    use super::super::facts::Membership;
    use super::*;
    use model::sidecarset::keys;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn the_number_at_the_end_of_a_value_ranks_it() {
        assert_eq!(trailing_integer("stage-12"), 12);
        assert_eq!(trailing_integer("7"), 7);
        for none in ["", "abc", "1a"] {
            assert_eq!(trailing_integer(none), 0);
        }
    }

    fn facts(i: u64, plan: &Plan) -> PodFacts {
        let draw = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let pod = json!({
            "metadata": {"namespace": "ns", "name": format!("p-{i}"), "labels": {"app": "x"},
                "annotations": {keys::INJECTED_LIST: "set"},
                "creationTimestamp": format!("2026-01-01T00:00:{:02}Z", draw % 60)},
            "spec": {"containers": [{"name": "c", "image": "c:1"}],
                "nodeName": if draw.is_multiple_of(5) { "" } else { "n" }},
            "status": {"phase": if draw.is_multiple_of(3) { "Pending" } else { "Running" }}});
        let pod: Arc<PodView> = Arc::new(serde_json::from_value(pod).unwrap());
        match PodFacts::read(plan, &pod, None) {
            Membership::Member(mut facts) => {
                facts.claimed = draw.is_multiple_of(11);
                *facts
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_of_many_are_those_a_whole_sort_puts_first() {
        let set = json!({"metadata": {"name": "set"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
            "containers": [{"name": "c", "image": "c:2"}]}});
        let plan = Plan::new(&serde_json::from_value(set).unwrap()).unwrap();
        let all: Vec<PodFacts> = (0..200).map(|i| facts(i, &plan)).collect();
        let names = |list: &[&PodFacts]| list.iter().map(|f| f.unit()).collect::<Vec<_>>();
        let mut whole = sort(&plan, all.iter().collect());
        whole.sort_by_key(|f| !f.claimed);
        for (open, walked) in [
            (0, 9),
            (1, 1),
            (50, 7),
            (50, 0),
            (200, 10),
            (200, 200),
            (500, 500),
        ] {
            let got = first(&plan, all.iter().collect(), open, walked);
            let walked = walked.min(got.len());
            let open = open.min(whole.len());
            assert_eq!(names(&got[..walked]), names(&whole[..walked]));
            let set = |list: &[&PodFacts]| names(list).into_iter().collect::<BTreeSet<_>>();
            assert_eq!(set(&got), set(&whole[..open]));
        }
    }
}
