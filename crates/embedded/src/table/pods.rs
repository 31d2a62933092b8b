//! Pods: the STATUS column sums up phase, containers and deletion as kubectl's users know it.

use serde_json::{Value, json};

use super::{NONE, Row, since};

pub fn pod(row: &Row<'_>) -> Vec<Value> {
    let summary = summarize(row);
    let restarts = match &summary.last_restart {
        Some(time) if summary.restarts > 0 => format!("{} ({} ago)", summary.restarts, since(time, row.now)),
        _ => summary.restarts.to_string(),
    };
    let ip = row
        .list("/status/podIPs")
        .first()
        .map_or("", |ip| ip["ip"].as_str().unwrap_or_default());
    vec![
        row.name(),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.status),
        json!(restarts),
        row.age(),
        json!(if ip.is_empty() { NONE } else { ip }),
        json!(row.text_or("/spec/nodeName", NONE)),
        json!(row.text_or("/status/nominatedNodeName", NONE)),
        json!(readiness_gates(row)),
    ]
}

#[derive(Default)]
struct Summary {
    status: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<String>,
}

impl Summary {
    fn restarted(&mut self, status: &Value) {
        self.restarts += status["restartCount"].as_i64().unwrap_or_default();
        if let Some(finished) = status["lastState"]["terminated"]["finishedAt"].as_str()
            && self.last_restart.as_deref().is_none_or(|last| last < finished)
        {
            self.last_restart = Some(finished.to_owned());
        }
    }
}

fn summarize(row: &Row<'_>) -> Summary {
    let mut summary = Summary {
        status: row.text("/status/phase").to_owned(),
        ..Summary::default()
    };
    summary.total = row.len("/spec/containers");
    if !row.text("/status/reason").is_empty() {
        row.text("/status/reason").clone_into(&mut summary.status);
    }
    let gated = row
        .list("/status/conditions")
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    if gated {
        "SchedulingGated".clone_into(&mut summary.status);
    }
    let initializing = init_containers(row, &mut summary);
    if !initializing || initialized(row) {
        containers(row, &mut summary);
    }
    if !row.text("/metadata/deletionTimestamp").is_empty() {
        let finished = matches!(row.text("/status/phase"), "Failed" | "Succeeded");
        if row.text("/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut summary.status);
        } else if !finished {
            "Terminating".clone_into(&mut summary.status);
        }
    }
    summary
}

/// Whether an init container still stands in the way; its reason is then the status.
fn init_containers(row: &Row<'_>, summary: &mut Summary) -> bool {
    let specs = row.list("/spec/initContainers");
    let restartable = |name: &Value| {
        specs
            .iter()
            .any(|c| c["name"] == *name && c["restartPolicy"] == "Always")
    };
    summary.total += specs.iter().filter(|c| c["restartPolicy"] == "Always").count();
    let statuses = row.list("/status/initContainerStatuses");
    for (index, status) in statuses.iter().enumerate() {
        summary.restarted(status);
        let sidecar = restartable(&status["name"]);
        let terminated = &status["state"]["terminated"];
        let waiting = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
        if terminated["exitCode"] == 0 {
            continue;
        }
        if sidecar && status["started"] == true {
            summary.ready += usize::from(status["ready"] == true);
            continue;
        }
        summary.status = if terminated.is_object() {
            format!("Init:{}", termination(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{index}/{}", specs.len())
        };
        return true;
    }
    false
}

fn initialized(row: &Row<'_>) -> bool {
    row.list("/status/conditions")
        .iter()
        .any(|c| c["type"] == "Initialized" && c["status"] == "True")
}

fn containers(row: &Row<'_>, summary: &mut Summary) {
    let mut running = false;
    // The first container's reason wins: a real server goes through them from the last to the first.
    for status in row.list("/status/containerStatuses").iter().rev() {
        summary.restarted(status);
        let terminated = &status["state"]["terminated"];
        let waiting = status["state"]["waiting"]["reason"].as_str().unwrap_or_default();
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.status);
        } else if terminated.is_object() {
            summary.status = termination(terminated);
        } else if status["ready"] == true && status["state"]["running"].is_object() {
            running = true;
            summary.ready += 1;
        }
    }
    if summary.status == "Completed" && running {
        let ready = row
            .list("/status/conditions")
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        if ready { "Running" } else { "NotReady" }.clone_into(&mut summary.status);
    }
}

fn termination(terminated: &Value) -> String {
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => match terminated["signal"].as_i64().unwrap_or_default() {
            0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
            signal => format!("Signal:{signal}"),
        },
    }
}

fn readiness_gates(row: &Row<'_>) -> String {
    let gates = row.list("/spec/readinessGates");
    if gates.is_empty() {
        return NONE.to_owned();
    }
    let conditions = row.list("/status/conditions");
    let met = gates
        .iter()
        .filter(|g| {
            conditions
                .iter()
                .any(|c| c["type"] == g["conditionType"] && c["status"] == "True")
        })
        .count();
    format!("{met}/{}", gates.len())
}
