//! CronJobs: a Job at each scheduled time.
use std::sync::Arc;
use std::time::Duration;

use cluster::resource::{CRON_JOBS, JOBS};
use cluster::{ApiError, DeleteOptions, Propagation};
use cronexpr::{Crontab, MakeTimestamp, parse_crontab};
use model::time::{Timestamp, rfc3339_seconds};
use serde_json::{Value, json};

use super::job::has_condition;
use super::{Next, Object, Outcome, World};

const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

pub(super) async fn reconcile(world: &World, cron: &Object) -> Outcome {
    let now = world.clock.now();
    let jobs = jobs_of(world, cron);
    let mut active: Vec<&Arc<Object>> = jobs.iter().filter(|job| !is_finished(job)).collect();
    forget_old(world, cron, &jobs).await?;
    let mut status =
        json!({"active": references(cron, &active, None), "lastSuccessfulTime": last_success(&jobs)});
    let plan = match Plan::of(cron) {
        Ok(plan) => plan,
        Err(reason) => {
            tracing::warn!(cronjob = %cron.meta.key(), reason, "the schedule cannot be read");
            return write(world, cron, status).await.map(|()| Next::Quiet);
        }
    };
    let suspended = cron.spec()["suspend"] == true;
    let next = plan
        .after(now)
        .filter(|_| !suspended)
        .map_or(Next::Quiet, Next::At);
    let due = plan.due(now).filter(|_| !suspended);
    let forbidden = cron.spec()["concurrencyPolicy"] == "Forbid" && !active.is_empty();
    let Some(due) = due.filter(|_| !forbidden) else {
        return write(world, cron, status).await.map(|()| next);
    };
    if cron.spec()["concurrencyPolicy"] == "Replace" {
        for job in active.drain(..) {
            delete(world, job).await?;
        }
    }
    let made = start(world, cron, &plan, due).await?;
    status["lastScheduleTime"] = json!(rfc3339_seconds(due));
    status["active"] = references(cron, &active, made.as_ref());
    write(world, cron, status).await?;
    Ok(next)
}

struct Plan {
    crontab: Crontab,
    zone: String,
    /// What was scheduled before has been run, or never will be.
    since: Timestamp,
    deadline: Option<Duration>,
}

impl Plan {
    fn of(cron: &Object) -> Result<Self, String> {
        let spec = cron.spec();
        let zone = spec["timeZone"].as_str().unwrap_or("UTC").to_owned();
        let text = match spec["schedule"].as_str().unwrap_or_default() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let text = text.replace('?', "*");
        let crontab = parse_crontab(&format!("{text} {zone}")).map_err(|e| e.to_string())?;
        let last = cron.status()["lastScheduleTime"].as_str();
        let last = last.and_then(|at| at.parse().ok());
        Ok(Self {
            crontab,
            zone,
            since: last.or(cron.meta.creation_timestamp).unwrap_or(Timestamp::MAX),
            deadline: spec["startingDeadlineSeconds"].as_u64().map(Duration::from_secs),
        })
    }

    fn after(&self, at: Timestamp) -> Option<Timestamp> {
        let next = self.crontab.find_next(MakeTimestamp(at)).ok()?;
        Some(next.timestamp())
    }

    /// The latest time that has come, was not served, and is not too long ago.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let late = self.deadline.and_then(|deadline| now.checked_sub(deadline).ok());
        let since = late.map_or(self.since, |late| late.max(self.since));
        self.after(since).filter(|first| *first <= now)?;
        // Of the many that may have been missed, the latest: looked for from now backwards.
        let mut back = Duration::from_secs(60);
        let mut from = since;
        while let Ok(start) = now.checked_sub(back) {
            if start <= since {
                break;
            }
            if self.after(start).is_some_and(|at| at <= now) {
                from = start;
                break;
            }
            back *= 4;
        }
        let mut latest = None;
        while let Some(at) = self.after(latest.unwrap_or(from)).filter(|at| *at <= now) {
            latest = Some(at);
        }
        latest
    }

    fn written(&self, at: Timestamp) -> String {
        if self.zone == "UTC" {
            return rfc3339_seconds(at);
        }
        at.in_tz(&self.zone)
            .map_or_else(|_| rfc3339_seconds(at), |at| at.strftime("%FT%T%:z").to_string())
    }
}

fn jobs_of(world: &World, cron: &Object) -> Vec<Arc<Object>> {
    let all = world.jobs.snapshot();
    let ours = all.in_namespace(&cron.meta.namespace).map(|(_, job)| job);
    ours.filter(|job| job.meta.is_controlled_by(&cron.meta.uid) && job.meta.deletion_timestamp.is_none())
        .cloned()
        .collect()
}

fn is_finished(job: &Object) -> bool {
    has_condition(job, "Complete") || has_condition(job, "Failed")
}

fn last_success(jobs: &[Arc<Object>]) -> Value {
    let ends = jobs.iter().filter(|job| has_condition(job, "Complete"));
    let last = ends
        .filter_map(|job| job.status()["completionTime"].as_str())
        .max();
    json!(last)
}

