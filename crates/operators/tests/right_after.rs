//! Pods created right after their SidecarSet on a real API server, admitted by the replica that does not lead.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "support/server.rs"]
mod server;

use cluster::resource::{LEASES, PODS, SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS};
use cluster::{Door, PatchKind};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::ApiServer;
use tidegate_operators::{self as operators, Metrics, Options, Webhook};

const ROUNDS: usize = 25;
const AT_ONCE: usize = 4;

/// `asked`: the port at which the API server asks, whoever listens there.
fn operate(door: &Door, identity: &str, listen: u16, asked: u16) {
    let mut options = Options::new("tidegate-system");
    options.listen = Some(([127, 0, 0, 1], listen).into());
    options.webhook = Webhook::Url(format!("https://127.0.0.1:{asked}"));
    options.install = true;
    options.identity = identity.to_owned();
    let door = door.clone();
    tokio::spawn(operators::run(
        door,
        options,
        Arc::new(Metrics::new()),
        std::future::pending(),
    ));
}

async fn until(what: &str, mut look: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !look().await {
        assert!(began.elapsed() < Duration::from_secs(60), "still not: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn containers(door: &Door, name: &str, app: &str) -> usize {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "apps", "labels": {"app": app}},
        "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "main:1"}]}});
    let made = door.create(&PODS, Some("apps"), &pod).await.unwrap();
    made["spec"]["containers"].as_array().unwrap().len()
}

async fn sidecarset_then_pod(door: &Door, name: &str) {
    let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "containers": [{"name": "side", "image": "side:1"}]}});
    door.create(&SIDECAR_SETS, None, &set).await.unwrap();
    assert_eq!(
        containers(door, name, name).await,
        2,
        "right after {name} was created"
    );
    let selector = json!({"matchLabels": {"app": format!("{name}-too")}});
    let patch = json!({"spec": {"selector": selector}});
    let kind = PatchKind::Merge;
    let patched = door.patch(&SIDECAR_SETS, None, name, kind, &patch, None).await;
    patched.unwrap();
    let app = format!("{name}-too");
    assert_eq!(
        containers(door, &app, &app).await,
        2,
        "right after the selector of {name} was changed"
    );
    let gone = Default::default();
    door.delete(&SIDECAR_SETS, None, name, &gone).await.unwrap();
    door.create(&SIDECAR_SETS, None, &set).await.unwrap();
    let again = format!("{name}-again");
    assert_eq!(
        containers(door, &again, name).await,
        2,
        "right after {name} was created again"
    );
}

/// A real API server with two replicas of the operator, of which the one that does not lead is asked.
struct Bed {
    dir: std::path::PathBuf,
    server: ApiServer,
    user: Door,
}

impl Bed {
    async fn start(name: &str) -> Self {
        let (server, dir) = server::start(name).await;
        let user = connect(&server).await;
        server::create_namespace(&user, "apps", "default").await;

        let asked = server::free_port();
        operate(&connect(&server).await, "leads", server::free_port(), asked);
        until("one leads", async || {
            let lease = user
                .get(&LEASES, Some("tidegate-system"), "tidegate-operator")
                .await;
            lease.is_ok_and(|l: Value| l["spec"]["holderIdentity"].is_string())
        })
        .await;
        operate(&connect(&server).await, "stands-by", asked, asked);
        until("SidecarSets are reviewed", async || {
            let name = Options::new("").validating_configuration;
            let found = user.get(&VALIDATING_WEBHOOK_CONFIGURATIONS, None, &name).await;
            let entries = found.is_ok_and(|f| f["webhooks"].as_array().is_some_and(|w| !w.is_empty()));
            let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
                "metadata": {"name": "first"}, "spec": {}});
            let refused = user.rehearse_create(&SIDECAR_SETS, None, &set).await;
            entries && refused.is_err_and(|e| e.message.contains("vsidecarset.kb.io"))
        })
        .await;
        Self { dir, server, user }
    }

    fn end(self) {
        drop(self.server);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

async fn connect(server: &ApiServer) -> Door {
    server::door(&server.kubeconfig()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_created_right_after_its_sidecarset_is_injected_by_a_replica_that_only_stands_by() {
    let bed = Bed::start("right-after").await;
    let user = &bed.user;
    let names: Vec<String> = (0..ROUNDS).map(|n| format!("web{n}")).collect();
    futures::stream::iter(&names)
        .for_each_concurrent(AT_ONCE, |name| sidecarset_then_pod(user, name))
        .await;
    bed.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_sidecarsets_that_clash_the_second_is_refused_at_once_and_taken_once_the_first_is_gone() {
    let bed = Bed::start("clash").await;
    let (user, other_client) = (&bed.user, connect(&bed.server).await);
    let set = |name: String| {
        json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet", "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "clash"}},
                "containers": [{"name": "side", "image": "side:1"}]}})
    };
    for round in 0..10 {
        let (first, second) = (format!("first{round}"), format!("second{round}"));
        user.create(&SIDECAR_SETS, None, &set(first.clone()))
            .await
            .unwrap();
        let refused = other_client
            .create(&SIDECAR_SETS, None, &set(second.clone()))
            .await;
        let why = refused.unwrap_err().message;
        assert!(
            why.contains("spec.containers[0].name") && why.contains(&first),
            "{why}"
        );
        let gone = Default::default();
        user.delete(&SIDECAR_SETS, None, &first, &gone).await.unwrap();
        let taken = other_client
            .create(&SIDECAR_SETS, None, &set(second.clone()))
            .await;
        taken.unwrap();
        user.delete(&SIDECAR_SETS, None, &second, &gone).await.unwrap();
    }
    bed.end();
}
