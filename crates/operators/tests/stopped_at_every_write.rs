//! Two operators as processes on a real API server. The one that leads is stopped (SIGSTOP) right at its k-th write
//! of an upgrade, for three lease lengths, until the other has taken over and gone on; then it continues, and the
//! write that was kept back arrives. The budget must hold in every state the server ever had, and every pod is
//! changed once.
//!
//! A dozen k by default; TIDEGATE_STOPS=all for every write there is, TIDEGATE_STOPS=N for N of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "stopped/history.rs"]
mod history;
#[path = "support/kubelet.rs"]
mod kubelet;
#[path = "stopped/proxy.rs"]
mod proxy;
#[path = "stopped/replica.rs"]
mod replica;
#[path = "support/server.rs"]
mod server;

use cluster::lease::Patience;
use cluster::resource::{LEASES, PODS, SIDECAR_SETS};
use cluster::{Door, DoorOptions, PatchKind};
use history::History;
use proxy::{Caught, Kept};
use replica::{Killed, Replica, balance, plain};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testbed::ApiServer;
use tidegate_operators::{self as operators, Metrics, Options, Webhook};
use tokio::net::TcpListener;

const LEASE: Duration = Duration::from_secs(2);
const PODS_IN_ALL: usize = 6;
const BUDGET: usize = 2;
const SLOW: Duration = Duration::from_secs(90);
const SYSTEM: &str = "tidegate-system";

