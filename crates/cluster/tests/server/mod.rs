//! A real kube-apiserver for the tests of one file: started by the first that needs it, ended by the last.
use std::sync::{Arc, Mutex, Weak};

use testbed::{ApiServer, ApiServerOptions};
use tidegate_cluster::{Door, DoorOptions};

static RUNNING: Mutex<Weak<ApiServer>> = Mutex::new(Weak::new());

pub async fn server() -> Arc<ApiServer> {
    let start = || {
        let mut running = RUNNING.lock().unwrap();
        if let Some(server) = running.upgrade() {
            return server;
        }
        let dir = std::env::temp_dir().join(format!("tidegate-cluster-{}", std::process::id()));
        let server = Arc::new(ApiServer::start(&ApiServerOptions::in_dir(dir)).unwrap());
        *running = Arc::downgrade(&server);
        server
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

pub async fn door(server: &ApiServer, options: DoorOptions) -> Door {
    Door::from_kubeconfig(Some(&server.kubeconfig()), options)
        .await
        .unwrap()
}
