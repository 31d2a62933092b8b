use super::super::intents::state_of;
use super::world::World;
use cluster::PatchKind;
use cluster::resource::{LEASES, PODS};
use model::pod::PodView;
use model::sidecarset::keys;
use serde_json::json;

const RECORD: &str = "tidegate-operator-intents";

/// Three pods of `web`, an operator that died, and in the record that it was about to upgrade `c`.
async fn a_leader_died_before_its_write_to_c_arrived(strategy: serde_json::Value) -> World {
    let mut world = World::empty().await;
    world.options.lease = Some("tidegate-operator".to_owned());
    world.operate().await;
    world.create_set("web", json!(1)).await;
    world.create_pods("web", &["a", "b", "c"]).await;
    world.kill_operator().await;
    let pod = world.door.get(&PODS, Some("apps"), "c").await.unwrap();
    let pod: PodView = serde_json::from_value(pod).unwrap();
    let intents = json!({"web": {"apps/c": format!("{:016x}", state_of(&pod))}}).to_string();
    let record = json!({"metadata": {"annotations": {"tidegate.dev/intents": intents}}});
    let namespace = Some("tidegate-system");
    world
        .door
        .patch(&LEASES, namespace, RECORD, PatchKind::Merge, &record, None)
        .await
        .unwrap();
    let containers = json!([{"name": "side", "image": "side:2"}]);
    world
        .patch_set(
            "web",
            json!({"spec": {"containers": containers, "updateStrategy": strategy}}),
        )
        .await;
    world.operate().await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_a_former_leader_may_still_do_is_done_first() {
    let world = a_leader_died_before_its_write_to_c_arrived(json!({})).await;
    world
        .until("a pod is upgraded", async |w| {
            (!w.upgraded("side:2").await.is_empty()).then_some(())
        })
        .await;
    world.rest(60).await;
    assert_eq!(
        world.upgraded("side:2").await,
        ["c"],
        "in the place it had already"
    );
    world.kubelet("c").await;
    world
        .until("the next", async |w| {
            (w.upgraded("side:2").await.len() == 2).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_write_that_may_still_come_keeps_its_place_until_it_cannot_come_any_more() {
    // Now that `c` is not selected, we cannot do it first.
    let others = json!({"selector": {"matchLabels": {"first": "yes"}}});
    let world = a_leader_died_before_its_write_to_c_arrived(others).await;
    for name in ["a", "b"] {
        let label = json!({"metadata": {"labels": {"first": "yes"}}});
        let kind = PatchKind::Merge;
        let labelled = world
            .door
            .patch(&PODS, Some("apps"), name, kind, &label, None)
            .await;
        labelled.unwrap();
    }
    world
        .until_condition("web", "Upgraded", "False", "Unavailable")
        .await;
    world.rest(600).await;
    assert!(
        world.upgraded("side:2").await.is_empty(),
        "its place is the only one"
    );
    let at_once = cluster::DeleteOptions {
        grace_period_seconds: Some(0),
        ..Default::default()
    };
    world
        .door
        .delete(&PODS, Some("apps"), "c", &at_once)
        .await
        .unwrap();
    world
        .until("the others go on", async |w| {
            (w.upgraded("side:2").await.len() == 1).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn many_pods_are_recorded_with_few_writes_before_they_are_upgraded() {
    let mut world = World::empty().await;
    world.options.lease = Some("tidegate-operator".to_owned());
    world.operate().await;
    world.create_set("web", json!("100%")).await;
    let names: Vec<String> = (0..40).map(|i| format!("p{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.create_pods("web", &names).await;
    let record = async |w: &World| {
        w.door
            .get(&LEASES, Some("tidegate-system"), RECORD)
            .await
            .unwrap()
    };
    let before = record(&world).await;
    assert!(before["metadata"]["annotations"]["tidegate.dev/intents"].is_null());
    world.set_image("web", "side:2").await;
    world
        .until("all are upgraded", async |w| {
            (w.upgraded("side:2").await.len() == 40).then_some(())
        })
        .await;
    let after = record(&world).await;
    let text = after["metadata"]["annotations"]["tidegate.dev/intents"]
        .as_str()
        .unwrap();
    assert!(
        names.iter().all(|name| text.contains(&format!("apps/{name}"))),
        "{text}"
    );
    let written = r#"api_requests_total{verb="patch",resource="leases.coordination.k8s.io",code="200"} 1"#;
    assert!(world.metrics.text().contains(written), "{}", world.metrics.text());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_another_epoch_holds_lets_no_pod_be_upgraded() {
    let mut world = World::empty().await;
    world.options.lease = Some("tidegate-operator".to_owned());
    world.operate().await;
    world.create_set("web", json!(1)).await;
    world.create_pods("web", &["a"]).await;
    let taken = json!({"metadata": {"annotations": {"tidegate.dev/epoch": "77"}}});
    let namespace = Some("tidegate-system");
    world
        .door
        .patch(&LEASES, namespace, RECORD, PatchKind::Merge, &taken, None)
        .await
        .unwrap();
    world.set_image("web", "side:2").await;
    world.rest(120).await;
    assert!(world.upgraded("side:2").await.is_empty());
    let pod = world.door.get(&PODS, Some("apps"), "a").await.unwrap();
    assert!(pod["metadata"]["annotations"][keys::HASH].is_string());
}
