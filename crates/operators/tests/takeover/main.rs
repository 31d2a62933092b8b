//! SidecarSets handed over between Kruise and us on a real API server, in the middle of upgrades, while pods are
//! created all the time. Kruise's part is played (see `kruise`), or its own manager is run.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod fixtures;
mod kruise;
mod life;
#[path = "../support/server.rs"]
mod server;
mod world;

use cluster::Resource;
use cluster::resource::{CONTROLLER_REVISIONS, DEPLOYMENTS, MUTATING_WEBHOOK_CONFIGURATIONS, PODS};
use model::sidecarset::keys;
use serde_json::{Value, json};
use workload::takeover::{Direction, Mode, Step, entries, manager};
use world::{KRUISE, World, metadata_hash, pod};

const CLONE_SETS: Resource = Resource::namespaced("apps.kruise.io", "v1alpha1", "clonesets", "CloneSet");

async fn hand_over(world: &World, direction: Direction) -> (Mode, Vec<Step>) {
    let plan = world.mover().plan(direction).await.unwrap();
    assert_eq!(plan.refusals, Vec::<String>::new());
    let mut steps = Vec::new();
    // A new one for every step: nothing is remembered but what is in the cluster.
    while let Some(step) = world.mover().step(&plan).await.unwrap() {
        eprintln!("{direction:?}: {step:?}");
        steps.push(step);
        world.nobody_was_refused();
    }
    assert_eq!(world.mover().step(&plan).await.unwrap(), None);
    (plan.mode, steps)
}

async fn configuration_of_kruise(world: &World) -> Value {
    let mut found = world
        .door
        .get(&MUTATING_WEBHOOK_CONFIGURATIONS, None, entries::MUTATING)
        .await
        .unwrap();
    for entry in found["webhooks"].as_array_mut().unwrap() {
        // Another port or authority each time it starts.
        entry["clientConfig"] = json!({});
    }
    json!([found["webhooks"], found["metadata"]["annotations"]["template"]])
}

