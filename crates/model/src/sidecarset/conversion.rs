//! v1alpha1 and v1beta1, on whole objects, losing nothing on the way there and back.
use super::{GROUP, KIND, keys};
use crate::selector::label_value_problem;
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    #[error("SidecarSet {name:?}: not an object of kind SidecarSet in apiVersion v1alpha1 or v1beta1")]
    NotASidecarSet { name: String },
    #[error(
        "SidecarSet {name:?}: spec.namespace {namespace:?} and spec.namespaceSelector are both set; keep one"
    )]
    TwoNamespaces { name: String, namespace: String },
}

/// `spec.namespace` becomes a namespaceSelector by name; the custom-version label becomes `spec.customVersion`, as does
/// the annotation of that name, which stands for it where its value cannot be a label.
///
/// An annotation remembers that `namespace` was used, so that it comes back on the way to v1alpha1. A
/// `namespaceSelector` set beside `namespace` is an error instead of being dropped, unless both say the same.
pub fn to_v1beta1(object: &mut Value) -> Result<(), ConversionError> {
    if version(object)? == Version::Beta {
        return Ok(());
    }
    let name = name(object);
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let namespace = spec
            .remove("namespace")
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        if !namespace.is_empty() {
            let by_name = json!({"matchLabels": {keys::NAMESPACE_NAME: namespace}});
            let beside = spec.insert("namespaceSelector".into(), by_name.clone());
            if beside.is_some_and(|s| !s.is_null() && s != by_name) {
                return Err(ConversionError::TwoNamespaces { name, namespace });
            }
            set_text(object, "annotations", keys::FROM_NAMESPACE, Some(namespace));
        } else {
            set_text(object, "annotations", keys::FROM_NAMESPACE, None);
        }
    }
    let kept = set_text(object, "annotations", keys::CUSTOM_VERSION, None);
    let label = set_text(object, "labels", keys::CUSTOM_VERSION, None);
    if let Some(version) = label.or(kept)
        && let Some(spec) = entry_object(object, "spec")
    {
        spec.insert("customVersion".into(), Value::String(version));
    }
    set_version(object, "v1beta1");
    Ok(())
}

/// The way back: `namespace` returns if it was how the object was written and the selector still says it.
pub fn to_v1alpha1(object: &mut Value) -> Result<(), ConversionError> {
    if version(object)? == Version::Alpha {
        return Ok(());
    }
    let remembered = set_text(object, "annotations", keys::FROM_NAMESPACE, None);
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        if let Some(namespace) = remembered
            && spec.get("namespaceSelector")
                == Some(&json!({"matchLabels": {keys::NAMESPACE_NAME: namespace}}))
        {
            spec.remove("namespaceSelector");
            spec.insert("namespace".into(), Value::String(namespace));
        }
        let version = spec
            .remove("customVersion")
            .and_then(|v| v.as_str().map(str::to_owned));
        if let Some(version) = version.filter(|v| !v.is_empty()) {
            // One wrong label, and no v1alpha1 client could list any SidecarSet.
            let map = match label_value_problem(&version) {
                None => "labels",
                Some(_) => "annotations",
            };
            set_text(object, map, keys::CUSTOM_VERSION, Some(version));
        }
    }
    set_version(object, "v1alpha1");
    Ok(())
}

#[derive(PartialEq)]
enum Version {
    Alpha,
    Beta,
}

fn version(object: &Value) -> Result<Version, ConversionError> {
    let text = |field| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let refused = || ConversionError::NotASidecarSet { name: name(object) };
    if text("kind") != KIND {
        return Err(refused());
    }
    match text("apiVersion").strip_prefix(GROUP) {
        Some("/v1alpha1") => Ok(Version::Alpha),
        Some("/v1beta1") => Ok(Version::Beta),
        _ => Err(refused()),
    }
}

fn name(object: &Value) -> String {
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn set_version(object: &mut Value, version: &str) {
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".into(), Value::String(format!("{GROUP}/{version}")));
    }
}

/// Sets or removes one entry of a metadata map and returns what was there; an emptied map goes.
fn set_text(object: &mut Value, map: &str, key: &str, value: Option<String>) -> Option<String> {
    let metadata = entry_object(object, "metadata")?;
    if value.is_none() && metadata.get(map).is_none_or(Value::is_null) {
        return None;
    }
    let entries = metadata.entry(map).or_insert(Value::Null);
    if entries.is_null() {
        *entries = Value::Object(Map::new());
    }
    let entries = entries.as_object_mut()?;
    let before = match value {
        Some(value) => entries.insert(key.to_owned(), Value::String(value)),
        None => entries.remove(key),
    };
    if entries.is_empty() {
        metadata.remove(map);
    }
    before.and_then(|v| v.as_str().map(str::to_owned))
}

fn entry_object<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object
        .as_object_mut()?
        .entry(field)
        .or_insert_with(|| Value::Object(Map::new()))
        .as_object_mut()
}
