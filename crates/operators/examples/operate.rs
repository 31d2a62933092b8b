//! The operator by itself against a cluster that can reach this machine: `operate KUBECONFIG ADDRESS:PORT`.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use cluster::{Door, DoorOptions};
use std::net::SocketAddr;
use std::sync::Arc;
use tidegate_operators::{Metrics, Options, Webhook};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (kubeconfig, address) = (arguments.next().unwrap(), arguments.next().unwrap());
    let address: SocketAddr = address.parse().unwrap();
    let metrics = Arc::new(Metrics::new());
    let door = metrics.observing(DoorOptions::default());
    let door = Door::from_kubeconfig(Some(kubeconfig.as_ref()), door)
        .await
        .unwrap();
    let mut options = Options::new("tidegate-system");
    options.listen = Some(address);
    options.metrics = Some(SocketAddr::new(address.ip(), address.port() + 1));
    options.webhook = Webhook::Url(format!("https://{address}"));
    options.install = true;
    let shutdown = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tidegate_operators::run(door, options, metrics, shutdown)
        .await
        .unwrap();
}
