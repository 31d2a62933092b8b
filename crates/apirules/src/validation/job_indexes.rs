//! Which indexes of a Job are done: `1,3-5`.

use serde_json::Value;

use crate::path::{Errors, Path, go_quote};
use crate::read::Read;

pub(super) fn validate(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (status, before, spec) = (new.at("status"), old.at("status"), new.at("spec"));
    let (completed, failed) = (status.text("completedIndexes"), status.at("failedIndexes"));
    let completed_changed = completed != before.text("completedIndexes");
    let failed_changed = failed != before.at("failedIndexes");
    let completions = spec.int("completions");
    let (done_at, failed_at) = (path.child("completedIndexes"), path.child("failedIndexes"));
    if let Some(completions) = completions.filter(|_| completed_changed)
        && let Err(why) = parse(completed, completions)
    {
        errors.invalid(
            &done_at,
            completed,
            format!("error parsing completedIndexes: {why}"),
        );
    }
    let failed_text = failed.as_str().filter(|_| failed_changed);
    if let (Some(completions), Some(failed)) = (completions, failed_text)
        && spec.has("backoffLimitPerIndex")
        && let Err(why) = parse(failed, completions)
    {
        errors.invalid(&failed_at, failed, format!("error parsing failedIndexes: {why}"));
    }
    if completed_changed && !completed.is_empty() && spec.text("completionMode") != "Indexed" {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&done_at, completed, why);
    }
    if let Some(failed) = failed_text.filter(|_| !spec.has("backoffLimitPerIndex")) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&failed_at, failed, why);
    }
    if (completed_changed || failed_changed)
        && let (Some(completions), Some(failed)) = (completions, failed.as_str())
        && let Some(both) = overlap(completed, failed, completions)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {both}");
        errors.invalid(&failed_at, failed, why);
    }
}

fn parse(text: &str, completions: i64) -> Result<(), String> {
    let mut last = None;
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (from, to) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        last = Some(to);
    }
    Ok(())
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let parts: Vec<&str> = text.split('-').collect();
    let index = |part: &str| match part.parse::<i64>() {
        Ok(number) if number >= completions => Err(format!("too large index: {}", go_quote(part))),
        Ok(number) => Ok(number),
        Err(_) => Err(format!(
            "cannot convert string to integer for index: {}",
            go_quote(part)
        )),
    };
    match parts.as_slice() {
        [one] => index(one).map(|n| (n, n)),
        [from, to] => {
            let (from, to) = (index(from)?, index(to)?);
            match from < to {
                true => Ok((from, to)),
                false => Err(format!("non-increasing order, previous: {from}, current: {to}")),
            }
        }
        _ => Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            go_quote(text)
        )),
    }
}

/// The first index that both lists name; what cannot be read is passed over, as it is reported elsewhere.
fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        let parts = text.split(',').filter(|_| !text.is_empty());
        parts.filter_map(|p| interval(p, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let pairs = completed.iter().flat_map(|c| failed.iter().map(move |f| (c, f)));
    let common = pairs.filter(|(c, f)| c.0 <= f.1 && f.0 <= c.1);
    common.map(|(c, f)| c.0.max(f.0)).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_rise_and_stay_below_completions() {
        assert_eq!(parse("0,2-4", 5), Ok(()));
        assert_eq!(parse("", 0), Ok(()));
        for (text, why) in [
            ("2-5", "too large index: \"5\""),
            ("3,1", "non-increasing order, previous: 3, current: 1"),
            ("2-2", "non-increasing order, previous: 2, current: 2"),
            ("a", "cannot convert string to integer for index: \"a\""),
        ] {
            assert_eq!(parse(text, 5), Err(why.to_owned()), "{text}");
        }
    }

    #[test]
    fn an_index_cannot_have_failed_and_been_completed() {
        assert_eq!(overlap("0-3,7", "5,6-8", 10), Some(7));
        assert_eq!(overlap("0-3", "4,5", 10), None);
    }
}
