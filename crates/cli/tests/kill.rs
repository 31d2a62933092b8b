//! `tidegate up` killed with SIGKILL in the middle of writes: no acknowledged write is missing, no resourceVersion
//! goes back or is used twice. `KILLS` says how often (default 5).
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/up.rs"]
mod up;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cluster::resource::CONFIG_MAPS;
use cluster::{Door, DoorOptions, ListOptions};
use serde_json::json;
use up::Up;

#[test]
fn no_acknowledged_write_is_lost_when_the_process_is_killed() {
    let kills: u32 = std::env::var("KILLS")
        .ok()
        .and_then(|k| k.parse().ok())
        .unwrap_or(5);
    let dir = std::env::temp_dir().join(format!("tidegate-kill-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    for round in 0..kills {
        let mut up = Up::start(&dir, 1);
        let door = runtime.block_on(door(&dir.join("kubeconfig")));
        let before = acknowledged.values().max().copied().unwrap_or_default();
        runtime.block_on(check(&door, &acknowledged));
        // How far the writer gets before the kill differs from round to round.
        let patience = Duration::from_millis(50 + u64::from(round * 37 % 200));
        let written = runtime.block_on(write_until_killed(&door, round, patience, &mut up));
        assert!(
            written.values().all(|v| *v > before),
            "a resourceVersion went back in round {round}"
        );
        acknowledged.extend(written);
        let versions: BTreeSet<u64> = acknowledged.values().copied().collect();
        assert_eq!(
            versions.len(),
            acknowledged.len(),
            "a resourceVersion was used twice by round {round}"
        );
    }
    let up = Up::start(&dir, 1);
    runtime.block_on(async { check(&door(&dir.join("kubeconfig")).await, &acknowledged).await });
    drop(up);
    std::fs::remove_dir_all(&dir).ok();
    println!("{kills} kills, {} acknowledged writes", acknowledged.len());
    assert!(acknowledged.len() > kills as usize);
}

/// Creates ConfigMaps, eight at once, until the process is gone; returns what was acknowledged.
async fn write_until_killed(
    door: &Door,
    round: u32,
    patience: Duration,
    up: &mut Up,
) -> BTreeMap<String, u64> {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let door = door.clone();
        writers.spawn(async move {
            let mut written = Vec::new();
            for number in 0.. {
                let name = format!("r{round}-w{writer}-n{number}");
                let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
                match door.create(&CONFIG_MAPS, Some("default"), &body).await {
                    Ok(made) => {
                        let version = made["metadata"]["resourceVersion"]
                            .as_str()
                            .unwrap()
                            .parse()
                            .unwrap();
                        written.push((name, version));
                    }
                    Err(_) => break,
                }
            }
            written
        });
    }
    tokio::time::sleep(patience).await;
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    let mut all = BTreeMap::new();
    while let Some(written) = writers.join_next().await {
        all.extend(written.unwrap());
    }
    all
}

async fn check(door: &Door, acknowledged: &BTreeMap<String, u64>) {
    let list = door
        .list(&CONFIG_MAPS, Some("default"), &ListOptions::default())
        .await
        .unwrap();
    let found: BTreeMap<&str, u64> = list
        .items
        .iter()
        .map(|o| {
            let text = |field: &str| o["metadata"][field].as_str().unwrap();
            (text("name"), text("resourceVersion").parse().unwrap())
        })
        .collect();
    for (name, version) in acknowledged {
        assert_eq!(found.get(name.as_str()), Some(version), "{name}");
    }
}

async fn door(kubeconfig: &Path) -> Door {
    // A dead server is to be noticed at once: what is not acknowledged is not retried for long.
    let options = DoorOptions {
        write_deadline: Duration::from_millis(300),
        read_deadline: Duration::from_secs(2),
        attempt_timeout: Duration::from_millis(250),
        ..DoorOptions::default()
    };
    Door::from_kubeconfig(Some(kubeconfig), options).await.unwrap()
}
