//! A real API server of a test's own, and what every namespace on it needs.
#![allow(dead_code)] // Each test takes its part.
use cluster::resource::{NAMESPACES, SERVICE_ACCOUNTS};
use cluster::{Door, DoorOptions};
use serde_json::json;
use std::path::{Path, PathBuf};
use testbed::{ApiServer, ApiServerOptions};

/// In a directory of its own: it is gone once the server is dropped and the test has ended well.
pub async fn start(name: &str) -> (ApiServer, PathBuf) {
    let dir = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
    let options = ApiServerOptions::in_dir(&dir);
    let server = tokio::task::spawn_blocking(move || ApiServer::start(&options))
        .await
        .unwrap()
        .unwrap();
    (server, dir)
}

pub async fn door(kubeconfig: &Path) -> Door {
    Door::from_kubeconfig(Some(kubeconfig), DoorOptions::default())
        .await
        .unwrap()
}

/// With the service account that pods need, which no controller makes here.
pub async fn create_namespace(door: &Door, name: &str, account: &str) {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    door.create(&NAMESPACES, None, &namespace).await.unwrap();
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": name}});
    door.create(&SERVICE_ACCOUNTS, Some(name), &account)
        .await
        .unwrap();
}

/// Free when we let go of it, and taken again at once.
pub fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}
