//! Lists: when a fresh one is made, and what half of one is worth.
use tidegate_cluster::Watched as _;

use crate::scripted::*;
use crate::{seconds, start, within};

#[tokio::test(start_paused = true)]
async fn a_resource_version_that_goes_back_in_a_watch_leads_to_a_fresh_list() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => begun(
            100,
            vec![thing("a", 90), thing("gone", 91)],
            [event("MODIFIED", thing("a", 40)), Step::Hang],
        ),
        (true, _) => begun(41, vec![thing("a", 40)], [Step::Hang]),
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
        (true, 0) => begun(100, vec![thing("a", 90)], [Step::Cut]),
        (true, _) if seen.wants_initial_events() => begun(50, vec![thing("b", 45)], [Step::Hang]),
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
        (true, 0) => begun(10, vec![thing("a", 5)], [Step::Hang]),
        (true, _) => begun(12, vec![thing("a", 11)], [Step::Hang]),
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
    let server = listed_when_asked(|| Reply::Json(200, list(11, vec![thing("a", 11)])));
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
    let server = listed_when_asked(|| Reply::Json(403, status(403, "Forbidden")));
    let cache = start(&server);
    cache.synced().await;
    let refreshed = tokio::time::timeout(seconds(60), cache.refresh()).await;
    assert!(refreshed.is_err(), "nothing was read");
    let lists = server.count(Seen::is_list);
    assert!((2..30).contains(&lists), "{lists} lists in a minute");
}

/// A watch that begins with one thing and stays silent; lists are answered so.
fn listed_when_asked(answer: impl Fn() -> Reply + Send + 'static) -> Scripted {
    Scripted::new(
        move |_, seen| match (seen.wants_initial_events(), seen.is_watch()) {
            (true, _) => begun(10, vec![thing("a", 5)], [Step::Hang]),
            (false, true) => Reply::Stream(vec![Step::Hang]),
            (false, false) => answer(),
        },
    )
}
