use super::world::World;
use cluster::resource::MUTATING_WEBHOOK_CONFIGURATIONS;
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn an_upgrade_is_told_by_its_beginning_its_end_and_what_cannot_follow() {
    let world = World::with_operator().await;
    world.create_set("web", json!(1)).await;
    world.create_pods("web", &["a", "b", "c"]).await;
    assert!(world.events("web").await.is_empty(), "nothing has happened yet");
    world.set_image("web", "side:2").await;
    for done in 0..3 {
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
    world.rest(1).await;
    assert_eq!(world.events("web").await, ["UpgradeStarted", "UpgradeFinished"]);

    let containers = json!([{"name": "side", "image": "side:2", "env": [{"name": "E", "value": "1"}]}]);
    world
        .patch_set("web", json!({"spec": {"containers": containers}}))
        .await;
    world
        .until_condition("web", "Upgraded", "False", "Recreation")
        .await;
    world.rest(3600).await;
    assert_eq!(
        world.events("web").await,
        ["UpgradeStarted", "UpgradeFinished", "NotUpgradablePods"]
    );
}

#[tokio::test(start_paused = true)]
async fn status_says_when_injection_is_in_force() {
    let world = World::with_operator().await;
    world.create_set("web", json!(1)).await;
    // Whatever is seen first, it is not a promise that nobody keeps.
    let seen = world
        .until("a condition", async |w| {
            w.condition("web", "InjectionReady").await
        })
        .await;
    let entries = async |w: &World| {
        let name = &w.options.mutating_configuration;
        let found = w
            .door
            .get(&MUTATING_WEBHOOK_CONFIGURATIONS, None, name)
            .await
            .unwrap();
        let all = found["webhooks"].as_array().unwrap().clone();
        all.iter()
            .filter(|e| e["name"].as_str().unwrap().starts_with("pods-"))
            .count()
    };
    assert!(seen["status"] == "False" || entries(&world).await == 1);
    world
        .until_condition("web", "InjectionReady", "True", "InForce")
        .await;
    assert_eq!(entries(&world).await, 1);

    // An image changes nothing about it; a pause of injection does.
    world.set_image("web", "side:2").await;
    world
        .patch_set("web", json!({"spec": {"injectionStrategy": {"paused": true}}}))
        .await;
    world
        .until_condition("web", "InjectionReady", "False", "InjectionPaused")
        .await;
}
