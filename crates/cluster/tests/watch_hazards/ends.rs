//! How a watch ends, and how it goes on.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidegate_cluster::observe::{Observer, WatchTurn};
use tidegate_cluster::resource::PODS;
use tidegate_cluster::{Cache, DoorOptions, Resource, WatchScope};

use crate::scripted::*;
use crate::{seconds, start, within};

#[tokio::test(start_paused = true)]
async fn a_410_as_an_http_answer_leads_to_a_fresh_list() {
    let server = Scripted::new(|_, seen| match (seen.is_watch(), seen.version()) {
        (true, None) if seen.query.contains("send") => {
            begun(10, vec![thing("a", 5)], [Step::Wait(seconds(1))])
        }
        (true, _) => Reply::Json(410, status(410, "Expired")),
        (false, _) => Reply::Json(200, list(12, vec![])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(30), || cache.health().relists >= 2).await;
    assert!(server.count(|seen| seen.is_watch() && seen.version() == Some("10")) >= 1);
}

#[tokio::test(start_paused = true)]
async fn an_error_event_of_any_code_leads_to_a_fresh_list() {
    for code in [410, 500, 504] {
        let server = Scripted::new(move |n, seen| match seen.is_watch() {
            true if n == 0 => begun(
                10,
                vec![thing("a", 5)],
                [event("ERROR", status(code, "Whatever")), Step::Hang],
            ),
            true => begun(20, vec![thing("b", 15)], [Step::Hang]),
            false => Reply::Json(200, list(20, vec![])),
        });
        let cache = start(&server);
        cache.synced().await;
        within(seconds(30), || {
            cache.get(&key("b")).is_some() && cache.get(&key("a")).is_none()
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_closed_at_once_each_time_is_not_hammered() {
    let server = Scripted::new(|n, seen| match seen.is_watch() {
        true if n == 0 => Reply::Stream(initial(10, vec![])),
        true => Reply::Stream(vec![]),
        false => Reply::Json(200, list(10, vec![])),
    });
    let _cache = start(&server);
    tokio::time::sleep(seconds(60)).await;
    let watches = server.count(Seen::is_watch);
    assert!((5..=20).contains(&watches), "{watches} watches in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_long_healthy_watch_makes_the_next_pause_short_again() {
    let server = Scripted::new(|n, seen| match seen.is_watch() {
        true if n == 0 => Reply::Stream(initial(10, vec![])),
        // Ten quick ends, then one that lives for five minutes.
        true if n < 20 => Reply::Stream(vec![]),
        true => Reply::Stream((0..5).map(|_| Step::Wait(seconds(60))).collect()),
        false => Reply::Json(200, list(10, vec![])),
    });
    let _cache = start(&server);
    tokio::time::sleep(seconds(1200)).await;
    let watches: Vec<Duration> = server
        .log()
        .iter()
        .filter(|seen| seen.is_watch())
        .map(|seen| seen.at)
        .collect();
    let gaps: Vec<Duration> = watches.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (before, after) = gaps.split_at(9);
    assert!(before.iter().any(|gap| *gap > seconds(4)), "{before:?}");
    assert!(after.iter().skip(2).all(|gap| *gap < seconds(301)), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_unseen_is_given_up_and_replaced() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => begun(10, vec![thing("a", 5)], [Step::Hang]),
        (true, _) => Reply::Stream(vec![event("ADDED", thing("b", 11)), Step::Hang]),
        (false, _) => Reply::Json(200, list(11, vec![])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(100), || cache.get(&key("b")).is_some()).await;
    assert!(cache.get(&key("a")).is_some());
    assert_eq!(cache.health().relists, 1, "going on from where it was is enough");
}

#[tokio::test(start_paused = true)]
async fn a_bookmark_now_and_then_keeps_a_quiet_watch_alive() {
    let server = Scripted::new(|n, _| match n {
        0 => {
            let mut steps = initial(10, vec![]);
            for version in 11..40 {
                steps.push(Step::Wait(seconds(60)));
                steps.push(bookmark(version));
            }
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
        _ => Reply::Silence,
    });
    let cache = start(&server);
    cache.synced().await;
    tokio::time::sleep(seconds(1700)).await;
    assert_eq!(server.log().len(), 1);
    assert!(cache.age() < seconds(61));
}

#[tokio::test(start_paused = true)]
async fn an_event_cut_in_the_middle_is_not_half_applied_and_comes_again() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => {
            let mut steps = initial(10, vec![thing("a", 5)]);
            let line = json!({"type": "MODIFIED", "object": thing("a", 11)}).to_string();
            steps.push(Step::Raw(line[..line.len() - 20].to_owned()));
            Reply::Stream(steps)
        }
        (true, _) => Reply::Stream(vec![event("MODIFIED", thing("a", 11)), Step::Hang]),
        (false, _) => Reply::Json(200, list(11, vec![])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(30), || {
        cache.get(&key("a")).unwrap().metadata.resource_version == "11"
    })
    .await;
    assert_eq!(
        server.count(|seen| seen.is_watch() && seen.version() == Some("10")),
        1
    );
}

#[derive(Default)]
struct Turns(Mutex<Vec<WatchTurn>>);

impl Observer for Turns {
    fn watch(&self, _: &Resource, turn: &WatchTurn) {
        self.0.lock().unwrap().push(turn.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn every_turn_of_a_watch_is_told_to_the_observer() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(initial(10, vec![bad_thing("a", 5)])),
        (true, _) => Reply::Stream(vec![event("ERROR", status(410, "Expired"))]),
        _ => Reply::Json(200, list(10, vec![])),
    });
    let turns = Arc::new(Turns::default());
    let door = server.door_with(DoorOptions {
        seed: Some(1),
        observer: turns.clone(),
        ..DoorOptions::default()
    });
    let cache: Cache<Thing> = Cache::start(&door, PODS, WatchScope::default());
    cache.synced().await;
    tokio::time::sleep(seconds(2)).await;
    let turns = turns.0.lock().unwrap();
    assert_eq!(turns[0], WatchTurn::Connected);
    assert_eq!(turns[1], WatchTurn::BadObject);
    assert_eq!(
        turns[2],
        WatchTurn::Relisted {
            objects: 0,
            reason: "start"
        }
    );
    assert_eq!(turns[3], WatchTurn::Closed);
    assert!(turns.contains(&WatchTurn::Failed {
        reason: "version expired".into()
    }));
}

#[tokio::test(start_paused = true)]
async fn a_restored_server_that_has_written_as_much_again_is_found_out_by_a_list_after_the_cut() {
    // Its versions are ahead of ours: going on from where we were is answered, and shows nothing.
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(
            initial(100, vec![thing("lost", 90)])
                .into_iter()
                .chain([Step::Cut])
                .collect(),
        ),
        (true, _) => Reply::Stream(
            initial(120, vec![thing("new", 95)])
                .into_iter()
                .filter(|_| seen.wants_initial_events())
                .chain([Step::Hang])
                .collect(),
        ),
        (false, _) => Reply::Json(200, list(120, vec![thing("new", 95)])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(5), || !cache.is_sure()).await;
    within(seconds(30), || cache.is_sure()).await;
    assert!(cache.get(&key("lost")).is_none());
    assert!(cache.get(&key("new")).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_has_to_be_sure_after_a_cut_is_so_at_once() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(initial(100, vec![]).into_iter().chain([Step::Cut]).collect()),
        (true, _) => Reply::Stream(vec![Step::Hang]),
        (false, _) => Reply::Json(200, list(120, vec![thing("new", 95)])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(5), || !cache.is_sure()).await;
    let sure = tokio::time::timeout(seconds(1), cache.sure());
    assert!(sure.await.is_ok());
    assert!(cache.get(&key("new")).is_some());
}
