//! One stored object: its bytes, and the fields that are read without decoding them.

use bytes::Bytes;
use serde_json::Value;

use crate::catalog::Resource;

/// Reads the selectable fields of a kind out of an object.
pub type FieldExtractor = fn(&Value) -> Vec<(&'static str, String)>;

#[derive(Debug)]
pub struct Stored {
    /// `namespace/name`, or `name` of a cluster-scoped object: the order of lists.
    pub key: Box<str>,
    pub revision: u64,
    /// The object as JSON, without `apiVersion` and `kind`.
    pub body: Bytes,
    pub uid: Box<str>,
    pub labels: Box<[(Box<str>, Box<str>)]>,
    pub fields: Box<[(&'static str, Box<str>)]>,
    pub owners: Box<[OwnerRef]>,
    pub deleting: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnerRef {
    pub uid: Box<str>,
    pub blocks: bool,
}

/// The key of an object within its table.
pub fn object_key(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) => format!("{namespace}/{name}"),
        None => name.to_owned(),
    }
}

impl Stored {
    /// Encodes an object; `apiVersion` and `kind` at the top are left out.
    pub fn encode(
        key: &str,
        revision: u64,
        value: &Value,
        fields: FieldExtractor,
    ) -> Result<Self, serde_json::Error> {
        let mut out = Self {
            key: key.into(),
            revision,
            body: Bytes::from(serde_json::to_vec(&Unversioned(value))?),
            uid: Box::default(),
            labels: Box::default(),
            fields: fields(value).into_iter().map(|(k, v)| (k, v.into())).collect(),
            owners: Box::default(),
            deleting: false,
        };
        out.read_metadata(value);
        Ok(out)
    }

    fn read_metadata(&mut self, value: &Value) {
        let Some(metadata) = value.get("metadata").and_then(Value::as_object) else {
            return;
        };
        let text = |v: Option<&Value>| v.and_then(Value::as_str).unwrap_or_default().to_owned();
        self.uid = text(metadata.get("uid")).into();
        self.deleting = metadata.get("deletionTimestamp").is_some_and(|v| !v.is_null());
        if let Some(labels) = metadata.get("labels").and_then(Value::as_object) {
            let pairs = labels
                .iter()
                .map(|(k, v)| (k.as_str().into(), text(Some(v)).into()));
            self.labels = pairs.collect();
        }
        if let Some(owners) = metadata.get("ownerReferences").and_then(Value::as_array) {
            let refs = owners.iter().map(|o| OwnerRef {
                uid: text(o.get("uid")).into(),
                blocks: o
                    .get("blockOwnerDeletion")
                    .and_then(Value::as_bool)
                    .unwrap_or(false),
            });
            self.owners = refs.collect();
        }
    }

    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&*self.key, |(_, name)| name)
    }

    pub fn namespace(&self) -> Option<&str> {
        self.key.split_once('/').map(|(namespace, _)| namespace)
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(k, _)| &**k == name);
        found.map(|(_, v)| &**v)
    }

    /// The object as stored, without `apiVersion` and `kind`.
    pub fn bare(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The object in its storage version.
    pub fn value(&self, resource: &Resource) -> Value {
        let mut value = self.bare();
        if let Some(map) = value.as_object_mut() {
            let version = crate::catalog::group_version(&resource.storage_group, &resource.storage_version);
            map.insert("apiVersion".into(), version.into());
            map.insert("kind".into(), resource.kind.clone().into());
        }
        value
    }
}

/// Serialises an object without its `apiVersion` and `kind`.
struct Unversioned<'a>(&'a Value);

impl serde::Serialize for Unversioned<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(map) = self.0.as_object() else {
            return self.0.serialize(serializer);
        };
        serializer.collect_map(map.iter().filter(|(k, _)| *k != "apiVersion" && *k != "kind"))
    }
}
