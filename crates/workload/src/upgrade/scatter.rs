//! Spreading pods with one label over the upgrade instead of moving them next to each other.
use super::facts::PodFacts;
use super::plan::Plan;
use std::collections::{HashMap, HashSet};

/// Spreads `candidates` (in order) by each term; `matched` are all pods of the SidecarSet.
pub(super) fn scatter<'a>(
    plan: &'a Plan,
    candidates: Vec<&'a PodFacts>,
    matched: &[&'a PodFacts],
) -> Vec<&'a PodFacts> {
    if plan.scatter.is_empty() {
        return candidates;
    }
    let mut columns: Vec<Column<'a>> = Vec::new();
    for (key, _) in &plan.scatter {
        if columns.iter().all(|c| c.key != key) {
            columns.push(Column::read(key, &candidates, matched));
        }
    }
    // Pods are numbered from here on: labels are read once, not once for each term.
    let mut list: Vec<usize> = (0..candidates.len()).collect();
    for (column, value) in terms(plan, &columns) {
        let total = column.matched[value];
        list = spread(
            list,
            |i| column.value_of[*i] == Some(value),
            total,
            matched.len() - total,
        );
    }
    list.into_iter().map(|i| candidates[i]).collect()
}

/// One label of all pods, its values numbered in the order in which candidates have them.
struct Column<'a> {
    key: &'a str,
    numbers: HashMap<&'a str, usize>,
    /// Of each candidate.
    value_of: Vec<Option<usize>>,
    /// Candidates, and all matched pods, with each value.
    candidates: Vec<usize>,
    matched: Vec<usize>,
}

impl<'a> Column<'a> {
    fn read(key: &'a str, candidates: &[&'a PodFacts], matched: &[&'a PodFacts]) -> Self {
        let mut column = Self {
            key,
            numbers: HashMap::new(),
            value_of: Vec::with_capacity(candidates.len()),
            candidates: Vec::new(),
            matched: Vec::new(),
        };
        for facts in candidates {
            let number = facts.pod.labels.get(key).map(|value| column.number(value));
            if let Some(number) = number {
                column.candidates[number] += 1;
            }
            column.value_of.push(number);
        }
        for facts in matched {
            let number = facts.pod.labels.get(key).and_then(|v| column.numbers.get(v));
            if let Some(number) = number {
                column.matched[*number] += 1;
            }
        }
        column
    }

    fn number(&mut self, value: &'a str) -> usize {
        let next = self.numbers.len();
        let number = *self.numbers.entry(value).or_insert(next);
        if number == next {
            self.candidates.push(0);
            self.matched.push(0);
        }
        number
    }
}