/// Started by the test below, as a process of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_operates() {
    let Ok(told) = std::env::var("TIDEGATE_TEST_OPERATOR") else {
        return;
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    let door = Door::from_kubeconfig(Some(Path::new(&text("kubeconfig"))), DoorOptions::default())
        .await
        .unwrap();
    let mut options = Options::new(SYSTEM);
    options.listen = Some(text("listen").parse().unwrap());
    options.webhook = Webhook::Url(text("webhook"));
    options.install = true;
    options.identity = text("identity");
    options.status_every = Duration::from_millis(200);
    options.patience = Patience {
        duration: LEASE,
        margin: Duration::from_millis(500),
        renew_every: Duration::from_millis(300),
        retry_every: Duration::from_millis(200),
    };
    operators::run(door, options, Arc::new(Metrics::new()), std::future::pending())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_stopped_at_any_write_breaks_no_budget_and_changes_no_pod_twice() {
    let mut world = World::start().await;
    let writes = world.upgrade_undisturbed().await;
    println!("{} writes without a stop: {writes:#?}", writes.len());
    let stops = stops(writes.len());
    for (n, stop) in stops.iter().enumerate() {
        world.upgrade_stopped(n, *stop).await;
    }
    println!(
        "{} stops over {} writes; at most {} of {BUDGET} down at once",
        stops.len(),
        writes.len(),
        world.history.most_down()
    );
    assert!(
        world.caught >= stops.len() / 2,
        "{} of {} were caught",
        world.caught,
        stops.len()
    );
}

/// Upgrades of pods: where a late write could do harm.
const UPGRADES: &str = "PATCH /api/v1/namespaces/apps/pods/";

/// Where the leader stops.
#[derive(Clone, Copy, Debug)]
struct Stop {
    only: &'static str,
    k: usize,
    kept: Kept,
}

/// Half of them at writes to pods, half spread evenly over all; each way of keeping them in turn.
fn stops(writes: usize) -> Vec<Stop> {
    let told = std::env::var("TIDEGATE_STOPS").unwrap_or_else(|_| "12".to_owned());
    if told == "all" {
        // Some more, since how often status is written varies.
        let every = |k| [Kept::Request, Kept::Answer].map(|kept| Stop { only: "", k, kept });
        return (0..writes + 4).flat_map(every).collect();
    }
    let n: usize = told.parse().expect("TIDEGATE_STOPS is a number, or all");
    let kept = |i| if i % 3 == 2 { Kept::Answer } else { Kept::Request };
    let stop = |i: usize| match i % 2 {
        0 => (UPGRADES, i / 2 * PODS_IN_ALL * 2 / n),
        _ => ("", i * writes / n),
    };
    (0..n)
        .map(|i| {
            let (only, k) = stop(i);
            let kept = kept(i / 2);
            Stop { only, k, kept }
        })
        .collect()
}

struct World {
    door: Door,
    history: History,
    replicas: Vec<Replica>,
    /// Where reviews are sent to: operators that run.
    awake: Arc<Mutex<Vec<SocketAddr>>>,
    image: usize,
    caught: usize,
    _kubectl: Killed,
    _server: ApiServer,
}

impl World {
    async fn start() -> World {
        let (server, dir) = server::start("stopped").await;
        let (kubectl, api) = plain(&server);
        let door = server::door(&server.kubeconfig()).await;
        for name in ["apps", SYSTEM] {
            server::create_namespace(&door, name, "default").await;
        }
        let awake = Arc::new(Mutex::new(Vec::new()));
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = format!("https://{}", front.local_addr().unwrap());
        tokio::spawn(balance(front, awake.clone()));
        let mut replicas = Vec::new();
        for name in ["one", "two"] {
            replicas.push(Replica::start(name, api, &webhook, &dir).await);
        }
        awake.lock().unwrap().extend(replicas.iter().map(|o| o.listen));
        let world = World {
            history: History::follow(api, door.clone(), "apps", BUDGET).await,
            door,
            replicas,
            awake,
            image: 1,
            caught: 0,
            _kubectl: kubectl,
            _server: server,
        };
        world.populate().await;
        world
    }

    /// A SidecarSet, and pods that have it.
    async fn populate(&self) {
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": "side"},
            "spec": {"selector": {"matchLabels": {"app": "web"}},
                "updateStrategy": {"type": "RollingUpdate", "maxUnavailable": BUDGET},
                "containers": [{"name": "side", "image": "side:1"}]}});
        self.until("the SidecarSet is accepted", async |w| {
            w.door.create(&SIDECAR_SETS, None, &set).await.ok()
        })
        .await;
        self.until("injection is in force", async |w| {
            let conditions = w.set().await["status"]["conditions"].as_array()?.clone();
            let ready = |c: &Value| c["type"] == "InjectionReady" && c["status"] == "True";
            conditions.iter().any(ready).then_some(())
        })
        .await;
        for n in 0..PODS_IN_ALL {
            let name = format!("pod-{n}");
            let pod = json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "apps", "labels": {"app": "web", "name": name}},
                "spec": {"nodeName": "node-1", "automountServiceAccountToken": false,
                    "containers": [{"name": "main", "image": "main:1"}]}});
            self.until("the pod is injected", async |w| {
                let made = w.door.create(&PODS, Some("apps"), &pod).await.ok()?;
                assert_eq!(made["spec"]["containers"].as_array().unwrap().len(), 2);
                Some(())
            })
            .await;
        }
        self.until_complete("side:1").await;
    }

    /// What an upgrade writes when nothing happens to it.
    async fn upgrade_undisturbed(&mut self) -> Vec<String> {
        let leader = self.leader().await;
        let _never = self.replicas[leader].proxy.set_trap("", usize::MAX, Kept::Answer);
        let image = self.next_image().await;
        self.until_complete(&image).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.replicas[leader].proxy.remove_trap();
        self.replicas[leader].proxy.writes()
    }

    async fn upgrade_stopped(&mut self, n: usize, stop: Stop) {
        let leader = self.leader().await;
        let trap = self.replicas[leader].proxy.set_trap(stop.only, stop.k, stop.kept);
        let image = self.next_image().await;
        let caught = tokio::select! {
            caught = trap => caught.ok(),
            () = self.until_complete(&image) => None,
        };
        self.replicas[leader].proxy.remove_trap();
        let what = match caught {
            None => "nothing: the upgrade was over".to_owned(),
            Some(caught) => {
                self.caught += 1;
                let title = caught.title.clone();
                self.stop(leader, caught, n, &image).await;
                title
            }
        };
        self.until_complete(&image).await;
        println!("stop {n}, {stop:?}: {what}");
        self.history.judge(&what);
        let mut changed = self.history.changes_to(&image);
        changed.sort();
        let all: Vec<String> = (0..PODS_IN_ALL).map(|n| format!("pod-{n}")).collect();
        assert_eq!(changed, all, "{what}: every pod once");
    }

    /// The leader stands still while its write is kept back and the other takes over.
    async fn stop(&self, leader: usize, caught: Caught, n: usize, image: &str) {
        let (stopped, other) = (&self.replicas[leader], &self.replicas[1 - leader]);
        stopped.signal("STOP");
        self.awake.lock().unwrap().retain(|a| *a != stopped.listen);
        let of_pod = caught.title.strip_prefix("PATCH /api/v1/namespaces/apps/pods/");
        let pod = of_pod.filter(|name| !name.contains('/')).map(str::to_owned);
        // Every other time the pod is not to be updated any more: then the other cannot do it first, and must keep
        // its place.
        let elsewhere = pod.filter(|_| n.is_multiple_of(4));
        if let Some(pod) = &elsewhere {
            let others = json!({"matchExpressions": [{"key": "name", "operator": "NotIn", "values": [pod]}]});
            self.patch(json!({"spec": {"updateStrategy": {"selector": others}}}))
                .await;
        }
        let before = self.history.changes_to(image).len();
        tokio::time::sleep(LEASE * 3).await;
        self.until("the other leads", async |w| {
            (w.holder().await? == other.name).then_some(())
        })
        .await;
        let most = PODS_IN_ALL - usize::from(elsewhere.is_some());
        self.until("the other goes on, or is done", async |w| {
            let (changed, running) = (w.history.changes_to(image).len(), w.history.running(image));
            (changed > before || running >= most).then_some(())
        })
        .await;
        stopped.signal("CONT");
        caught.release();
        self.awake.lock().unwrap().push(stopped.listen);
        if elsewhere.is_some() {
            // Long enough for the late write to meet the budget.
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.patch(json!({"spec": {"updateStrategy": {"selector": null}}}))
                .await;
        }
    }

    async fn next_image(&mut self) -> String {
        self.image += 1;
        let image = format!("side:{}", self.image);
        self.patch(json!({"spec": {"containers": [{"name": "side", "image": image}]}}))
            .await;
        image
    }

    async fn patch(&self, patch: Value) {
        self.until("the SidecarSet is changed", async |w| {
            let kind = PatchKind::Merge;
            let sent = w
                .door
                .patch(&SIDECAR_SETS, None, "side", kind, &patch, None)
                .await;
            sent.ok().map(drop)
        })
        .await;
    }

    async fn set(&self) -> Value {
        self.door.get(&SIDECAR_SETS, None, "side").await.unwrap()
    }

    async fn until_complete(&self, image: &str) {
        self.until(&format!("all run {image}, and status says so"), async |w| {
            let set = w.set().await;
            let status = &set["status"];
            let done = status["observedGeneration"] == set["metadata"]["generation"]
                && status["updatedReadyPods"] == PODS_IN_ALL
                && w.history.running(image) == PODS_IN_ALL;
            done.then_some(())
        })
        .await;
    }

    /// Name of the operator that holds the lease.
    async fn holder(&self) -> Option<String> {
        let lease = self
            .door
            .get(&LEASES, Some(SYSTEM), "tidegate-operator")
            .await
            .ok()?;
        let holder = lease["spec"]["holderIdentity"].as_str()?;
        holder.split_once('_').map(|(name, _)| name.to_owned())
    }

    async fn leader(&self) -> usize {
        self.until("somebody leads", async |w| {
            let holder = w.holder().await?;
            w.replicas.iter().position(|o| o.name == holder)
        })
        .await
    }

    async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut(&World) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(found) = look(self).await {
                return found;
            }
            if began.elapsed() > SLOW {
                let sets = self.door.list(&SIDECAR_SETS, None, &Default::default()).await;
                panic!("still not: {what}; {:?}", sets.map(|l| l.items));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
