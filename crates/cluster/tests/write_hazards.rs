//! Lost replies, refusals and silence: what each verb does about them. Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use scripted::*;
use serde_json::{Value, json};
use tidegate_cluster::door::WriteGate;
use tidegate_cluster::resource::PODS;
use tidegate_cluster::{DeleteOptions, DoorOptions, PatchKind};
use tokio::time::Instant;

const NS: Option<&str> = Some("ns");

fn posts(server: &Scripted) -> usize {
    server.count(|seen| seen.method == "POST")
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_reply_was_lost_is_looked_up_and_not_sent_again() {
    let server = Scripted::new(|n, seen| match (n, seen.method.as_str()) {
        (0, "POST") => Reply::Reset,
        (_, "GET") => Reply::Json(200, thing("a", 5)),
        _ => panic!("{seen:?}"),
    });
    let created = server
        .door()
        .create(
            &PODS,
            NS,
            &json!({"metadata": {"name": "a"}, "spec": {"size": 1}}),
        )
        .await;
    assert_eq!(created.unwrap()["metadata"]["uid"], "uid-a");
    assert_eq!(posts(&server), 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_did_not_happen_is_sent_again_once_that_is_known() {
    let server = Scripted::new(|n, seen| match (n, seen.method.as_str()) {
        (0, "POST") => Reply::Json(503, status(503, "ServiceUnavailable")),
        (_, "GET") => Reply::Json(404, status(404, "NotFound")),
        _ => Reply::Json(201, thing("a", 5)),
    });
    server
        .door()
        .create(&PODS, NS, &json!({"metadata": {"name": "a"}}))
        .await
        .unwrap();
    let methods: Vec<String> = server.log().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["POST", "GET", "POST"]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_met_anothers_object_says_so() {
    let server = Scripted::new(|n, seen| match (n, seen.method.as_str()) {
        (0, "POST") => Reply::Reset,
        _ => Reply::Json(200, thing("a", 5)),
    });
    let body = json!({"metadata": {"name": "a"}, "spec": {"size": 2}});
    let error = server.door().create(&PODS, NS, &body).await.unwrap_err();
    assert!(error.is_already_exists(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_create_with_a_generated_name_is_never_sent_twice() {
    let server = Scripted::new(|_, _| Reply::Reset);
    let body = json!({"metadata": {"generateName": "a-"}});
    let error = server.door().create(&PODS, NS, &body).await.unwrap_err();
    assert!(error.is_unknown());
    assert_eq!(server.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_refused_by_the_gatekeeper_is_sent_again_when_it_said() {
    let server = Scripted::new(|n, _| match n {
        0 => Reply::Busy(429, 7),
        _ => Reply::Json(201, thing("a", 5)),
    });
    server
        .door()
        .create(&PODS, NS, &json!({"metadata": {"name": "a"}}))
        .await
        .unwrap();
    let log = server.log();
    assert_eq!(log.len(), 2);
    assert!(log[1].at >= Duration::from_secs(7), "{:?}", log[1].at);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_refused_by_a_budget_comes_back_at_once() {
    let server = Scripted::new(|_, _| Reply::Busy(429, 10));
    let error = server
        .door()
        .create_subresource(&PODS, NS, "a", "eviction", &json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.code, 429);
    assert_eq!(error.retry_after, Some(Duration::from_secs(10)));
    assert_eq!(server.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_patch_whose_reply_was_lost_meets_itself_and_is_a_success() {
    let server = Scripted::new(|n, seen| match (n, seen.method.as_str()) {
        (0, "PATCH") => Reply::Reset,
        (_, "PATCH") => Reply::Json(422, status(422, "Invalid")),
        _ => Reply::Json(200, thing("a", 6)),
    });
    let patch = json!([{"op": "test", "path": "/spec/size", "value": 0},
        {"op": "replace", "path": "/spec/size", "value": 1}]);
    let patched = server
        .door()
        .patch(&PODS, NS, "a", PatchKind::Json, &patch, None)
        .await
        .unwrap();
    assert_eq!(patched["metadata"]["resourceVersion"], "6");
    assert_eq!(server.log().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_another_overtook_is_refused_even_if_a_reply_was_lost() {
    let server = Scripted::new(|n, seen| match (n, seen.method.as_str()) {
        (0, "PATCH") => Reply::Reset,
        (_, "PATCH") => Reply::Json(409, status(409, "Conflict")),
        _ => Reply::Json(200, thing("a", 6)),
    });
    let patch = json!({"metadata": {"resourceVersion": "5"}, "spec": {"size": 3}});
    let error = server
        .door()
        .patch(&PODS, NS, "a", PatchKind::Merge, &patch, None)
        .await
        .unwrap_err();
    assert!(error.is_conflict() && error.is_unknown(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_would_add_twice_is_not_sent_twice() {
    let server = Scripted::new(|_, _| Reply::Reset);
    let patch = json!([{"op": "add", "path": "/spec/list/-", "value": 1}]);
    let error = server
        .door()
        .patch(&PODS, NS, "a", PatchKind::Json, &patch, None)
        .await
        .unwrap_err();
    assert!(error.is_unknown());
    assert_eq!(server.count(|seen| seen.method == "PATCH"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_reply_was_lost_finds_the_object_gone() {
    let server = Scripted::new(|n, _| match n {
        0 => Reply::Silence,
        _ => Reply::Json(404, status(404, "NotFound")),
    });
    let deleted = server
        .door()
        .delete(&PODS, NS, "a", &DeleteOptions::of_uid("uid-a"))
        .await
        .unwrap();
    assert_eq!(deleted.object, None);
    assert_eq!(server.log()[1].body["preconditions"]["uid"], "uid-a");
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_bound_to_nothing_is_not_repeated() {
    let server = Scripted::new(|_, _| Reply::Reset);
    assert!(
        server
            .door()
            .delete(&PODS, NS, "a", &DeleteOptions::default())
            .await
            .unwrap_err()
            .is_unknown()
    );
    assert_eq!(server.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up_at_the_deadline() {
    let server = Scripted::new(|_, _| Reply::Silence);
    let began = Instant::now();
    let error = server.door().get(&PODS, NS, "a").await.unwrap_err();
    assert_eq!(error.reason, "Timeout");
    assert!(
        began.elapsed() <= Duration::from_secs(61),
        "{:?}",
        began.elapsed()
    );
    let began = Instant::now();
    let patch = json!({"spec": {"size": 2}});
    let error = server
        .door()
        .patch(&PODS, NS, "a", PatchKind::Merge, &patch, None)
        .await
        .unwrap_err();
    assert!(error.is_unknown());
    assert!(
        began.elapsed() <= Duration::from_secs(125),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_through_passing_trouble() {
    let server = Scripted::new(|n, _| match n {
        0 => Reply::Reset,
        1 => Reply::Json(500, status(500, "InternalError")),
        2 => Reply::Busy(429, 1),
        3 => Reply::Json(503, json!("no Status")),
        _ => Reply::Json(200, thing("a", 5)),
    });
    server.door().get(&PODS, NS, "a").await.unwrap();
    assert_eq!(server.log().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_stays_within_a_limit_that_shrinks_when_the_server_pushes_back() {
    let server = Scripted::new(|n, _| match n {
        0..100 => Reply::Stream(vec![
            Step::Wait(Duration::from_millis(20)),
            Step::Raw(thing("a", 5).to_string()),
        ]),
        100..200 => Reply::Busy(429, 0),
        _ => Reply::Json(200, thing("a", 5)),
    });
    let door = server.door();
    let patches = (0..100).map(|_| {
        let door = door.clone();
        async move {
            door.patch(
                &PODS,
                NS,
                "a",
                PatchKind::Merge,
                &json!({"spec": {"size": 1}}),
                None,
            )
            .await
            .unwrap()
        }
    });
    futures::future::join_all(patches).await;
    let grown = door.write_limit(&PODS);
    let start = tidegate_cluster::limit::LimitOptions::default().start;
    assert!(grown > start, "{grown}");
    let at_once = server
        .log()
        .iter()
        .filter(|seen| seen.at < Duration::from_millis(20))
        .count();
    assert_eq!(at_once, start as usize, "the limit it starts with");

    let more = (0..100).map(|_| {
        let door = door.clone();
        async move {
            door.patch(
                &PODS,
                NS,
                "a",
                PatchKind::Merge,
                &json!({"spec": {"size": 1}}),
                None,
            )
            .await
            .unwrap()
        }
    });
    futures::future::join_all(more).await;
    assert!(door.write_limit(&PODS) < grown, "{}", door.write_limit(&PODS));
}

#[tokio::test(start_paused = true)]
async fn kinds_do_not_wait_for_each_other() {
    let server = Scripted::new(|_, seen| match seen.path.contains("pods") {
        true => Reply::Silence,
        false => Reply::Json(200, thing("a", 5)),
    });
    let door = server.door();
    let stuck: Vec<_> = (0..40)
        .map(|_| {
            let door = door.clone();
            tokio::spawn(async move { door.get(&PODS, NS, "a").await.map(drop) })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = Instant::now();
    door.get(&tidegate_cluster::resource::NODES, None, "a")
        .await
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(1));
    stuck.iter().for_each(tokio::task::JoinHandle::abort);
}

struct Gate(Mutex<Duration>);

impl WriteGate for Gate {
    fn may_write(&self) -> Result<Duration, String> {
        let left = *self.0.lock().unwrap();
        if left.is_zero() {
            Err("over".to_owned())
        } else {
            Ok(left)
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_fenced_write_is_not_sent_when_the_right_to_write_is_over_and_takes_no_longer_than_it() {
    let server = Scripted::new(|_, _| Reply::Silence);
    let gate = Arc::new(Gate(Mutex::new(Duration::from_secs(2))));
    let door = server.door_with(DoorOptions {
        write_deadline: Duration::from_secs(3),
        ..DoorOptions::default()
    });
    let door = door.fenced(gate.clone());
    let began = Instant::now();
    let patch = json!([{"op": "add", "path": "/spec/list/-", "value": 1}]);
    let error = door
        .patch(&PODS, NS, "a", PatchKind::Json, &patch, None)
        .await
        .unwrap_err();
    assert!(error.is_unknown());
    // One attempt of two seconds; the read after it is no write and not fenced.
    assert_eq!(
        server.log().iter().filter(|seen| seen.method == "PATCH").count(),
        1
    );
    assert!(
        server
            .log()
            .get(1)
            .is_none_or(|read| read.at == Duration::from_secs(2)),
        "{:?}",
        began.elapsed()
    );

    *gate.0.lock().unwrap() = Duration::ZERO;
    let sent = server.log().len();
    let error = door
        .patch(&PODS, NS, "a", PatchKind::Merge, &json!({}), None)
        .await
        .unwrap_err();
    assert_eq!((error.reason.as_str(), error.is_unknown()), ("Fenced", false));
    assert_eq!(server.log().len(), sent, "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn names_and_selectors_are_escaped_on_their_way_into_paths() {
    let server = Scripted::new(|_, _| Reply::Json(200, Value::Null));
    let _ = server.door().get(&PODS, Some("a/b"), "../x?y=1").await;
    assert_eq!(
        server.log()[0].path,
        "/api/v1/namespaces/a%2Fb/pods/..%2Fx%3Fy%3D1"
    );
    assert_eq!(server.log()[0].query, "");
}
