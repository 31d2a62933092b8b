//! Jobs and CronJobs.

use serde_json::{Value, json};

use super::job_policies;
use super::labels::{is_empty_selector, selector_matches, validate_selector};
use super::meta::IMMUTABLE;
use super::pod::{internal_json, same_internal};
use super::workloads::{non_negative, unchanged, validate_pod_template};
use crate::path::{Errors, Path};
use crate::read::{Read, copy_field, object_mut};

const JOB_IMMUTABLE: [&str; 6] = [
    "completionMode",
    "selector",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "managedBy",
    "successPolicy",
];

pub(super) fn job(job: &Value, old_job: Option<&Value>, errors: &mut Errors) {
    let (spec, path) = (job.at("spec"), Path::new("spec"));
    generated_labels(job, &path, errors);
    spec_and_selector(spec, &path, errors);
    let Some(old_job) = old_job else { return };
    // A real server judges an update as a creation and then as an update, and names the causes of both.
    spec_and_selector(spec, &path, errors);
    let old = old_job.at("spec");
    for field in JOB_IMMUTABLE {
        if matches!(field, "podFailurePolicy" | "successPolicy") && spec.has(field) {
            let shown = match field {
                "successPolicy" => job_policies::shown_success(spec.at(field)),
                _ => job_policies::shown(spec.at(field)),
            };
            if old.at(field) != spec.at(field) {
                errors.invalid_json(&path.child(field), shown, IMMUTABLE);
            }
        } else {
            unchanged(spec, Some(old), field, &path, errors);
        }
    }
    completions(spec, old, &path, errors);
    template_update(spec, old_job, &path, errors);
}

/// An Indexed job may change them together with parallelism.
fn completions(spec: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let wanted = spec.at("completions");
    if spec.text("completionMode") != "Indexed" {
        unchanged(spec, Some(old), "completions", path, errors);
    } else if wanted != old.at("completions") && !wanted.is_null() && wanted != spec.at("parallelism") {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&path.child("completions"), wanted.clone(), why);
    }
}

fn spec_and_selector(spec: &Value, path: &Path, errors: &mut Errors) {
    let selector = spec.at("selector");
    let before = errors.0.len();
    match selector.is_null() {
        true => errors.required(&path.child("selector"), ""),
        false => validate_selector(selector, &path.child("selector"), errors),
    }
    let readable = errors.0.len() == before || selector.is_null();
    job_spec(spec, path, errors);
    let labels = spec.at("template").at("metadata").at("labels");
    if readable && !selector_matches(selector, labels) {
        let at = path.child("template").child("metadata").child("labels");
        errors.invalid(&at, labels.clone(), "`selector` does not match template `labels`");
    }
}

/// A suspended Job without pods may change what its pods ask for and where they may run, nothing else.
fn template_update(spec: &Value, old_job: &Value, path: &Path, errors: &mut Errors) {
    let (template, old) = (spec.at("template"), old_job.at("spec").at("template"));
    if !is_at_rest(old_job) {
        if template.at("metadata") != old.at("metadata")
            || !same_internal(template.at("spec"), old.at("spec"), "PodSpec")
        {
            errors.invalid_json(&path.child("template"), shown_template(template), IMMUTABLE);
        }
        return;
    }
    let (new, mut allowed) = (template.at("spec"), old.at("spec").clone());
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        copy_field(&mut allowed, new, field);
    }
    let mut affinity = old.at("spec").at("affinity").clone();
    if affinity.is_null() {
        affinity = json!({});
    }
    copy_field(&mut affinity, new.at("affinity"), "nodeAffinity");
    if affinity.as_object().is_some_and(|a| !a.is_empty()) || new.has("affinity") {
        allowed["affinity"] = affinity;
    } else if let Some(allowed) = allowed.as_object_mut() {
        allowed.remove("affinity");
    }
    for list in ["containers", "initContainers"] {
        allow_resources(&mut allowed, new, list);
    }
    if !same_internal(new, &allowed, "PodSpec") {
        errors.invalid_json(
            &path.child("template").child("spec"),
            internal_json(new, "PodSpec"),
            IMMUTABLE,
        );
    }
}

