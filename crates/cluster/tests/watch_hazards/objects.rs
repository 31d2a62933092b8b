//! What is told of single objects.
use serde_json::json;

use crate::scripted::*;
use crate::{seconds, start, within};

#[tokio::test(start_paused = true)]
async fn one_undecodable_object_is_reported_on_itself_and_the_rest_go_on() {
    let server = Scripted::new(|n, seen| match (seen.is_watch(), n) {
        (true, 0) => begun(
            10,
            vec![thing("a", 5), bad_thing("b", 6), thing("c", 7)],
            [
                Step::Wait(seconds(5)),
                event("MODIFIED", bad_thing("a", 11)),
                event("MODIFIED", thing("c", 12)),
                Step::Wait(seconds(5)),
                event("MODIFIED", thing("b", 13)),
                Step::Hang,
            ],
        ),
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