/// Terms with `*` expanded to every value seen, in pod order; several terms go by how many candidates they match.
/// Those that would change nothing are left out.
fn terms<'c, 'a>(plan: &Plan, columns: &'c [Column<'a>]) -> Vec<(&'c Column<'a>, usize)> {
    let mut out: Vec<(&Column<'a>, usize)> = Vec::new();
    let mut seen = HashSet::new();
    for (key, value) in &plan.scatter {
        let Some((index, column)) = columns.iter().enumerate().find(|(_, c)| c.key == key) else {
            continue;
        };
        let values = match value.as_str() {
            "*" => 0..column.numbers.len(),
            value => match column.numbers.get(value) {
                Some(number) => *number..*number + 1,
                None => continue,
            },
        };
        let fresh = values.filter(|number| seen.insert((index, *number)));
        out.extend(fresh.map(|number| (column, number)));
    }
    out.retain(|(column, number)| {
        let matches = column.candidates[*number];
        matches > 1 && column.value_of.len() - matches > 1
    });
    out.sort_by_key(|(column, number)| std::cmp::Reverse(column.candidates[*number]));
    out
}

/// One term: groups of matched and unmatched in turns, the last matched at the very end.
pub(super) fn spread<T>(list: Vec<T>, is: impl Fn(&T) -> bool, total: usize, total_other: usize) -> Vec<T> {
    let matches = list.iter().filter(|t| is(t)).count();
    if matches <= 1 || list.len() - matches <= 1 {
        return list;
    }
    let (mut matched, mut other): (Vec<T>, Vec<T>) = list.into_iter().partition(|t| is(t));
    let last = matched.pop();
    let groups = groups(matched.len(), other.len(), total.saturating_sub(1), total_other);
    let mut out = Vec::with_capacity(matched.len() + other.len() + 1);
    let surplus = other.len().saturating_sub(groups.count * groups.other);
    out.extend(other.drain(..surplus));
    let (mut matched, mut other) = (matched.into_iter(), other.into_iter());
    for _ in 0..groups.count {
        out.extend(matched.by_ref().take(groups.matched));
        out.extend(other.by_ref().take(groups.other));
    }
    out.extend(other);
    out.extend(matched);
    out.extend(last);
    out
}

struct Groups {
    count: usize,
    matched: usize,
    other: usize,
}

/// `m` and `u` are what is left to order, `all_m` and `all_u` the same of all pods.
fn groups(m: usize, u: usize, all_m: usize, all_u: usize) -> Groups {
    // all_u / all_m >= u / m without division.
    if all_u * m >= u * all_m || all_m == 0 {
        return even(m, u);
    }
    let whole = even(all_m, all_u);
    let count = (m / whole.matched.max(1)).min(u / whole.other.max(1));
    Groups { count, ..whole }
}

fn even(m: usize, u: usize) -> Groups {
    let count = m.min(u);
    let round = |n: usize| {
        if count == 0 {
            0
        } else {
            (2 * n + count) / (2 * count)
        }
    };
    Groups {
        count,
        matched: round(m),
        other: round(u),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::facts::Membership;
    use super::*;
    use model::pod::PodView;
    use model::sidecarset::keys;
    use serde_json::json;
    use std::sync::Arc;

    fn positions(pods: &str, total: usize, other: usize) -> String {
        spread(pods.chars().collect(), |c| *c == 'm', total, other)
            .into_iter()
            .collect()
    }

    #[test]
    fn ten_pods_with_three_matched_have_them_at_one_six_and_ten() {
        assert_eq!(positions("mmmuuuuuuu", 3, 7), "muuuumuuum");
    }

    #[test]
    fn one_matched_or_one_unmatched_changes_nothing() {
        assert_eq!(positions("umuu", 1, 3), "umuu");
        assert_eq!(positions("mmum", 3, 1), "mmum");
    }

    #[test]
    fn nothing_is_lost_or_doubled() {
        for m in 0..12 {
            for u in 0..12 {
                for (all_m, all_u) in [(m, u), (m + 5, u), (m, u + 5), (m + 9, u + 1)] {
                    let list = "m".repeat(m) + &"u".repeat(u);
                    let mut out: Vec<char> = positions(&list, all_m, all_u).chars().collect();
                    out.sort_unstable();
                    assert_eq!(
                        out.into_iter().collect::<String>(),
                        list,
                        "{m} {u} {all_m} {all_u}"
                    );
                }
            }
        }
    }

    fn pod(plan: &Plan, i: u64) -> PodFacts {
        let draw = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        let mut labels = json!({"app": "x", "zone": format!("z{}", draw % 4)});
        if draw.is_multiple_of(3) {
            labels["tier"] = json!(["front", "back"][(draw / 3 % 2) as usize]);
        }
        let pod = json!({
            "metadata": {"namespace": "ns", "name": format!("p-{i:03}"), "labels": labels,
                "annotations": {keys::INJECTED_LIST: "set"}},
            "spec": {"containers": [{"name": "c", "image": "c:1"}]}});
        let pod: Arc<PodView> = Arc::new(serde_json::from_value(pod).unwrap());
        match PodFacts::read(plan, &pod, None) {
            Membership::Member(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    /// One term after the other, each counted anew: slow and obvious.
    fn slowly<'a>(terms: &[(&str, &str)], list: Vec<&'a PodFacts>, all: &[&PodFacts]) -> Vec<&'a PodFacts> {
        terms.iter().fold(list, |list, (key, value)| {
            let is = |f: &PodFacts| f.pod.labels.get(key) == Some(*value);
            let total = all.iter().filter(|f| is(f)).count();
            spread(list, |f| is(f), total, all.len() - total)
        })
    }

    #[test]
    fn numbered_labels_spread_as_the_labels_themselves_do() {
        let set = json!({"metadata": {"name": "set"}, "spec": {"selector": {"matchLabels": {"app": "x"}},
            "containers": [{"name": "c", "image": "c:2"}], "updateStrategy": {"scatterStrategy": [
                {"key": "tier", "value": "front"}, {"key": "zone", "value": "*"}, {"key": "none", "value": "*"},
                {"key": "tier", "value": "absent"}]}}});
        let plan = Plan::new(&serde_json::from_value(set).unwrap()).unwrap();
        let pods: Vec<PodFacts> = (0..97).map(|i| pod(&plan, i)).collect();
        let all: Vec<&PodFacts> = pods.iter().collect();
        let candidates: Vec<&PodFacts> = all
            .iter()
            .copied()
            .filter(|f| !f.pod.name.ends_with('7'))
            .collect();
        let count = |(key, value): &(&str, &str)| {
            let of = candidates
                .iter()
                .filter(|f| f.pod.labels.get(key) == Some(*value));
            of.count()
        };
        let mut terms = vec![("tier", "front")];
        for facts in &candidates {
            let zone = ("zone", facts.pod.labels.get("zone").unwrap());
            if !terms.contains(&zone) {
                terms.push(zone);
            }
        }
        terms.sort_by_key(|t| std::cmp::Reverse(count(t)));
        let names = |list: &[&PodFacts]| list.iter().map(|f| f.unit()).collect::<Vec<_>>();
        let expected = slowly(&terms, candidates.clone(), &all);
        assert_ne!(names(&expected), names(&candidates));
        assert_eq!(names(&scatter(&plan, candidates, &all)), names(&expected));
    }
}