/// Suspended, without pods, and either never started or done with suspending.
fn is_at_rest(job: &Value) -> bool {
    let status = job.at("status");
    let suspended = status
        .list("conditions")
        .iter()
        .any(|c| c.text("type") == "Suspended" && c.text("status") == "True");
    job.at("spec").flag("suspend")
        && (!status.has("startTime") || suspended)
        && status.int("active").unwrap_or(0) == 0
}

fn allow_resources(allowed: &mut Value, new: &Value, list: &str) {
    let new = new.list(list);
    let Some(old) = allowed.get_mut(list).and_then(Value::as_array_mut) else {
        return;
    };
    if old.len() != new.len() {
        return;
    }
    for (old, new) in old.iter_mut().zip(new) {
        if old.text("name") == new.text("name") {
            copy_field(old, new, "resources");
        }
    }
}

/// The labels a Job gives its pods, unless its selector is made by hand.
fn generated_labels(job: &Value, path: &Path, errors: &mut Errors) {
    if job.at("spec").flag("manualSelector") {
        return;
    }
    let meta = job.at("metadata");
    let (uid, name) = (meta.text("uid"), meta.text("name"));
    let labels = job.at("spec").at("template").at("metadata").at("labels");
    let selector = job.at("spec").at("selector");
    if selector.is_null() {
        return;
    }
    let wanted = [
        ("controller-uid", uid),
        ("job-name", name),
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
    ];
    let given = wanted.map(|(key, value)| (key.to_owned(), Value::from(value)));
    let given = Value::from_iter(given);
    let mut unreadable = Errors::default();
    validate_selector(selector, path, &mut unreadable);
    let made_by_hand = !is_empty_selector(selector) && !selector_matches(selector, &given);
    if unreadable.is_empty() && made_by_hand {
        errors.invalid(
            &path.child("selector"),
            selector.clone(),
            "`selector` not auto-generated",
        );
    }
    for (key, value) in wanted {
        let at = path.child("template").child("metadata").child("labels").key(key);
        let detail = format!("must be '{value}'");
        if !labels.has(key) {
            errors.required(&at, &detail);
        } else if labels.text(key) != value {
            errors.invalid(&at, labels.clone(), detail);
        }
    }
}

/// A pod template as Kubernetes' internal type prints it.
fn shown_template(template: &Value) -> String {
    let meta = template.at("metadata");
    let mut parts: Vec<String> = ["labels", "annotations"]
        .iter()
        .filter(|f| meta.map(f).is_some_and(|m| !m.is_empty()))
        .map(|f| format!("\"{f}\":{}", meta.at(f)))
        .collect();
    parts.push(format!(
        "\"Spec\":{}",
        internal_json(template.at("spec"), "PodSpec")
    ));
    format!("{{{}}}", parts.join(","))
}

fn job_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    let fields = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ];
    non_negative(spec, &fields, path, errors);
    if spec.text("completionMode") == "Indexed" && !spec.has("completions") {
        let detail = "when completion mode is Indexed";
        errors.required(&path.child("completions"), detail);
    }
    let mode = spec.text("completionMode");
    if spec.has("completionMode") && !["NonIndexed", "Indexed"].contains(&mode) {
        errors.not_supported(&path.child("completionMode"), mode, &["NonIndexed", "Indexed"]);
    }
    job_policies::validate(spec, path, errors);
    validate_pod_template(spec.at("template"), &path.child("template"), errors);
    let at = path.child("template").child("spec").child("restartPolicy");
    match spec.at("template").at("spec").text("restartPolicy") {
        "" | "Always" => errors.required(&at, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.has("podFailurePolicy") => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(&at, "OnFailure", why);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(&at, other, &["OnFailure", "Never"]),
    }
}

