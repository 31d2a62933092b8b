//! The stories. Each has a namespace of its own; all are told at the same time.

use std::collections::BTreeMap;

use cluster::Propagation;
use cluster::resource::{
    CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, JOBS, POD_DISRUPTION_BUDGETS, PODS, REPLICA_SETS, STATEFUL_SETS,
};
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};

use crate::player::{Player, Stage};

type Story = for<'a> fn(&'a mut Stage<'_>) -> BoxFuture<'a, ()>;

pub const COUNT: usize = 10;

const STORIES: [(&str, Story); COUNT] = [
    ("deployment", |stage| Box::pin(deployment(stage))),
    ("adoption", |stage| Box::pin(adoption(stage))),
    ("release", |stage| Box::pin(release(stage))),
    ("statefulset", |stage| Box::pin(statefulset(stage))),
    ("claims", |stage| Box::pin(claims(stage))),
    ("daemonset", |stage| Box::pin(daemonset(stage))),
    ("surge", |stage| Box::pin(surge(stage))),
    ("job", |stage| Box::pin(job(stage))),
    ("cronjob", |stage| Box::pin(cronjob(stage))),
    ("budget", |stage| Box::pin(budget(stage))),
];

pub async fn tell_all(player: &Player) -> BTreeMap<&'static str, Vec<Value>> {
    let all = STORIES.iter().map(|(name, story)| async move {
        let mut stage = player.stage(name).await;
        story(&mut stage).await;
        (*name, std::mem::take(&mut stage.seen))
    });
    join_all(all).await.into_iter().collect()
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [{"name": "main", "image": image}]}})
}

fn workload(replicas: u32) -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}}, "template": template("shop:1")}})
}

fn image(image: &str) -> Value {
    json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}})
}

async fn deployment(stage: &mut Stage<'_>) {
    let mut body = workload(4);
    body["spec"]["revisionHistoryLimit"] = json!(2);
    stage.create(&DEPLOYMENTS, body).await;
    stage
        .until(&DEPLOYMENTS, "web", &[("/status/availableReplicas", json!(4))])
        .await;
    stage.rest("created").await;
    let done = |n: u32| {
        [
            ("/status/updatedReplicas", json!(n)),
            ("/status/availableReplicas", json!(n)),
            ("/status/replicas", json!(n)),
        ]
    };
    stage.patch(&DEPLOYMENTS, "web", image("shop:2")).await;
    stage.until(&DEPLOYMENTS, "web", &done(4)).await;
    stage.rest("image changed").await;
    stage
        .patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 6}}))
        .await;
    stage.until(&DEPLOYMENTS, "web", &done(6)).await;
    stage.rest("scaled up").await;
    stage.patch(&DEPLOYMENTS, "web", image("shop:1")).await;
    stage.until(&DEPLOYMENTS, "web", &done(6)).await;
    stage.rest("back to the first image").await;
    stage
        .patch(&DEPLOYMENTS, "web", json!({"spec": {"paused": true}}))
        .await;
    stage.patch(&DEPLOYMENTS, "web", image("shop:3")).await;
    stage.rest("paused").await;
    stage
        .patch(&DEPLOYMENTS, "web", json!({"spec": {"paused": false}}))
        .await;
    stage.until(&DEPLOYMENTS, "web", &done(6)).await;
    stage.rest("resumed").await;
    let recreate = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}});
    stage.patch(&DEPLOYMENTS, "web", recreate).await;
    stage.patch(&DEPLOYMENTS, "web", image("shop:4")).await;
    stage.until(&DEPLOYMENTS, "web", &done(6)).await;
    stage.rest("recreated").await;
    stage
        .patch(&DEPLOYMENTS, "web", json!({"spec": {"replicas": 1}}))
        .await;
    stage.until(&DEPLOYMENTS, "web", &done(1)).await;
    stage.rest("scaled down").await;
}

