//! Eviction: a deletion that disruption budgets may refuse.

use model::time::rfc3339_seconds;
use serde_json::{Value, json};

use super::delete::{self, DeleteOptions};
use super::update::Edit;
use super::{read, subresource};
use crate::answer::Answer;
use crate::query::WriteOptions;
use crate::route::Target;
use crate::selector::{Operator, Requirement};
use crate::service::Call;
use crate::status::Status;
use crate::{decode, metadata};

pub(crate) async fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let eviction = decode::of_kind(call, "policy", "v1", "Eviction")
        .or_else(|status| decode::of_kind(call, "policy", "v1beta1", "Eviction").map_err(|_| status))?;
    if !metadata::name(&eviction).is_empty() && metadata::name(&eviction) != target.name() {
        return Err(Status::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let pod = read::find(call, target)?.bare();
    let dry = options.dry_run
        || eviction
            .pointer("/deleteOptions/dryRun")
            .and_then(Value::as_array)
            .is_some_and(|d| !d.is_empty());
    if !ignores_budgets(&pod) {
        charge_budget(call, target, &pod, dry).await?;
    }
    let mut delete_options =
        DeleteOptions::from_object(eviction.get("deleteOptions").unwrap_or(&Value::Null));
    delete_options.dry_run = dry;
    let mut target = target.clone();
    target.subresource = None;
    if !dry {
        // Nothing is said of a pod whose deletion would be refused.
        let mut tried = delete_options.clone();
        tried.dry_run = true;
        delete::delete(call, &target, &tried).await?;
        announce(call, &target).await?;
    }
    delete::delete(call, &target, &delete_options).await?;
    subresource::success(201)
}

/// The pod carries the reason of its end as a condition.
async fn announce(call: &Call, target: &Target) -> Result<(), Status> {
    let mut status = target.clone();
    status.subresource = Some("status".to_owned());
    let options = WriteOptions::internal(false);
    let edit = Edit {
        call,
        target: &status,
        options: &options,
        options_kind: "UpdateOptions",
        track: false,
        wants_version: false,
    };
    let now = rfc3339_seconds(call.server.now());
    edit.run(|old| Ok((disrupted(old, &now), Vec::new()))).await?;
    Ok(())
}

fn disrupted(pod: &Value, now: &str) -> Value {
    let mut out = pod.clone();
    let mut condition = json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastProbeTime": null, "lastTransitionTime": now,
    });
    let conditions = &mut out["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(list) => match list.iter_mut().find(|c| c["type"] == "DisruptionTarget") {
            Some(found) => {
                if found["status"] == "True" {
                    condition["lastTransitionTime"] = found["lastTransitionTime"].clone();
                }
                *found = condition;
            }
            None => list.push(condition),
        },
        None => *conditions = json!([condition]),
    }
    out
}

/// Pods that have ended, are going, or never started do not count for anybody.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = pod
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    matches!(phase, "Succeeded" | "Failed" | "Pending") || metadata::is_deleting(pod)
}

async fn charge_budget(call: &Call, target: &Target, pod: &Value, dry: bool) -> Result<(), Status> {
    let Some(budgets) = call.server.resource("policy", "v1", "poddisruptionbudgets") else {
        return Ok(());
    };
    let namespace = target.namespace.clone().unwrap_or_default();
    let (_, all) = call.store().snapshot(&budgets.storage, &format!("{namespace}/"));
    let matching: Vec<String> = all
        .iter()
        .filter(|b| selects(b.bare().pointer("/spec/selector"), pod))
        .map(|b| b.name().to_owned())
        .collect();
    let name = match matching.as_slice() {
        [] => return Ok(()),
        [one] => one.clone(),
        _ => {
            let what = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", what));
        }
    };
    let budget_target = Target {
        resource: budgets,
        namespace: Some(namespace),
        name: Some(name),
        subresource: Some("status".to_owned()),
        watch: false,
    };
    let mut options = WriteOptions::internal(dry);
    options.field_manager = "kube-apiserver".to_owned();
    let edit = Edit {
        call,
        target: &budget_target,
        options: &options,
        options_kind: "UpdateOptions",
        track: true,
        wants_version: false,
    };
    let now = rfc3339_seconds(call.server.now());
    edit.run(|budget| charged(budget, pod, target.name(), &now).map(|b| (b, Vec::new())))
        .await?;
    Ok(())
}

fn charged(budget: &Value, pod: &Value, pod_name: &str, now: &str) -> Result<Value, Status> {
    let name = metadata::name(budget);
    let number = |pointer: &str| budget.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let (allowed, healthy, desired) = (
        number("/status/disruptionsAllowed"),
        number("/status/currentHealthy"),
        number("/status/desiredHealthy"),
    );
    if !is_ready(pod) {
        let policy = budget
            .pointer("/spec/unhealthyPodEvictionPolicy")
            .and_then(Value::as_str);
        if policy == Some("AlwaysAllow") || (healthy >= desired && desired > 0) {
            return Ok(budget.clone());
        }
    }
    if number("/status/observedGeneration") < number("/metadata/generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why, Some(10)));
    }
    if allowed <= 0 {
        let why = match healthy <= desired {
            true => {
                format!(
                    "The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
                )
            }
            false => format!("The disruption budget {name} does not allow evicting pods currently"),
        };
        return Err(refused(&why, None));
    }
    let mut out = budget.clone();
    out["status"]["disruptionsAllowed"] = (allowed - 1).into();
    out["status"]["disruptedPods"][pod_name] = now.into();
    if allowed == 1 {
        exhaust(&mut out, now);
    }
    Ok(out)
}

/// The budget says that it allows no more.
fn exhaust(budget: &mut Value, now: &str) {
    let mut condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": budget["status"]["observedGeneration"], "lastTransitionTime": now,
    });
    let conditions = &mut budget["status"]["conditions"];
    match conditions.as_array_mut() {
        Some(all) => match all.iter_mut().find(|c| c["type"] == "DisruptionAllowed") {
            Some(found) => {
                if found["status"] == "False" {
                    condition["lastTransitionTime"] = found["lastTransitionTime"].clone();
                }
                *found = condition;
            }
            None => all.push(condition),
        },
        None => *conditions = json!([condition]),
    }
}

fn refused(why: &str, retry: Option<u64>) -> Status {
    let what = "Cannot evict pod as it would violate the pod's disruption budget.";
    let mut out = Status::too_many_requests(what, 0);
    let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
    if let Some(seconds) = retry {
        details["retryAfterSeconds"] = seconds.into();
    }
    out.details = Some(details);
    out
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// A LabelSelector on an object's labels; an empty one selects everything, an absent one nothing.
pub(crate) fn selects(selector: Option<&Value>, object: &Value) -> bool {
    let Some(selector) = selector.filter(|s| s.is_object()) else {
        return false;
    };
    let label = |key: &str| object.pointer("/metadata/labels")?.get(key)?.as_str();
    let mut requirements: Vec<Requirement> = Vec::new();
    for (key, value) in selector
        .get("matchLabels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let values = vec![value.as_str().unwrap_or_default().to_owned()];
        requirements.push(Requirement {
            key: key.clone(),
            operator: Operator::In,
            values,
        });
    }
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let operator = match expression["operator"].as_str().unwrap_or_default() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            _ => Operator::DoesNotExist,
        };
        let values = expression["values"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        requirements.push(Requirement {
            key: expression["key"].as_str().unwrap_or_default().to_owned(),
            operator,
            values: values.map(str::to_owned).collect(),
        });
    }
    requirements.iter().all(|r| r.matches(label(&r.key)))
}
