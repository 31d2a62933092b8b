//! The webhook configurations: what the API server asks us about follows from the SidecarSets there are.
mod announcing;
mod entries;
mod in_force;
mod install;
mod proof;
mod seen;

use super::injection::{InjectionReceiver, InjectionSender, covers};
use super::shift::{self, Shift};
use super::views::{Caches, Stored};
use crate::Options;
use announcing::Announcements;
use cluster::resource::{MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS};
use cluster::{ApiError, Cache, Door, ObjectKey, PatchKind, Resource, WatchScope};
use entries::{client_config, entries_of, ids, same};
use in_force::{InForce, Proof};
use model::sidecarset::SidecarSet;
use seen::Seen;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use workload::sidecarset::webhooks::{self, CONVERT_PATH, WebhookOptions, desired, for_sidecarsets};
use workload::takeover::Actor;

pub(super) use announcing::{Announcer, Requests};
pub(super) use install::{install, keep_installed};
pub(super) use proof::answer as answer_proof;

/// Field manager of what follows the SidecarSets.
const MANAGER: &str = "tidegate-operator";
const CRD_NAME: &str = "sidecarsets.apps.kruise.io";
const TIMEOUT_SECONDS: u32 = 10;
/// After what went wrong.
const SOON: Duration = Duration::from_secs(2);
/// After what goes wrong again and again.
const SELDOM: Duration = Duration::from_secs(60);
/// How long SidecarSets may take to be read anew.
const REREAD: Duration = Duration::from_secs(5);

/// Keeps both configurations in step with the SidecarSets and our certificates' authorities. Never ends.
pub(super) struct Keeper {
    door: Door,
    options: Arc<Options>,
    caches: Caches,
    mutating: Cache<Stored>,
    validating: Cache<Stored>,
    bundle: watch::Receiver<String>,
    told: Arc<InjectionSender>,
    shift: Shift,
    requests: Arc<Requests>,
    announcements: Announcements,
    /// The version of the mutating configuration that our view of SidecarSets is known to be newer than.
    seen_since: String,
    /// The state of the mutating configuration that the API server was last heard to act by.
    in_force: InForce,
    proof: Proof,
    tidied: Tidied,
}

/// The last entries that the configuration was given, and when it is given the same again at the earliest.
struct Tidied {
    entries: Vec<Value>,
    not_before: Instant,
    pause: Duration,
}

impl Keeper {
    pub fn new(
        door: &Door,
        caches: &Caches,
        options: &Arc<Options>,
        bundle: watch::Receiver<String>,
        told: Arc<InjectionSender>,
        shift: Shift,
        requests: Arc<Requests>,
    ) -> Self {
        let one = |resource: Resource, name: &str| {
            let field_selector = Some(format!("metadata.name={name}"));
            Cache::start(
                door,
                resource,
                WatchScope {
                    field_selector,
                    ..WatchScope::default()
                },
            )
        };
        Self {
            mutating: one(MUTATING_WEBHOOK_CONFIGURATIONS, &options.mutating_configuration),
            validating: one(
                VALIDATING_WEBHOOK_CONFIGURATIONS,
                &options.validating_configuration,
            ),
            door: door.clone(),
            options: options.clone(),
            caches: caches.clone(),
            bundle,
            told,
            shift,
            requests,
            announcements: Announcements::default(),
            seen_since: String::new(),
            in_force: InForce::default(),
            proof: Proof::new(),
            tidied: Tidied {
                entries: Vec::new(),
                not_before: Instant::now(),
                pause: SOON,
            },
        }
    }

    pub async fn run(mut self) {
        tokio::join!(
            self.shift.synced(),
            self.caches.sets.synced(),
            self.mutating.synced(),
            self.validating.synced()
        );
        let mut sets = self.caches.sets.changes();
        let mut mutating = self.mutating.changes();
        let mut validating = self.validating.changes();
        let mut judged: InjectionReceiver = self.told.subscribe();
        let (mut record, mut kruise) = self.shift.changes();
        loop {
            record.drain();
            kruise.drain();
            sets.drain();
            mutating.drain();
            validating.drain();
            self.announcements.ask(self.requests.take());
            let again = match self.turn().await {
                Ok(next) => next,
                // Somebody else wrote first: what they wrote will be seen, and is looked at then.
                Err(error) if error.is_conflict() => Instant::now() + SOON,
                Err(error) => {
                    tracing::warn!(%error, "webhook configurations");
                    Instant::now() + SOON
                }
            };
            tokio::select! {
                _ = sets.next() => {}
                _ = mutating.next() => {}
                _ = validating.next() => {}
                () = self.requests.came() => {}
                // What is invalid, above all.
                Ok(()) = judged.changed() => {}
                _ = record.next() => {}
                _ = kruise.next() => {}
                Ok(()) = self.bundle.changed() => {}
                () = tokio::time::sleep_until(again) => {}
            }
        }
    }

