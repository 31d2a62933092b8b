//! Jobs: pods until enough have succeeded, or too many failed.
use std::sync::Arc;

use cluster::resource::JOBS;
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Map, Value, json};

use super::pods::pod_of;
use super::{Next, Object, Outcome, World};
use crate::pod::Pod;

const INDEX: &str = "batch.kubernetes.io/job-completion-index";

pub(super) async fn reconcile(world: &World, job: &Object) -> Outcome {
    if condition(job, "Complete") || condition(job, "Failed") {
        return Ok(Next::Quiet);
    }
    let now = world.clock.now();
    let pods = world.pods_of(job);
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
    let mut status = json!({"active": left, "succeeded": succeeded.len(), "failed": failed,
        "ready": active.iter().filter(|pod| pod.is_ready()).count().min(left),
        "startTime": job.status().get("startTime").cloned().unwrap_or_else(|| json!(rfc3339_seconds(now)))});
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

/// `0,2-4`.
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
    let text = |(first, last): &(usize, usize)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    };
    out.iter().map(text).collect::<Vec<_>>().join(",")
}

fn deadline(job: &Object) -> Option<Timestamp> {
    let seconds = job.spec()["activeDeadlineSeconds"].as_u64()?;
    let start: Timestamp = job.status()["startTime"].as_str()?.parse().ok()?;
    start.checked_add(std::time::Duration::from_secs(seconds)).ok()
}

fn condition(job: &Object, kind: &str) -> bool {
    let all = job.status()["conditions"].as_array();
    all.is_some_and(|all| all.iter().any(|c| c["type"] == kind && c["status"] == "True"))
}

fn ended(kinds: [&str; 2], reason: &str, message: &str, now: Timestamp) -> Value {
    let now = rfc3339_seconds(now);
    let make = |kind: &str| {
        let mut out = Map::new();
        for (key, value) in [
            ("type", kind),
            ("status", "True"),
            ("reason", reason),
            ("message", message),
            ("lastProbeTime", &now),
            ("lastTransitionTime", &now),
        ] {
            out.insert(key.to_owned(), json!(value));
        }
        Value::Object(out)
    };
    json!(kinds.map(make))
}
