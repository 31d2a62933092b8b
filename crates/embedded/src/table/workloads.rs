//! apps, batch, policy, autoscaling.

use serde_json::{Value, json};

use super::{NONE, Row, UNKNOWN, containers_and_images, format_labels, format_selector, human_duration};

pub fn workload(plural: &str, row: &Row<'_>) -> Option<Vec<Value>> {
    Some(match plural {
        "deployments" => deployment(row),
        "replicasets" => replica_set(row),
        "statefulsets" => stateful_set(row),
        "daemonsets" => daemon_set(row),
        "controllerrevisions" => controller_revision(row),
        "jobs" => job(row),
        "cronjobs" => cron_job(row),
        "poddisruptionbudgets" => disruption_budget(row),
        "horizontalpodautoscalers" => autoscaler(row),
        _ => return None,
    })
}

fn wide(row: &Row<'_>, template: &str) -> [Value; 3] {
    let (names, images) = containers_and_images(row.at(template));
    [
        json!(names),
        json!(images),
        json!(format_selector(row.at("/spec/selector"))),
    ]
}

fn deployment(row: &Row<'_>) -> Vec<Value> {
    let mut cells = vec![
        row.name(),
        json!(format!(
            "{}/{}",
            row.int("/status/readyReplicas"),
            row.int("/spec/replicas")
        )),
        json!(row.int("/status/updatedReplicas")),
        json!(row.int("/status/availableReplicas")),
        row.age(),
    ];
    cells.extend(wide(row, "/spec/template/spec"));
    cells
}

fn replica_set(row: &Row<'_>) -> Vec<Value> {
    let mut cells = vec![
        row.name(),
        json!(row.int("/spec/replicas")),
        json!(row.int("/status/replicas")),
        json!(row.int("/status/readyReplicas")),
        row.age(),
    ];
    cells.extend(wide(row, "/spec/template/spec"));
    cells
}

fn stateful_set(row: &Row<'_>) -> Vec<Value> {
    let [names, images, _] = wide(row, "/spec/template/spec");
    let ready = format!(
        "{}/{}",
        row.int("/status/readyReplicas"),
        row.int("/spec/replicas")
    );
    vec![row.name(), json!(ready), row.age(), names, images]
}

fn daemon_set(row: &Row<'_>) -> Vec<Value> {
    let mut cells = vec![
        row.name(),
        json!(row.int("/status/desiredNumberScheduled")),
        json!(row.int("/status/currentNumberScheduled")),
        json!(row.int("/status/numberReady")),
        json!(row.int("/status/updatedNumberScheduled")),
        json!(row.int("/status/numberAvailable")),
        json!(format_labels(row.at("/spec/template/spec/nodeSelector"))),
        row.age(),
    ];
    cells.extend(wide(row, "/spec/template/spec"));
    cells
}

fn controller_revision(row: &Row<'_>) -> Vec<Value> {
    let owner = row
        .list("/metadata/ownerReferences")
        .iter()
        .find(|o| o["controller"] == true);
    let controller = owner.map_or_else(
        || NONE.to_owned(),
        |o| {
            let text = |field: &str| o[field].as_str().unwrap_or_default();
            let group = text("apiVersion").split_once('/').map(|(group, _)| group);
            let kind = text("kind").to_ascii_lowercase();
            match group {
                Some(group) => format!("{kind}.{group}/{}", text("name")),
                None => format!("{kind}/{}", text("name")),
            }
        },
    );
    vec![
        row.name(),
        json!(controller),
        json!(row.int("/revision")),
        row.age(),
    ]
}

fn job(row: &Row<'_>) -> Vec<Value> {
    let succeeded = row.int("/status/succeeded");
    let completions = match row.at("/spec/completions").as_i64() {
        Some(completions) => format!("{succeeded}/{completions}"),
        None => match row.int("/spec/parallelism") {
            parallelism if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
            _ => format!("{succeeded}/1"),
        },
    };
    let seconds = |pointer: &str| {
        row.text(pointer)
            .parse::<jiff::Timestamp>()
            .ok()
            .map(jiff::Timestamp::as_second)
    };
    let duration = match (seconds("/status/startTime"), seconds("/status/completionTime")) {
        (None, _) => String::new(),
        (Some(start), None) => human_duration(row.now.as_second() - start),
        (Some(start), Some(end)) => human_duration(end - start),
    };
    let mut cells = vec![
        row.name(),
        json!(job_status(row)),
        json!(completions),
        json!(duration),
        row.age(),
    ];
    cells.extend(wide(row, "/spec/template/spec"));
    cells
}