    /// Returns when to look again though nothing changes.
    async fn turn(&mut self) -> Result<Instant, ApiError> {
        let bundle = self.bundle.borrow_and_update().clone();
        // Without authorities the API server could not call us: better not asked than failing.
        if bundle.is_empty() && self.options.listen.is_some() {
            return Ok(never());
        }
        let actor = self.shift.actor();
        let prove_again = self.prove(actor).await;
        if actor == Actor::Tidegate && self.announce(&bundle).await? {
            // What was just written is looked at first, and tidied up after that.
            return Ok(Instant::now() + SOON);
        }
        // All that follows is decided on this version of it, and written only over this version.
        let found = self.found();
        let seen = match actor {
            Actor::Tidegate => match self.caught_up(found.as_deref()).await {
                Some(seen) => seen,
                // Nothing is to be undone that we may know too little about.
                None => return Ok(Instant::now() + SOON),
            },
            Actor::Kruise => Seen::default(),
        };
        let in_force = |set: &&SidecarSet| self.in_force.ids.contains(&webhooks::id(set));
        covers(&self.told, seen.usable.iter().map(|s| &*s.0).filter(in_force));
        let (mut entries, mut validate) = self.wanted(&seen, found.as_deref(), &bundle);
        if actor == Actor::Kruise {
            entries.clear();
            validate.clear();
        }
        if self.shift.may_come() {
            let client = client_config(&self.options, &bundle, shift::probe_path(actor));
            entries.push(shift::probe_entry(&self.options, client));
        }
        // In this order: a SidecarSet that is given its defaults by us is announced by us, too.
        let name = &self.options.validating_configuration;
        let validating = self.validating.get(&ObjectKey::cluster(name));
        let resource = &VALIDATING_WEBHOOK_CONFIGURATIONS;
        let as_wanted = validating
            .as_ref()
            .is_some_and(|f| same(&validate, &f.body["webhooks"]));
        let validated = match as_wanted {
            true => Ok(()),
            false => {
                self.write(&self.validating, resource, name, validating.as_deref(), validate)
                    .await
            }
        };
        let write_again = self.tidy(found.as_deref(), entries, actor, &bundle).await?;
        validated?;
        let ends = [prove_again, write_again, self.announcements.next_end()];
        Ok(ends.into_iter().flatten().min().unwrap_or_else(never))
    }

    /// Makes the mutating configuration what it is to be. One that does not stay so, because somebody else has other
    /// wishes for it, is written less and less often; then returns when to try again.
    async fn tidy(
        &mut self,
        found: Option<&Stored>,
        mut entries: Vec<Value>,
        actor: Actor,
        bundle: &str,
    ) -> Result<Option<Instant>, ApiError> {
        let tidied = entries.clone();
        let client = |path: &str| client_config(&self.options, bundle, path);
        let namespace = &self.options.namespace;
        // As it is where all is as it is to be, else of a new state.
        let proof = found.and_then(|f| proof::entry(namespace, f, &client));
        entries.extend(proof.filter(|_| actor == Actor::Tidegate));
        if found.is_some_and(|f| same(&entries, &f.body["webhooks"])) || !self.is_current() {
            return Ok(None);
        }
        entries.retain(|entry| !proof::is(entry));
        if actor == Actor::Tidegate {
            entries.push(proof::entry_after(namespace, found, &client));
        }
        let now = Instant::now();
        if self.tidied.entries != tidied {
            self.tidied = Tidied {
                entries: tidied,
                not_before: now,
                pause: SOON,
            };
        }
        if now < self.tidied.not_before {
            return Ok(Some(self.tidied.not_before));
        }
        self.write_mutating(found, entries).await?;
        self.tidied.not_before = now + self.tidied.pause;
        self.tidied.pause = (self.tidied.pause * 2).min(SELDOM);
        Ok(None)
    }

    /// Adds what is to be announced to the configuration as it is; whether there was anything to add.
    async fn announce(&mut self, bundle: &str) -> Result<bool, ApiError> {
        let (Some(found), true) = (self.found(), self.is_current()) else {
            return Ok(false);
        };
        let announced = self.with_options(bundle, |this, options| {
            this.announcements.missing(&found, options)
        });
        if announced.is_empty() {
            return Ok(false);
        }
        let mut entries = found.body["webhooks"].as_array().cloned().unwrap_or_default();
        entries.retain(|entry| !proof::is(entry));
        entries.extend(announced);
        entries.push(proof::entry_after(
            &self.options.namespace,
            Some(&found),
            &|path| client_config(&self.options, bundle, path),
        ));
        self.write_mutating(Some(&found), entries).await?;
        Ok(true)
    }