async fn adoption(stage: &mut Stage<'_>) {
    stage.create(&DEPLOYMENTS, workload(2)).await;
    stage
        .until(&DEPLOYMENTS, "web", &[("/status/availableReplicas", json!(2))])
        .await;
    stage.delete(&DEPLOYMENTS, "web", Propagation::Orphan).await;
    stage.rest("the Deployment is gone, its set is an orphan").await;
    let sets = stage.list(&REPLICA_SETS).await;
    let set = sets[0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage.delete(&REPLICA_SETS, &set, Propagation::Orphan).await;
    stage.rest("its set is gone too, its pods are orphans").await;
    stage.create(&REPLICA_SETS, workload(3)).await;
    stage
        .until(&REPLICA_SETS, "web", &[("/status/availableReplicas", json!(3))])
        .await;
    stage.rest("a ReplicaSet takes the pods in").await;
    stage.create(&DEPLOYMENTS, workload(3)).await;
    stage
        .until(&DEPLOYMENTS, "web", &[("/status/availableReplicas", json!(3))])
        .await;
    stage.rest("a Deployment takes the ReplicaSet in").await;
}

async fn release(stage: &mut Stage<'_>) {
    stage.create(&REPLICA_SETS, workload(2)).await;
    stage
        .until(&REPLICA_SETS, "web", &[("/status/availableReplicas", json!(2))])
        .await;
    let pods = stage.list(&PODS).await;
    let pod = pods[0]["metadata"]["name"].as_str().unwrap().to_owned();
    stage
        .patch(
            &PODS,
            &pod,
            json!({"metadata": {"labels": {"app": "under-study"}}}),
        )
        .await;
    stage
        .rest("a pod whose label changed is let go and replaced")
        .await;
    stage
        .patch(&PODS, &pod, json!({"metadata": {"labels": {"app": "web"}}}))
        .await;
    stage.rest("it comes back, and one is too many").await;
}

async fn statefulset(stage: &mut Stage<'_>) {
    let mut body = workload(3);
    body["spec"]["serviceName"] = json!("web");
    stage.create(&STATEFUL_SETS, body).await;
    stage
        .until(&STATEFUL_SETS, "web", &[("/status/availableReplicas", json!(3))])
        .await;
    stage.rest("created").await;
    stage.order("creation");
    let partition = |n: u32| json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": n}}}});
    stage.patch(&STATEFUL_SETS, "web", partition(2)).await;
    stage.patch(&STATEFUL_SETS, "web", image("shop:2")).await;
    let updated = |n: u32| {
        [
            ("/status/updatedReplicas", json!(n)),
            ("/status/readyReplicas", json!(3)),
        ]
    };
    stage.until(&STATEFUL_SETS, "web", &updated(1)).await;
    stage.rest("partition 2").await;
    stage.order("partition 2");
    stage.delete(&PODS, "web-0", Propagation::Background).await;
    stage.rest("an old one deleted below the partition").await;
    stage.forget_order();
    stage.patch(&STATEFUL_SETS, "web", partition(0)).await;
    stage
        .until(
            &STATEFUL_SETS,
            "web",
            &[
                ("/status/updatedReplicas", json!(3)),
                ("/status/readyReplicas", json!(3)),
            ],
        )
        .await;
    stage.rest("all updated").await;
    stage.order("the update");
    stage
        .patch(&STATEFUL_SETS, "web", json!({"spec": {"replicas": 1}}))
        .await;
    stage
        .until(&STATEFUL_SETS, "web", &[("/status/replicas", json!(1))])
        .await;
    stage.rest("scaled down").await;
    stage.order("scaling down");
}

/// No class serves these claims: on both sides they wait, and so do the pods.
async fn claims(stage: &mut Stage<'_>) {
    let mut body = workload(2);
    body["spec"]["serviceName"] = json!("web");
    body["spec"]["podManagementPolicy"] = json!("Parallel");
    body["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data", "labels": {"kind": "fast"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none-such",
            "resources": {"requests": {"storage": "1Gi"}}}}]);
    stage.create(&STATEFUL_SETS, body).await;
    stage.rest("claims without a class that exists").await;
    stage
        .patch(&STATEFUL_SETS, "web", json!({"spec": {"replicas": 0}}))
        .await;
    stage.rest("scaled down: the claims stay").await;
}

async fn daemonset(stage: &mut Stage<'_>) {
    let mut body = workload(0);
    body["spec"].as_object_mut().unwrap().remove("replicas");
    stage.create(&DAEMON_SETS, body).await;
    stage
        .until(&DAEMON_SETS, "web", &[("/status/numberAvailable", json!(3))])
        .await;
    stage.rest("created").await;
    stage.patch(&DAEMON_SETS, "web", image("shop:2")).await;
    let done = [
        ("/status/updatedNumberScheduled", json!(3)),
        ("/status/numberAvailable", json!(3)),
    ];
    stage.until(&DAEMON_SETS, "web", &done).await;
    stage.rest("updated").await;
    let selector =
        json!({"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/hostname": "sim-1"}}}}});
    stage.patch(&DAEMON_SETS, "web", selector).await;
    stage
        .until(
            &DAEMON_SETS,
            "web",
            &[
                ("/status/desiredNumberScheduled", json!(1)),
                ("/status/updatedNumberScheduled", json!(1)),
                ("/status/numberAvailable", json!(1)),
            ],
        )
        .await;
    stage.rest("for one node only").await;
}

