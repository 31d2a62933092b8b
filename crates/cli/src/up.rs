//! `tidegate up`: API server, simulated nodes, controllers and operators in this process.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use cluster::{Door, DoorOptions};
use embedded::{ApiServer, Config, Storage, UserInfo};
use operators::Metrics;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::{LogFormat, UpArgs};
use crate::output::say;
use crate::telemetry::Telemetry;
use crate::{failure, operator, sample};

const NAMESPACE: &str = "tidegate-system";

pub async fn run(args: UpArgs) -> Result<(), Box<dyn Error>> {
    let logs = std::env::var_os("TIDEGATE_LOG").map(|_| LogFormat::Text);
    let telemetry = Telemetry::start(logs)?;
    let outcome = serve(args).await;
    telemetry.end().await;
    outcome
}

async fn serve(args: UpArgs) -> Result<(), Box<dyn Error>> {
    let stop = operator::until_told_to_stop()?;
    let config = Config {
        storage: Storage::Durable(args.data_dir.clone()),
        ..Config::default()
    };
    let server = ApiServer::start(config)
        .await
        .map_err(|e| format!("starting on {}: {e}", args.data_dir.display()))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|e| format!("listening on {}: {e}", args.listen))?;
    let url = format!("https://{}", listener.local_addr()?);
    write_kubeconfig(
        &args.kubeconfig,
        &server.kubeconfig(&url, "admin", &["system:masters"]),
    )?;
    let mut parts = tokio::task::JoinSet::new();
    let serving = server.clone();
    let told = stop.clone();
    parts.spawn(async move {
        serving
            .serve(listener, told.cancelled_owned())
            .await
            .map_err(|e| format!("serving: {e}"))
    });
    let seed = args.seed.unwrap_or_else(rand::random);
    start_simulation(&server, &args, seed, &stop, &mut parts);
    start_operator(&server, &stop, &mut parts).await?;
    say!(
        "ready: {url}, {} simulated nodes, seed {seed}; kubectl --kubeconfig {} get pods -A",
        args.nodes,
        args.kubeconfig.display()
    );
    if !args.no_sample {
        let door = door(&server, UserInfo::admin(), "tidegate-sample");
        tokio::select! {
            () = stop.cancelled() => {}
            outcome = sample::run(&door, &args.kubeconfig) => {
                // Somebody who deletes or changes the sample meanwhile still wants the cluster.
                if let Err(error) = outcome {
                    say!("\nsample: stopped: {}", failure::text(error.as_ref()));
                }
            }
            ended = parts.join_next() => return part_ended(ended),
        }
    }
    tokio::select! {
        () = stop.cancelled() => {}
        ended = parts.join_next() => return part_ended(ended),
    }
    while let Some(ended) = parts.join_next().await {
        ended??;
    }
    Ok(())
}

/// No part ends by itself: the first that does says why.
fn part_ended(
    ended: Option<Result<Result<(), String>, tokio::task::JoinError>>,
) -> Result<(), Box<dyn Error>> {
    match ended {
        Some(outcome) => Ok(outcome??),
        None => Ok(()),
    }
}

fn door(server: &ApiServer, user: UserInfo, agent: &str) -> Door {
    Door::in_process_with(server.service(user), door_options(agent))
}

fn door_options(agent: &str) -> DoorOptions {
    DoorOptions {
        user_agent: agent.to_owned(),
        stall_timeout: None,
        ..DoorOptions::default()
    }
}

fn start_simulation(
    server: &ApiServer,
    args: &UpArgs,
    seed: u64,
    stop: &CancellationToken,
    parts: &mut tokio::task::JoinSet<Result<(), String>>,
) {
    let nodes = sim::NodesOptions {
        count: args.nodes as usize,
        ..sim::NodesOptions::default()
    };
    let options = sim::Options {
        nodes: Some(nodes),
        seed,
        ..sim::Options::default()
    };
    let logs = options.logs.clone();
    server.set_log_source(Arc::new(move |asked: &embedded::LogRequest| {
        let pod = cluster::ObjectKey::new(&asked.namespace, &asked.pod);
        let lines = logs
            .lines(&pod, &asked.container)
            .ok_or_else(|| format!("pod {} runs on no simulated node", asked.pod))?;
        Ok(lines.iter().map(|line| format!("{line}\n")).collect())
    }));
    let door = door(server, UserInfo::admin(), "tidegate-sim");
    let told = stop.clone();
    parts.spawn(async move {
        sim::run(door, options, told).await;
        Ok(())
    });
}

/// Admission goes over HTTPS on loopback, as it would to an operator of its own.
async fn start_operator(
    server: &ApiServer,
    stop: &CancellationToken,
    parts: &mut tokio::task::JoinSet<Result<(), String>>,
) -> Result<(), Box<dyn Error>> {
    // The port is free when we let go of it, and taken again at once.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut options = operators::Options::new(NAMESPACE);
    options.listen = Some(address);
    options.webhook = operators::Webhook::Url(format!("https://{address}"));
    options.install = true;
    // One process is one operator.
    options.lease = None;
    let metrics = Arc::new(Metrics::default());
    let door_options = metrics.observing(door_options("tidegate-operator"));
    let door = Door::in_process_with(server.service(UserInfo::admin()), door_options);
    let operator = operators::sidecarset::Operator::start(door, options, metrics).await?;
    let told = stop.clone();
    parts.spawn(async move {
        operator
            .run(told.cancelled_owned())
            .await
            .map_err(|e| format!("operator: {e}"))
    });
    Ok(())
}

fn write_kubeconfig(path: &Path, content: &str) -> Result<(), Box<dyn Error>> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| format!("creating {}: {e}", dir.display()))?;
    }
    // It holds an administrator's key.
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| format!("writing {}: {e}", path.display()))?;
    file.write_all(content.as_bytes())
        .map_err(|e| format!("writing {}: {e}", path.display()))?;
    Ok(())
}
