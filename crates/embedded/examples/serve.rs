//! Serves an embedded API server: `serve PORT KUBECONFIG [DATA_DIR]`.

use std::path::PathBuf;

use tidegate_embedded::{ApiServer, Config, Storage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, kubeconfig, rest @ ..] = arguments.as_slice() else {
        return Err("usage: serve PORT KUBECONFIG [DATA_DIR]".into());
    };
    let storage = match rest.first() {
        Some(directory) => Storage::Durable(PathBuf::from(directory)),
        None => Storage::Memory,
    };
    let server = ApiServer::start(Config {
        storage,
        ..Config::default()
    })
    .await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse::<u16>()?)).await?;
    let url = format!("https://{}", listener.local_addr()?);
    std::fs::write(
        kubeconfig,
        server.kubeconfig(&url, "kubernetes-admin", &["system:masters"]),
    )?;
    println!("ready {url}");
    let stop = async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::warn!(%error, "no signals");
        }
    };
    server.serve(listener, stop).await?;
    Ok(())
}
