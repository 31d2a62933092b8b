//! How many requests pods cost.
use super::super::sight::Sight;
use super::super::tracker::Tracker;
use super::super::views::Caches;
use super::slow::{door_options, through};
use super::world::World;
use bytes::Bytes;
use cluster::resource::PODS;
use cluster::{Door, ObjectKey, PatchKind};
use embedded::UserInfo;
use futures::StreamExt as _;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const MANY: usize = 60;

/// Operations of one kind, whatever came of them.
fn operations(world: &World, operation: &str) -> usize {
    counted(world, &format!("operation=\"{operation}\""))
}

fn counted(world: &World, label: &str) -> usize {
    let text = world.metrics.text();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("tidegate_sidecarset_operations_total{") && l.contains(label));
    lines
        .filter_map(|l| l.rsplit(' ').next()?.parse::<usize>().ok())
        .sum()
}

/// A door to the same API as if it were busy: writes are answered after different times, and what they changed is
/// seen later still.
fn busy(world: &World) -> Door {
    let service = world.server.service(UserInfo::admin());
    let written = Arc::new(AtomicU64::new(0));
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (service, written) = (service.clone(), written.clone());
        async move {
            let writes = *request.method() == Method::PATCH;
            let of_pods = request.uri().path().ends_with("/pods");
            let mut answer = service.answer(request).await;
            if writes {
                let turn = written.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(turn % 4)).await;
            }
            if of_pods {
                through(&mut answer, |events| {
                    events.enumerate().then(|(number, event)| async move {
                        // Some come while time stands still: in the middle of what others do.
                        match number % 2 {
                            0 => tokio::time::sleep(Duration::from_millis(1)).await,
                            _ => turns(12).await,
                        }
                        event
                    })
                });
            }
            Ok::<_, Infallible>(answer)
        }
    });
    Door::in_process_with(service, door_options(world))
}

/// Lets everybody else have so many turns.
async fn turns(count: usize) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Upgrades all pods, whose kubelets follow while others are still being written.
async fn upgrade(world: &World, image: &str) {
    world.set_image("web", image).await;
    let mut followed = BTreeSet::new();
    world
        .until("all kubelets have followed", async |w| {
            let upgraded = w.upgraded(image).await.into_iter();
            let new: Vec<String> = upgraded.filter(|name| !followed.contains(name)).collect();
            futures::stream::iter(&new)
                .for_each_concurrent(8, |name| w.kubelet(name))
                .await;
            followed.extend(new);
            (followed.len() == MANY).then_some(())
        })
        .await;
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    world.rest(60).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_costs_two_requests_where_its_condition_changes_and_one_where_it_does_not() {
    let world = World::filled_by_operator_at(busy, MANY).await;
    assert_eq!(operations(&world, "mark"), 0);

    upgrade(&world, "side:2").await;
    assert_eq!(operations(&world, "upgrade"), MANY);
    assert_eq!(
        operations(&world, "mark"),
        MANY,
        "the first upgrade is told to each pod once"
    );

    upgrade(&world, "side:3").await;
    assert_eq!(operations(&world, "upgrade"), 2 * MANY);
    assert_eq!(operations(&world, "mark"), MANY);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_changes_in_mid_upgrade_again_and_again_makes_no_request_that_is_refused() {
    let world = World::filled_by_operator_at(busy, MANY).await;
    // Each change makes the operator read all pods anew, while answers to its writes come in.
    for version in 2..40 {
        world.set_image("web", &format!("side:{version}")).await;
        tokio::time::sleep(Duration::from_millis(version % 5)).await;
    }
    upgrade(&world, "side:40").await;
    assert_eq!(
        counted(&world, "result=\"refused\""),
        0,
        "{}",
        world.metrics.text()
    );
}

#[tokio::test(start_paused = true)]
async fn a_pod_read_from_before_our_own_write_counts_as_in_flight_though_the_cache_has_seen_it() {
    let world = World::with_operator().await;
    world.create_set("web", json!("100%")).await;
    world.create_pods("web", &["a"]).await;
    let caches = Caches::start(&world.door, &world.options.namespace);
    caches.synced().await;
    let set = caches.sets.get(&ObjectKey::cluster("web")).unwrap();
    let sight = Sight::new(&world.door, &caches.sets, "web");
    let mut tracker = Tracker::new(set.0.clone(), sight, BTreeMap::new(), &caches, &world.options).await;
    let key = ObjectKey::new("apps", "a");
    let before = caches.pods.get(&key).unwrap();
    tracker.departs(&key);
    let patch = json!({"metadata": {"annotations": {"kruise.io/written": "yes"}}});
    let written = world
        .door
        .patch(&PODS, Some("apps"), "a", PatchKind::Merge, &patch, None)
        .await;
    caches.pods.observe_answer(&written.unwrap());
    tracker.arrived(&key, true);
    world
        .until("the cache has seen it", async |_| {
            caches.pods.is_current_for(&key).then_some(())
        })
        .await;

    tracker.read(&key, Some(&before.0), &caches, &world.options);
    assert!(tracker.members[&key].in_flight);
    let after = caches.pods.get(&key).unwrap();
    tracker.read(&key, Some(&after.0), &caches, &world.options);
    assert!(!tracker.members[&key].in_flight);
}
