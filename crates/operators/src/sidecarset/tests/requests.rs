//! How many requests pods cost.
use super::world::World;
use bytes::Bytes;
use cluster::{Door, DoorOptions};
use embedded::{ResponseBody, UserInfo};
use futures::StreamExt as _;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PODS: usize = 60;

/// Operations of one kind, whatever came of them.
fn operations(world: &World, operation: &str) -> usize {
    let label = format!("operation=\"{operation}\"");
    let text = world.metrics.text();
    let lines = text
        .lines()
        .filter(|l| l.starts_with("tidegate_sidecarset_operations_total{") && l.contains(&label));
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
            if let ResponseBody::Stream(events) = answer.body_mut()
                && of_pods
            {
                let events = std::mem::replace(events, Box::pin(futures::stream::empty()));
                let late = events.then(|event| async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    event
                });
                *answer.body_mut() = ResponseBody::Stream(Box::pin(late));
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let options = DoorOptions {
        seed: Some(7),
        stall_timeout: None,
        observer: world.metrics.clone(),
        ..DoorOptions::default()
    };
    Door::in_process_with(service, options)
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
            (followed.len() == PODS).then_some(())
        })
        .await;
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    world.rest(60).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_costs_two_requests_where_its_condition_changes_and_one_where_it_does_not() {
    let mut world = World::empty().await;
    let quick = world.door.clone();
    world.door = busy(&world);
    world.operate().await;
    world.door = quick;
    world.create_set("web", json!("100%")).await;
    let names: Vec<String> = (0..PODS).map(|i| format!("p{i:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.create_pods("web", &names).await;
    assert_eq!(operations(&world, "mark"), 0);

    upgrade(&world, "side:2").await;
    assert_eq!(operations(&world, "upgrade"), PODS);
    assert_eq!(
        operations(&world, "mark"),
        PODS,
        "the first upgrade is told to each pod once"
    );

    upgrade(&world, "side:3").await;
    assert_eq!(operations(&world, "upgrade"), 2 * PODS);
    assert_eq!(operations(&world, "mark"), PODS);
}
