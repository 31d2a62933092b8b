//! A pause stops writes to pods, whatever the watch of SidecarSets tells.
use super::slow::{door_options, through};
use super::world::World;
use bytes::Bytes;
use cluster::Door;
use cluster::limit::LimitOptions;
use embedded::UserInfo;
use futures::StreamExt as _;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const PODS: usize = 60;

/// What an operator sends to pods, and which of its watches of SidecarSets are heard: those after a number.
struct Line {
    sent: Arc<Mutex<Vec<Instant>>>,
    opened: Arc<AtomicUsize>,
    silent: watch::Sender<usize>,
}

impl Line {
    fn sent(&self) -> Vec<Instant> {
        self.sent.lock().unwrap().clone()
    }
}

/// A door that lets one write through at a time, each of which takes 20 ms, and a reading of a SidecarSet that long.
fn slow_door(world: &World, reading: Duration) -> (Door, Line) {
    let service = world.server.service(UserInfo::admin());
    let line = Line {
        sent: Arc::default(),
        opened: Arc::default(),
        silent: watch::Sender::new(0),
    };
    let (sent, opened, silent) = (line.sent.clone(), line.opened.clone(), line.silent.subscribe());
    let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let (service, sent, silent) = (service.clone(), sent.clone(), silent.clone());
        let opened = opened.clone();
        async move {
            let path = request.uri().path().to_owned();
            let writes_pod = *request.method() == Method::PATCH && path.contains("/pods/");
            if writes_pod {
                sent.lock().unwrap().push(Instant::now());
            }
            let reads_set = *request.method() == Method::GET && path.ends_with("/sidecarsets/web");
            let mut answer = service.answer(request).await;
            if writes_pod {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if reads_set {
                tokio::time::sleep(reading).await;
            }
            if path.ends_with("/sidecarsets") {
                let number = opened.fetch_add(1, Ordering::Relaxed) + 1;
                through(&mut answer, |events| {
                    events.then(move |event| {
                        let mut silent = silent.clone();
                        async move {
                            // No event is there at once: not the first of a new watch either.
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            silent.wait_for(|silent| *silent < number).await.unwrap();
                            event
                        }
                    })
                });
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut options = door_options(world);
    options.writes = LimitOptions {
        start: 1.0,
        max: 1.0,
        ..LimitOptions::default()
    };
    (Door::in_process_with(service, options), line)
}

/// An upgrade of which a quarter is done.
async fn in_mid_upgrade() -> (World, Line) {
    in_mid_upgrade_with(Duration::ZERO).await
}

async fn in_mid_upgrade_with(reading: Duration) -> (World, Line) {
    let mut line = None;
    let slow = |world: &World| {
        let (door, told) = slow_door(world, reading);
        line = Some(told);
        door
    };
    let world = World::filled_by_operator_at(slow, PODS).await;
    let line = line.unwrap();
    world.set_image("web", "side:2").await;
    world
        .until("a quarter is upgraded", async |_| {
            (line.sent().len() >= PODS / 4).then_some(())
        })
        .await;
    (world, line)
}

async fn pause(world: &World, paused: bool) {
    let strategy = json!({"updateStrategy": {"paused": paused}});
    world.patch_set("web", json!({"spec": strategy})).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_stops_writes_to_pods_within_100_ms_though_the_watch_is_silent() {
    let (world, line) = in_mid_upgrade().await;
    line.silent.send_replace(usize::MAX);
    pause(&world, true).await;
    let paused_at = Instant::now();
    world.rest(20).await;
    let sent = line.sent();
    assert!(sent.len() < PODS, "the upgrade was not over");
    let late = sent
        .iter()
        .map(|at| at.saturating_duration_since(paused_at))
        .max();
    assert!(late <= Some(Duration::from_millis(100)), "{late:?}");

    // Heard again, it is told, and taken back.
    line.silent.send_replace(0);
    world.until_condition("web", "Upgraded", "False", "Paused").await;
    assert_eq!(line.sent().len(), sent.len());
    pause(&world, false).await;
    world
        .until("all are upgraded", async |w| {
            (w.upgraded("side:2").await.len() == PODS).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_does_not_tell_of_a_change_is_begun_anew() {
    let (world, line) = in_mid_upgrade().await;
    line.silent.send_replace(line.opened.load(Ordering::Relaxed));
    pause(&world, true).await;
    world.rest(1).await;
    pause(&world, false).await;
    assert!(line.sent().len() < PODS, "the upgrade was not over");
    world
        .until("all are upgraded", async |w| {
            (w.upgraded("side:2").await.len() == PODS).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn writes_do_not_wait_for_readings_of_a_server_that_takes_its_time() {
    let (world, line) = in_mid_upgrade_with(Duration::from_millis(300)).await;
    world
        .until("all are upgraded", async |w| {
            (w.upgraded("side:2").await.len() == PODS).then_some(())
        })
        .await;
    let sent = line.sent();
    let gaps = sent.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap();
    assert!(longest <= Duration::from_millis(25), "{longest:?}");
}
