//! One operator among replicas: started again when it crashes.
use crate::backend::Backend;
use crate::clocks::{JumpingBootClock, WallClock};
use crate::faults::{Client, Faults, Faulty, Process, Webhook as WebhookFault};
use crate::world::door_options;
use bytes::Bytes;
use cluster::lease::TokioBootClock;
use cluster::{Clocks, Door};
use embedded::{UserInfo, WebhookHandler};
use model::time::Clock;
use operators::sidecarset::{Admission, Operator};
use operators::{Metrics, Options, Webhook};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HOST: &str = "operator.test";

/// Who answers admission requests: the first replica that lives.
#[derive(Clone, Default)]
pub(crate) struct Webhooks(Arc<Mutex<BTreeMap<usize, Arc<Admission>>>>);

impl Webhooks {
    pub fn register(backend: &Backend, faults: &Arc<Faults>) -> Self {
        let this = Self::default();
        let (living, faults) = (this.clone(), faults.clone());
        let handler: WebhookHandler = Arc::new(move |request| {
            let (living, faults) = (living.clone(), faults.clone());
            Box::pin(async move {
                match faults.webhook_call() {
                    Some(WebhookFault::Dead) => return Err("connection reset".to_owned()),
                    Some(WebhookFault::Slow(seconds)) => {
                        tokio::time::sleep(Duration::from_secs(seconds)).await;
                    }
                    None => {}
                }
                let Some(admission) = living.first() else {
                    return Err("connection refused".to_owned());
                };
                let answer = admission.answer(&request.path, &request.body).await;
                answer
                    .map(Bytes::from)
                    .map_err(|status| format!("status {status}"))
            })
        });
        backend.webhook(HOST, handler);
        this
    }

    /// Who answers holds a door to the server that asks: without this, neither would ever go.
    pub fn nobody(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn first(&self) -> Option<Arc<Admission>> {
        let living = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        living.values().next().cloned()
    }

    fn set(&self, number: usize, admission: Option<Arc<Admission>>) {
        let mut living = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match admission {
            Some(admission) => living.insert(number, admission),
            None => living.remove(&number),
        };
    }
}

pub(crate) struct Replica {
    pub number: usize,
    pub seed: u64,
    pub backend: Backend,
    pub faults: Arc<Faults>,
    pub webhooks: Webhooks,
    pub clock: Arc<dyn Clock>,
}

impl Replica {
    /// One life after another.
    pub async fn live(self, stop: CancellationToken) {
        let boot = TokioBootClock::start();
        for life in 0.. {
            let process = Process::default();
            let one_life = self.life(life, boot, process.clone());
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = process.crashed() => {}
                () = one_life => {}
            }
            self.webhooks.set(self.number, None);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn life(&self, life: u64, boot: TokioBootClock, process: Process) {
        let (backend, faults) = (self.backend.clone(), self.faults.clone());
        let service = Faulty::new(backend, UserInfo::admin(), Client::Operator, faults, process);
        let who = 100 * (1 + self.number as u64) + life;
        let door = Door::in_process_with(service, door_options(self.seed, who));
        let mut options = Options::new("tidegate-system");
        options.webhook = Webhook::Url(format!("https://{HOST}"));
        options.install = true;
        options.seed = Some(self.seed.wrapping_add(who));
        options.identity = format!("operator-{}-{life}", self.number);
        options.clocks = Clocks {
            boot: Arc::new(JumpingBootClock {
                true_clock: boot,
                jumps: self.faults.jumps.clone(),
            }),
            wall: Arc::new(WallClock {
                true_clock: self.clock.clone(),
                jumps: self.faults.jumps.clone(),
            }),
        };
        let operator = match Operator::start(door, options, Arc::new(Metrics::default())).await {
            Ok(operator) => operator,
            Err(error) => return tracing::warn!(%error, "the operator did not start"),
        };
        self.webhooks.set(self.number, Some(operator.admission()));
        if let Err(error) = operator.run(std::future::pending()).await {
            tracing::warn!(%error, "the operator ended");
        }
    }
}
