//! Events: at once the first time, as a series after that, never a flood. Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use std::sync::Arc;
use std::time::Duration;

use model::time::{Clock, Timestamp};
use scripted::*;
use serde_json::json;
use tidegate_cluster::events::{Event, Recorder, Regarding};

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }
}

fn event(note: &str) -> Event {
    Event {
        regarding: Regarding {
            kind: "SidecarSet".into(),
            name: "s".into(),
            uid: "u".into(),
            ..Regarding::default()
        },
        warning: false,
        reason: "Upgraded".into(),
        action: "Upgrade".into(),
        note: note.into(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_event_is_one_object_whose_series_is_written_now_and_then() {
    let server = Scripted::new(|_, _| Reply::Json(200, json!({})));
    let recorder = Recorder::start(&server.door(), "tidegate.dev/test", "me", Arc::new(Noon));
    for _ in 0..50 {
        recorder.record(event("same"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(server.log().len(), 1);
    assert_eq!(
        server.log()[0].path,
        "/apis/events.k8s.io/v1/namespaces/default/events"
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let log = server.log();
    assert_eq!(log.len(), 2, "one series, then silence");
    assert_eq!(log[1].body["series"]["count"], 50);
    recorder.record(event("same"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        server.count(|seen| seen.method == "POST"),
        2,
        "much later it is a new event"
    );
}

#[tokio::test(start_paused = true)]
async fn many_different_events_about_one_object_are_bounded() {
    let server = Scripted::new(|_, _| Reply::Json(200, json!({})));
    let recorder = Recorder::start(&server.door(), "tidegate.dev/test", "me", Arc::new(Noon));
    for n in 0..200 {
        recorder.record(event(&format!("pod {n}")));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.log().len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_holds_up_nobody() {
    let server = Scripted::new(|_, _| Reply::Silence);
    let recorder = Recorder::start(&server.door(), "tidegate.dev/test", "me", Arc::new(Noon));
    for n in 0..10_000 {
        recorder.record(event(&format!("pod {n}")));
    }
    assert!(server.log().is_empty());
}
