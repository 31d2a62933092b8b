//! Two processes, a real API server, and a leader that is stopped (SIGSTOP) in the middle of its writes for three
//! lease lengths: nothing it sends afterwards takes effect.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tidegate_cluster::resource::{CONFIG_MAPS, LEASES};
use tidegate_cluster::{Clocks, DeleteOptions, Door, DoorOptions, Leader, LeaderOptions, PatchKind};

const LEASE: Duration = Duration::from_secs(2);

fn options(name: &str) -> LeaderOptions {
    LeaderOptions {
        duration: LEASE,
        margin: Duration::from_millis(500),
        renew_every: Duration::from_millis(300),
        retry_every: Duration::from_millis(200),
        ..LeaderOptions::new("default", name, "host", &std::process::id().to_string())
    }
}

/// Leads, and writes its epoch into a ledger as fast as it can, for ever. Started by the test below as a process.
#[tokio::test]
async fn a_process_that_leads_and_writes() {
    let Ok(name) = std::env::var("TIDEGATE_TEST_LEDGER") else {
        return;
    };
    let path = PathBuf::from(std::env::var_os("TIDEGATE_TEST_SERVER").unwrap());
    let door = Door::from_kubeconfig(Some(&path), DoorOptions::default())
        .await
        .unwrap();
    loop {
        let leader = Leader::acquire(&door, options(&name), Clocks::system()).await;
        let fenced = door.fenced(leader.guard());
        // Read consistently, after the lease is ours.
        let mut ledger = door.get(&CONFIG_MAPS, Some("default"), &name).await.unwrap();
        loop {
            let log = ledger["data"]["log"].as_str().unwrap();
            let patch = json!({"metadata": {"resourceVersion": ledger["metadata"]["resourceVersion"]},
                "data": {"log": format!("{log} {}", leader.epoch())}});
            match fenced
                .patch(
                    &CONFIG_MAPS,
                    Some("default"),
                    &name,
                    PatchKind::Merge,
                    &patch,
                    None,
                )
                .await
            {
                Ok(written) => ledger = written,
                Err(error) => break eprintln!("epoch {}: {error}", leader.epoch()),
            }
        }
    }
}

struct Replica(Child);

impl Replica {
    fn start(name: &str, kubeconfig: &Path) -> Replica {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_process_that_leads_and_writes", "--nocapture"])
            .env("TIDEGATE_TEST_LEDGER", name)
            .env("TIDEGATE_TEST_SERVER", kubeconfig);
        Replica(command.stdout(Stdio::null()).spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn epochs(ledger: &Value) -> Vec<u64> {
    ledger["data"]["log"]
        .as_str()
        .unwrap()
        .split_whitespace()
        .map(|epoch| epoch.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_leader_stopped_for_three_leases_writes_nothing_after_its_successor() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let name = format!("ledger-{}", std::process::id());
    let empty =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"log": ""}});
    door.create(&CONFIG_MAPS, Some("default"), &empty).await.unwrap();
    let replicas = [0, 1].map(|_| Replica::start(&name, &server.kubeconfig()));
    for n in 0..4u64 {
        // In the middle of its writes, at another moment each time.
        let ledger = written_since(&door, &name, n).await;
        let holder = door.get(&LEASES, Some("default"), &name).await.unwrap();
        let holder = holder["spec"]["holderIdentity"].as_str().unwrap().to_owned();
        let leader = replicas
            .iter()
            .find(|replica| holder == format!("host_{}", replica.0.id()))
            .unwrap();
        tokio::time::sleep(Duration::from_millis(137 * n)).await;
        leader.signal(Signal::STOP);
        tokio::time::sleep(LEASE * 3).await;
        let before = epochs(&door.get(&CONFIG_MAPS, Some("default"), &name).await.unwrap());
        assert!(before.last() > epochs(&ledger).last(), "another leads and writes");
        leader.signal(Signal::CONT);
    }
    let all = epochs(&written_since(&door, &name, 4).await);
    assert!(
        all.windows(2).all(|pair| pair[0] <= pair[1]),
        "an epoch wrote after its successor: {all:?}"
    );
    eprintln!("{} writes in {} epochs", all.len(), all.last().unwrap() + 1);
    drop(replicas);
    for resource in [&CONFIG_MAPS, &LEASES] {
        door.delete(resource, Some("default"), &name, &DeleteOptions::default())
            .await
            .unwrap();
    }
}

/// The ledger, once an epoch at or after this one wrote.
async fn written_since(door: &Door, name: &str, epoch: u64) -> Value {
    let written = async {
        loop {
            let ledger = door.get(&CONFIG_MAPS, Some("default"), name).await.unwrap();
            if epochs(&ledger).last().is_some_and(|last| *last >= epoch) {
                return ledger;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written)
        .await
        .unwrap()
}
