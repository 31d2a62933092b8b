//! Pods, and what carries a pod template.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{chance, pick};

pub(super) fn image(rng: &mut StdRng) -> &'static str {
    pick(
        rng,
        &[
            "nginx:1.20",
            "nginx:1.21",
            "nginx",
            "nginx:latest",
            "registry.example:5000/a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        ],
    )
}

fn container(rng: &mut StdRng, name: &str) -> Value {
    let mut container = json!({"name": name, "image": image(rng)});
    if chance(rng, 30) {
        container["ports"] = json!([{"containerPort": pick(rng, &[80, 443, 70000])}]);
    }
    if chance(rng, 30) {
        container["resources"] =
            json!({"requests": {"cpu": pick(rng, &["100m", "0.1", "1"]), "memory": "64Mi"}});
    }
    if chance(rng, 30) {
        container["env"] = json!([{"name": "A", "value": pick(rng, &["1", "2"])}]);
    }
    if chance(rng, 20) {
        container["readinessProbe"] = json!({"httpGet": {"port": 80}});
    }
    container
}

fn pod_spec(rng: &mut StdRng) -> Value {
    let mut containers = vec![container(rng, "main")];
    if chance(rng, 30) {
        containers.push(container(rng, "side"));
    }
    if chance(rng, 5) {
        containers.push(container(rng, "main"));
    }
    let mut spec = json!({"containers": containers});
    if chance(rng, 20) {
        spec["initContainers"] = json!([{"name": "init", "image": "busybox", "restartPolicy": pick(rng, &["Always", "Sometimes"])}]);
    }
    if chance(rng, 20) {
        spec["volumes"] = json!([{"name": "v", "emptyDir": {}}, {"name": pick(rng, &["w", "v"]), "configMap": {"name": "c"}}]);
    }
    spec
}

fn template(rng: &mut StdRng) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": pod_spec(rng)})
}

fn selector(rng: &mut StdRng) -> Value {
    json!({"matchLabels": {"app": pick(rng, &["x", "x", "x", "x", "y"])}})
}

pub(super) fn pod(rng: &mut StdRng) -> Value {
    let mut spec = pod_spec(rng);
    if chance(rng, 15) {
        spec["restartPolicy"] = json!(pick(rng, &["Never", "OnFailure", "Perhaps"]));
    }
    if chance(rng, 15) {
        spec["tolerations"] = json!([{"key": "k", "operator": pick(rng, &["Exists", "Equal"])}]);
    }
    if chance(rng, 10) {
        spec["nodeName"] = json!("n1");
    }
    if chance(rng, 8) {
        spec["hostNetwork"] = json!(true);
    }
    if chance(rng, 8) {
        spec["securityContext"] = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    }
    json!({"spec": spec})
}

pub(super) fn pod_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..9) {
        0 => json!({"spec": {"nodeName": "n1"}}),
        1 => json!({"spec": {"activeDeadlineSeconds": pick(rng, &[10, 5, -1])}}),
        2 => json!({"spec": {"containers": [container(rng, "main")]}}),
        3 => json!({"spec": {"restartPolicy": "Never"}}),
        4 => json!({"spec": {"terminationGracePeriodSeconds": 3}}),
        5 => json!({"status": {"phase": pick(rng, &["Running", "Failed"]), "message": "m"}}),
        6 => json!({"spec": {"schedulerName": "other", "priority": 5}}),
        7 => {
            json!({"status": {"conditions": [{"type": "Ready", "status": pick(rng, &["True", "False", "Perhaps"])}]}})
        }
        _ => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
    }
}

pub(super) fn deployment(rng: &mut StdRng) -> Value {
    json!({"spec": {"replicas": pick(rng, &[0, 1, 3, -1]), "selector": selector(rng), "template": template(rng)}})
}

