//! Every way a watch can end or lie, and what the cache makes of it. Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use scripted::*;
use serde_json::json;
use tidegate_cluster::observe::{Observer, WatchTurn};
use tidegate_cluster::resource::PODS;
use tidegate_cluster::{Cache, DoorOptions, Resource, WatchScope, Watched as _};

fn start(server: &Scripted) -> Cache<Thing> {
    Cache::start(&server.door(), PODS, WatchScope::default())
}

/// Waits (in virtual time) until it holds; virtual time runs only while everybody waits.
async fn within(limit: Duration, mut holds: impl FnMut() -> bool) {
    let held = tokio::time::timeout(limit, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    held.await.expect("it did not come to hold in time");
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[tokio::test(start_paused = true)]
async fn a_410_as_an_http_answer_leads_to_a_fresh_list() {
    let server = Scripted::new(|_, seen| match (seen.is_watch(), seen.version()) {
        (true, None) if seen.query.contains("send") => Reply::Stream(
            initial(10, vec![thing("a", 5)])
                .into_iter()
                .chain([Step::Wait(seconds(1))])
                .collect(),
        ),
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
            true if n == 0 => {
                let mut steps = initial(10, vec![thing("a", 5)]);
                steps.push(event("ERROR", status(code, "Whatever")));
                steps.push(Step::Hang);
                Reply::Stream(steps)
            }
            true => {
                let mut steps = initial(20, vec![thing("b", 15)]);
                steps.push(Step::Hang);
                Reply::Stream(steps)
            }
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
async fn one_undecodable_object_is_reported_on_itself_and_the_rest_go_on() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => {
            let mut steps = initial(10, vec![thing("a", 5), bad_thing("b", 6), thing("c", 7)]);
            steps.push(Step::Wait(seconds(5)));
            steps.push(event("MODIFIED", bad_thing("a", 11)));
            steps.push(event("MODIFIED", thing("c", 12)));
            steps.push(Step::Wait(seconds(5)));
            steps.push(event("MODIFIED", thing("b", 13)));
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
        _ => Reply::Silence,
    });
    let cache = start(&server);
    cache.synced().await;
    assert_eq!(cache.snapshot().len(), 2);
    assert_eq!(cache.health().bad.keys().collect::<Vec<_>>(), [&key("b")]);
    assert!(cache.is_current_for(&key("a")) && !cache.is_current_for(&key("b")));

    within(seconds(8), || {
        cache
            .get(&key("c"))
            .is_some_and(|c| c.metadata.resource_version == "12")
    })
    .await;
    // The last good state stays, since dropping it would hide the object from budgets; but nothing is decided on it.
    assert!(cache.get(&key("a")).is_some() && !cache.is_current_for(&key("a")));
    within(seconds(8), || {
        cache.is_current_for(&key("b")) && cache.get(&key("b")).is_some()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_undecodable_object_in_a_paged_list_is_reported_on_itself() {
    let server = Scripted::new(|_, seen| match seen.is_watch() {
        true if seen.wants_initial_events() => Reply::Json(422, status(422, "Invalid")),
        true => Reply::Stream(vec![Step::Hang]),
        false if seen.query.contains("continue=more") => Reply::Json(200, list(10, vec![thing("c", 7)])),
        false => {
            let mut page = list(10, vec![thing("a", 5), bad_thing("b", 6)]);
            page["metadata"]["continue"] = json!("more");
            Reply::Json(200, page)
        }
    });
    let cache = start(&server);
    cache.synced().await;
    let names: Vec<String> = cache
        .snapshot()
        .iter()
        .map(|(key, _)| key.name.to_string())
        .collect();
    assert_eq!(names, ["a", "c"]);
    assert!(cache.health().bad.contains_key(&key("b")));
    within(seconds(1), || {
        server.count(|seen| seen.is_watch() && seen.version() == Some("10")) == 1
    })
    .await;
    assert_eq!(
        server.count(|seen| seen.is_list() && seen.query.contains("limit=500")),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_unseen_is_given_up_and_replaced() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => {
            let mut steps = initial(10, vec![thing("a", 5)]);
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
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
async fn a_resource_version_that_goes_back_in_a_watch_leads_to_a_fresh_list() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => {
            let mut steps = initial(100, vec![thing("a", 90), thing("gone", 91)]);
            steps.push(event("MODIFIED", thing("a", 40)));
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
        (true, _) => {
            let mut steps = initial(41, vec![thing("a", 40)]);
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
        _ => Reply::Silence,
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(30), || cache.health().relists == 2).await;
    assert_eq!(cache.get(&key("a")).unwrap().metadata.resource_version, "40");
    assert!(cache.get(&key("gone")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_server_restored_to_an_earlier_state_is_found_out_after_the_cut() {
    // A watch from a version the server has not reached would be answered by silence.
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(
            initial(100, vec![thing("a", 90)])
                .into_iter()
                .chain([Step::Cut])
                .collect(),
        ),
        (true, _) if seen.wants_initial_events() => Reply::Stream(
            initial(50, vec![thing("b", 45)])
                .into_iter()
                .chain([Step::Hang])
                .collect(),
        ),
        (true, _) => Reply::Stream(vec![Step::Hang]),
        (false, _) => Reply::Json(200, list(50, vec![thing("b", 45)])),
    });
    let cache = start(&server);
    cache.synced().await;
    within(seconds(30), || {
        cache.get(&key("b")).is_some() && cache.get(&key("a")).is_none()
    })
    .await;
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

#[tokio::test(start_paused = true)]
async fn a_list_cut_in_the_middle_syncs_nothing_and_loses_nothing_known() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(vec![event("ADDED", thing("a", 5)), Step::Cut]),
        (true, 1) => Reply::Stream(vec![event("ADDED", thing("a", 5)), event("ADDED", thing("b", 6))]),
        (true, 2) => {
            let steps = initial(10, vec![thing("a", 5), thing("b", 6)]);
            Reply::Stream(
                steps
                    .into_iter()
                    .chain([Step::Wait(seconds(1)), event("ERROR", status(500, ""))])
                    .collect(),
            )
        }
        (true, 3) => Reply::Stream(vec![event("ADDED", thing("b", 6)), Step::Cut]),
        (true, _) => Reply::Silence,
        (false, _) => Reply::Json(200, list(10, vec![])),
    });
    let cache = start(&server);
    assert!(cache.snapshot().is_empty());
    cache.synced().await;
    assert_eq!(server.log().len(), 3);
    assert_eq!(cache.snapshot().len(), 2);
    within(seconds(30), || server.log().len() >= 5).await;
    assert_eq!(cache.snapshot().len(), 2, "half a list is no reason to forget");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ignores_the_wish_for_initial_events_is_listed_instead() {
    let server = Scripted::new(|_, seen| match seen.is_watch() {
        true => Reply::Stream(vec![Step::Hang]),
        false => Reply::Json(200, list(10, vec![thing("a", 5)])),
    });
    let cache = start(&server);
    tokio::time::timeout(seconds(40), cache.synced()).await.unwrap();
    assert!(cache.get(&key("a")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_write_of_ours_that_never_shows_leads_to_a_fresh_list_and_is_waited_for_no_longer() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => Reply::Stream(
            initial(10, vec![thing("a", 5)])
                .into_iter()
                .chain([Step::Hang])
                .collect(),
        ),
        (true, _) => Reply::Stream(
            initial(12, vec![thing("a", 11)])
                .into_iter()
                .chain([Step::Hang])
                .collect(),
        ),
        _ => Reply::Silence,
    });
    let cache = start(&server);
    cache.synced().await;
    cache.observe_write(&key("a"), "uid-a", "11");
    assert!(!cache.is_current_for(&key("a")));
    within(seconds(35), || cache.is_current_for(&key("a"))).await;
    assert_eq!(cache.get(&key("a")).unwrap().metadata.resource_version, "11");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_returns_only_after_a_list_that_began_after_it() {
    let server = Scripted::new(
        move |_, seen| match (seen.wants_initial_events(), seen.is_watch()) {
            (true, _) => Reply::Stream(
                initial(10, vec![thing("a", 5)])
                    .into_iter()
                    .chain([Step::Hang])
                    .collect(),
            ),
            (false, true) => Reply::Stream(vec![Step::Hang]),
            (false, false) => Reply::Json(200, list(11, vec![thing("a", 11)])),
        },
    );
    let cache = start(&server);
    cache.synced().await;
    assert_eq!(server.count(Seen::is_list), 0);
    for refreshed in 1..=2 {
        cache.refresh().await;
        assert_eq!(server.count(Seen::is_list), refreshed);
    }
    assert_eq!(cache.get(&key("a")).unwrap().resource_version(), "11");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_was_asked_for_and_is_refused_is_tried_again_after_pauses() {
    let server = Scripted::new(
        move |_, seen| match (seen.wants_initial_events(), seen.is_watch()) {
            (true, _) => Reply::Stream(
                initial(10, vec![thing("a", 5)])
                    .into_iter()
                    .chain([Step::Hang])
                    .collect(),
            ),
            (false, true) => Reply::Stream(vec![Step::Hang]),
            (false, false) => Reply::Json(403, status(403, "Forbidden")),
        },
    );
    let cache = start(&server);
    cache.synced().await;
    let refreshed = tokio::time::timeout(seconds(60), cache.refresh()).await;
    assert!(refreshed.is_err(), "nothing was read");
    let lists = server.count(Seen::is_list);
    assert!((2..30).contains(&lists), "{lists} lists in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_reader_hears_of_each_change_once_however_often_it_changed() {
    let server = Scripted::new(|n, _| match n {
        0 => {
            let mut steps = initial(10, vec![thing("a", 5), thing("b", 6)]);
            steps.push(Step::Wait(seconds(1)));
            steps.extend((11..20).map(|version| event("MODIFIED", thing("a", version))));
            steps.push(event("DELETED", thing("b", 20)));
            steps.push(Step::Hang);
            Reply::Stream(steps)
        }
        _ => Reply::Silence,
    });
    let cache = start(&server);
    let mut changes = cache.changes();
    assert_eq!(changes.next().await.unwrap(), key("a"));
    assert_eq!(changes.next().await.unwrap(), key("b"));
    within(seconds(3), || cache.get(&key("b")).is_none()).await;
    assert_eq!(changes.drain(), [key("a"), key("b")]);
    drop(cache);
    assert_eq!(changes.next().await, None);
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
