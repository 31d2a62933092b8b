//! `tidegate operator`: the operators against a cluster, until SIGTERM or Ctrl-C.

use std::error::Error;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use cluster::{Door, DoorOptions};
use operators::{Metrics, Options};
use tokio_util::sync::CancellationToken;

use crate::args::OperatorArgs;
use crate::telemetry::Telemetry;

pub async fn run(args: OperatorArgs) -> Result<(), Box<dyn Error>> {
    let telemetry = Telemetry::start(Some(args.log_format))?;
    let outcome = operate(args).await;
    telemetry.end().await;
    outcome
}

async fn operate(args: OperatorArgs) -> Result<(), Box<dyn Error>> {
    if args.listen.port() == 0 && args.service.is_none() && args.webhook_url.is_none() {
        return Err("--listen needs a port: the API server is told to call it. Or give --webhook-url".into());
    }
    let shutdown = until_told_to_stop()?;
    let metrics = Arc::new(Metrics::default());
    let door_options = metrics.observing(DoorOptions {
        user_agent: "tidegate-operator".to_owned(),
        ..DoorOptions::default()
    });
    let connection = &args.connection;
    let (file, context) = (connection.kubeconfig.as_deref(), connection.context.as_deref());
    let door = Door::from_context(file, context, door_options).await?;
    let mut options = Options::new(&args.namespace);
    options.listen = Some(args.listen);
    options.metrics = Some(args.metrics);
    options.install = args.installs();
    options.identity = identity();
    options.excluded = args.excluded.iter().filter(|n| !n.is_empty()).cloned().collect();
    options.webhook = match (&args.service, &args.webhook_url) {
        (Some(name), _) => operators::Webhook::Service {
            name: name.clone(),
            port: 443,
        },
        (None, Some(url)) => operators::Webhook::Url(url.clone()),
        (None, None) => operators::Webhook::Url(url_of(args.listen)),
    };
    operators::run(door, options, metrics, shutdown.cancelled_owned()).await?;
    Ok(())
}

/// A wildcard address is reached through loopback: an API server elsewhere needs --webhook-url.
fn url_of(listen: std::net::SocketAddr) -> String {
    let address = match listen.ip() {
        ip if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        ip => ip,
    };
    format!("https://{}", std::net::SocketAddr::new(address, listen.port()))
}

/// The pod's name where there is one, else the machine's, told apart by process.
fn identity() -> String {
    let named = ["POD_NAME", "HOSTNAME"]
        .iter()
        .find_map(|key| std::env::var(key).ok().filter(|v| !v.is_empty()));
    format!(
        "{}-{}",
        named.unwrap_or_else(|| "tidegate".to_owned()),
        std::process::id()
    )
}

/// A token cancelled at SIGTERM or SIGINT. The second one ends the process: leaving well can take minutes.
pub fn until_told_to_stop() -> std::io::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = CancellationToken::new();
    let told = token.clone();
    tokio::spawn(async move {
        let mut told_to = async || {
            tokio::select! {
                _ = terminate.recv() => SignalKind::terminate().as_raw_value(),
                _ = interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            }
        };
        told_to().await;
        told.cancel();
        // `timeout` tells the process and its group, which is twice at once.
        let at_once = tokio::time::Instant::now() + Duration::from_secs(1);
        while tokio::time::timeout_at(at_once, told_to()).await.is_ok() {}
        let signal = told_to().await;
        eprintln!("tidegate: told to stop once more, ending at once");
        std::process::exit(128 + signal);
    });
    Ok(token)
}
