//! The SidecarSet operator: admits pods on every replica, and upgrades them on the one that leads.
mod admission;
mod apply;
mod chore;
mod configurations;
mod contain;
mod engine;
mod injection;
mod intents;
mod news;
mod reconcile;
mod shift;
mod sight;
mod standing;
#[cfg(test)]
mod tests;
mod tracker;
mod views;

use crate::health::{self, Readiness};
use crate::options::Webhook;
use crate::{Metrics, OperatorError, Options};
use cluster::lease::{Leader, LeaderGuard};
use cluster::{
    AdmissionServer, AdmissionServerOptions, CertificateKeeper, Door, KeeperOptions, LeaderOptions,
    RotationOptions, ServerIdentity,
};
use configurations::Announcer;
use engine::{Answers, Engine};
use injection::InjectionSender;
use intents::Ledger;
use shift::Shift;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use views::Caches;
use workload::takeover::Actor;

pub use admission::Admission;

/// Secret, in our namespace, of the certificates all replicas share.
const SECRET: &str = "tidegate-webhook-certs";

/// An operator that is watching; its admission side may be called without sockets.
pub struct Operator {
    door: Door,
    options: Arc<Options>,
    metrics: Arc<Metrics>,
    caches: Caches,
    admission: Arc<Admission>,
    injection: Arc<InjectionSender>,
    announcer: Announcer,
    shift: Shift,
}

/// Runs until `shutdown`.
pub async fn run(
    door: Door,
    options: Options,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), OperatorError> {
    Operator::start(door, options, metrics).await?.run(shutdown).await
}

impl Operator {
    /// Installs what is asked for, and begins to watch.
    pub async fn start(door: Door, options: Options, metrics: Arc<Metrics>) -> Result<Self, OperatorError> {
        if options.install {
            configurations::install(&door, &options).await?;
        }
        let options = Arc::new(options);
        let caches = Caches::start(&door, &options.namespace);
        let injection = Arc::new(InjectionSender::default());
        let announcer = Announcer::new(&options.mutating_configuration);
        let admission = Admission::new(
            &door,
            caches.clone(),
            options.clone(),
            metrics.clone(),
            injection.clone(),
            announcer.clone(),
        );
        Ok(Self {
            shift: Shift::start(&door, &options),
            injection,
            announcer,
            door,
            options,
            metrics,
            caches,
            admission: Arc::new(admission),
        })
    }

    /// What answers reviews: ready once [`Operator::run`] has read everything there is.
    pub fn admission(&self) -> Arc<Admission> {
        self.admission.clone()
    }