pub(super) fn deployment_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"spec": {"replicas": pick(rng, &[0, 2, 5])}}),
        1 => json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        2 => {
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": pick(rng, &["25%", "200%"])}}}})
        }
        3 => json!({"spec": {"selector": {"matchLabels": {"app": "z"}}}}),
        4 => json!({"spec": {"paused": true, "minReadySeconds": 3}}),
        _ => json!({"status": {"replicas": 2, "readyReplicas": pick(rng, &[1, 3])}}),
    }
}

pub(super) fn replica_set(rng: &mut StdRng) -> Value {
    json!({"spec": {"replicas": pick(rng, &[0, 2]), "selector": selector(rng), "template": template(rng)}})
}

pub(super) fn replica_set_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"spec": {"replicas": pick(rng, &[0, 2, -5])}}),
        1 => json!({"spec": {"minReadySeconds": pick(rng, &[1, -1])}}),
        2 => json!({"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}}),
        _ => json!({"status": {"replicas": 1, "availableReplicas": pick(rng, &[1, 9])}}),
    }
}

pub(super) fn stateful_set(rng: &mut StdRng) -> Value {
    let mut spec = json!({"serviceName": "s", "replicas": pick(rng, &[0, 2]), "selector": selector(rng),
        "template": template(rng)});
    if chance(rng, 30) {
        spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    }
    if chance(rng, 30) {
        spec["updateStrategy"] = pick(
            rng,
            &[
                json!({"type": "OnDelete"}),
                json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}),
                json!({"type": "Sideways"}),
            ],
        );
    }
    json!({"spec": spec})
}

pub(super) fn stateful_set_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"spec": {"replicas": pick(rng, &[1, 4])}}),
        1 => json!({"spec": {"serviceName": "other"}}),
        2 => json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": pick(rng, &[0, 2, -1])}}}}),
        3 => json!({"spec": {"podManagementPolicy": "Parallel"}}),
        4 => {
            json!({"spec": {"persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Retain"}}})
        }
        _ => json!({"status": {"replicas": 1, "currentReplicas": pick(rng, &[1, 3])}}),
    }
}

pub(super) fn daemon_set(rng: &mut StdRng) -> Value {
    json!({"spec": {"selector": selector(rng), "template": template(rng)}})
}

pub(super) fn daemon_set_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}}),
        1 => {
            json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": pick(rng, &[json!(2), json!("0%")])}}}})
        }
        2 => json!({"spec": {"minReadySeconds": 4}}),
        _ => {
            json!({"status": {"currentNumberScheduled": 1, "numberMisscheduled": 0, "desiredNumberScheduled": 1, "numberReady": 1}})
        }
    }
}

pub(super) fn job(rng: &mut StdRng) -> Value {
    let mut spec = pod_spec(rng);
    spec["restartPolicy"] = json!(pick(rng, &["Never", "OnFailure", "Always"]));
    json!({"spec": {"suspend": true, "completions": pick(rng, &[1, 3]), "template": {"spec": spec}}})
}

pub(super) fn job_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"spec": {"parallelism": pick(rng, &[0, 2])}}),
        1 => json!({"spec": {"completions": 7}}),
        2 => json!({"status": {"active": 1, "startTime": "2026-01-01T00:00:00Z"}}),
        _ => json!({"spec": {"suspend": false}}),
    }
}

pub(super) fn cron_job(rng: &mut StdRng) -> Value {
    let mut spec = pod_spec(rng);
    spec["restartPolicy"] = json!(pick(rng, &["Never", "OnFailure"]));
    json!({"spec": {"schedule": pick(rng, &["*/5 * * * *", "@hourly", "never"]),
        "jobTemplate": {"spec": {"template": {"spec": spec}}}}})
}

pub(super) fn cron_job_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"spec": {"suspend": true}}),
        1 => json!({"spec": {"concurrencyPolicy": pick(rng, &["Forbid", "Perhaps"])}}),
        2 => json!({"spec": {"timeZone": pick(rng, &["Etc/UTC", "Not/AZone"])}}),
        _ => json!({"status": {"lastScheduleTime": "2026-01-01T00:00:00Z"}}),
    }
}
