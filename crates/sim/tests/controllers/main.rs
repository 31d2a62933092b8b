//! The scheduler, the controllers and the nodes together: stories told on the embedded server under virtual time,
//! and again on a real API server with the real controller manager and scheduler. What can be seen at rest, and
//! the order in which numbered pods come and go, must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod normal;
mod player;
mod storage;
mod stories;

use std::sync::Arc;

use embedded::{ApiServer, Config, UserInfo};
use model::time::{Clock, Timestamp};
use player::Player;
use serde_json::Value;
use tidegate_sim::clock::{TokioClock, WallClock};
use tidegate_sim::{NodesOptions, Options};
use tokio_util::sync::CancellationToken;

use cluster::{Door, DoorOptions};

/// An embedded cluster; its time is tokio's, which the test has paused.
async fn embedded(seed: u64) -> Player {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(now));
    let config = Config {
        clock: clock.clone(),
        seed: Some(seed),
        ..Config::default()
    };
    let server = ApiServer::start(config).await.unwrap();
    let door = |who| {
        let options = DoorOptions {
            seed: Some(seed + who),
            stall_timeout: None,
            ..DoorOptions::default()
        };
        Door::in_process_with(server.service(UserInfo::admin()), options)
    };
    let options = Options {
        clock,
        seed,
        ..Options::default()
    };
    let stop = CancellationToken::new();
    tokio::spawn(tidegate_sim::run(door(1), options, stop.clone()));
    Player::new(door(2), stop.drop_guard()).await
}

#[tokio::test(start_paused = true)]
async fn every_story_ends_on_the_embedded_server_whatever_the_seed() {
    for seed in 1..=3 {
        let player = embedded(seed).await;
        let first = stories::tell_all(&player).await;
        assert_eq!(first.len(), stories::COUNT);
    }
}

#[tokio::test(start_paused = true)]
async fn claims_get_volumes_and_pods_wait_for_them() {
    storage::tell(&embedded(7).await).await;
}

/// Real time: nodes are simulated, everything else is Kubernetes' own.
#[test]
fn the_real_controllers_and_scheduler_show_the_same() {
    let dir = std::env::temp_dir().join(format!("tidegate-sim-controllers-{}", std::process::id()));
    let mut options = testbed::ApiServerOptions::in_dir(&dir);
    options.controllers = true;
    let server = testbed::ApiServer::start(&options).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let real = runtime.block_on(async {
        let kubeconfig = server.kubeconfig();
        let door = Door::from_kubeconfig(Some(&kubeconfig), DoorOptions::default())
            .await
            .unwrap();
        let options = Options {
            clock: Arc::new(WallClock),
            ..Options::nodes_only(NodesOptions::default())
        };
        let stop = CancellationToken::new();
        tokio::spawn(tidegate_sim::run(door.clone(), options, stop.clone()));
        stories::tell_all(&Player::new(door, stop.drop_guard()).await).await
    });
    drop(server);
    std::fs::remove_dir_all(&dir).ok();
    let paused = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let ours = paused.block_on(async { stories::tell_all(&embedded(1).await).await });
    let differences: Vec<String> = ours
        .iter()
        .flat_map(|(name, ours)| differences(name, ours, &real[name]))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn differences(name: &str, ours: &[Value], real: &[Value]) -> Vec<String> {
    let mut out = Vec::new();
    if ours.len() != real.len() {
        out.push(format!("{name}: {} moments, real {}", ours.len(), real.len()));
    }
    for (ours, real) in ours.iter().zip(real) {
        let moment = format!("{name}, {}", ours["moment"].as_str().unwrap());
        compare(&moment, "", ours, real, &mut out);
    }
    out
}

const PROGRESSED: &str = "has successfully progressed.";

fn compare(moment: &str, path: &str, ours: &Value, real: &Value, out: &mut Vec<String>) {
    match (ours, real) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for key in keys {
                compare(moment, &format!("{path}/{key}"), &ours[key], &real[key], out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(moment, &format!("{path}/{index}"), a, b, out);
            }
        }
        // The real controller leaves the name of an earlier ReplicaSet in it where the condition's reason did not change
        // between: that depends on how fast the pods were.
        (Value::String(a), Value::String(b)) if [a, b].into_iter().all(|m| m.ends_with(PROGRESSED)) => {}
        _ if ours != real => out.push(format!("{moment} {path}:\n    ours {ours}\n    real {real}")),
        _ => {}
    }
}