/// Taken over while Kruise upgrades log:1 to log:2, given back while we upgrade log:2 to log:3.
async fn there_and_back(world: &World, expected: Mode) -> usize {
    world.create_set().await;
    world.create_pods(8).await;
    let first = configuration_of_kruise(world).await;
    world
        .patch_set(json!({"spec": {"containers": [{"name": "log", "image": "log:2"}]}}))
        .await;
    world
        .until("Kruise is at work", async |w| {
            (w.with_image("log:2").await >= 2).then_some(())
        })
        .await;
    let hash = metadata_hash(&world.set().await);

    let (mode, _) = hand_over(world, Direction::TakeOver).await;
    assert_eq!(mode, expected);
    assert_eq!(metadata_hash(&world.set().await), hash);
    world
        .until("we finished what Kruise began", async |w| {
            let status = w.set().await["status"].clone();
            let updated = status["updatedReadyPods"].as_u64().unwrap_or(0);
            (updated >= 8 && w.with_image("log:2").await == 8).then_some(())
        })
        .await;
    world.went_through(&["log:1", "log:2"]).await;
    let theirs = world
        .door
        .list(&CONTROLLER_REVISIONS, Some(KRUISE), &Default::default())
        .await
        .unwrap();
    let ours = world
        .door
        .list(
            &CONTROLLER_REVISIONS,
            Some("tidegate-system"),
            &Default::default(),
        )
        .await
        .unwrap();
    let names = |all: &[Value]| -> Vec<String> {
        all.iter()
            .map(|r| r["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    for name in names(&theirs.items) {
        assert!(
            names(&ours.items).contains(&name),
            "{name} is not in {:?}",
            names(&ours.items)
        );
    }

    if expected == Mode::Beside && std::env::var_os("TIDEGATE_KRUISE").is_some() {
        a_clone_set_grows(world).await;
    }

    world
        .patch_set(json!({"spec": {"containers": [{"name": "log", "image": "log:3"}]}}))
        .await;
    world
        .until("we are at work", async |w| {
            (w.with_image("log:3").await >= 2).then_some(())
        })
        .await;
    let hash = metadata_hash(&world.set().await);
    hand_over(world, Direction::GiveBack).await;
    assert_eq!(metadata_hash(&world.set().await), hash);
    world
        .until("Kruise finished what we began", async |w| {
            let done = w.with_image("log:3").await == 8 && w.pods().await.iter().all(kruise::settled);
            done.then_some(())
        })
        .await;
    world.went_through(&["log:1", "log:2", "log:3"]).await;
    assert_eq!(configuration_of_kruise(world).await, first);
    for pod in world.pods().await {
        let all: Value =
            serde_json::from_str(pod["metadata"]["annotations"][keys::HASH].as_str().unwrap()).unwrap();
        assert_eq!(all["log"]["hash"], json!(hash));
    }
    world.nobody_was_refused()
}

/// Kruise makes the pod, we give it its sidecar.
async fn a_clone_set_grows(world: &World) {
    let more = json!({"spec": {"replicas": 2}});
    let merge = cluster::PatchKind::Merge;
    world
        .door
        .patch(&CLONE_SETS, Some("apps"), "clones", merge, &more, None)
        .await
        .unwrap();
    let of_clones = cluster::ListOptions {
        label_selector: Some("app=clone".to_owned()),
        ..Default::default()
    };
    world
        .until("the CloneSet has two pods with sidecars", async |w| {
            let pods = w.door.list(&PODS, Some("apps"), &of_clones).await.unwrap().items;
            let injected = |p: &Value| {
                p["spec"]["containers"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|c| c["name"] == "log")
            };
            (pods.len() == 2 && pods.iter().all(injected) && pods.iter().all(kruise::settled)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecarsets_go_over_and_back_in_mid_upgrade_while_kruise_keeps_its_clonesets() {
    let mut world = World::start("takeover-beside").await;
    world.operate();
    let labels = json!({"app": "clone"});
    let set = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet",
        "metadata": {"name": "clones", "namespace": "apps"},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]}}}});
    world
        .until("a CloneSet is made", async |w| {
            w.door.create(&CLONE_SETS, Some("apps"), &set).await.ok()
        })
        .await;
    world.live_once_admitted().await;
    let admitted = there_and_back(&world, Mode::Beside).await;
    eprintln!("{admitted} pods admitted meanwhile, none refused, all with their sidecar");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kruise_with_nothing_else_to_do_is_stopped_and_comes_back() {
    let mut world = World::start("takeover-stopped").await;
    world.operate();
    world.live_once_admitted().await;
    let admitted = there_and_back(&world, Mode::Stopped).await;
    let deployment = world
        .door
        .get(&DEPLOYMENTS, Some(KRUISE), manager::DEPLOYMENT)
        .await
        .unwrap();
    assert_eq!(deployment["spec"]["replicas"], 1);
    eprintln!("{admitted} pods admitted meanwhile, none refused, all with their sidecar");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fence_refuses_what_a_sidecarset_controller_writes_and_lets_all_else_pass() {
    let mut world = World::start("takeover-fence").await;
    world.operate();
    world.create_set().await;
    world.live_once_admitted().await;
    world.create_pods(1).await;
    let plan = world.mover().plan(Direction::TakeOver).await.unwrap();
    while world.mover().step(&plan).await.unwrap() != Some(Step::Fence) {}

    let patch = |annotation: &str| json!({"metadata": {"annotations": {annotation: "{}"}}});
    let write = async |door: &cluster::Door, body: &Value, sub: Option<&str>| {
        let merge = cluster::PatchKind::Strategic;
        door.patch(&PODS, Some("apps"), "web-0", merge, body, sub).await
    };
    for key in [keys::HASH, keys::INPLACE_UPDATE_STATE] {
        let refused = write(&world.user, &patch(key), None).await.unwrap_err();
        assert!(refused.message.contains("run by Tidegate"), "{refused}");
    }
    let condition = |kind: &str| json!({"status": {"conditions": [{"type": kind, "status": "False"}]}});
    assert!(
        write(
            &world.user,
            &condition(keys::UPGRADABLE_CONDITION),
            Some("status")
        )
        .await
        .is_err()
    );
    let status = json!({"status": {"matchedPods": 9}});
    let sets = &cluster::resource::SIDECAR_SETS;
    let refused = world
        .user
        .patch(
            sets,
            None,
            "log",
            cluster::PatchKind::Merge,
            &status,
            Some("status"),
        )
        .await;
    assert!(refused.is_err());
    let revision = json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {},
        "metadata": {"name": "log-x", "namespace": KRUISE, "labels": {keys::REVISION_OWNER: "log"}}});
    assert!(
        world
            .user
            .create(&CONTROLLER_REVISIONS, Some(KRUISE), &revision)
            .await
            .is_err()
    );

    write(&world.user, &patch("apps.kruise.io/inplace-update-state"), None)
        .await
        .unwrap();
    write(&world.user, &condition("KruisePodReady"), Some("status"))
        .await
        .unwrap();
    let mut of_clone_sets = revision.clone();
    of_clone_sets["metadata"]["labels"] = json!({"app": "clone"});
    world
        .user
        .create(&CONTROLLER_REVISIONS, Some(KRUISE), &of_clone_sets)
        .await
        .unwrap();
    world
        .user
        .create(&PODS, Some("apps"), &pod("web-of-kruise"))
        .await
        .unwrap();
    // Others are not concerned.
    write(&world.door, &patch(keys::INPLACE_UPDATE_STATE), None)
        .await
        .unwrap();
}
