//! Everything in one process: server, nodes, controllers, and an operator that is started again when it crashes.
use crate::StormError;
use crate::faults::{Faults, Faulty, Process, Rates};
use crate::story::NAMESPACE;
use bytes::Bytes;
use cluster::lease::TokioBootClock;
use cluster::resource::NAMESPACES;
use cluster::{Clocks, Door, DoorOptions};
use embedded::{ApiServer, Config, UserInfo, WebhookHandler};
use model::time::{Clock, Timestamp};
use operators::sidecarset::Operator;
use operators::{Metrics, Options, Webhook};
use serde_json::json;
use sim::clock::TokioClock;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HOST: &str = "operator.test";
const STARTED_AT: i64 = 1_800_000_000;

pub struct World {
    pub server: ApiServer,
    /// A door without faults, for whoever plays the user.
    pub user: Door,
    pub faults: Arc<Faults>,
    stop: CancellationToken,
}

impl World {
    /// Starts all of it.
    pub async fn start(seed: u64, rates: Rates) -> Result<World, StormError> {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(
            Timestamp::from_second(STARTED_AT).unwrap_or(Timestamp::UNIX_EPOCH),
        ));
        let config = Config {
            clock: clock.clone(),
            seed: Some(seed),
            history: usize::MAX,
            ..Config::default()
        };
        let server = ApiServer::start(config)
            .await
            .map_err(|source| StormError::Server { seed, source })?;
        let user = Door::in_process_with(server.service(UserInfo::admin()), door_options(seed, 1));
        let world = World {
            faults: Arc::new(Faults::new(seed, rates)),
            stop: CancellationToken::new(),
            user,
            server,
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let made = world.user.create(&NAMESPACES, None, &namespace).await;
        made.map_err(|source| StormError::Api {
            what: "the namespace".to_owned(),
            source: Box::new(source),
        })?;
        world.simulate(seed, clock.clone());
        tokio::spawn(operate(
            world.server.clone(),
            world.faults.clone(),
            seed,
            clock,
            world.stop.clone(),
        ));
        Ok(world)
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    fn simulate(&self, seed: u64, clock: Arc<dyn Clock>) {
        let door = Door::in_process_with(
            self.server.service(UserInfo::system("sim")),
            door_options(seed, 2),
        );
        let options = sim::Options {
            clock,
            seed,
            ..sim::Options::default()
        };
        tokio::spawn(sim::run(door, options, self.stop.clone()));
    }
}

fn door_options(seed: u64, who: u64) -> DoorOptions {
    DoorOptions {
        seed: Some(seed.wrapping_mul(31).wrapping_add(who)),
        stall_timeout: None,
        ..DoorOptions::default()
    }
}

/// One life of the operator after another.
async fn operate(
    server: ApiServer,
    faults: Arc<Faults>,
    seed: u64,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let boot = Arc::new(TokioBootClock::start());
    for life in 0.. {
        let process = Process::default();
        let service = Faulty::new(server.service(UserInfo::admin()), faults.clone(), process.clone());
        let door = Door::in_process_with(service, door_options(seed, 100 + life));
        let mut options = Options::new("tidegate-system");
        options.webhook = Webhook::Url(format!("https://{HOST}"));
        options.install = true;
        options.seed = Some(seed.wrapping_add(life));
        if !faults.leads() {
            options.lease = None;
        }
        options.identity = format!("operator-{life}");
        options.clocks = Clocks {
            boot: boot.clone(),
            wall: clock.clone(),
        };
        let living = live(&server, door, options);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = process.crashed() => {}
            () = living => {}
        }
        server.register_webhook_service(HOST, refused());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn live(server: &ApiServer, door: Door, options: Options) {
    let operator = match Operator::start(door, options, Arc::new(Metrics::default())).await {
        Ok(operator) => operator,
        Err(error) => return tracing::warn!(%error, "the operator did not start"),
    };
    let admission = operator.admission();
    let handler: WebhookHandler = Arc::new(move |request| {
        let admission = admission.clone();
        Box::pin(async move {
            let answer = admission.answer(&request.path, &request.body).await;
            answer
                .map(Bytes::from)
                .map_err(|status| format!("status {status}"))
        })
    });
    server.register_webhook_service(HOST, handler);
    if let Err(error) = operator.run(std::future::pending()).await {
        tracing::warn!(%error, "the operator ended");
    }
}

fn refused() -> WebhookHandler {
    Arc::new(|_| Box::pin(async { Err("connection refused".to_owned()) }))
}