    /// SidecarSets that entries can be made from. They are read anew where the configuration stands for others than those
    /// we know, once for each version of it: it may have been written by a replica that sees more than we do, and is not
    /// to be undone then.
    async fn caught_up(&mut self, found: Option<&Stored>) -> Option<Seen> {
        let seen = Seen::of(&self.caches);
        let Some(found) = found else {
            return Some(seen);
        };
        let version = &found.metadata.resource_version;
        if self.seen_since == *version {
            return Some(seen);
        }
        let known = seen.usable.iter().filter(|s| webhooks::announces(&s.0));
        let known: BTreeSet<String> = known.map(|s| webhooks::id(&s.0)).collect();
        let standing = entries_of(found).filter(|e| {
            e["name"]
                .as_str()
                .is_some_and(|n| webhooks::announced(n).is_none())
        });
        if ids(standing) == known {
            return Some(seen);
        }
        let read = tokio::time::timeout(REREAD, self.caches.sets.refresh()).await;
        read.ok()?;
        self.seen_since.clone_from(version);
        Some(Seen::of(&self.caches))
    }

    /// The mutating configuration as last seen.
    fn found(&self) -> Option<Arc<Stored>> {
        self.mutating
            .get(&ObjectKey::cluster(&self.options.mutating_configuration))
    }

    /// Whether that is not older than what we wrote.
    fn is_current(&self) -> bool {
        self.mutating
            .is_current_for(&ObjectKey::cluster(&self.options.mutating_configuration))
    }

    /// Entries of the mutating configuration, and those of the validating.
    fn wanted(&mut self, seen: &Seen, found: Option<&Stored>, bundle: &str) -> (Vec<Value>, Vec<Value>) {
        self.with_options(bundle, |this, options| {
            let sets: Vec<_> = seen.usable.iter().map(|s| &*s.0).collect();
            let (mutate, validate) = for_sidecarsets(options);
            let mut entries = desired(&sets, options);
            entries.push(mutate);
            entries.extend(this.announcements.kept(found, &seen.stored, options));
            (entries, vec![validate])
        })
    }

    fn with_options<T>(&mut self, bundle: &str, make: impl FnOnce(&mut Self, &WebhookOptions<'_>) -> T) -> T {
        let of = self.options.clone();
        let config = |path: &str| client_config(&of, bundle, path);
        let excluded: Vec<String> = {
            let mut all = of.excluded.clone();
            all.insert(of.namespace.clone());
            all.into_iter().collect()
        };
        let options = WebhookOptions {
            client_config: &config,
            excluded_namespaces: &excluded,
            timeout_seconds: TIMEOUT_SECONDS,
        };
        make(self, &options)
    }

    async fn write_mutating(&self, found: Option<&Stored>, entries: Vec<Value>) -> Result<(), ApiError> {
        let (resource, name) = (
            &MUTATING_WEBHOOK_CONFIGURATIONS,
            &self.options.mutating_configuration,
        );
        self.write(&self.mutating, resource, name, found, entries).await
    }

    /// Writes over `found` and nothing else, unless something newer is on its way.
    async fn write(
        &self,
        cache: &Cache<Stored>,
        resource: &Resource,
        name: &str,
        found: Option<&Stored>,
        entries: Vec<Value>,
    ) -> Result<(), ApiError> {
        if !cache.is_current_for(&ObjectKey::cluster(name)) {
            return Ok(());
        }
        let mut object = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"name": name}, "webhooks": entries});
        let answer = match found {
            Some(found) => {
                // Bound to the object there is: one that an uninstall removes meanwhile must not come back. And to what
                // we have seen of it: another replica may have announced a SidecarSet since. Replaced as a whole: by
                // server-side apply an entry could not go whose caBundle somebody else has set, too.
                object["metadata"]["uid"] = json!(found.metadata.uid);
                object["metadata"]["resourceVersion"] = json!(found.metadata.resource_version);
                let kind = PatchKind::Merge;
                self.door.patch(resource, None, name, kind, &object, None).await?
            }
            None if !self.options.install => return Ok(()),
            None => self.door.create_as(resource, None, &object, MANAGER).await?,
        };
        cache.observe_answer(&answer);
        Ok(())
    }
}

fn never() -> Instant {
    Instant::now() + Duration::from_secs(24 * 3600)
}

/// Objects of ours that name our authorities.
pub(super) fn targets(options: &Options) -> Vec<cluster::BundleTarget> {
    vec![
        cluster::BundleTarget::mutating(&options.mutating_configuration),
        cluster::BundleTarget::validating(&options.validating_configuration),
        cluster::BundleTarget::conversion(CRD_NAME, client_config(options, "", CONVERT_PATH)),
    ]
}
