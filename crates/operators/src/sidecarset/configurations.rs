//! The webhook configurations: what the API server asks us about follows from the SidecarSets there are.
use super::contain::{Step, contain};
use super::injection::{InjectionReceiver, InjectionSender, covers};
use super::shift::{self, Shift};
use super::standing::Judge;
use super::views::{Caches, Set, Stored};
use crate::options::Webhook;
use crate::{OperatorError, Options};
use cluster::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES,
    VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{ApiError, Cache, Door, ObjectKey, PatchKind, Resource, WatchScope};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use workload::sidecarset::standing::Standing;
use workload::sidecarset::webhooks::{CONVERT_PATH, WebhookOptions, desired, for_sidecarsets};
use workload::takeover::Actor;

/// Field manager of what is installed once, and of what follows the SidecarSets.
const INSTALLER: &str = "tidegate-installer";
const MANAGER: &str = "tidegate-operator";
const CRD_NAME: &str = "sidecarsets.apps.kruise.io";
const TIMEOUT_SECONDS: u32 = 10;

/// Creates our namespace and the CRD where they are missing or differ, and waits until the kind is served.
pub(super) async fn install(door: &Door, options: &Options) -> Result<(), OperatorError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source: ApiError| OperatorError::Install { what, source }
    };
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": options.namespace}});
    apply(door, &NAMESPACES, &options.namespace, &namespace, INSTALLER)
        .await
        .map_err(failed("the namespace"))?;
    // Kruise's manager would take its CRD back; and what it has is enough to stand by.
    if shift::actor_now(door, options)
        .await
        .map_err(failed("who runs SidecarSets"))?
        == Actor::Kruise
    {
        return Ok(());
    }
    let mut crd: Value =
        serde_yaml_ng::from_str(model::sidecarset::CRD).map_err(|e| OperatorError::Malformed {
            what: "the CustomResourceDefinition".to_owned(),
            reason: e.to_string(),
        })?;
    crd["spec"]["conversion"]["webhook"]["clientConfig"] = client_config(options, "", CONVERT_PATH);
    apply(door, &CUSTOM_RESOURCE_DEFINITIONS, CRD_NAME, &crd, INSTALLER)
        .await
        .map_err(failed("the CRD"))?;
    for _ in 0..100 {
        let found = door
            .get(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME)
            .await
            .map_err(failed("the CRD"))?;
        let conditions = found["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if conditions
            .iter()
            .any(|c| c["type"] == "Established" && c["status"] == "True")
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tracing::warn!("the CRD is not established yet");
    Ok(())
}

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
}

impl Keeper {
    pub fn new(
        door: &Door,
        caches: &Caches,
        options: &Arc<Options>,
        bundle: watch::Receiver<String>,
        told: Arc<InjectionSender>,
        shift: Shift,
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
            let again = match self.turn().await {
                Ok(()) => Duration::from_secs(24 * 3600),
                Err(error) => {
                    tracing::warn!(%error, "webhook configurations");
                    Duration::from_secs(2)
                }
            };
            tokio::select! {
                _ = sets.next() => {}
                _ = mutating.next() => {}
                _ = validating.next() => {}
                // What is invalid, above all.
                Ok(()) = judged.changed() => {}
                _ = record.next() => {}
                _ = kruise.next() => {}
                Ok(()) = self.bundle.changed() => {}
                () = tokio::time::sleep(again) => {}
            }
        }
    }

    async fn turn(&mut self) -> Result<(), ApiError> {
        let bundle = self.bundle.borrow_and_update().clone();
        // Without authorities the API server could not call us: better not asked than failing.
        if bundle.is_empty() && self.options.listen.is_some() {
            return Ok(());
        }
        let actor = self.shift.actor();
        let sets = match actor {
            Actor::Tidegate => self.sets(),
            Actor::Kruise => Vec::new(),
        };
        let (mut entries, mut validate) = self.wanted(&sets, &bundle);
        if actor == Actor::Kruise {
            entries.clear();
            validate.clear();
        }
        if self.shift.may_come() {
            let client = client_config(&self.options, &bundle, shift::probe_path(actor));
            entries.push(shift::probe_entry(&self.options, client));
        }
        let (mutating, validating) = (
            &self.options.mutating_configuration,
            &self.options.validating_configuration,
        );
        let observed = self.holds(&self.mutating, mutating, &entries);
        covers(&self.told, sets.iter().filter(|_| observed).map(|s| &*s.0));
        self.write(
            &self.mutating,
            &MUTATING_WEBHOOK_CONFIGURATIONS,
            mutating,
            entries,
        )
        .await?;
        self.write(
            &self.validating,
            &VALIDATING_WEBHOOK_CONFIGURATIONS,
            validating,
            validate,
        )
        .await
    }

    /// SidecarSets that entries can be made from, and that are acted upon.
    fn sets(&self) -> Vec<Arc<Set>> {
        let none = |_: &str| Value::Null;
        let options = WebhookOptions {
            client_config: &none,
            excluded_namespaces: &[],
            timeout_seconds: TIMEOUT_SECONDS,
        };
        let judge = Judge::of(&self.caches);
        let usable = |set: &&Arc<Set>| {
            let name = &set.0.metadata.name;
            let valid = || {
                drop(desired(&[&*set.0], &options));
                !matches!(judge.standing(&set.0), Standing::Invalid(_))
            };
            set.0.metadata.deletion_timestamp.is_none()
                && contain(Step::Configure, name, valid).is_ok_and(|valid| valid)
        };
        let all = self.caches.sets.snapshot();
        all.values().filter(usable).cloned().collect()
    }

    /// Whether the configuration, as last seen, says what we want.
    fn holds(&self, cache: &Cache<Stored>, name: &str, entries: &[Value]) -> bool {
        let key = ObjectKey::cluster(name);
        let found = cache.get(&key).filter(|_| cache.is_current_for(&key));
        found.is_some_and(|f| same(entries, &f.body["webhooks"]))
    }

    /// Entries of the mutating configuration, and those of the validating.
    fn wanted(&self, sets: &[Arc<Set>], bundle: &str) -> (Vec<Value>, Vec<Value>) {
        let config = |path: &str| client_config(&self.options, bundle, path);
        let excluded: Vec<String> = {
            let mut all = self.options.excluded.clone();
            all.insert(self.options.namespace.clone());
            all.into_iter().collect()
        };
        let options = WebhookOptions {
            client_config: &config,
            excluded_namespaces: &excluded,
            timeout_seconds: TIMEOUT_SECONDS,
        };
        let sets: Vec<_> = sets.iter().map(|s| &*s.0).collect();
        let (mutate, validate) = for_sidecarsets(&options);
        let mut entries = desired(&sets, &options);
        entries.push(mutate);
        (entries, vec![validate])
    }

    async fn write(
        &self,
        cache: &Cache<Stored>,
        resource: &Resource,
        name: &str,
        entries: Vec<Value>,
    ) -> Result<(), ApiError> {
        let key = ObjectKey::cluster(name);
        let found = cache.get(&key);
        if !cache.is_current_for(&key) || self.holds(cache, name, &entries) {
            return Ok(());
        }
        let mut object = json!({"apiVersion": resource.api_version(), "kind": resource.kind,
            "metadata": {"name": name}, "webhooks": entries});
        match &found {
            // Bound to the object there is: one that an uninstall removes meanwhile must not come back.
            Some(found) => object["metadata"]["uid"] = json!(found.metadata.uid),
            None if !self.options.install => return Ok(()),
            None => {}
        }
        let answer = apply(&self.door, resource, name, &object, MANAGER).await?;
        cache.observe_answer(&answer);
        Ok(())
    }
}