fn job_status(row: &Row<'_>) -> &'static str {
    let holds = |kind: &str| {
        row.list("/status/conditions")
            .iter()
            .any(|c| c["type"] == kind && c["status"] == "True")
    };
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if !row.text("/metadata/deletionTimestamp").is_empty() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn cron_job(row: &Row<'_>) -> Vec<Value> {
    let last = match row.text("/status/lastScheduleTime") {
        "" => NONE.to_owned(),
        _ => row.since("/status/lastScheduleTime"),
    };
    let suspend = match row.at("/spec/suspend").as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    let mut cells = vec![
        row.name(),
        json!(row.text("/spec/schedule")),
        json!(row.text_or("/spec/timeZone", NONE)),
        json!(suspend),
        json!(row.len("/status/active")),
        json!(last),
        row.age(),
    ];
    let (names, images) = containers_and_images(row.at("/spec/jobTemplate/spec/template/spec"));
    cells.extend([
        json!(names),
        json!(images),
        json!(format_selector(row.at("/spec/jobTemplate/spec/selector"))),
    ]);
    cells
}

fn disruption_budget(row: &Row<'_>) -> Vec<Value> {
    let bound = |pointer: &str| match row.at(pointer) {
        Value::String(percent) => percent.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    };
    vec![
        row.name(),
        json!(bound("/spec/minAvailable")),
        json!(bound("/spec/maxUnavailable")),
        json!(row.int("/status/disruptionsAllowed")),
        row.age(),
    ]
}

/// Two of them, and how many more there are.
const SHOWN_TARGETS: usize = 2;

/// What a metric is held against. None is measured here.
fn target(metric: &Value) -> String {
    let of = |inner: &Value| {
        let target = &inner["target"];
        let amount = ["averageValue", "value"].iter().find_map(|k| target[*k].as_str());
        amount.unwrap_or("<auto>").to_owned()
    };
    match metric["type"].as_str().unwrap_or_default() {
        "Resource" => {
            let resource = metric["resource"]["name"].as_str().unwrap_or_default();
            match metric["resource"]["target"]["averageUtilization"].as_i64() {
                Some(percent) => format!("{resource}: {UNKNOWN}/{percent}%"),
                None => format!("{resource}: {UNKNOWN}/{}", of(&metric["resource"])),
            }
        }
        "External" => match metric["external"]["target"]["averageValue"].as_str() {
            Some(amount) => format!("{UNKNOWN}/{amount} (avg)"),
            None => format!("{UNKNOWN}/{}", of(&metric["external"])),
        },
        "Pods" => format!("{UNKNOWN}/{}", of(&metric["pods"])),
        "Object" => format!("{UNKNOWN}/{}", of(&metric["object"])),
        _ => "<unknown type>".to_owned(),
    }
}

fn autoscaler(row: &Row<'_>) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        row.text("/spec/scaleTargetRef/kind"),
        row.text("/spec/scaleTargetRef/name")
    );
    let mut targets: Vec<String> = row.list("/spec/metrics").iter().map(target).collect();
    if targets.len() > SHOWN_TARGETS {
        let more = targets.len() - SHOWN_TARGETS;
        targets.truncate(SHOWN_TARGETS);
        if let Some(last) = targets.last_mut() {
            last.push_str(&format!(" + {more} more..."));
        }
    }
    let minimum = row
        .at("/spec/minReplicas")
        .as_i64()
        .map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        row.name(),
        json!(reference),
        json!(if targets.is_empty() {
            NONE.to_owned()
        } else {
            targets.join(", ")
        }),
        json!(minimum),
        json!(row.int("/spec/maxReplicas")),
        json!(row.int("/status/currentReplicas")),
        row.age(),
    ]
}
