//! Leadership: one at a time, fenced by the clock that counts suspension. Time is virtual; the lease's server is a
//! few lines here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod scripted;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use model::time::{Clock, Timestamp};
use scripted::*;
use serde_json::{Value, json};
use tidegate_cluster::door::WriteGate;
use tidegate_cluster::lease::{BootClock, TokioBootClock};
use tidegate_cluster::resource::PODS;
use tidegate_cluster::{Clocks, Leader, LeaderOptions, PatchKind};

/// Who led, in order: epochs and guards.
type Terms = Vec<(u64, Arc<tidegate_cluster::LeaderGuard>)>;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }
}

/// A server that keeps one lease, with resourceVersions; deaf while told to be.
fn lease_server() -> (Scripted, Arc<Mutex<Option<Value>>>, Arc<AtomicBool>) {
    let lease = Arc::new(Mutex::new(None::<Value>));
    let deaf = Arc::new(AtomicBool::new(false));
    let (stored, ears) = (lease.clone(), deaf.clone());
    let mut version = 0;
    let server = Scripted::new(move |_, seen| {
        if ears.load(Ordering::SeqCst) {
            return Reply::Silence;
        }
        let mut stored = stored.lock().unwrap();
        let mut keep = |mut body: Value| {
            version += 1;
            body["metadata"]["resourceVersion"] = json!(version.to_string());
            body
        };
        match seen.method.as_str() {
            "GET" => stored
                .clone()
                .map_or(Reply::Json(404, status(404, "NotFound")), |body| {
                    Reply::Json(200, body)
                }),
            "POST" if stored.is_some() => Reply::Json(409, status(409, "AlreadyExists")),
            "PUT"
                if stored.as_ref().is_none_or(|old| {
                    old["metadata"]["resourceVersion"] != seen.body["metadata"]["resourceVersion"]
                }) =>
            {
                Reply::Json(409, status(409, "Conflict"))
            }
            "POST" | "PUT" => {
                *stored = Some(keep(seen.body.clone()));
                Reply::Json(200, stored.clone().unwrap())
            }
            _ => Reply::Json(200, thing("a", 5)),
        }
    });
    (server, lease, deaf)
}

fn clocks() -> Clocks {
    Clocks {
        boot: Arc::new(TokioBootClock::start()),
        wall: Arc::new(Noon),
    }
}

fn options(unique: &str) -> LeaderOptions {
    LeaderOptions::new("ns", "lease", "host", unique)
}

#[tokio::test(start_paused = true)]
async fn the_first_to_come_leads_and_renews_and_the_second_waits() {
    let (server, lease, _) = lease_server();
    let first = Leader::acquire(&server.door(), options("1"), clocks()).await;
    assert_eq!(first.epoch(), 0);
    let door = server.door();
    let waiting = tokio::time::timeout(
        Duration::from_secs(3600),
        Leader::acquire(&door, options("2"), clocks()),
    );
    assert!(waiting.await.is_err(), "an hour, and the first still renews");
    assert!(first.guard().left().unwrap() > Duration::from_secs(8));
    assert_eq!(
        lease.lock().unwrap().as_ref().unwrap()["spec"]["holderIdentity"],
        "host_1"
    );
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_writing_before_another_may_begin() {
    let (server, _, deaf) = lease_server();
    let first = Leader::acquire(&server.door(), options("1"), clocks()).await;
    let (guard, fenced) = (first.guard(), server.door().fenced(first.guard()));
    deaf.store(true, Ordering::SeqCst);
    let lost = tokio::time::timeout(Duration::from_secs(60), first.lost())
        .await
        .unwrap();
    assert!(lost.contains("renewed"), "{lost}");
    assert!(guard.may_write().is_err());
    deaf.store(false, Ordering::SeqCst);
    let error = fenced
        .patch(&PODS, Some("ns"), "a", PatchKind::Merge, &json!({}), None)
        .await
        .unwrap_err();
    assert_eq!(error.reason, "Fenced");
    assert_eq!(server.count(|seen| seen.method == "PATCH"), 0);

    let second = Leader::acquire(&server.door(), options("2"), clocks()).await;
    assert_eq!(second.epoch(), 1);
}

/// A clock that can be ahead of tokio's: as after a suspension, which timers do not count.
struct Suspended(TokioBootClock, Mutex<Duration>);

impl BootClock for Suspended {
    fn since_boot(&self) -> Duration {
        self.0.since_boot() + *self.1.lock().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_was_suspended_may_not_write_when_it_wakes() {
    let (server, ..) = lease_server();
    let boot = Arc::new(Suspended(TokioBootClock::start(), Mutex::default()));
    let clocks = Clocks {
        boot: boot.clone(),
        wall: Arc::new(Noon),
    };
    let leader = Leader::acquire(&server.door(), options("1"), clocks).await;
    let guard = leader.guard();
    assert!(guard.may_write().is_ok());
    *boot.1.lock().unwrap() = Duration::from_secs(13);
    assert!(guard.may_write().is_err());
    tokio::time::timeout(Duration::from_secs(60), leader.lost())
        .await
        .unwrap();
    assert!(guard.may_write().is_err(), "and never again in this term");
}

#[tokio::test(start_paused = true)]
async fn terms_of_different_leaders_never_overlap_however_the_network_fails() {
    for seed in 0..40u64 {
        let (server, _, deaf) = lease_server();
        let holders: Arc<Mutex<Terms>> = Arc::default();
        let clocks = clocks();
        let mut tasks = Vec::new();
        for n in 0..3u64 {
            let door = server.door_with(tidegate_cluster::DoorOptions {
                seed: Some(seed * 3 + n),
                ..Default::default()
            });
            let (clocks, holders) = (clocks.clone(), holders.clone());
            tasks.push(tokio::spawn(async move {
                for life in 0.. {
                    let leader =
                        Leader::acquire(&door, options(&format!("{n}-{life}")), clocks.clone()).await;
                    holders.lock().unwrap().push((leader.epoch(), leader.guard()));
                    // Half of them leave by themselves.
                    let patience = Duration::from_secs(20 + seed % 7 * n);
                    if tokio::time::timeout(patience, leader.lost()).await.is_err() {
                        let _ = leader.release().await;
                    }
                }
            }));
        }
        for step in 0..600u64 {
            deaf.store((step * 7 + seed * 13) % 60 < seed % 25, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(1)).await;
            let holders = holders.lock().unwrap();
            let writing = holders
                .iter()
                .filter(|(_, guard)| guard.may_write().is_ok())
                .count();
            assert!(writing <= 1, "seed {seed}, second {step}: {writing} may write");
            assert!(
                holders.windows(2).all(|pair| pair[0].0 < pair[1].0),
                "epochs grow"
            );
        }
        assert!(holders.lock().unwrap().len() > 5, "leadership changed hands");
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_given_back_is_taken_at_once() {
    let (server, ..) = lease_server();
    let first = Leader::acquire(&server.door(), options("1"), clocks()).await;
    let guard = first.guard();
    first.release().await.unwrap();
    assert!(guard.may_write().is_err());
    let second = tokio::time::timeout(
        Duration::from_secs(3),
        Leader::acquire(&server.door(), options("2"), clocks()),
    )
    .await;
    assert_eq!(second.unwrap().epoch(), 1);
}
