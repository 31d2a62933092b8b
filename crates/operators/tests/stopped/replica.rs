//! An operator as a process of its own, which can be stopped, and the ways that lead to it.
use crate::proxy::Proxy;
use crate::server::free_port;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testbed::ApiServer;
use tokio::net::{TcpListener, TcpStream};

pub struct Replica {
    pub name: String,
    pub listen: SocketAddr,
    pub proxy: Proxy,
    process: Killed,
}

impl Replica {
    pub async fn start(name: &str, api: SocketAddr, webhook: &str, dir: &Path) -> Replica {
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let proxy = Proxy::start(api).await;
        let kubeconfig = dir.join(format!("{name}.kubeconfig"));
        let text = json!({"apiVersion": "v1", "kind": "Config", "current-context": "plain",
            "clusters": [{"name": "plain", "cluster": {"server": format!("http://{}", proxy.address)}}],
            "contexts": [{"name": "plain", "context": {"cluster": "plain", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}]});
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let told = json!({"kubeconfig": kubeconfig, "listen": listen, "webhook": webhook, "identity": name});
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "a_process_that_operates", "--nocapture"])
            .env("TIDEGATE_TEST_OPERATOR", told.to_string())
            .stdout(Stdio::null());
        Replica {
            name: name.to_owned(),
            listen,
            proxy,
            process: Killed(command.spawn().unwrap()),
        }
    }

    pub fn signal(&self, name: &str) {
        let pid = self.process.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

/// A process that does not outlive the test.
pub struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The API server without TLS, so that requests can be seen: `kubectl proxy`.
pub fn plain(server: &ApiServer) -> (Killed, SocketAddr) {
    let mut command = server.kubectl();
    command.args(["proxy", "--port=0"]).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    (Killed(process), address)
}

/// Leads every connection to an operator that runs.
pub async fn balance(listener: TcpListener, awake: Arc<Mutex<Vec<SocketAddr>>>) {
    for turn in 0usize.. {
        let (mut client, _) = listener.accept().await.unwrap();
        let awake = awake.clone();
        tokio::spawn(async move {
            let backends = awake.lock().unwrap().clone();
            // One that does not listen yet is passed over.
            for n in 0..backends.len() {
                let backend = backends[(turn + n) % backends.len()];
                if let Ok(mut server) = TcpStream::connect(backend).await {
                    let stopped = async {
                        while awake.lock().unwrap().contains(&backend) {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    };
                    let carried = tokio::io::copy_bidirectional(&mut client, &mut server);
                    tokio::select! { _ = carried => {}, () = stopped => {} }
                    return;
                }
            }
        });
    }
}
