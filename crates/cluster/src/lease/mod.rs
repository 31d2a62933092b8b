//! Leadership that is fenced, and not by a clock alone.
//!
//! A leader may write until its lease, counted from before its last renewal was sent, is over less a margin, by a
//! clock that also counts suspension. Every write through [`Door::fenced`] asks just before it is sent and takes no
//! longer than what is left. A new leader has waited out the old lease and a margin before it takes it; its epoch is
//! the lease's count of transitions. What neither can rule out, a process stopped between asking and sending, is
//! made harmless by preconditions on the writes themselves.
mod clock;
mod guard;
mod record;

use std::sync::Arc;
use std::time::Duration;

use model::time::Clock;
use serde_json::Value;
use tokio::sync::watch as channel;
use tokio::task::AbortHandle;

pub use clock::{BootClock, SystemBootClock, SystemClock, TokioBootClock};
pub use guard::LeaderGuard;

use crate::resource::LEASES;
use crate::{ApiError, Door};
use record::Record;

/// Which lease, under which name, and with what patience.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderOptions {
    pub namespace: String,
    pub name: String,
    /// Must differ between processes, also between two lives of one: see [`LeaderOptions::new`].
    pub identity: String,
    pub duration: Duration,
    /// A leader stops writing this long before its lease is over, and a new one waits this long after.
    pub margin: Duration,
    pub renew_every: Duration,
    /// How often others look whether the lease is free.
    pub retry_every: Duration,
}

/// The durations of [`LeaderOptions`]. By default: 15 s leases, renewed every 3 s, 3 s of margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    pub duration: Duration,
    pub margin: Duration,
    pub renew_every: Duration,
    pub retry_every: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            margin: Duration::from_secs(3),
            renew_every: Duration::from_secs(3),
            retry_every: Duration::from_secs(2),
        }
    }
}

impl LeaderOptions {
    /// With the usual patience. `unique` tells two lives of a host apart.
    pub fn new(namespace: &str, name: &str, host: &str, unique: &str) -> Self {
        Self::patient(namespace, name, host, unique, Patience::default())
    }

    pub fn patient(namespace: &str, name: &str, host: &str, unique: &str, patience: Patience) -> Self {
        let Patience {
            duration,
            margin,
            renew_every,
            retry_every,
        } = patience;
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: format!("{host}_{unique}"),
            duration,
            margin,
            renew_every,
            retry_every,
        }
    }
}

/// The clocks of an election: one that tells how long, one that tells when (for people).
#[derive(Clone)]
pub struct Clocks {
    pub boot: Arc<dyn BootClock>,
    pub wall: Arc<dyn Clock>,
}

impl Clocks {
    pub fn system() -> Self {
        Self {
            boot: Arc::new(SystemBootClock),
            wall: Arc::new(SystemClock),
        }
    }
}

/// A term of leadership. Dropping it stops renewing, and so writing, without giving the lease back.
pub struct Leader {
    guard: Arc<LeaderGuard>,
    lost: channel::Receiver<Option<String>>,
    release: channel::Sender<bool>,
    door: Door,
    options: LeaderOptions,
    task: AbortHandle,
}

impl Leader {
    /// Waits until the lease is ours. Whoever acts next must first read consistently: see
    /// [`crate::Cache::refresh`].
    pub async fn acquire(door: &Door, options: LeaderOptions, clocks: Clocks) -> Leader {
        let mut candidate = Candidate {
            door: door.clone(),
            options,
            clocks,
            seen: None,
        };
        let (record, until) = loop {
            match candidate.attempt().await {
                Ok(Some(term)) => break term,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot get at the lease"),
            }
            let pause = candidate.door.jittered(candidate.options.retry_every);
            tokio::time::sleep(pause).await;
        };
        let Candidate {
            door,
            options,
            clocks,
            ..
        } = candidate;
        tracing::info!(lease = %options.name, identity = %options.identity, epoch = record.transitions(), "leading");
        let guard = Arc::new(LeaderGuard::new(clocks.boot.clone(), record.transitions(), until));
        let (lost_tx, lost) = channel::channel(None);
        let (release, release_rx) = channel::channel(false);
        let renewing = Renewing {
            door: door.clone(),
            options: options.clone(),
            clocks,
            guard: guard.clone(),
            record,
        };
        let task = tokio::spawn(renewing.run(lost_tx, release_rx)).abort_handle();
        Leader {
            guard,
            lost,
            release,
            door,
            options,
            task,
        }
    }

    /// What every write must pass: `door.fenced(leader.guard())`.
    pub fn guard(&self) -> Arc<LeaderGuard> {
        self.guard.clone()
    }

    /// The lease's count of transitions: larger in every later term of anybody.
    pub fn epoch(&self) -> u64 {
        self.guard.epoch()
    }

    /// Waits until the term is over, and says why.
    pub async fn lost(&self) -> String {
        let mut lost = self.lost.clone();
        match lost.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "the renewal stopped".to_owned(),
        }
    }

    /// Ends the term: nothing more is written from here on, then the lease is given back so that another need not
    /// wait it out. Call it when all work that writes has ended.
    pub async fn release(self) -> Result<(), ApiError> {
        self.guard.end();
        self.release.send_replace(true);
        self.lost().await;
        let (namespace, name) = (self.options.namespace.as_str(), self.options.name.as_str());
        let door = self.door.urgent(self.options.margin);
        let current = Record::read(&door, namespace, name).await?;
        match current {
            Some(current) if current.holder() == self.options.identity => door
                .replace(&LEASES, Some(namespace), name, &current.released(), None)
                .await
                .map(drop),
            _ => Ok(()),
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.guard.end();
        self.task.abort();
    }
}

