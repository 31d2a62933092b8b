//! Custom kinds: what a CustomResourceDefinition adds to the catalog, and how its objects are treated.
mod definition;
mod establish;
mod scale;
mod webhook;

use std::sync::Arc;

use apiextensions::{Conversion, Crd, CrdVersion};
use apirules::validation::{self, ResourceRef};
use model::field::{FieldError, FieldErrorKind};
use model::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::catalog::{Catalog, Resource, StorageKey};
use crate::metadata;
use crate::pipeline::Schema;
use crate::server::ApiServer;

pub(crate) use definition::ScalePaths;
pub(crate) use establish::{clean_up, doom, establish};

pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// One served version of a custom kind.
#[derive(Debug)]
pub struct CustomVersion {
    crd: Arc<Crd>,
    version: String,
    pub(crate) list_kind: String,
}

/// The table of definitions.
pub(crate) fn definitions() -> StorageKey {
    StorageKey::new("apiextensions.k8s.io", "customresourcedefinitions")
}

/// Rebuilds the catalog of custom resources from the stored definitions.
pub(crate) fn reload(server: &ApiServer) {
    let mut catalog = Catalog::default();
    let (_, definitions) = server.inner.store.snapshot(&definitions(), "");
    for stored in definitions {
        let definition = stored.bare();
        if establish::is_refused(&definition) {
            continue;
        }
        match Crd::parse(&definition) {
            Ok(crd) => definition::resources(Arc::new(crd))
                .into_iter()
                .for_each(|r| catalog.insert(r)),
            Err(errors) => {
                let first = errors.first().map(ToString::to_string).unwrap_or_default();
                tracing::warn!(
                    definition = stored.name(),
                    first,
                    "a stored definition is not served"
                );
            }
        }
    }
    server.set_custom(catalog);
}

/// What is wrong with a definition.
pub(crate) fn validate_definition(value: &Value) -> Vec<FieldError> {
    let mut errors = Crd::parse(value).err().unwrap_or_default();
    errors.extend(apiextensions::conversion_leftover_errors(value));
    errors.extend(webhook::client_errors(value, None));
    errors.extend(apiextensions::approval_errors(value));
    errors.extend(apiextensions::stored_version_errors(value));
    errors
}

/// What is wrong with a changed definition.
pub(crate) fn validate_changed_definition(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = apiextensions::update_errors(new, old);
    errors.extend(apiextensions::conversion_leftover_errors(new));
    errors.extend(webhook::client_errors(new, Some(old)));
    errors.extend(apiextensions::stored_version_errors(new));
    errors
}

impl CustomVersion {
    fn own(&self) -> Option<&CrdVersion> {
        self.crd.version(&self.version)
    }

    pub(crate) fn conversion(&self) -> &Conversion {
        &self.crd.conversion
    }

    pub(crate) fn definition(&self) -> (&Crd, Option<&CrdVersion>) {
        (&self.crd, self.own())
    }

    /// Where a field that selectors may name is in the object.
    pub(crate) fn selectable_pointer(&self, field: &str) -> Option<String> {
        let path = format!(".{field}");
        let known = self.own()?.selectable_fields.contains(&path);
        known.then(|| path.replace('.', "/"))
    }

    pub(crate) fn scale(&self) -> Option<ScalePaths> {
        self.own()?.scale.as_ref().map(ScalePaths::of)
    }

    /// Said to everybody who uses a deprecated version.
    pub(crate) fn deprecation(&self) -> Option<String> {
        let own = self.own().filter(|v| v.deprecated)?;
        if let Some(said) = &own.deprecation_warning {
            return Some(said.clone());
        }
        let (group, kind) = (&self.crd.group, &self.crd.kind);
        let better = self
            .crd
            .versions
            .iter()
            .find(|v| v.served && !v.deprecated && definition::by_priority(&own.name, &v.name).is_lt());
        let mut said = format!("{group}/{} {kind} is deprecated", own.name);
        if let Some(better) = better {
            said.push_str(&format!("; use {group}/{} {kind}", better.name));
        }
        Some(said)
    }

    pub(crate) fn columns(&self) -> Vec<Value> {
        let mut out = vec![
            crate::table::columns("v1", "namespaces")
                .into_iter()
                .next()
                .unwrap_or_default(),
        ];
        let columns = self.own().map(|v| v.columns.as_slice()).unwrap_or_default();
        out.extend(columns.iter().map(|c| {
            json!({"name": c.name, "type": c.ty, "format": c.format, "description": c.description,
                   "priority": c.priority})
        }));
        if columns.is_empty() {
            let about = crate::table::columns("", "");
            let description = about.get(1).map(|c| c["description"].clone());
            out.push(json!({"name": "Age", "type": "date", "format": "", "priority": 0, "description": description}));
        }
        out
    }

