//! Status of Jobs: what may be said of one that is done, and what may never be taken back.

use serde_json::Value;

use super::workloads::non_negative;
use crate::path::{Errors, Path};
use crate::read::{Read, texts};

const COUNTS: [&str; 5] = ["active", "succeeded", "failed", "ready", "terminating"];
const CHANGED_END: &str = "field is immutable";
const CHANGED_START: &str = "field is immutable for unsuspended job once set";

/// Most rules hold only for what this update changed: a status that was wrong before can still be worked on.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("status");
    non_negative(new.at("status"), &COUNTS, &path, errors);
    counted_once(new.at("status").at("uncountedTerminatedPods"), &path, errors);
    let change = Change { new, old };
    conditions(&change, &path, errors);
    times(&change, &path, errors);
    pods(&change, &path, errors);
    super::job_indexes::validate(new, old, &path, errors);
    terminal(&change, &path, errors);
}

struct Change<'a> {
    new: &'a Value,
    old: &'a Value,
}

impl Change<'_> {
    fn is(&self, condition: &str) -> bool {
        holds(self.new, condition)
    }

    fn was(&self, condition: &str) -> bool {
        holds(self.old, condition)
    }

    fn turned(&self, condition: &str) -> bool {
        self.is(condition) != self.was(condition)
    }

    fn is_finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn finish_turned(&self) -> bool {
        self.is_finished() != (self.was("Complete") || self.was("Failed"))
    }

    fn status(&self) -> &Value {
        self.new.at("status")
    }

    fn before(&self) -> &Value {
        self.old.at("status")
    }

    fn changed(&self, field: &str) -> bool {
        self.status().at(field) != self.before().at(field)
    }

    fn count_changed(&self, field: &str) -> bool {
        self.count(field) != self.before().int(field).unwrap_or(0)
    }

    fn count(&self, field: &str) -> i64 {
        self.status().int(field).unwrap_or(0)
    }
}

fn holds(job: &Value, condition: &str) -> bool {
    has_condition(job, condition, "True")
}

fn has_condition(job: &Value, condition: &str, status: &str) -> bool {
    let all = job.at("status").list("conditions");
    all.iter()
        .any(|c| c.text("type") == condition && c.text("status") == status)
}

fn counted_once(uncounted: &Value, path: &Path, errors: &mut Errors) {
    let mut seen = std::collections::BTreeSet::new();
    for list in ["succeeded", "failed"] {
        let path = path.child("uncountedTerminatedPods").child(list);
        for (i, uid) in texts(uncounted.list(list)).into_iter().enumerate() {
            if uid.is_empty() {
                errors.invalid(&path.index(i), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&path.index(i), uid);
            }
        }
    }
}