async fn surge(stage: &mut Stage<'_>) {
    let mut body = workload(0);
    body["spec"].as_object_mut().unwrap().remove("replicas");
    body["spec"]["updateStrategy"] =
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    stage.create(&DAEMON_SETS, body).await;
    stage
        .until(&DAEMON_SETS, "web", &[("/status/numberAvailable", json!(3))])
        .await;
    stage.rest("created").await;
    stage.forget_order();
    stage.patch(&DAEMON_SETS, "web", image("shop:2")).await;
    let done = [
        ("/status/updatedNumberScheduled", json!(3)),
        ("/status/numberAvailable", json!(3)),
    ];
    stage.until(&DAEMON_SETS, "web", &done).await;
    stage.rest("updated").await;
}

fn job_spec(exit: u32, more: Value) -> Value {
    let script = json!({"exitAfter": 1, "exitCode": exit}).to_string();
    let mut spec = json!({"template": {
        "metadata": {"annotations": {"sim.tidegate.dev/container-main": script}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "task:1"}]}}});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

async fn job(stage: &mut Stage<'_>) {
    let good = job_spec(0, json!({"completions": 3, "parallelism": 2}));
    stage
        .create(&JOBS, json!({"metadata": {"name": "good"}, "spec": good}))
        .await;
    stage
        .until(&JOBS, "good", &[("/status/succeeded", json!(3))])
        .await;
    let indexed = job_spec(
        0,
        json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"}),
    );
    stage
        .create(&JOBS, json!({"metadata": {"name": "indexed"}, "spec": indexed}))
        .await;
    stage
        .until(&JOBS, "indexed", &[("/status/completedIndexes", json!("0,1"))])
        .await;
    let bad = job_spec(3, json!({"backoffLimit": 0}));
    stage
        .create(&JOBS, json!({"metadata": {"name": "bad"}, "spec": bad}))
        .await;
    stage.until(&JOBS, "bad", &[("/status/failed", json!(1))]).await;
    let suspended = job_spec(0, json!({"suspend": true}));
    stage
        .create(
            &JOBS,
            json!({"metadata": {"name": "suspended"}, "spec": suspended}),
        )
        .await;
    stage.rest("ended").await;
}

async fn cronjob(stage: &mut Stage<'_>) {
    let spec = json!({"schedule": "* * * * *", "successfulJobsHistoryLimit": 1,
        "jobTemplate": {"metadata": {"labels": {"from": "cron"}}, "spec": job_spec(0, json!({}))}});
    stage
        .create(&CRON_JOBS, json!({"metadata": {"name": "tick"}, "spec": spec}))
        .await;
    crate::player::wait("a Job that has ended", || async {
        let jobs = stage.list(&JOBS).await;
        jobs.iter().any(|job| job["status"]["succeeded"] == 1)
    })
    .await;
    stage
        .patch(&CRON_JOBS, "tick", json!({"spec": {"suspend": true}}))
        .await;
    stage.rest("after a first run").await;
}

async fn budget(stage: &mut Stage<'_>) {
    let budget = |name: &str, field: &str, value: Value| {
        json!({"metadata": {"name": name},
            "spec": {field: value, "selector": {"matchLabels": {"app": "web"}}}})
    };
    stage
        .create(&POD_DISRUPTION_BUDGETS, budget("least", "minAvailable", json!(2)))
        .await;
    stage.rest("a budget for nothing").await;
    stage.create(&DEPLOYMENTS, workload(3)).await;
    stage
        .until(
            &POD_DISRUPTION_BUDGETS,
            "least",
            &[("/status/disruptionsAllowed", json!(1))],
        )
        .await;
    stage.rest("one may go").await;
    let pods = stage.list(&PODS).await;
    let name = |index: usize| pods[index]["metadata"]["name"].as_str().unwrap().to_owned();
    let codes = [stage.evict(&name(0)).await, stage.evict(&name(1)).await];
    stage.seen.push(json!({"moment": "evictions", "codes": codes}));
    stage
        .until(&DEPLOYMENTS, "web", &[("/status/availableReplicas", json!(3))])
        .await;
    stage
        .until(
            &POD_DISRUPTION_BUDGETS,
            "least",
            &[("/status/disruptionsAllowed", json!(1))],
        )
        .await;
    stage.rest("evicted, replaced, and one may go again").await;
    stage
        .delete(&POD_DISRUPTION_BUDGETS, "least", Propagation::Background)
        .await;
    stage
        .create(
            &POD_DISRUPTION_BUDGETS,
            budget("most", "maxUnavailable", json!("50%")),
        )
        .await;
    stage
        .create(
            &POD_DISRUPTION_BUDGETS,
            budget("share", "minAvailable", json!("50%")),
        )
        .await;
    stage
        .until(
            &POD_DISRUPTION_BUDGETS,
            "most",
            &[("/status/disruptionsAllowed", json!(2))],
        )
        .await;
    stage.rest("shares").await;
}