/// Whether the entries there are say all we want, and no more; the API server adds defaults.
fn same(wanted: &[Value], found: &Value) -> bool {
    let Some(found) = found.as_array() else {
        return wanted.is_empty();
    };
    wanted.len() == found.len()
        && wanted
            .iter()
            .all(|w| found.iter().any(|f| f["name"] == w["name"] && holds(w, f)))
        && found.iter().all(|f| {
            let wanted = wanted.iter().find(|w| w["name"] == f["name"]);
            // Fields we stopped setting must go.
            wanted.is_some_and(|w| w.get("matchConditions").is_some() == f.get("matchConditions").is_some())
        })
}

fn holds(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(w), Value::Object(f)) => {
            w.iter()
                .all(|(k, v)| f.get(k).is_some_and(|f| holds(v, f)) || v.is_null())
                && (!is_selector(w, f) || w.len() == f.len())
        }
        (Value::Array(w), Value::Array(f)) => w.len() == f.len() && w.iter().zip(f).all(|(w, f)| holds(w, f)),
        (w, f) => w == f,
    }
}

/// Nothing is defaulted in a selector or a client configuration: more than we want is different.
fn is_selector(w: &serde_json::Map<String, Value>, f: &serde_json::Map<String, Value>) -> bool {
    let marks = ["matchLabels", "matchExpressions", "caBundle"];
    marks.iter().any(|k| w.contains_key(*k) || f.contains_key(*k))
}

/// How the API server reaches a path of ours.
fn client_config(options: &Options, bundle: &str, path: &str) -> Value {
    let mut config = match &options.webhook {
        Webhook::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/'))}),
        Webhook::Service { name, port } => json!({"service":
            {"namespace": options.namespace, "name": name, "path": path, "port": port}}),
    };
    if !bundle.is_empty() {
        use base64::Engine as _;
        config["caBundle"] = json!(base64::engine::general_purpose::STANDARD.encode(bundle));
    }
    config
}

async fn apply(
    door: &Door,
    resource: &Resource,
    name: &str,
    object: &Value,
    manager: &str,
) -> Result<Value, ApiError> {
    let kind = PatchKind::Apply {
        manager: manager.to_owned(),
        force: true,
    };
    door.patch(resource, None, name, kind, object, None).await
}

/// Objects of ours that name our authorities.
pub(super) fn targets(options: &Options) -> Vec<cluster::BundleTarget> {
    vec![
        cluster::BundleTarget::mutating(&options.mutating_configuration),
        cluster::BundleTarget::validating(&options.validating_configuration),
        cluster::BundleTarget::conversion(CRD_NAME, client_config(options, "", CONVERT_PATH)),
    ]
}