pub(super) fn cron_job(spec: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    let schedule = spec.text("schedule");
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if schedule.is_empty() {
        errors.required(&path.child("schedule"), "");
    } else if schedule.contains("TZ") {
        let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.invalid(&path.child("schedule"), schedule, why);
    } else if !schedule.starts_with('@') && fields.len() != 5 {
        let found = format!(
            "expected exactly 5 fields, found {}: [{}]",
            fields.len(),
            fields.join(" ")
        );
        errors.invalid(&path.child("schedule"), schedule, found);
    } else if let Some(why) = out_of_range(&fields) {
        errors.invalid(&path.child("schedule"), schedule, why);
    }
    time_zone(spec, &path, errors);
    let fields = [
        "startingDeadlineSeconds",
        "successfulJobsHistoryLimit",
        "failedJobsHistoryLimit",
    ];
    non_negative(spec, &fields, &path, errors);
    match spec.text("concurrencyPolicy") {
        "Allow" | "Forbid" | "Replace" => {}
        "" => errors.required(&path.child("concurrencyPolicy"), ""),
        other => {
            let at = path.child("concurrencyPolicy");
            errors.not_supported(&at, other, &["Allow", "Forbid", "Replace"]);
        }
    }
    let job = spec.at("jobTemplate").at("spec");
    let path = path.child("jobTemplate").child("spec");
    job_spec(job, &path, errors);
    if job.has("selector") {
        let shown = super::labels::as_go_writes(job.at("selector"));
        errors.invalid_json(
            &path.child("selector"),
            shown,
            "`selector` will be auto-generated",
        );
    }
    if job.flag("manualSelector") {
        errors.not_supported_json(&path.child("manualSelector"), "true", &["nil", "false"]);
    }
}

/// The first number of a schedule that its place cannot have.
fn out_of_range(fields: &[&str]) -> Option<String> {
    const MOST: [u32; 5] = [59, 23, 31, 12, 6];
    for (field, most) in fields.iter().zip(MOST) {
        for part in field.split(',') {
            let range = part.split('/').next().unwrap_or_default();
            let end = range.rsplit('-').next().unwrap_or_default();
            if let Ok(number) = end.parse::<u32>()
                && number > most
            {
                return Some(format!("end of range ({number}) above maximum ({most}): {part}"));
            }
        }
    }
    None
}

fn time_zone(spec: &Value, path: &Path, errors: &mut Errors) {
    let (at, Some(name)) = (path.child("timeZone"), spec.at("timeZone").as_str()) else {
        return;
    };
    if name.is_empty() {
        errors.invalid(&at, name, "timeZone must be nil or non-empty string");
    } else if name.eq_ignore_ascii_case("local") {
        errors.invalid(
            &at,
            name,
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        );
    } else if jiff::tz::TimeZone::get(name).is_err() {
        errors.invalid(&at, name, format!("unknown time zone {name}"));
    }
}

/// A Job without a selector of its own gets one from its uid, with matching pod labels.
pub(super) fn prepare_job(job: &mut Value) {
    if job.at("spec").flag("manualSelector") {
        return;
    }
    let meta = job.at("metadata");
    let (uid, name) = (meta.text("uid").to_owned(), meta.text("name").to_owned());
    if uid.is_empty() {
        return;
    }
    let labels = [
        ("controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
    ];
    // Labels that a job takes from its template are the very same map in Go: they get what the template gets.
    let own = job.at("metadata").at("labels");
    let shared = own.is_object() && own == job.at("spec").at("template").at("metadata").at("labels");
    if shared && let Some(own) = job.get_mut("metadata").and_then(|m| object_mut(m, "labels")) {
        for (key, value) in labels {
            own.entry(key).or_insert_with(|| json!(value));
        }
    }
    let Some(spec) = job.get_mut("spec") else { return };
    let template = object_mut(spec, "template").map(|t| t.entry("metadata").or_insert_with(|| json!({})));
    if let Some(map) = template.and_then(|meta| object_mut(meta, "labels")) {
        for (key, value) in labels {
            map.entry(key).or_insert_with(|| json!(value));
        }
    }
    if let Some(selector) = object_mut(spec, "selector").and_then(|s| {
        let labels = s.entry("matchLabels").or_insert_with(|| json!({}));
        labels.as_object_mut()
    }) {
        selector
            .entry("batch.kubernetes.io/controller-uid")
            .or_insert_with(|| json!(uid));
    }
}
