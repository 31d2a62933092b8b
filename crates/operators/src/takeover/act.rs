//! Doing: one write for each step, bound to what was looked at.
use super::observe::{BINDINGS, CRD_NAME, POLICIES, malformed};
use super::{MoveError, Mover};
use cluster::resource::{
    CONFIG_MAPS, CONTROLLER_REVISIONS, CUSTOM_RESOURCE_DEFINITIONS, DEPLOYMENTS, LEASES,
    MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use cluster::{ApiError, DeleteOptions, PatchKind, Resource};
use model::sidecarset::keys;
use serde_json::{Value, json};
use std::time::Duration;
use workload::takeover::entries::EntriesBefore;
use workload::takeover::revisions::{Copy, copies};
use workload::takeover::steps::revisions_to_return;
use workload::takeover::{
    self, Actor, Before, Mode, Observed, Record, Standing, Step, entries, fence, manager,
};

/// An operator that does not answer for so long is taken for dead: its entries would refuse pods.
const TAKEN_FOR_DEAD: Duration = Duration::from_secs(15);

impl Mover {
    pub(super) async fn act(&self, step: Step, seen: &Observed, mode: Mode) -> Result<(), MoveError> {
        let (theirs, ours) = (seen.manager_namespace.as_str(), self.options.namespace.as_str());
        let before = seen.record.as_ref().and_then(|r| r.before.as_ref());
        let mode = before.map_or(mode, |b| b.mode);
        match step {
            Step::Record => {
                self.write_record(Actor::Kruise, Some(before_of(seen, mode)))
                    .await
            }
            Step::Fence => self.write_fence(&manager::user(&seen.manager, theirs)).await,
            Step::CopyRevisions => self.copy(copies(&seen.theirs, &seen.ours, ours), ours).await,
            Step::WidenSchema => self.write_crd(seen, "versions", seen.our_versions.clone()).await,
            Step::Activate => {
                self.settle().await;
                self.write_record(Actor::Tidegate, before.cloned()).await
            }
            Step::TakeEntries => {
                self.settle().await;
                self.change_entries(seen, |c, _| entries::without(c)).await
            }
            Step::RestrictManager => {
                let changed = manager::restricted(&seen.manager, mode == Mode::Stopped);
                self.replace(
                    &DEPLOYMENTS,
                    Some(theirs),
                    manager::DEPLOYMENT,
                    &seen.manager,
                    changed,
                )
                .await
            }
            Step::Convert => {
                let webhook = json!({"conversionReviewVersions": ["v1", "v1beta1"], "clientConfig": seen.our_conversion});
                self.write_crd(
                    seen,
                    "conversion",
                    json!({"strategy": "Webhook", "webhook": webhook}),
                )
                .await
            }
            Step::RestoreManager => self.restore_manager(seen, before).await,
            Step::ReturnRevisions | Step::ReturnLastRevisions => {
                self.copy(revisions_to_return(seen), theirs).await
            }
            Step::ReturnEntries => self.change_entries(seen, entries::returned).await,
            Step::StandDown => {
                self.settle().await;
                self.write_record(Actor::Kruise, before.cloned()).await
            }
            Step::RestoreSchema => self.restore_schema(seen, before).await,
            Step::Unfence => self.remove_fence().await,
            Step::Forget => self.write_record(Actor::Kruise, None).await,
            _ => Ok(()),
        }
    }

    /// What can be done about one that does not do its part.
    pub(super) async fn help(&self, step: Step, seen: &Observed, waited: Duration) -> Result<(), MoveError> {
        if matches!(step, Step::AwaitRestricted | Step::AwaitStoodDown) {
            for lease in &self.leases.run_out {
                self.free(lease).await?;
            }
        }
        let dead = matches!(seen.standing, Standing::Silent(_)) && waited > TAKEN_FOR_DEAD;
        if step == Step::AwaitStoodDown && dead && seen.entries_of_ours {
            for (resource, name) in [
                (
                    &MUTATING_WEBHOOK_CONFIGURATIONS,
                    &self.options.mutating_configuration,
                ),
                (
                    &VALIDATING_WEBHOOK_CONFIGURATIONS,
                    &self.options.validating_configuration,
                ),
            ] {
                let found = self.find(resource, None, name).await?;
                if !found.is_null() {
                    let mut changed = found.clone();
                    changed["webhooks"] = json!([]);
                    self.replace(resource, None, name, &found, changed).await?;
                }
            }
        }
        Ok(())
    }

    /// As its holder does when it leaves; nothing happens if it was renewed meanwhile.
    async fn free(&self, lease: &Value) -> Result<(), MoveError> {
        let text = |field: &str| lease["metadata"][field].as_str().unwrap_or_default();
        let mut freed = lease.clone();
        freed["spec"]["holderIdentity"] = json!("");
        freed["spec"]["leaseDurationSeconds"] = json!(1);
        self.replace(&LEASES, Some(text("namespace")), text("name"), lease, freed)
            .await
    }

    async fn settle(&self) {
        tokio::time::sleep(self.options.settle).await;
    }

    async fn write_record(&self, actor: Actor, before: Option<Before>) -> Result<(), MoveError> {
        let namespace = Some(self.options.namespace.as_str());
        let found = self.find(&CONFIG_MAPS, namespace, takeover::RECORD).await?;
        let data = Record { actor, before }.data();
        let mut changed = match &found {
            Value::Null => json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": takeover::RECORD, "namespace": self.options.namespace}}),
            found => found.clone(),
        };
        changed["data"] = data;
        // A key that is null is none.
        if let Some(data) = changed["data"].as_object_mut() {
            data.retain(|_, value| !value.is_null());
        }
        self.replace(&CONFIG_MAPS, namespace, takeover::RECORD, &found, changed)
            .await
    }

    async fn write_fence(&self, user: &str) -> Result<(), MoveError> {
        let wanted = [
            (&POLICIES, fence::policy(user, &self.options.namespace)),
            (&BINDINGS, fence::binding()),
        ];
        for (resource, wanted) in wanted {
            let found = self.find(resource, None, fence::NAME).await?;
            let mut changed = found.clone();
            match &found {
                Value::Null => changed = wanted,
                found if fence::says(found, &wanted) => continue,
                _ => changed["spec"] = wanted["spec"].clone(),
            }
            self.replace(resource, None, fence::NAME, &found, changed).await?;
        }
        Ok(())
    }

    async fn remove_fence(&self) -> Result<(), MoveError> {
        for resource in [&BINDINGS, &POLICIES] {
            let found = self.find(resource, None, fence::NAME).await?;
            if let Some(uid) = found["metadata"]["uid"].as_str() {
                let gone = self
                    .door
                    .delete(resource, None, fence::NAME, &DeleteOptions::of_uid(uid))
                    .await;
                gone.map(drop)
                    .or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
            }
        }
        Ok(())
    }

    async fn copy(&self, copies: Vec<Copy>, namespace: &str) -> Result<(), MoveError> {
        for copy in copies {
            match copy {
                Copy::Create(object) => {
                    self.door
                        .create(&CONTROLLER_REVISIONS, Some(namespace), &object)
                        .await?;
                }
                Copy::Patch(name, patch) => {
                    let kind = PatchKind::Merge;
                    self.door
                        .patch(&CONTROLLER_REVISIONS, Some(namespace), &name, kind, &patch, None)
                        .await?;
                }
                Copy::Whitelist(text) => self.write_whitelist(namespace, text).await?,
            }
        }
        Ok(())
    }

    async fn write_whitelist(&self, namespace: &str, text: String) -> Result<(), MoveError> {
        let found = self
            .find(&CONFIG_MAPS, Some(namespace), keys::CONFIGURATION)
            .await?;
        let mut changed = match &found {
            Value::Null => json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": keys::CONFIGURATION, "namespace": namespace}}),
            found => found.clone(),
        };
        changed["data"][keys::WHITELIST_KEY] = json!(text);
        self.replace(
            &CONFIG_MAPS,
            Some(namespace),
            keys::CONFIGURATION,
            &found,
            changed,
        )
        .await
    }

    async fn change_entries(
        &self,
        seen: &Observed,
        change: impl Fn(&Value, &EntriesBefore) -> Value,
    ) -> Result<(), MoveError> {
        let before = seen.record.as_ref().and_then(|r| r.before.as_ref());
        let before = before.ok_or_else(|| malformed(takeover::RECORD, "it does not say what Kruise had"))?;
        for (resource, name, now, before) in [
            (
                &MUTATING_WEBHOOK_CONFIGURATIONS,
                entries::MUTATING,
                &seen.mutating,
                &before.mutating,
            ),
            (
                &VALIDATING_WEBHOOK_CONFIGURATIONS,
                entries::VALIDATING,
                &seen.validating,
                &before.validating,
            ),
        ] {
            let changed = change(now, before);
            if !now.is_null() && changed != *now {
                self.replace(resource, None, name, now, changed).await?;
            }
        }
        Ok(())
    }

    async fn write_crd(&self, seen: &Observed, field: &str, value: Value) -> Result<(), MoveError> {
        let mut crd = seen.crd.clone();
        crd["spec"][field] = value;
        self.replace(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME, &seen.crd, crd)
            .await
    }

    async fn restore_manager(&self, seen: &Observed, before: Option<&Before>) -> Result<(), MoveError> {
        let Some(before) = before.and_then(|b| b.manager.as_ref()) else {
            return Ok(());
        };
        let (namespace, changed) = (&seen.manager_namespace, manager::restored(&seen.manager, before));
        self.replace(
            &DEPLOYMENTS,
            Some(namespace),
            manager::DEPLOYMENT,
            &seen.manager,
            changed,
        )
        .await
    }

    async fn restore_schema(&self, seen: &Observed, before: Option<&Before>) -> Result<(), MoveError> {
        let Some(before) = before else {
            return Ok(());
        };
        let mut crd = seen.crd.clone();
        crd["spec"]["versions"] = before.versions.clone();
        let client = &crd["spec"]["conversion"]["webhook"]["clientConfig"];
        if client["service"]["namespace"] == self.options.namespace
            || client["url"] == seen.our_conversion["url"]
        {
            // Kruise's manager fills in its authorities as soon as it sees the block.
            crd["spec"]["conversion"] = before.conversion.clone();
        }
        self.replace(&CUSTOM_RESOURCE_DEFINITIONS, None, CRD_NAME, &seen.crd, crd)
            .await
    }

    /// Of what was looked at, or creates it. A conflict is not an error: the caller looks again.
    async fn replace(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        found: &Value,
        changed: Value,
    ) -> Result<(), MoveError> {
        let written: Result<Value, ApiError> = match found {
            Value::Null => self.door.create(resource, namespace, &changed).await,
            _ => self.door.replace(resource, namespace, name, &changed, None).await,
        };
        match written {
            Err(error) if !(error.is_conflict() || error.is_already_exists()) => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn before_of(seen: &Observed, mode: Mode) -> Before {
    let mut conversion = seen.crd["spec"]["conversion"].clone();
    if let Some(client) = conversion["webhook"]["clientConfig"].as_object_mut() {
        client.remove("caBundle");
    }
    Before {
        mode,
        manager: manager::before(&seen.manager),
        mutating: entries::before(&seen.mutating),
        validating: entries::before(&seen.validating),
        versions: seen.crd["spec"]["versions"].clone(),
        conversion,
    }
}