/// Which conditions go together. A real server shows no value here.
fn conditions(change: &Change<'_>, path: &Path, errors: &mut Errors) {
    let mut refuse = |why: &str| errors.invalid_json(&path.child("conditions"), why.to_owned(), "");
    let (complete, failed) = (change.is("Complete"), change.is("Failed"));
    let (met, target) = (change.is("SuccessCriteriaMet"), change.is("FailureTarget"));
    if complete && failed && (change.turned("Complete") || change.turned("Failed")) {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if complete && target && (change.turned("Complete") || change.turned("FailureTarget")) {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if failed && !target && (change.turned("Failed") || change.changed("failedIndexes")) {
        refuse("cannot set Failed=True condition without the FailureTarget=true condition");
    }
    if complete && !met && (change.turned("Complete") || change.turned("SuccessCriteriaMet")) {
        refuse("cannot set Complete=True condition without the SuccessCriteriaMet=true condition");
    }
    if met && failed {
        refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && target {
        refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
}

fn times(change: &Change<'_>, path: &Path, errors: &mut Errors) {
    let status = change.status();
    let (start, end) = (status.at("startTime"), status.at("completionTime"));
    let (begins, ends) = (path.child("startTime"), path.child("completionTime"));
    if change.turned("Complete") || change.changed("completionTime") {
        match (change.is("Complete"), end.is_null()) {
            (false, false) => {
                let why = "cannot set completionTime when there is no Complete=True condition";
                errors.invalid(&ends, end.clone(), why);
            }
            (true, true) => errors.required(&ends, "completionTime is required for Complete jobs"),
            _ => {}
        }
    }
    let times_changed = change.changed("startTime") || change.changed("completionTime");
    if times_changed
        && let (Some(start), Some(ended)) = (start.as_str(), end.as_str())
        && let (Ok(start), Ok(at)) = (start.parse::<jiff::Timestamp>(), ended.parse::<jiff::Timestamp>())
        && at < start
    {
        errors.invalid(&ends, ended, "must be equal to or after `startTime`");
    }
    let spec = change.new.at("spec");
    let never_ran = spec.flag("suspend") && spec.int("completions") == Some(0);
    if start.is_null()
        && change.is_finished()
        && (change.finish_turned() || change.changed("startTime"))
        && !never_ran
    {
        errors.required(&begins, "startTime is required for finished job");
    }
}

fn pods(change: &Change<'_>, path: &Path, errors: &mut Errors) {
    let finished = change.is_finished();
    if finished && change.count("active") > 0 && (change.finish_turned() || change.count_changed("active")) {
        let why = "active>0 is invalid for finished job";
        errors.invalid(&path.child("active"), change.count("active"), why);
    }
    let uncounted = change.status().at("uncountedTerminatedPods");
    let any = ["succeeded", "failed"]
        .iter()
        .any(|l| !uncounted.list(l).is_empty());
    if finished && any && (change.finish_turned() || change.changed("uncountedTerminatedPods")) {
        let at = path.child("uncountedTerminatedPods");
        errors.invalid(&at, uncounted.clone(), "must be empty for finished job");
    }
    if finished
        && change.count("terminating") > 0
        && (change.finish_turned() || change.changed("terminating"))
    {
        let why = "terminating>0 is invalid for finished job";
        errors.invalid(&path.child("terminating"), change.count("terminating"), why);
    }
    let changed = change.changed("ready") || change.count_changed("active");
    if changed && change.count("ready") > change.count("active") {
        let why = "cannot set more ready pods than active";
        errors.invalid(&path.child("ready"), change.count("ready"), why);
    }
}

/// What was said for good.
fn terminal(change: &Change<'_>, path: &Path, errors: &mut Errors) {
    let at = path.child("conditions");
    for condition in ["Failed", "Complete", "FailureTarget"] {
        if change.was(condition) && !change.is(condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            errors.invalid_json(&at, why, "");
        }
    }
    let spec = change.new.at("spec");
    let may_shrink =
        spec.text("completionMode") == "Indexed" && spec.at("completions") == spec.at("parallelism");
    for (field, fixed) in [("failed", true), ("succeeded", !may_shrink)] {
        let before = change.before().int(field).unwrap_or(0);
        if fixed && change.count(field) < before {
            let why = format!("cannot decrease the {field} counter");
            errors.invalid(&path.child(field), change.count(field), why);
        }
    }
    let both = |field: &str| change.status().has(field) && change.before().has(field);
    if both("completionTime") && change.changed("completionTime") {
        let end = change.status().at("completionTime").clone();
        errors.invalid(&path.child("completionTime"), end, CHANGED_END);
    }
    let resumes = change.was("Suspended") && has_condition(change.new, "Suspended", "False");
    if change.before().has("startTime") && change.changed("startTime") && !resumes && !spec.flag("suspend") {
        let start = change.status().at("startTime").clone();
        errors.invalid(&path.child("startTime"), start, CHANGED_START);
    }
    let (met, was_met) = (change.is("SuccessCriteriaMet"), change.was("SuccessCriteriaMet"));
    if was_met && !met {
        let why = "cannot disable the SuccessCriteriaMet=True condition";
        errors.invalid_json(&at, why.to_owned(), "");
    }
    if change.was("Complete") && !was_met && met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.invalid_json(&at, why.to_owned(), "");
    }
}
