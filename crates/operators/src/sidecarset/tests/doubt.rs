//! Watches that are cut, and what is not known until there is a list.
use super::slow::{door_options, through};
use super::world::World;
use bytes::Bytes;
use cluster::Door;
use cluster::resource::CUSTOM_RESOURCE_DEFINITIONS;
use embedded::{ResponseBody, UserInfo};
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

const CRD: &str = "sidecarsets.apps.kruise.io";

/// A door to a server that, while told so, ends watches of pods and fails to list them.
fn door_without_pods(world: &World) -> (Door, watch::Sender<bool>) {
    let service = world.server.service(UserInfo::admin());
    let fails = watch::Sender::new(false);
    let told = fails.subscribe();
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (service, mut told) = (service.clone(), told.clone());
        async move {
            let reads_pods = *request.method() == Method::GET && request.uri().path() == "/api/v1/pods";
            if reads_pods && *told.borrow() {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500,
                    "reason": "InternalError", "message": "no pods today", "metadata": {}});
                let mut answer = Response::new(ResponseBody::from(status.to_string().into_bytes()));
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(answer);
            }
            let mut answer = service.answer(request).await;
            if reads_pods {
                through(&mut answer, |events| {
                    events.take_until(async move { told.wait_for(|fails| *fails).await.map(drop) })
                });
            }
            Ok::<_, Infallible>(answer)
        }
    });
    (Door::in_process_with(service, door_options(world)), fails)
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_begins_while_a_pod_is_waited_for_is_in_status() {
    let mut fails = None;
    let door = |world: &World| {
        let (door, told) = door_without_pods(world);
        fails = Some(told);
        door
    };
    let world = World::filled_by_operator_at(door, 3).await;
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    let one_by_one = json!({"spec": {"updateStrategy": {"maxUnavailable": 1}}});
    world.patch_set("web", one_by_one).await;
    world.set_image("web", "side:2").await;
    world
        .until("one is upgraded", async |w| {
            (w.upgraded("side:2").await.len() == 1).then_some(())
        })
        .await;
    world.rest(5).await;
    fails.unwrap().send_replace(true);
    let began = tokio::time::Instant::now();
    world.until_condition("web", "Upgraded", "False", "InDoubt").await;
    // The pod's deadline, minutes later, would have it said in any case.
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_pause_for_pods_in_doubt_is_in_status_and_ends_with_it() {
    let mut fails = None;
    let door = |world: &World| {
        let (door, told) = door_without_pods(world);
        fails = Some(told);
        door
    };
    let world = World::filled_by_operator_at(door, 3).await;
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    let fails = fails.unwrap();
    fails.send_replace(true);
    world.rest(1).await;
    world.set_image("web", "side:2").await;
    world.until_condition("web", "Upgraded", "False", "InDoubt").await;
    world.rest(60).await;
    let set = world.set("web").await;
    let waiting = &set["status"]["waiting"];
    assert_eq!(waiting[0]["reason"], "InDoubt", "{waiting}");
    assert_eq!(
        (&waiting[0]["pods"], &waiting[0]["kind"]),
        (&json!(3), &json!("pods"))
    );
    assert!(waiting[0]["since"].is_string(), "{waiting}");
    assert!(world.upgraded("side:2").await.is_empty());

    fails.send_replace(false);
    world
        .until("all are upgraded", async |w| {
            (w.upgraded("side:2").await.len() == 3).then_some(())
        })
        .await;
    for name in world.upgraded("side:2").await {
        world.kubelet(&name).await;
    }
    world.until_condition("web", "Upgraded", "True", "Complete").await;
    assert_eq!(world.set("web").await["status"]["waiting"], json!([]));
}

async fn crd_is_there(world: &World) -> bool {
    let found = world.door.get(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD).await;
    found.is_ok()
}

async fn delete_crd(world: &World) {
    let resource = &CUSTOM_RESOURCE_DEFINITIONS;
    world
        .door
        .delete(resource, None, CRD, &Default::default())
        .await
        .unwrap();
    world
        .until("the CRD is gone", async |w| {
            (!crd_is_there(w).await).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_crd_that_is_deleted_comes_back_once_and_then_stays_away_until_the_operator_starts_again() {
    let mut world = World::with_operator().await;
    delete_crd(&world).await;
    world
        .until("the CRD is back", async |w| crd_is_there(w).await.then_some(()))
        .await;
    // And is of use.
    world.create_set("web", json!(1)).await;
    world.create_pods("web", &["a"]).await;

    delete_crd(&world).await;
    world.rest(600).await;
    assert!(!crd_is_there(&world).await);
    world.kill_operator().await;
    world.operate().await;
    assert!(crd_is_there(&world).await);
}
