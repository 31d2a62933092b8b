use super::super::contain::{Step, injected};
use super::world::World;
use cluster::resource::PODS;
use serde_json::json;

/// With pods of `bad` and `good`, `step` panics for `bad` only.
async fn one_panics_and_the_other_upgrades(step: Step) {
    let world = World::with_operator().await;
    for set in ["bad", "good"] {
        world.create_set(set, json!("100%")).await;
        world
            .create_pods(set, &[&format!("{set}-a"), &format!("{set}-b")])
            .await;
    }
    injected::arm(step, "bad");
    world.set_image("bad", "side:2").await;
    world.set_image("good", "side:2").await;
    world
        .until("the other's pods are upgraded", async |w| {
            (w.upgraded("side:2").await == ["good-a", "good-b"]).then_some(())
        })
        .await;
    world
        .until_condition("bad", "Stalled", "True", "InternalError")
        .await;

    let before = injected::struck(step, "bad");
    world.rest(3600).await;
    let in_an_hour = injected::struck(step, "bad") - before;
    assert!(
        (10..=30).contains(&in_an_hour),
        "backs off: {in_an_hour} in an hour"
    );
    assert_eq!(world.upgraded("side:2").await, ["good-a", "good-b"]);
    let counted = r#"tidegate_sidecarset_panics_total{sidecarset="bad"}"#;
    assert!(world.metrics.text().contains(counted), "{}", world.metrics.text());

    injected::disarm();
    world
        .until("it goes on by itself", async |w| {
            (w.upgraded("side:2").await.len() == 4).then_some(())
        })
        .await;
    world.until_condition("bad", "Stalled", "False", "Moving").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_reading_a_sidecarset_stays_with_it() {
    one_panics_and_the_other_upgrades(Step::Plan).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_reading_a_pod_stays_with_its_sidecarset() {
    one_panics_and_the_other_upgrades(Step::Read).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_deciding_stays_with_its_sidecarset() {
    one_panics_and_the_other_upgrades(Step::Decide).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_preparing_refuses_the_pods_of_that_sidecarset_only() {
    let world = World::with_operator().await;
    injected::arm(Step::Prepare, "bad");
    for set in ["bad", "good"] {
        world.create_set(set, json!(1)).await;
    }
    world
        .until_condition("bad", "InjectionReady", "False", "InternalError")
        .await;
    world.create_pods("good", &["good-a"]).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "bad-a", "namespace": "apps", "labels": {"app": "bad"}},
        "spec": {"containers": [{"name": "main", "image": "main:1"}]}});
    world.door.create(&PODS, Some("apps"), &pod).await.unwrap_err();
    let there = world.door.get(&PODS, Some("apps"), "bad-a").await;
    assert!(there.unwrap_err().is_not_found());
    injected::disarm();
}
