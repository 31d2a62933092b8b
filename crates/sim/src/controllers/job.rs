//! Jobs: pods until enough have succeeded, or too many failed.
use std::sync::Arc;

use cluster::resource::JOBS;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Value, json};

use super::pods::pod_of;
use super::{Next, Object, Outcome, World};
use crate::pod::Pod;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub(super) async fn reconcile(world: &World, job: &Object) -> Outcome {
    if has_condition(job, "Complete") || has_condition(job, "Failed") {
        return Ok(Next::Quiet);
    }
    let now = world.clock.now();
    let Some(pods) = world.claim_pods(job, |_| true).await? else {
        return Ok(Next::Stale);
    };
    let succeeded: Vec<_> = pods
        .iter()
        .filter(|pod| pod.status.phase == "Succeeded")
        .collect();
    let failed = pods.iter().filter(|pod| pod.status.phase == "Failed").count();
    let active: Vec<_> = pods.iter().filter(|pod| pod.is_active()).cloned().collect();
    let deadline = deadline(job);
    let suspended = job.spec()["suspend"] == true;
    let verdict = if deadline.is_some_and(|at| at <= now) && !suspended {
        Some((
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        ))
    } else if usize::try_from(job.count("backoffLimit", 6)).is_ok_and(|limit| failed > limit) {
        Some((
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        ))
    } else {
        None
    };
    let done = is_done(job, succeeded.len(), active.len());
    let mut left = active.len();
    if verdict.is_some() || done || suspended {
        left = 0;
        world.delete_pods(active.clone()).await?;
    } else {
        left += work(world, job, &active, &succeeded).await?;
    }
    let leaving = |pod: &&Arc<Pod>| pod.metadata.deletion_timestamp.is_some() && !pod.is_finished();
    let mut status = json!({"active": left, "succeeded": succeeded.len(), "failed": failed,
        "ready": active.iter().filter(|pod| pod.is_ready()).count().min(left),
        "terminating": pods.iter().filter(leaving).count()});
    begin_or_suspend(job, suspended, now, &mut status);
    if job.spec()["completionMode"] == "Indexed" && !succeeded.is_empty() {
        status["completedIndexes"] = json!(intervals(&succeeded));
    }
    if let Some((reason, message)) = verdict {
        status["conditions"] = ended(["FailureTarget", "Failed"], reason, message, now);
    } else if done {
        let message = "Reached expected number of succeeded pods";
        status["conditions"] = ended(
            ["SuccessCriteriaMet", "Complete"],
            "CompletionsReached",
            message,
            now,
        );
        status["completionTime"] = json!(rfc3339_seconds(now));
    }
    world.write_status(&world.jobs, &JOBS, job, status).await?;
    Ok(deadline.filter(|at| *at > now).map_or(Next::Quiet, Next::At))
}

/// When it began, and whether it may run.
fn begin_or_suspend(job: &Object, suspended: bool, now: Timestamp, status: &mut Value) {
    let known = condition(job, "Suspended");
    let resumed = known.is_some_and(|c| c["status"] == "True") && !suspended;
    if suspended {
        status["startTime"] = Value::Null;
    } else if resumed || !job.status()["startTime"].is_string() {
        status["startTime"] = json!(rfc3339_seconds(now));
    }
    let (text, reason, message) = match suspended {
        true => ("True", "JobSuspended", "Job suspended"),
        false => ("False", "JobResumed", "Job resumed"),
    };
    if (suspended || resumed) && known.is_none_or(|c| c["status"] != text) {
        status["conditions"] = json!([told("Suspended", text, reason, message, now)]);
    }
}

fn is_done(job: &Object, succeeded: usize, active: usize) -> bool {
    match job.spec()["completions"].as_u64() {
        Some(wanted) => succeeded as u64 >= wanted,
        // Without a number one success is enough, once the others have ended.
        None => succeeded > 0 && active == 0,
    }
}

/// Creates what may run and does not; how many.
async fn work(
    world: &World,
    job: &Object,
    active: &[Arc<Pod>],
    succeeded: &[&Arc<Pod>],
) -> Result<usize, cluster::ApiError> {
    let parallelism = usize::try_from(job.count("parallelism", 1)).unwrap_or(1);
    let open = match job.spec()["completions"].as_u64() {
        Some(wanted) => usize::try_from(wanted)
            .unwrap_or(0)
            .saturating_sub(succeeded.len()),
        None if !succeeded.is_empty() => active.len(),
        None => parallelism,
    };
    let missing = parallelism.min(open).saturating_sub(active.len());
    let indexed = job.spec()["completionMode"] == "Indexed";
    let taken: Vec<usize> = active
        .iter()
        .chain(succeeded.iter().copied())
        .filter_map(|pod| index(pod))
        .collect();
    let mut free = (0..).filter(|index| !taken.contains(index));
    let template = &job.spec()["template"];
    let make = |_| {
        let index = free.next().filter(|_| indexed);
        let stem = index.map_or(job.meta.name.clone(), |index| {
            format!("{}-{index}", job.meta.name)
        });
        let mut pod = pod_of(job, template, &format!("{stem}-{}", world.suffix()), &[]);
        pod["metadata"]["generateName"] = json!(format!("{stem}-"));
        if let Some(index) = index {
            pod["metadata"]["annotations"][INDEX] = json!(index.to_string());
            pod["metadata"]["labels"][INDEX] = json!(index.to_string());
            pod["spec"]["hostname"] = json!(stem);
        }
        pod
    };
    let bodies: Vec<_> = (0..missing).map(make).collect();
    world.create_pods(job, bodies).await?;
    Ok(missing)
}

fn index(pod: &Pod) -> Option<usize> {
    pod.metadata.annotations.get(INDEX)?.parse().ok()
}

/// `0,1,3-5`: two neighbours are not a range yet.
fn intervals(pods: &[&Arc<Pod>]) -> String {
    let mut all: Vec<_> = pods.iter().filter_map(|pod| index(pod)).collect();
    all.sort_unstable();
    all.dedup();
    let mut out: Vec<(usize, usize)> = Vec::new();
    for index in all {
        match out.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => out.push((index, index)),
        }
    }
    let text = |(first, last): &(usize, usize)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    out.iter().map(text).collect::<Vec<_>>().join(",")
}

fn deadline(job: &Object) -> Option<Timestamp> {
    let seconds = job.spec()["activeDeadlineSeconds"].as_u64()?;
    let start: Timestamp = job.status()["startTime"].as_str()?.parse().ok()?;
    start.checked_add(std::time::Duration::from_secs(seconds)).ok()
}

pub(super) fn has_condition(job: &Object, kind: &str) -> bool {
    condition(job, kind).is_some_and(|c| c["status"] == "True")
}

fn condition<'a>(job: &'a Object, kind: &str) -> Option<&'a Value> {
    let mut all = job.status()["conditions"].as_array()?.iter();
    all.find(|c| c["type"] == kind)
}

fn ended(kinds: [&str; 2], reason: &str, message: &str, now: Timestamp) -> Value {
    json!(kinds.map(|kind| told(kind, "True", reason, message, now)))
}

fn told(kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    let now = rfc3339_seconds(now);
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastProbeTime": now, "lastTransitionTime": now})
}