    pub(crate) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut out = vec![json!(metadata::name(object))];
        let columns = self.own().map(|v| v.columns.as_slice()).unwrap_or_default();
        let age = |text: &str| {
            let since = text.parse::<Timestamp>().ok();
            since.map_or_else(
                || json!("<invalid>"),
                |since| json!(crate::table::human_duration(now.as_second() - since.as_second())),
            )
        };
        for column in columns {
            let value = apiextensions::cell(column, object);
            out.push(match (column.ty.as_str(), value.as_str()) {
                ("date", Some(text)) => age(text),
                _ => value,
            });
        }
        if columns.is_empty() {
            out.push(age(metadata::text(object, "creationTimestamp")));
        }
        out
    }

    pub(crate) fn schema(&self) -> Option<Schema<'_>> {
        self.schema_of(&self.version)
    }

    /// The schema of any version of the kind.
    pub(crate) fn schema_of(&self, version: &str) -> Option<Schema<'_>> {
        let own = self.crd.version(version)?;
        Some(Schema {
            table: &own.table,
            ty: own.ty,
        })
    }

    /// Why the object cannot be read, and which fields are unknown (they are removed).
    pub(crate) fn prune(&self, value: &mut Value) -> (Vec<String>, Vec<String>) {
        // Of another kind nothing is known; validation refuses it.
        let own = self.own().filter(|_| value["kind"] == *self.crd.kind);
        let (errors, metadata) = match value.get_mut("metadata") {
            Some(metadata) => apiextensions::prune_metadata(metadata),
            None => (Vec::new(), Vec::new()),
        };
        let mut unknown: Vec<String> = metadata.iter().map(|path| format!("metadata.{path}")).collect();
        unknown.extend(own.map(|v| v.prune(value)).unwrap_or_default());
        let said = unknown.iter().map(|path| format!("unknown field {path:?}"));
        (errors, said.collect())
    }

    pub(crate) fn default(&self, value: &mut Value) {
        if let Some(own) = self.own() {
            own.default(value);
        }
    }

    /// What the storage version does not know goes, and its defaults are filled in.
    /// Objects may be stored as an earlier schema wanted them.
    pub(crate) fn has_changed(&self) -> bool {
        self.crd.changed
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.crd.terminating
    }

    /// As the schema of the storage version wants it today.
    pub(crate) fn settle_as_stored(&self, value: &mut Value) {
        if let Some(storage) = self.crd.storage_version() {
            storage.prune(value);
            storage.default(value);
        }
    }

    pub(crate) fn settle_in_storage(&self, value: &mut Value) {
        if let Some(storage) = self.crd.storage_version().filter(|v| v.name != self.version) {
            storage.prune(value);
            storage.default(value);
        }
    }

    fn has_status(&self) -> bool {
        self.own().is_some_and(|v| v.status)
    }

    pub(crate) fn prepare_for_create(&self, value: &mut Value) {
        if self.has_status()
            && let Some(map) = value.as_object_mut()
        {
            map.remove("status");
        }
        metadata::set(value, "generation", 1);
    }

    /// The status endpoint changes the status alone; the other one everything but the status.
    pub(crate) fn prepare_for_update(&self, subresource: &str, new: &mut Value, old: &Value) {
        if subresource == "status" {
            let managed = metadata::get(new, "managedFields").cloned();
            let version = metadata::get(new, "resourceVersion").cloned();
            let status = new.get("status").cloned();
            *new = old.clone();
            put(new.as_object_mut(), "status", status);
            put(metadata::map(new), "managedFields", managed);
            put(metadata::map(new), "resourceVersion", version);
            return;
        }
        if self.has_status() {
            put(new.as_object_mut(), "status", old.get("status").cloned());
        }
        let content = |value: &Value| {
            let mut map = value.as_object().cloned().unwrap_or_default();
            map.remove("metadata");
            if self.has_status() {
                map.remove("status");
            }
            map
        };
        if content(new) != content(old) {
            let generation = metadata::get(old, "generation")
                .and_then(Value::as_i64)
                .unwrap_or(0);
            metadata::set(new, "generation", generation + 1);
        }
    }

    pub(crate) fn validate(
        &self,
        resource: &Resource,
        new: &Value,
        old: Option<&Value>,
        subresource: &str,
    ) -> Vec<FieldError> {
        let reference = ResourceRef::new(&resource.group, &resource.plural, subresource);
        let mut errors = match old {
            None => validation::validate_create(&reference, new),
            Some(old) => validation::validate_update(&reference, new, old),
        };
        let kind = new["kind"].as_str().unwrap_or_default();
        if kind != resource.kind {
            let why = format!("must be {}", resource.kind);
            // Then only what is looked at apart from the schema is said too.
            let more = self.own().map(|own| own.validate(new, old)).unwrap_or_default();
            let doubled = more.into_iter().filter(|e| e.kind == FieldErrorKind::Duplicate);
            let wrong = FieldError::invalid("kind", format!("{kind:?}"), why);
            return [wrong].into_iter().chain(doubled).collect();
        }
        if let Some(own) = self.own() {
            let scale = own.scale.as_ref();
            errors.extend(scale.into_iter().flat_map(|s| scale::errors(s, subresource, new)));
            let mut found = own.validate(new, old);
            if subresource == "status" {
                found.iter_mut().for_each(as_part_of_status);
            }
            errors.extend(found);
        }
        errors
    }
}

/// At its own endpoint the status is looked at as a whole of its own.
fn as_part_of_status(error: &mut FieldError) {
    if let Some(rest) = error
        .detail
        .strip_prefix("status.")
        .filter(|r| r.contains(" in body "))
    {
        error.detail = rest.to_owned();
    }
}

fn put(map: Option<&mut Map<String, Value>>, name: &str, value: Option<Value>) {
    let Some(map) = map else { return };
    match value {
        Some(value) => {
            map.insert(name.to_owned(), value);
        }
        None => {
            map.remove(name);
        }
    }
}