    /// Runs until `shutdown`; then answers those who still ask, and gives the lease back.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), OperatorError> {
        let stop = CancellationToken::new();
        let identity = ServerIdentity::default();
        let keeper = CertificateKeeper::new(
            &self.door,
            self.keeper_options(),
            self.options.clocks.wall.clone(),
            identity.clone(),
        );
        let bundle = keeper.bundle();
        let configurations = configurations::Keeper::new(
            &self.door,
            &self.caches,
            &self.options,
            bundle,
            self.injection.clone(),
            self.shift.clone(),
            self.announcer.requests(),
        );
        let serves = self.options.listen.is_some();
        let certificates = async {
            match serves {
                true => keeper.run(stop.cancelled()).await,
                // Nobody shakes hands with a caller in this process.
                false => drop(keeper),
            }
            stop.cancelled().await;
        };
        let admitting = async {
            self.admission.ready().await;
            tokio::join!(self.admission.follow(), configurations.run());
        };
        let health = self.health(identity.clone()).await?;
        let server = self.server(identity, &stop).await?;
        let control = self.control(&stop);
        tokio::pin!(shutdown);
        let stopping = async {
            (&mut shutdown).await;
            stop.cancel();
        };
        let installed = configurations::keep_installed(&self.door, &self.options, &self.caches);
        tokio::select! {
            // Serving goes on while we leave: endpoints are slow to forget us.
            _ = async { tokio::join!(stopping, server, control) } => {}
            _ = async { tokio::join!(certificates, admitting, health, installed) } => {}
        }
        Ok(())
    }

    fn keeper_options(&self) -> KeeperOptions {
        let namespace = &self.options.namespace;
        let names = match &self.options.webhook {
            Webhook::Url(url) => vec![host(url)],
            Webhook::Service { name, .. } => vec![format!("{name}.{namespace}.svc")],
        };
        KeeperOptions {
            namespace: namespace.clone(),
            secret: SECRET.to_owned(),
            targets: configurations::targets(&self.options),
            rotation: RotationOptions::for_names(names),
        }
    }

    async fn health(
        &self,
        identity: ServerIdentity,
    ) -> Result<impl Future<Output = ()> + use<>, OperatorError> {
        let listener = match self.options.metrics {
            Some(address) => Some(health::listen(address).await?),
            None => None,
        };
        let (caches, metrics, serves) = (
            self.caches.clone(),
            self.metrics.clone(),
            self.options.listen.is_some(),
        );
        let seen = self.metrics.clone();
        let readiness: Readiness = Arc::new(move || {
            caches.report_ages(&seen);
            match () {
                () if !caches.are_synced() => Some("the caches are not filled yet".to_owned()),
                () if serves && !identity.is_set() => Some("there is no certificate yet".to_owned()),
                () => None,
            }
        });
        Ok(async move {
            match listener {
                Some(listener) => health::serve(listener, metrics, readiness).await,
                None => std::future::pending().await,
            }
        })
    }

    /// Leads, term after term, until told to stop; stands by while SidecarSets are another's.
    async fn control(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.shift.becomes(Actor::Tidegate) => {}
            }
            match &self.options.lease {
                Some(lease) => self.term(lease, stop).await,
                None => {
                    let (engine, answers) = self.engine(None);
                    let work = async {
                        self.caches.synced().await;
                        engine.run(answers).await;
                    };
                    tokio::select! { () = work => {}, () = self.relieved(stop) => {} }
                }
            }
        }
    }

    /// As whom we stand for the lease: two lives of one host are told apart by their time.
    fn candidacy(&self, lease: &str) -> LeaderOptions {
        let options = &self.options;
        let unique = format!("{:x}", options.clocks.wall.now().as_nanosecond());
        LeaderOptions::patient(
            &options.namespace,
            lease,
            &options.identity,
            &unique,
            options.patience,
        )
    }

    /// One term, from acquiring the lease to losing it or giving it back.
    async fn term(&self, lease: &str, stop: &CancellationToken) {
        let options = &self.options;
        let who = self.candidacy(lease);
        let acquired = async {
            self.caches.synced().await;
            Leader::acquire(&self.door, who, options.clocks.clone()).await
        };
        let leader = tokio::select! {
            biased;
            () = self.relieved(stop) => return,
            leader = acquired => leader,
        };
        self.metrics.leads(leader.epoch());
        let (mut engine, answers) = self.engine(Some(leader.guard()));
        let door = self.door.fenced(leader.guard());
        let work = async {
            // What the last leader wrote, or recorded that it would, is seen before anything is decided.
            let taken = Ledger::take_over(door, &options.namespace, lease, leader.epoch()).await;
            engine.inherit(taken.0, taken.1);
            self.caches.refresh().await;
            engine.run(answers).await;
        };
        tokio::select! {
            reason = leader.lost() => tracing::warn!(reason, "leadership lost"),
            () = work => {}
            () = self.relieved(stop) => {
                // Dropping the engine has dropped its writes: nothing of ours comes after this.
                let released = tokio::time::timeout(Duration::from_secs(5), leader.release()).await;
                if !matches!(released, Ok(Ok(()))) {
                    tracing::warn!("the lease was not given back");
                }
            }
        }
        self.metrics.leads_no_more();
    }

    /// Told to stop, or to stand by.
    async fn relieved(&self, stop: &CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.shift.becomes(Actor::Kruise) => {}
        }
    }

    fn engine(&self, guard: Option<Arc<LeaderGuard>>) -> (Engine, Answers) {
        Engine::new(
            &self.door,
            guard,
            self.caches.clone(),
            self.options.clone(),
            self.metrics.clone(),
            self.injection.subscribe(),
        )
    }

    fn is_behind_loopback(&self) -> bool {
        let Webhook::Url(url) = &self.options.webhook else {
            return false;
        };
        let host = host(url);
        host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    async fn server(
        &self,
        identity: ServerIdentity,
        stop: &CancellationToken,
    ) -> Result<impl Future<Output = ()> + use<>, OperatorError> {
        let ready = match self.options.listen {
            Some(address) => {
                let mut options = AdmissionServerOptions::default();
                // There is no other that reviews could be led to meanwhile.
                if self.options.lease.is_none() {
                    options.linger = Duration::ZERO;
                }
                if self.options.lease.is_none() || self.is_behind_loopback() {
                    options.idle = Duration::ZERO;
                }
                let server = AdmissionServer::new(self.admission.clone(), identity, options)?;
                Some((server, health::listen(address).await?))
            }
            None => None,
        };
        let (admission, stop) = (self.admission.clone(), stop.clone());
        Ok(async move {
            // Nothing is answered from a view that is not complete.
            tokio::select! {
                biased;
                () = admission.ready() => {}
                () = stop.cancelled() => return,
            }
            if let Some((server, listener)) = ready {
                let served = server.serve_on_own_thread(listener, stop.cancelled_owned());
                if let Err(error) = served.await {
                    tracing::error!(%error, "reviews are not answered any more");
                }
            }
        })
    }
}

fn host(url: &str) -> String {
    let uri: Option<http::Uri> = url.parse().ok();
    uri.and_then(|u| u.host().map(|h| h.trim_matches(['[', ']']).to_owned()))
        .unwrap_or_default()
}
