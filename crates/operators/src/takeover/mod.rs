//! Carries out a take-over from Kruise, or a give-back, step by step: look, do the first thing that is left, look
//! again. What is left is decided in `workload::takeover`; nothing is remembered here but how long we wait.
mod act;
mod observe;
mod usage;

use cluster::{ApiError, Door};
use observe::Patience;
use std::time::Duration;
use tokio::time::Instant;
use workload::takeover::{Direction, Observed, Plan, Standing, Step, manager, plan, remaining};

#[derive(Clone, Debug)]
pub struct MoverOptions {
    /// Our operator's namespace.
    pub namespace: String,
    /// Names of its webhook configurations and of its lease.
    pub mutating_configuration: String,
    pub validating_configuration: String,
    pub lease: String,
    /// How long one thing is waited for.
    pub patience: Duration,
    /// Between seeing a change of admission in force and building on it. We see one API server; where there are
    /// several, each follows by a watch of its own.
    pub settle: Duration,
}

impl MoverOptions {
    pub fn new(namespace: &str) -> Self {
        let operator = crate::Options::new(namespace);
        Self {
            namespace: operator.namespace,
            mutating_configuration: operator.mutating_configuration,
            validating_configuration: operator.validating_configuration,
            lease: operator.lease.unwrap_or_default(),
            patience: Duration::from_secs(180),
            settle: Duration::from_secs(5),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("{0}")]
    Api(#[from] ApiError),
    #[error("{what} cannot be read: {why}")]
    Malformed { what: String, why: String },
    #[error("not done: {}", .0.join("; "))]
    Refused(Vec<String>),
    #[error(
        "waited {seconds} s in vain until {step}: {why}. Nothing is broken; run the command again to go on"
    )]
    Stuck {
        step: &'static str,
        seconds: u64,
        why: String,
    },
}

pub struct Mover {
    door: Door,
    options: MoverOptions,
    leases: Patience,
}

impl Mover {
    pub fn new(door: Door, options: MoverOptions) -> Self {
        Self {
            door,
            options,
            leases: Patience::default(),
        }
    }

    /// What would be done; changes nothing.
    pub async fn plan(&mut self, direction: Direction) -> Result<Plan, MoveError> {
        let seen = self.observe(direction).await?;
        let usage = self.usage().await?;
        let sets = self.sidecar_sets().await?;
        Ok(plan(&seen, &usage, &sets, direction))
    }

    /// All that is left of the plan; `tell` hears of each step when it is done.
    pub async fn run(&mut self, plan: &Plan, mut tell: impl FnMut(Step)) -> Result<(), MoveError> {
        while let Some(step) = self.step(plan).await? {
            tell(step);
        }
        Ok(())
    }

    /// The next step, if one is left.
    pub async fn step(&mut self, plan: &Plan) -> Result<Option<Step>, MoveError> {
        if !plan.refusals.is_empty() {
            return Err(MoveError::Refused(plan.refusals.clone()));
        }
        let seen = self.observe(plan.direction).await?;
        let Some(step) = remaining(&seen, plan.mode, plan.direction).first().copied() else {
            return Ok(None);
        };
        self.until_done(step, plan).await?;
        Ok(Some(step))
    }

    async fn until_done(&mut self, step: Step, plan: &Plan) -> Result<(), MoveError> {
        let began = Instant::now();
        loop {
            let seen = self.observe(plan.direction).await?;
            if !remaining(&seen, plan.mode, plan.direction).contains(&step) {
                return Ok(());
            }
            let waited = began.elapsed();
            if waited > self.options.patience {
                return Err(MoveError::Stuck {
                    step: step.describe(plan.mode),
                    seconds: waited.as_secs(),
                    why: why(&seen),
                });
            }
            if step.waits() {
                self.help(step, &seen, waited).await?;
            } else {
                // Somebody else wrote in between, as Kruise's manager does all the time.
                self.act(step, &seen, plan.mode).await?;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// What is seen of those we wait for.
fn why(seen: &Observed) -> String {
    let standing = match &seen.standing {
        Standing::Silent(why) => format!("our webhook does not answer ({why})"),
        Standing::StandingBy => "our operator stands by".to_owned(),
        Standing::Admitting => "our operator admits".to_owned(),
    };
    let kruise = match manager::rolled_out(&seen.manager) {
        _ if seen.manager.is_null() => "there is no Deployment of Kruise's manager".to_owned(),
        Ok(()) => "Kruise's manager is in place".to_owned(),
        Err(why) => format!("Kruise's manager: {why}"),
    };
    format!("{standing}; {kruise}")
}