/// Looks at the lease until it is free.
struct Candidate {
    door: Door,
    options: LeaderOptions,
    clocks: Clocks,
    /// The lease as last seen to change, and when that was by our own clock: others' clocks tell us nothing.
    seen: Option<(Record, Duration)>,
}

impl Candidate {
    /// One look: the lease, if it is ours now, with the end of what we may write under it.
    async fn attempt(&mut self) -> Result<Option<(Record, Duration)>, ApiError> {
        let (namespace, name) = (self.options.namespace.as_str(), self.options.name.as_str());
        let door = self.door.urgent(self.options.duration / 3);
        let found = Record::read(&door, namespace, name).await?;
        let now = self.clocks.boot.since_boot();
        let wanted = match found {
            None => match &self.seen {
                // Deleted under its holder, who may write until it notices: waited out like any other.
                Some((seen, at)) if now < *at + self.options.duration + self.options.margin => {
                    tracing::warn!(holder = seen.holder(), "the lease was deleted");
                    return Ok(None);
                }
                seen => {
                    let epoch = seen.as_ref().map_or(0, |(seen, _)| seen.transitions() + 1);
                    Record::first(&self.options, self.clocks.wall.now(), epoch)
                }
            },
            Some(found) => {
                let seen_at = match &self.seen {
                    Some((seen, at)) if seen.version() == found.version() => *at,
                    _ => {
                        self.seen = Some((found.clone(), now));
                        now
                    }
                };
                let free_at = seen_at + found.duration().max(self.options.duration) + self.options.margin;
                if !found.holder().is_empty() && now < free_at {
                    return Ok(None);
                }
                found.taken(&self.options, self.clocks.wall.now())
            }
        };
        let sent_at = self.clocks.boot.since_boot();
        let answer: Result<Value, ApiError> = match wanted.version() {
            "" => door.create(&LEASES, Some(namespace), wanted.body()).await,
            _ => {
                door.replace(&LEASES, Some(namespace), name, wanted.body(), None)
                    .await
            }
        };
        match answer {
            Ok(body) => Ok(Some((
                Record::of(body),
                sent_at + self.options.duration - self.options.margin,
            ))),
            // Somebody was quicker.
            Err(error) if error.is_conflict() || error.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Renews until the term is over.
struct Renewing {
    door: Door,
    options: LeaderOptions,
    clocks: Clocks,
    guard: Arc<LeaderGuard>,
    record: Record,
}

impl Renewing {
    async fn run(mut self, lost: channel::Sender<Option<String>>, mut release: channel::Receiver<bool>) {
        let reason = loop {
            let pause = self.door.jittered(self.options.renew_every);
            tokio::select! {
                biased;
                _ = release.wait_for(|release| *release) => break "released".to_owned(),
                () = tokio::time::sleep(pause) => {}
            }
            let Some(left) = self.guard.left() else {
                break "the lease could not be renewed in time".to_owned();
            };
            // Nobody waits for an answer that comes after the end.
            let Ok(renewed) = tokio::time::timeout(left, self.renew(left)).await else {
                continue;
            };
            match renewed {
                Ok(()) => {}
                Err(error) if error.is_conflict() || error.is_not_found() => {
                    if let Some(reason) = self.read_again().await {
                        break reason;
                    }
                }
                Err(error) => tracing::warn!(%error, "the lease was not renewed"),
            }
        };
        self.guard.end();
        tracing::info!(lease = %self.options.name, reason, "no longer leading");
        lost.send_replace(Some(reason));
    }

    /// One renewal that is over before the right to write is.
    async fn renew(&mut self, left: Duration) -> Result<(), ApiError> {
        let (namespace, name) = (self.options.namespace.as_str(), self.options.name.as_str());
        let door = self.door.urgent(left.min(self.options.duration / 3));
        let wanted = self.record.renewed(self.clocks.wall.now());
        let sent_at = self.clocks.boot.since_boot();
        let body = door
            .replace(&LEASES, Some(namespace), name, wanted.body(), None)
            .await?;
        self.record = Record::of(body);
        self.guard
            .extend(sent_at + self.options.duration - self.options.margin);
        Ok(())
    }

    /// After a conflict: the lease may be another's, or somebody only touched it.
    async fn read_again(&mut self) -> Option<String> {
        let (namespace, name) = (self.options.namespace.as_str(), self.options.name.as_str());
        let door = self.door.urgent(self.options.duration / 3);
        match Record::read(&door, namespace, name).await {
            Ok(Some(found))
                if found.holder() == self.options.identity && found.transitions() == self.guard.epoch() =>
            {
                self.record = found;
                None
            }
            Ok(Some(found)) => Some(format!("the lease is held by {:?}", found.holder())),
            Ok(None) => Some("the lease is gone".to_owned()),
            Err(_) => None,
        }
    }
}
