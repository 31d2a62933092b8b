//! Everything in one thread: server, nodes, controllers, and operators that are started again when they crash.
use crate::StormError;
use crate::backend::Backend;
use crate::faults::{Client, Faults, Faulty, Plan, Process};
use crate::replica::{Replica, Webhooks};
use crate::story::{self, Tale};
use cluster::resource::NODES;
use cluster::{Door, DoorOptions};
use embedded::UserInfo;
use model::time::{Clock, Timestamp};
use sim::clock::TokioClock;
use sim::{Heartbeats, NodesOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const STARTED_AT: i64 = 1_800_000_000;
const NODES_THERE: usize = 2;
/// One stormy seed in so many may see the server's storage put back.
const RESTORED: u64 = 8;

/// What a run is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    pub seed: u64,
    pub tale: Tale,
    pub plan: Plan,
    /// Operators at once; one leads.
    pub replicas: usize,
    /// How long nothing may happen after the story.
    pub quiet: Duration,
}

impl Setup {
    pub fn calm(seed: u64) -> Self {
        Self {
            seed,
            tale: Tale::default(),
            plan: Plan::None,
            replicas: 1,
            quiet: Duration::from_secs(3600),
        }
    }

    /// Few pods, and still some that wait for others: for the story to be told thousands of times.
    pub fn small(seed: u64) -> Self {
        Self {
            tale: Tale {
                pods: 5,
                max_unavailable: 2,
                first: 2,
                canaries: 1,
            },
            ..Self::calm(seed)
        }
    }

    pub fn stormy(seed: u64) -> Self {
        Self {
            tale: Tale::drawn(seed),
            // In some the storage is put back, and what was written since is lost.
            plan: match seed % RESTORED {
                0 => Plan::with_restore(),
                _ => Plan::stormy(),
            },
            // Every other seed has a successor that waits with full caches.
            replicas: 1 + (seed % 2) as usize,
            ..Self::calm(seed)
        }
    }
}

pub struct World {
    pub backend: Backend,
    /// A door without faults, for whoever plays the user.
    pub user: Door,
    pub faults: Arc<Faults>,
    stop: CancellationToken,
    webhooks: Webhooks,
}

impl Drop for World {
    fn drop(&mut self) {
        self.webhooks.nobody();
    }
}

impl World {
    /// Starts all of it.
    pub async fn start(setup: &Setup) -> Result<World, StormError> {
        let seed = setup.seed;
        let started = Timestamp::from_second(STARTED_AT).unwrap_or(Timestamp::UNIX_EPOCH);
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::starting_at(started));
        let backend = Backend::start(seed, clock.clone()).await?;
        let faults = Arc::new(Faults::new(seed, setup.plan.clone()));
        let nobody = Arc::new(Faults::new(seed, Plan::None));
        let user = Faulty::new(
            backend.clone(),
            UserInfo::admin(),
            Client::Operator,
            nobody,
            Process::default(),
        )
        .waiting();
        let webhooks = Webhooks::register(&backend, &faults);
        let world = World {
            webhooks: webhooks.clone(),
            user: Door::in_process_with(user, door_options(seed, 1)),
            faults,
            stop: CancellationToken::new(),
            backend,
        };
        story::create_namespace(&world).await?;
        world.simulate(Client::Nodes, seed, &clock);
        world.simulate(Client::Controllers, seed, &clock);
        for number in 0..setup.replicas {
            let replica = Replica {
                number,
                seed,
                backend: world.backend.clone(),
                faults: world.faults.clone(),
                webhooks: webhooks.clone(),
                clock: clock.clone(),
            };
            tokio::spawn(replica.live(world.stop.clone()));
        }
        Ok(world)
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Nodes, or controllers with the scheduler: one life after another.
    fn simulate(&self, client: Client, seed: u64, clock: &Arc<dyn Clock>) {
        let (backend, faults, stop) = (self.backend.clone(), self.faults.clone(), self.stop.clone());
        let (clock, admin) = (clock.clone(), self.user.clone());
        tokio::spawn(async move {
            for life in 0.. {
                let process = Process::default();
                let user = UserInfo::system("sim");
                let service = Faulty::new(backend.clone(), user, client, faults.clone(), process.clone());
                let who = 1000 * (1 + client as u64) + life;
                let door = Door::in_process_with(service, door_options(seed, who));
                let nodes = NodesOptions {
                    count: NODES_THERE,
                    heartbeats: Some(Heartbeats {
                        lease: Duration::from_secs(40),
                        renew: Duration::from_secs(10),
                    }),
                    ..NodesOptions::default()
                };
                let options = sim::Options {
                    nodes: (client == Client::Nodes).then_some(nodes),
                    scheduler: client == Client::Controllers,
                    controllers: client == Client::Controllers,
                    clock: clock.clone(),
                    seed: seed.wrapping_add(life),
                    ..sim::Options::default()
                };
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = process.crashed() => {}
                    () = nodes_are_gone(&admin, &backend), if client == Client::Nodes => {}
                    () = sim::run(door, options, stop.clone()) => {}
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
    }
}

/// Where the storage is put back to before the nodes were registered, somebody starts the kubelets anew: one that runs
/// does not register its node again.
async fn nodes_are_gone(user: &Door, backend: &Backend) {
    loop {
        backend.restored().cancelled_owned().await;
        let nodes = user.list(&NODES, None, &Default::default()).await;
        if nodes.is_ok_and(|nodes| nodes.items.len() < NODES_THERE) {
            return;
        }
    }
}

pub(crate) fn door_options(seed: u64, who: u64) -> DoorOptions {
    DoorOptions {
        seed: Some(seed.wrapping_mul(31).wrapping_add(who)),
        stall_timeout: None,
        ..DoorOptions::default()
    }
}
