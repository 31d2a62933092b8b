//! Custom kinds: what a CustomResourceDefinition adds to the catalog, and how its objects are treated.
mod definition;
mod establish;

use apirules::validation::{self, ResourceRef};
use model::field::FieldError;
use model::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::catalog::{Catalog, Resource, StorageKey};
use crate::metadata;
use crate::pipeline::Schema;
use crate::server::ApiServer;

pub(crate) use definition::ScalePaths;
pub(crate) use establish::{clean_up, establish};

pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// One served version of a custom kind.
#[derive(Debug)]
pub struct CustomVersion {
    pub(crate) list_kind: String,
    pub(crate) has_status: bool,
    pub(crate) scale: Option<ScalePaths>,
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
        for resource in definition::resources(&stored.bare()) {
            catalog.insert(resource);
        }
    }
    server.set_custom(catalog);
}

impl CustomVersion {
    pub(crate) fn scale(&self) -> Option<ScalePaths> {
        self.scale.clone()
    }

    pub(crate) fn columns(&self) -> Vec<Value> {
        vec![
            json!({"name": "Name", "type": "string", "format": "name", "priority": 0,
                   "description": crate::table::columns("v1", "namespaces")[0]["description"]}),
            json!({"name": "Age", "type": "date", "format": "", "priority": 0,
                   "description": "CreationTimestamp is a timestamp representing the server time when this object was created."}),
        ]
    }

    pub(crate) fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        vec![
            json!(metadata::name(object)),
            json!(metadata::text(object, "creationTimestamp")),
        ]
    }

    pub(crate) fn schema(&self) -> Option<Schema<'_>> {
        None
    }

    /// Why the object cannot be read, and which fields are unknown (they are removed).
    pub(crate) fn prune(&self, _value: &mut Value) -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }

    pub(crate) fn default(&self, _value: &mut Value) {}

    pub(crate) fn prepare_for_create(&self, value: &mut Value) {
        if self.has_status
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
        if self.has_status {
            put(new.as_object_mut(), "status", old.get("status").cloned());
        }
        let content = |value: &Value| {
            let mut map = value.as_object().cloned().unwrap_or_default();
            map.remove("metadata");
            if self.has_status {
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
        match old {
            None => validation::validate_create(&reference, new),
            Some(old) => validation::validate_update(&reference, new, old),
        }
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
