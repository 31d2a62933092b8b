//! Looking: everything a step depends on, read from the API server.
use super::{MoveError, Mover};
use cluster::resource::{
    CONFIG_MAPS, CONTROLLER_REVISIONS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, LEASES,
    MUTATING_WEBHOOK_CONFIGURATIONS, SIDECAR_SETS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{ApiError, ListOptions, Resource};
use model::sidecarset::keys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use workload::sidecarset::webhooks::CONVERT_PATH;
use workload::takeover::revisions::Kept;
use workload::takeover::{self, Direction, Observed, Record, Standing, entries, fence, manager};

pub(super) const CRD_NAME: &str = "sidecarsets.apps.kruise.io";
pub(super) const POLICIES: Resource = Resource::cluster(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicies",
    "ValidatingAdmissionPolicy",
);
pub(super) const BINDINGS: Resource = Resource::cluster(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
);
const KRUISE_NAMESPACE: &str = "kruise-system";

/// When each lease was last seen to change: clocks of other machines say nothing.
#[derive(Default)]
pub(super) struct Patience {
    changed: BTreeMap<String, (String, Instant)>,
    /// Held by somebody who has not renewed them for their whole duration.
    pub run_out: Vec<Value>,
}

impl Patience {
    /// Whether somebody's name is on it. One that ran out is noted: to be freed, or else each look would have to
    /// wait for it anew.
    fn is_held(&mut self, lease: &Value) -> bool {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, version) = (
            text(&lease["metadata"]["name"]),
            text(&lease["metadata"]["resourceVersion"]),
        );
        let held = !text(&lease["spec"]["holderIdentity"]).is_empty();
        let now = (version, Instant::now());
        let seen = self.changed.entry(name).or_insert_with(|| now.clone());
        if seen.0 != now.0 {
            *seen = now;
        }
        let duration = lease["spec"]["leaseDurationSeconds"].as_u64().unwrap_or(0);
        if held && seen.1.elapsed() > Duration::from_secs(duration) {
            self.run_out.push(lease.clone());
        }
        held
    }
}

impl Mover {
    pub(super) async fn observe(&mut self, direction: Direction) -> Result<Observed, MoveError> {
        let options = self.options.clone();
        self.leases.run_out.clear();
        let ours = Some(options.namespace.as_str());
        let record = self.find(&CONFIG_MAPS, ours, takeover::RECORD).await?;
        let record = match record {
            Value::Null => None,
            found => Some(Record::read(&found).map_err(|why| malformed(takeover::RECORD, why))?),
        };
        let mutating = self
            .find(&MUTATING_WEBHOOK_CONFIGURATIONS, None, entries::MUTATING)
            .await?;
        let validating = self
            .find(&VALIDATING_WEBHOOK_CONFIGURATIONS, None, entries::VALIDATING)
            .await?;
        let manager_namespace = namespace_of(&mutating, &validating);
        let theirs = Some(manager_namespace.as_str());
        let manager = self.find(&DEPLOYMENTS, theirs, manager::DEPLOYMENT).await?;
        let their_lease = self.find(&LEASES, theirs, manager::LEASE).await?;
        let our_lease = self.find(&LEASES, ours, &options.lease).await?;
        let our_mutating = self
            .find(
                &MUTATING_WEBHOOK_CONFIGURATIONS,
                None,
                &options.mutating_configuration,
            )
            .await?;
        let our_validating = self
            .find(
                &VALIDATING_WEBHOOK_CONFIGURATIONS,
                None,
                &options.validating_configuration,
            )
            .await?;
        let in_move = record.as_ref().is_some_and(|r| r.before.is_some());
        let asks_kruise = direction == Direction::GiveBack && in_move;
        let user = manager::user(&manager, &manager_namespace);
        Ok(Observed {
            manager_leads: self.leases.is_held(&their_lease),
            operator_leads: self.leases.is_held(&our_lease),
            manager_answers: asks_kruise && self.kruise_answers().await,
            fence: self.fence(&user).await?,
            standing: self.standing(ours).await,
            entries_of_ours: concern_others(&our_mutating) || concern_others(&our_validating),
            theirs: self.kept(&manager_namespace).await?,
            ours: self.kept(&options.namespace).await?,
            crd: self.find(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME).await?,
            our_conversion: our_conversion(&our_mutating),
            our_versions: our_versions()?,
            record,
            mutating,
            validating,
            manager,
            manager_namespace,
        })
    }

    /// Null where it is not there.
    pub(super) async fn find(
        &self,
        resource: &Resource,
        ns: Option<&str>,
        name: &str,
    ) -> Result<Value, ApiError> {
        match self.door.get(resource, ns, name).await {
            Err(error) if error.is_not_found() => Ok(Value::Null),
            other => other,
        }
    }

