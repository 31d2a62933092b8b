//! Keeps the shared certificates fresh: every replica runs one, and whoever comes first takes the next step.
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::SelectAll;
use model::time::{Clock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch as channel;

use super::bundle::BundleTarget;
use super::certificate::Identity;
use super::rotation::{Credentials, RotationOptions, Step};
use super::server::ServerIdentity;
use crate::frame::NamedMeta;
use crate::resource::SECRETS;
use crate::{ApiError, Cache, Changes, Door, ObjectKey, Resource, WatchScope, Watched};

/// Looked at at least so often, whatever the watches say.
const AT_LEAST_EVERY: Duration = Duration::from_secs(3600);

/// Where the certificates are stored, and who must know their authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperOptions {
    pub namespace: String,
    pub secret: String,
    pub targets: Vec<BundleTarget>,
    pub rotation: RotationOptions,
}

/// Makes, stores, publishes and rotates certificates.
pub struct CertificateKeeper {
    door: Door,
    options: KeeperOptions,
    clock: Arc<dyn Clock>,
    identity: ServerIdentity,
    shown: Option<Identity>,
    bundle: channel::Sender<String>,
}

#[derive(Debug, thiserror::Error)]
enum KeeperError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Certificate(#[from] super::CertificateError),
}

impl CertificateKeeper {
    pub fn new(door: &Door, options: KeeperOptions, clock: Arc<dyn Clock>, identity: ServerIdentity) -> Self {
        let bundle = channel::Sender::new(String::new());
        Self {
            door: door.clone(),
            options,
            clock,
            identity,
            shown: None,
            bundle,
        }
    }

    /// The authorities (PEM) to name in webhook configurations; empty until there is a certificate. Who writes whole
    /// configurations puts these in; those that are there already are kept right by the keeper.
    pub fn bundle(&self) -> channel::Receiver<String> {
        self.bundle.subscribe()
    }

    /// Keeps on until `shutdown`.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        let (_caches, mut changes) = self.watches();
        let mut pause = Duration::from_millis(200);
        loop {
            let wake = match self.turn().await {
                Ok(until) => {
                    pause = Duration::from_millis(200);
                    wait_until(self.clock.now(), until)
                }
                Err(error) => {
                    tracing::warn!(%error, "certificates");
                    pause = (pause * 2).min(Duration::from_secs(30));
                    self.door.jittered(pause)
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(_) = changes.next() => {}
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// Whatever is due now; returns when the next may be.
    async fn turn(&mut self) -> Result<Timestamp, KeeperError> {
        loop {
            let secret = self.read_secret().await?;
            let stored = secret.as_ref().and_then(Credentials::from_secret);
            if let Some(stored) = &stored {
                self.show(&stored.current)?;
                self.bundle.send_if_modified(|bundle| {
                    let now = stored.bundle();
                    let changed = *bundle != now;
                    *bundle = now;
                    changed
                });
                for target in &self.options.targets {
                    target.publish(&self.door, &stored.bundle()).await?;
                }
            }
            match Credentials::step(stored.as_ref(), &self.options.rotation, true, self.clock.now())? {
                Step::Wait { until } => return Ok(until),
                Step::Write { what, credentials } => {
                    match self.write_secret(secret, &credentials).await {
                        Ok(()) => tracing::info!(secret = %self.options.secret, what, "certificate"),
                        // Another replica took the step: see what there is now.
                        Err(error) if error.is_conflict() || error.is_already_exists() => {}
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
    }

    async fn read_secret(&self) -> Result<Option<Value>, ApiError> {
        match self
            .door
            .get(&SECRETS, Some(&self.options.namespace), &self.options.secret)
            .await
        {
            Ok(secret) => Ok(Some(secret)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn write_secret(&self, found: Option<Value>, credentials: &Credentials) -> Result<(), ApiError> {
        let (namespace, name) = (self.options.namespace.as_str(), self.options.secret.as_str());
        let written = match found {
            Some(found) => {
                let secret = credentials.into_secret(found);
                self.door
                    .replace(&SECRETS, Some(namespace), name, &secret, None)
                    .await
            }
            None => {
                let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                    "metadata": {"namespace": namespace, "name": name}});
                self.door
                    .create(&SECRETS, Some(namespace), &credentials.into_secret(secret))
                    .await
            }
        };
        written.map(drop)
    }

    fn show(&mut self, identity: &Identity) -> Result<(), KeeperError> {
        if self.shown.as_ref() != Some(identity) {
            self.identity.set(identity)?;
            self.shown = Some(identity.clone());
        }
        Ok(())
    }

    /// Watches that wake us when the Secret or a target changes, by whomever.
    fn watches(&self) -> (Vec<Cache<Touched>>, SelectAll<Changes>) {
        let of = |resource: &Resource, namespace: Option<String>, name: &str| {
            let field_selector = Some(format!("metadata.name={name}"));
            let scope = WatchScope {
                namespace,
                label_selector: None,
                field_selector,
            };
            Cache::<Touched>::start(&self.door, resource.clone(), scope)
        };
        let mut caches = vec![of(
            &SECRETS,
            Some(self.options.namespace.clone()),
            &self.options.secret,
        )];
        caches.extend(
            self.options
                .targets
                .iter()
                .map(|target| of(&target.resource, None, &target.name)),
        );
        let changes = caches.iter().map(Cache::changes).collect();
        (caches, changes)
    }
}

/// That an object changed is all we want to know.
#[derive(Deserialize)]
struct Touched {
    metadata: NamedMeta,
}

impl Watched for Touched {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
    }

    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn uid(&self) -> &str {
        &self.metadata.uid
    }
}

fn wait_until(now: Timestamp, until: Timestamp) -> Duration {
    let wait = Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO);
    wait.clamp(Duration::from_secs(1), AT_LEAST_EVERY)
}
