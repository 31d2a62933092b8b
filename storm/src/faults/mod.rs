//! What goes wrong between the clients of the API server and the server: one fault at one write, or many by seed.
mod body;
mod plan;
mod process;
mod service;
mod told;

pub use body::{Ending, WatchFault};
pub use plan::{Fault, Plan, Rates};
pub use process::Process;
pub use service::Faulty;
pub use told::{Client, Kind, Written};

use crate::clocks::Jumps;
use plan::{READ, WATCH};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The faults of one run, and everything that was written in it.
pub struct Faults {
    state: Mutex<State>,
    pub jumps: Arc<Jumps>,
}

struct State {
    rng: StdRng,
    plan: Plan,
    struck: BTreeMap<String, usize>,
    left: usize,
    restores_left: usize,
    written: Vec<Written>,
    writes: BTreeMap<Client, usize>,
    webhook: Vec<Webhook>,
}

/// How the webhook behaves when it is called next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Webhook {
    /// Answers after so many seconds.
    Slow(u64),
    Dead,
}

impl Faults {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let (left, restores_left) = (plan.most(), plan.restores());
        let state = State {
            rng: StdRng::seed_from_u64(seed ^ 0x5707_1234),
            plan,
            struck: BTreeMap::new(),
            left,
            restores_left,
            written: Vec::new(),
            writes: BTreeMap::new(),
            webhook: Vec::new(),
        };
        Self {
            state: Mutex::new(state),
            jumps: Arc::default(),
        }
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.left = 0;
        state.webhook.clear();
    }

    /// How often each fault struck.
    pub fn struck(&self) -> Vec<(String, usize)> {
        self.lock().struck.clone().into_iter().collect()
    }

    /// Everything that was written, in the order of sending.
    pub fn written(&self) -> Vec<Written> {
        self.lock().written.clone()
    }

    /// How a call to the webhook fares; `None`: well.
    pub fn webhook_call(&self) -> Option<Webhook> {
        self.lock().webhook.pop()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write is about to be sent: its place in the record, and what befalls it.
    fn write(&self, written: Written) -> (usize, Option<Fault>) {
        let mut state = self.lock();
        let state = &mut *state;
        let client = written.client;
        let number = state.writes.entry(client).or_default();
        *number += 1;
        let number = *number;
        state.written.push(written);
        let place = state.written.len() - 1;
        let fault = match &state.plan {
            Plan::None => None,
            Plan::At {
                client: c,
                write,
                fault,
            } => (*c == client && *write == number).then_some(*fault),
            Plan::Random(rates) => {
                let hit = state.left > 0 && state.rng.random::<f64>() < rates.write_of(client);
                hit.then(|| {
                    let restore = client == Client::Operator && state.restores_left > 0;
                    let faults = Fault::of(client).chain(restore.then_some(Fault::Restore));
                    let faults: Vec<Fault> = faults.collect();
                    faults[state.rng.random_range(0..faults.len())]
                })
            }
        };
        let fault = fault.filter(|_| state.left > 0);
        if let Some(fault) = fault {
            state.strike(format!("{client:?} write: {fault}"));
            match fault {
                // A few calls, so that the retry of a caller meets it too.
                Fault::WebhookSlow(seconds) => state.webhook = vec![Webhook::Slow(seconds); 3],
                Fault::WebhookDead => state.webhook = vec![Webhook::Dead; 3],
                Fault::ClockJump(seconds) => self.jumps.wall(seconds),
                Fault::BootJump(seconds) => self.jumps.boot(seconds),
                Fault::Restore => state.restores_left = state.restores_left.saturating_sub(1),
                _ => {}
            }
        }
        (place, fault)
    }

    /// What befalls something that is read, and a number between 0 and 1 for its details.
    fn reading(&self, client: Client, kind: Kind) -> Option<(Fault, f64)> {
        let mut state = self.lock();
        let state = &mut *state;
        let Plan::Random(rates) = &state.plan else {
            return None;
        };
        let (rate, faults) = match kind {
            Kind::Watch => (rates.watch, &WATCH[..]),
            _ => (rates.read, &READ[..]),
        };
        if state.left == 0 || client != Client::Operator || state.rng.random::<f64>() >= rate {
            return None;
        }
        let fault = faults[state.rng.random_range(0..faults.len())];
        let detail = state.rng.random();
        state.strike(format!("{client:?} {kind:?}: {fault}"));
        Some((fault, detail))
    }

    fn answered(&self, place: usize, code: u16, changed: bool) {
        if let Some(written) = self.lock().written.get_mut(place) {
            written.code = code;
            written.changed = changed;
        }
    }
}

impl State {
    fn strike(&mut self, what: String) {
        self.left -= 1;
        *self.struck.entry(what).or_default() += 1;
    }
}
