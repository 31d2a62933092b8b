//! Who owns what after a write: conflicts, lost fields, and fields that nobody wants any more.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compare::{Comparison, compare};
use super::conflict::{Conflict, Conflicts};
use super::managed::{ManagedFields, ManagerId, Owned};
use super::merge::merge;
use super::path::same;
use super::remove::{reconcile, remove};
use super::schema::Schema;
use super::set::FieldSet;
use super::walk::fields_of;
use super::{ApplyError, Versions};

/// Which fields a write to a resource or subresource may own at all.
#[derive(Debug, Clone, Default)]
pub enum FieldFilter {
    #[default]
    Everything,
    /// Everything but these fields and what is below them (`status` for the main resource).
    Except(FieldSet),
}

impl FieldFilter {
    pub(super) fn keep(&self, set: &FieldSet) -> FieldSet {
        match self {
            FieldFilter::Everything => set.clone(),
            FieldFilter::Except(fields) => set.without_trees(fields),
        }
    }
}

/// One write, at one version.
pub(super) struct Ownership<'a> {
    pub versions: &'a dyn Versions,
    pub schema: Schema<'a>,
    pub api_version: &'a str,
    pub filter: &'a FieldFilter,
}

impl Ownership<'_> {
    /// Entries after an update by `id`, which owns what it changed.
    pub(super) fn update(
        &self,
        live: &Value,
        new: &Value,
        managed: ManagedFields,
        id: &ManagerId,
    ) -> ManagedFields {
        let managed = self.reconciled(managed);
        let (mut managed, changes) = match self.take_over(live, new, managed, id, true) {
            Ok(done) => done,
            // Only an apply that is not forced can conflict.
            Err(_) => return ManagedFields::default(),
        };
        let before = managed.entries.remove(id);
        let fields = before
            .as_ref()
            .map(|owned| owned.fields.clone())
            .unwrap_or_default();
        let fields = fields
            .difference(&changes.removed)
            .union(&changes.modified)
            .union(&changes.added);
        let fields = self.filter.keep(&fields);
        if !fields.is_empty() {
            let time = before.and_then(|owned| owned.time);
            let owned = Owned {
                fields,
                api_version: self.api_version.to_owned(),
                time,
            };
            managed.entries.insert(id.clone(), owned);
        }
        managed
    }

    /// The object and entries after an apply by `id`; no object where nothing changes.
    pub(super) fn apply(
        &self,
        live: &Value,
        config: &Value,
        managed: ManagedFields,
        id: &ManagerId,
        force: bool,
    ) -> Result<(Option<Value>, ManagedFields), ApplyError> {
        let mut managed = self.reconciled(managed);
        let merged = merge(self.schema, live, config)
            .map_err(|error| ApplyError::Internal(format!("failed to merge config: {error}")))?;
        let last = managed.entries.get(id).cloned();
        let owned = Owned {
            fields: self.filter.keep(&fields_of(self.schema, config)),
            api_version: self.api_version.to_owned(),
            time: last.as_ref().and_then(|last| last.time),
        };
        managed.entries.insert(id.clone(), owned);
        let new = match last.filter(|last| !last.fields.is_empty()) {
            Some(last) => self.prune(merged, &managed, &last),
            None => merged,
        };
        let (managed, _) = self
            .take_over(live, &new, managed, id, force)
            .map_err(ApplyError::Conflicts)?;
        Ok(((!same(live, &new)).then_some(new), managed))
    }

    /// Takes changed and removed fields away from the other managers.
    fn take_over(
        &self,
        live: &Value,
        new: &Value,
        mut managed: ManagedFields,
        id: &ManagerId,
        force: bool,
    ) -> Result<(ManagedFields, Comparison), Conflicts> {
        let own = self.filtered(compare(self.schema, live, new));
        let mut at_version: BTreeMap<String, Option<Comparison>> = BTreeMap::new();
        at_version.insert(self.api_version.to_owned(), Some(own.clone()));
        let mut conflicts = Vec::new();
        for (other, owned) in &mut managed.entries {
            if other == id {
                continue;
            }
            let changes = at_version.entry(owned.api_version.clone()).or_insert_with(|| {
                let schema = self.versions.schema(&owned.api_version)?;
                let live = self.versions.convert(live, &owned.api_version)?;
                let new = self.versions.convert(new, &owned.api_version)?;
                Some(self.filtered(compare(schema, &live, &new)))
            });
            let Some(changes) = changes else {
                // A version that is served no more: its entries go.
                owned.fields = FieldSet::new();
                continue;
            };
            let taken = owned.fields.intersection(&changes.modified.union(&changes.added));
            let lost = |path| Conflict {
                owner: other.clone(),
                path,
            };
            conflicts.extend(taken.paths().into_iter().map(lost));
            owned.fields = owned.fields.difference(&taken).difference(&changes.removed);
        }
        if !force && !conflicts.is_empty() {
            return Err(Conflicts(conflicts));
        }
        managed.entries.retain(|_, owned| !owned.fields.is_empty());
        Ok((managed, own))
    }

    /// Removes what the applier owned and applies no more, where nobody else owns it.
    fn prune(&self, merged: Value, managed: &ManagedFields, last: &Owned) -> Value {
        let (Some(schema), Some(converted)) = (
            self.versions.schema(&last.api_version),
            self.versions.convert(&merged, &last.api_version),
        ) else {
            return merged;
        };
        let last_fields = last.fields.with_named_fields(schema, schema.root());
        let mut pruned = remove(schema, &converted, &last_fields);
        pruned = self.add_back_owned(&converted, pruned, managed, &last.api_version);
        // What went along without having been owned comes back.
        let pruned_fields = fields_of(schema, &pruned).with_named_fields(schema, schema.root());
        let merged_fields = fields_of(schema, &converted).with_named_fields(schema, schema.root());
        let gone = merged_fields
            .difference(&pruned_fields)
            .intersection(&last_fields);
        let pruned = remove(schema, &converted, &gone);
        self.versions.convert(&pruned, self.api_version).unwrap_or(merged)
    }

    /// Brings back what any manager still owns, version by version, the applier's last version first.
    fn add_back_owned(&self, merged: &Value, pruned: Value, managed: &ManagedFields, first: &str) -> Value {
        let mut owned_at: BTreeMap<&str, FieldSet> = BTreeMap::new();
        for owned in managed.entries.values() {
            let set = owned_at.entry(&owned.api_version).or_default();
            *set = set.union(&owned.fields);
        }
        let others: BTreeSet<&str> = owned_at
            .keys()
            .copied()
            .filter(|version| *version != first)
            .collect();
        let mut pruned = pruned;
        for version in std::iter::once(first).chain(others) {
            let (Some(owned), Some(schema)) = (owned_at.get(version), self.versions.schema(version)) else {
                continue;
            };
            let (Some(whole), Some(part)) = (
                self.versions.convert(merged, version),
                self.versions.convert(&pruned, version),
            ) else {
                continue;
            };
            let named = |set: FieldSet| set.with_named_fields(schema, schema.root());
            let kept = named(fields_of(schema, &part)).union(&named(owned.clone()));
            pruned = remove(
                schema,
                &whole,
                &named(fields_of(schema, &whole)).difference(&kept),
            );
        }
        self.versions.convert(&pruned, first).unwrap_or(pruned)
    }

    fn reconciled(&self, mut managed: ManagedFields) -> ManagedFields {
        managed
            .entries
            .retain(|_, owned| match self.versions.schema(&owned.api_version) {
                Some(schema) => {
                    owned.fields = reconcile(schema, &owned.fields);
                    true
                }
                None => false,
            });
        managed
    }

    fn filtered(&self, changes: Comparison) -> Comparison {
        Comparison {
            removed: self.filter.keep(&changes.removed),
            modified: self.filter.keep(&changes.modified),
            added: self.filter.keep(&changes.added),
        }
    }
}