/// `status.active`: entries that hold stay as they are.
fn references(cron: &Object, active: &[&Arc<Object>], made: Option<&Value>) -> Value {
    let known = cron.status()["active"].as_array();
    let of = |job: &Value| {
        json!({"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"],
            "namespace": cron.meta.namespace, "uid": job["metadata"]["uid"],
            "resourceVersion": job["metadata"]["resourceVersion"]})
    };
    let all: Vec<Value> = active
        .iter()
        .map(|job| {
            let same = |entry: &&Value| entry["uid"] == job.meta.uid.as_str();
            let entry = known.and_then(|known| known.iter().find(same));
            entry.cloned().unwrap_or_else(|| of(&job.value))
        })
        .chain(made.map(of))
        .collect();
    if all.is_empty() {
        Value::Null
    } else {
        Value::Array(all)
    }
}

/// The Job of this time; none if it was there already.
async fn start(world: &World, cron: &Object, plan: &Plan, due: Timestamp) -> Result<Option<Value>, ApiError> {
    let template = &cron.spec()["jobTemplate"];
    let mut metadata = json!({"name": format!("{}-{}", cron.meta.name, due.as_second() / 60),
        "namespace": cron.meta.namespace, "ownerReferences": [cron.as_owner()],
        "annotations": template["metadata"]["annotations"]});
    if template["metadata"]["labels"].is_object() {
        metadata["labels"] = template["metadata"]["labels"].clone();
    }
    metadata["annotations"][SCHEDULED] = json!(plan.written(due));
    let body =
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]});
    match world.door.create(&JOBS, Some(&cron.meta.namespace), &body).await {
        Ok(answer) => {
            world.jobs.observe_answer(&answer);
            Ok(Some(answer))
        }
        Err(error) if error.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Finished Jobs beyond the history limits go, oldest first.
async fn forget_old(world: &World, cron: &Object, jobs: &[Arc<Object>]) -> Result<(), ApiError> {
    for (condition, field, default) in [
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ] {
        let limit = usize::try_from(cron.count(field, default)).unwrap_or(0);
        let mut ended: Vec<_> = jobs.iter().filter(|job| has_condition(job, condition)).collect();
        ended.sort_by_key(|job| (job.status()["startTime"].to_string(), job.meta.name.clone()));
        for job in ended.iter().take(ended.len().saturating_sub(limit)) {
            delete(world, job).await?;
        }
    }
    Ok(())
}

async fn delete(world: &World, job: &Object) -> Result<(), ApiError> {
    let key = job.meta.key();
    let mut options = DeleteOptions::of_uid(&job.meta.uid);
    options.propagation = Some(Propagation::Background);
    match world
        .door
        .delete(&JOBS, key.namespace(), &key.name, &options)
        .await
    {
        Ok(deleted) => world.jobs.observe_delete(&key, &job.meta.uid, &deleted),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn write(world: &World, cron: &Object, status: Value) -> Result<(), ApiError> {
    world
        .write_status(&world.cron_jobs, &CRON_JOBS, cron, status)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(schedule: &str, zone: &str, since: &str) -> Plan {
        let cron = json!({"metadata": {"name": "c", "creationTimestamp": since},
            "spec": {"schedule": schedule, "timeZone": zone}});
        Plan::of(&serde_json::from_value(cron).unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn of_many_missed_times_the_latest_is_due() {
        let plan = plan("*/5 * * * *", "UTC", "2026-01-01T00:00:00Z");
        assert_eq!(
            plan.due(at("2026-11-21T12:04:59Z")),
            Some(at("2026-11-21T12:00:00Z"))
        );
        assert_eq!(
            plan.after(at("2026-11-21T12:00:00Z")),
            Some(at("2026-11-21T12:05:00Z"))
        );
    }

    #[test]
    fn nothing_is_due_before_its_first_time() {
        let plan = plan("@daily", "UTC", "2026-11-21T12:00:00Z");
        assert_eq!(plan.due(at("2026-11-21T23:59:59Z")), None);
        assert_eq!(
            plan.due(at("2026-11-22T00:00:00Z")),
            Some(at("2026-11-22T00:00:00Z"))
        );
    }

    #[test]
    fn a_time_zone_is_that_of_the_schedule() {
        let plan = plan("30 6 * * *", "Asia/Tokyo", "2026-11-20T00:00:00Z");
        let due = plan.due(at("2026-11-21T10:00:00Z"));
        assert_eq!(due, Some(at("2026-11-20T21:30:00Z")));
        assert_eq!(plan.written(due.unwrap()), "2026-11-21T06:30:00+09:00");
    }

    #[test]
    fn a_time_missed_by_more_than_the_deadline_is_not_made_up_for() {
        let mut plan = plan("0 * * * *", "UTC", "2026-11-21T00:00:00Z");
        plan.deadline = Some(Duration::from_secs(600));
        assert_eq!(plan.due(at("2026-11-21T12:11:00Z")), None);
        assert_eq!(
            plan.due(at("2026-11-21T12:09:00Z")),
            Some(at("2026-11-21T12:00:00Z"))
        );
    }
}