    pub(super) async fn sidecar_sets(&self) -> Result<Vec<Value>, ApiError> {
        match self.door.list(&SIDECAR_SETS, None, &ListOptions::default()).await {
            Ok(listed) => Ok(listed.items),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn fence(&self, user: &str) -> Result<fence::Fence, ApiError> {
        let policy = self.find(&POLICIES, None, fence::NAME).await?;
        let binding = self.find(&BINDINGS, None, fence::NAME).await?;
        if policy.is_null() && binding.is_null() {
            return Ok(fence::Fence::Absent);
        }
        let namespace = &self.options.namespace;
        let as_wanted =
            fence::says(&policy, &fence::policy(user, namespace)) && fence::says(&binding, &fence::binding());
        let denied = match self.rehearse_lease(namespace, fence::PROBE).await {
            Ok(_) => false,
            Err(error) => error.message.contains(fence::SAYS),
        };
        Ok(match as_wanted && denied {
            true => fence::Fence::Enforced,
            false => fence::Fence::Written,
        })
    }

    async fn standing(&self, namespace: Option<&str>) -> Standing {
        match self
            .rehearse_lease(namespace.unwrap_or_default(), takeover::PROBE)
            .await
        {
            Ok(_) => Standing::Silent("no entry of our webhook configuration was asked".to_owned()),
            Err(error) if error.message.contains(takeover::STANDING_BY) => Standing::StandingBy,
            Err(error) if error.message.contains(takeover::ADMITTING) => Standing::Admitting,
            Err(error) => Standing::Silent(error.message),
        }
    }

    async fn rehearse_lease(&self, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace}, "spec": {}});
        self.door.rehearse_create(&LEASES, Some(namespace), &lease).await
    }

    /// A mount of a volume that is not among the SidecarSet's: Kruise refuses it, we warn. So a refusal is Kruise's.
    async fn kruise_answers(&self) -> bool {
        let set = json!({"apiVersion": "apps.kruise.io/v1beta1", "kind": "SidecarSet",
            "metadata": {"name": takeover::PROBE},
            "spec": {"selector": {"matchLabels": {"tidegate.dev/probe": "true"}}, "containers": [
                {"name": "probe", "image": "probe", "volumeMounts": [{"name": "nowhere", "mountPath": "/nowhere"}]}]}});
        match self.door.rehearse_create(&SIDECAR_SETS, None, &set).await {
            Ok(_) => false,
            Err(error) => error.message.contains("denied the request") && error.message.contains("nowhere"),
        }
    }

    async fn kept(&self, namespace: &str) -> Result<Kept, ApiError> {
        let options = ListOptions {
            label_selector: Some(keys::REVISION_OWNER.to_owned()),
            ..ListOptions::default()
        };
        let revisions = self
            .door
            .list(&CONTROLLER_REVISIONS, Some(namespace), &options)
            .await?
            .items;
        let configuration = self
            .find(&CONFIG_MAPS, Some(namespace), keys::CONFIGURATION)
            .await?;
        let whitelist = configuration["data"][keys::WHITELIST_KEY]
            .as_str()
            .map(str::to_owned);
        Ok(Kept { revisions, whitelist })
    }
}

pub(super) fn malformed(what: &str, why: impl std::fmt::Display) -> MoveError {
    MoveError::Malformed {
        what: what.to_owned(),
        why: why.to_string(),
    }
}

fn webhooks(configuration: &Value) -> &[Value] {
    configuration["webhooks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Kruise's own, which it may have been installed into under another name.
fn namespace_of(mutating: &Value, validating: &Value) -> String {
    let all = webhooks(mutating).iter().chain(webhooks(validating));
    let mut named = all.filter_map(|e| e["clientConfig"]["service"]["namespace"].as_str());
    named.next().unwrap_or(KRUISE_NAMESPACE).to_owned()
}

/// Entries beside the probe's.
fn concern_others(configuration: &Value) -> bool {
    let probes = |e: &Value| e["rules"].to_string().contains("\"leases\"");
    webhooks(configuration).iter().any(|e| !probes(e))
}

/// As the API server reaches our webhook, with another path.
fn our_conversion(configuration: &Value) -> Value {
    let Some(entry) = webhooks(configuration).first() else {
        return Value::Null;
    };
    let mut client = entry["clientConfig"].clone();
    if client["service"].is_object() {
        client["service"]["path"] = json!(CONVERT_PATH);
    } else if let Some(url) = client["url"].as_str() {
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        client["url"] = json!(format!("https://{host}{CONVERT_PATH}"));
    }
    client
}

fn our_versions() -> Result<Value, MoveError> {
    let crd: Value = serde_yaml_ng::from_str(model::sidecarset::CRD)
        .map_err(|e| malformed("the CustomResourceDefinition", e))?;
    Ok(crd["spec"]["versions"].clone())
}
