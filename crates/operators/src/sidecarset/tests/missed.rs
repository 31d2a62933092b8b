//! SidecarSets that were written while nobody asked our webhooks.
use super::world::World;
use cluster::resource::{MUTATING_WEBHOOK_CONFIGURATIONS, SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS};
use model::sidecarset::keys;
use serde_json::{Value, json};

/// As an uninstall: nobody is asked any more, and SidecarSets stay.
async fn webhooks_vanish(world: &mut World) {
    world.kill_operator().await;
    let (mutating, validating) = (
        world.options.mutating_configuration.clone(),
        world.options.validating_configuration.clone(),
    );
    for (resource, name) in [
        (MUTATING_WEBHOOK_CONFIGURATIONS, mutating),
        (VALIDATING_WEBHOOK_CONFIGURATIONS, validating),
    ] {
        world
            .door
            .delete(&resource, None, &name, &Default::default())
            .await
            .unwrap();
    }
}

/// A cluster where the CRD came first, and no operator.
async fn crd_only() -> World {
    let mut world = World::with_operator().await;
    webhooks_vanish(&mut world).await;
    world
}

fn hash(set: &Value) -> &Value {
    &set["metadata"]["annotations"][keys::HASH]
}

async fn until_hashed(world: &World, name: &str) -> Value {
    world
        .until("the hashes are written", async |w| {
            let set = w.set(name).await;
            hash(&set).is_string().then_some(set)
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn one_that_was_there_before_the_operator_gets_defaults_and_hashes_and_is_rolled_out() {
    let mut world = crd_only().await;
    let bare = world.create_set("web", json!(1)).await;
    assert!(hash(&bare).is_null());
    world.operate().await;
    let set = until_hashed(&world, "web").await;
    assert_eq!(set["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(set["spec"]["containers"][0]["terminationMessagePolicy"], "File");
    world.create_pods("web", &["a", "b"]).await;
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    assert_eq!(world.events("web").await, ["HashesWritten"]);
    world.set_image("web", "side:2").await;
    for done in 0..2 {
        world
            .until("the next pod", async |w| {
                w.upgraded("side:2").await.get(done).cloned()
            })
            .await;
        for name in world.upgraded("side:2").await {
            world.kubelet(&name).await;
        }
    }
    world.until_condition("web", "Upgraded", "True", "Complete").await;
}

#[tokio::test(start_paused = true)]
async fn a_change_that_no_webhook_saw_moves_pods_once_its_hash_is_written() {
    let mut world = World::with_operator().await;
    let before = world.create_set("web", json!(1)).await;
    world.create_pods("web", &["a"]).await;
    webhooks_vanish(&mut world).await;
    world.set_image("web", "side:2").await;
    assert_eq!(
        hash(&world.set("web").await),
        hash(&before),
        "it stands for other content"
    );
    world.operate().await;
    world
        .until("the pod follows", async |w| {
            (w.upgraded("side:2").await.len() == 1).then_some(())
        })
        .await;
    assert_ne!(hash(&world.set("web").await), hash(&before));
}

#[tokio::test(start_paused = true)]
async fn one_that_would_not_have_passed_is_left_alone_and_says_why_until_it_is_mended() {
    let mut world = crd_only().await;
    world.create_set("good", json!(1)).await;
    let bad = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "bad"},
        "spec": {"selector": {"matchLabels": {"app": "good"}},
            "containers": [{"name": "other", "image": "other:1", "volumeMounts": [{"name": "v", "mountPath": ""}]}]}});
    world.door.create(&SIDECAR_SETS, None, &bad).await.unwrap();
    world.operate().await;
    world
        .until_condition("bad", "InjectionReady", "False", "Invalid")
        .await;
    let stalled = world.condition("bad", "Stalled").await.unwrap();
    let message = stalled["message"].as_str().unwrap();
    assert!(
        message.contains("spec.containers[0].volumeMounts[0].mountPath"),
        "{message}"
    );
    world.create_pods("good", &["a"]).await;
    world.rest(60).await;
    assert!(hash(&world.set("bad").await).is_null());
    assert!(world.events("bad").await.contains(&"Invalid".to_owned()));

    let mended = json!([{"name": "other", "image": "other:1"}]);
    world
        .patch_set("bad", json!({"spec": {"containers": mended}}))
        .await;
    world
        .until_condition("bad", "InjectionReady", "True", "InForce")
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_write_is_shown_and_the_write_is_tried_again() {
    let mut world = crd_only().await;
    world.create_set("web", json!(1)).await;
    let guard = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "guard"}, "webhooks": [{"name": "guard.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": {"url": "https://nobody.example.com/guard"},
            "rules": [{"apiGroups": ["apps.kruise.io"], "apiVersions": ["*"], "operations": ["UPDATE"],
                "resources": ["sidecarsets"]}]}]});
    world
        .door
        .create(&VALIDATING_WEBHOOK_CONFIGURATIONS, None, &guard)
        .await
        .unwrap();
    world.operate().await;
    world
        .until("status says what is in the way", async |w| {
            let set = w.set("web").await;
            let waiting = set["status"]["waiting"].as_array()?.clone();
            let line = waiting.iter().find(|w| w["reason"] == "HashPending")?["message"].clone();
            line.as_str()?.contains("could not be written").then_some(())
        })
        .await;
    world.rest(5).await;
    assert_eq!(world.events("web").await, ["HashesNotWritten"]);
    let gone = Default::default();
    world
        .door
        .delete(&VALIDATING_WEBHOOK_CONFIGURATIONS, None, "guard", &gone)
        .await
        .unwrap();
    until_hashed(&world, "web").await;
}
