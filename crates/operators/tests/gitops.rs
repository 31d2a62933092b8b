//! A GitOps tool that holds the rendered chart against the cluster sees nothing to put back: what the operator fills in,
//! authorities above all, is in no field of the chart; also after they changed.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#[path = "support/server.rs"]
mod server;

use cluster::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, SECRETS,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{DeleteOptions, Door};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testbed::ApiServer;
use tidegate_operators::{self as operators, Metrics, Options};

/// The namespace that the rendered chart names.
const SPACE: &str = "tidegate-rendered-namespace";
const SLOW: Duration = Duration::from_secs(90);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rendered_chart_never_differs_from_what_the_operator_made_of_it() {
    let (server, _) = server::start("gitops").await;
    let door = server::door(&server.kubeconfig()).await;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}});
    door.create(&NAMESPACES, None, &namespace).await.unwrap();
    kubectl(&server, &["apply", "--server-side", "--field-manager=gitops"]);
    no_diff(&server, "as applied");

    let mut options = Options::new(SPACE);
    options.listen = Some(([127, 0, 0, 1], 0).into());
    let operating = tokio::spawn({
        let door = door.clone();
        async move {
            let run = operators::run(door, options, Arc::new(Metrics::new()), std::future::pending());
            run.await.unwrap();
        }
    });
    let first = bundles(&door, |_| true).await;
    no_diff(&server, "with authorities");
    // Other certificates, by another authority.
    let none = DeleteOptions::default();
    door.delete(&SECRETS, Some(SPACE), "tidegate-webhook-certs", &none)
        .await
        .unwrap();
    bundles(&door, |now| {
        now.iter().zip(&first).all(|(now, first)| now != first)
    })
    .await;
    no_diff(&server, "after the authorities changed");
    operating.abort();
}

/// What all three objects say of our authorities, once each says something that is `good`.
async fn bundles(door: &Door, good: impl Fn(&[String]) -> bool) -> Vec<String> {
    let began = Instant::now();
    loop {
        let mut found = Vec::new();
        for (resource, name, at) in [
            (
                &CUSTOM_RESOURCE_DEFINITIONS,
                "sidecarsets.apps.kruise.io",
                "/spec/conversion/webhook/clientConfig/caBundle",
            ),
            (
                &MUTATING_WEBHOOK_CONFIGURATIONS,
                "tidegate-mutating-webhook-configuration",
                "/webhooks/0/clientConfig/caBundle",
            ),
            (
                &VALIDATING_WEBHOOK_CONFIGURATIONS,
                "tidegate-validating-webhook-configuration",
                "/webhooks/0/clientConfig/caBundle",
            ),
        ] {
            let object: Value = door.get(resource, None, name).await.unwrap();
            found.extend(object.pointer(at).and_then(Value::as_str).map(str::to_owned));
        }
        if found.len() == 3 && good(&found) {
            return found;
        }
        assert!(began.elapsed() < SLOW, "authorities in all three: {found:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// By either way of comparing; both end with an error where something differs.
fn no_diff(server: &ApiServer, when: &str) {
    println!("{when}");
    kubectl(server, &["diff", "--server-side", "--field-manager=gitops"]);
    kubectl(server, &["diff"]);
}

fn kubectl(server: &ApiServer, arguments: &[&str]) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/rendered/default.yaml");
    let output = server
        .kubectl()
        .args(arguments)
        .arg("-f")
        .arg(chart)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}", said.join("\n"));
}
