//! Spreading pods with one label over the upgrade instead of moving them next to each other.
use super::facts::PodFacts;
use super::plan::Plan;
use std::collections::BTreeSet;

/// Spreads `candidates` (in order) by each term; `matched` are all pods of the SidecarSet.
pub(super) fn scatter<'a>(
    plan: &Plan,
    candidates: Vec<&'a PodFacts>,
    matched: &[&PodFacts],
) -> Vec<&'a PodFacts> {
    if plan.scatter.is_empty() {
        return candidates;
    }
    let mut list = candidates;
    for (key, value) in terms(plan, &list) {
        let is = |f: &PodFacts| f.pod.labels.get(&key) == Some(value.as_str());
        let total = matched.iter().filter(|f| is(f)).count();
        list = spread(list, |f| is(f), total, matched.len() - total);
    }
    list
}

/// Terms with `*` expanded to every value seen, in pod order; several terms go by how many candidates they match.
fn terms(plan: &Plan, list: &[&PodFacts]) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut seen = BTreeSet::new();
    for (key, value) in &plan.scatter {
        let values: Vec<&str> = match value.as_str() {
            "*" => list.iter().filter_map(|f| f.pod.labels.get(key)).collect(),
            value => vec![value],
        };
        for value in values {
            if seen.insert((key.clone(), value.to_owned())) {
                out.push((key.clone(), value.to_owned()));
            }
        }
    }
    let count = |(key, value): &(String, String)| {
        list.iter()
            .filter(|f| f.pod.labels.get(key) == Some(value.as_str()))
            .count()
    };
    out.sort_by_cached_key(|term| std::cmp::Reverse(count(term)));
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
    use super::*;

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
}
