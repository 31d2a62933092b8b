//! metadata: the rules every object obeys.

use serde_json::Value;

use crate::path::{Errors, Path, go_quote};
use crate::read::{Read, texts};
use crate::validation::labels::validate_labels;
use crate::validation::names::{dns_label, for_prefix, qualified_name};

const ANNOTATION_BYTES: usize = 256 * 1024;

pub(crate) fn validate_meta(
    object: &Value,
    namespaced: bool,
    name_rule: fn(&str) -> Vec<String>,
    errors: &mut Errors,
) {
    let (meta, path) = (object.at("metadata"), Path::new("metadata"));
    let prefix = meta.text("generateName");
    if !prefix.is_empty() {
        errors.invalid_each(&path.child("generateName"), prefix, for_prefix(name_rule, prefix));
    }
    let name = meta.text("name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.invalid_each(&path.child("name"), name, name_rule(name));
    }
    let namespace = meta.text("namespace");
    let at = path.child("namespace");
    match (namespaced, namespace.is_empty()) {
        (true, true) => errors.required(&at, ""),
        (true, false) => errors.invalid_each(&at, namespace, dns_label(namespace)),
        (false, false) => errors.forbidden(&at, "not allowed on this type"),
        (false, true) => {}
    }
    if let Some(generation) = meta.int("generation").filter(|g| *g < 0) {
        errors.invalid(
            &path.child("generation"),
            generation,
            "must be greater than or equal to 0",
        );
    }
    validate_labels(meta.at("labels"), &path.child("labels"), errors);
    validate_annotations(meta.at("annotations"), &path.child("annotations"), errors);
    validate_owners(
        meta.list("ownerReferences"),
        &path.child("ownerReferences"),
        errors,
    );
    validate_finalizers(meta.list("finalizers"), &path.child("finalizers"), errors);
}

pub(crate) fn validate_meta_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata");
    let (new, old) = (new.at("metadata"), old.at("metadata"));
    if old.has("deletionTimestamp") {
        let before = texts(old.list("finalizers"));
        let mut extra: Vec<&str> = texts(new.list("finalizers"))
            .into_iter()
            .filter(|f| !before.contains(f))
            .collect();
        extra.sort_unstable();
        if !extra.is_empty() {
            let list: Vec<String> = extra.iter().map(|f| go_quote(f)).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            errors.forbidden(&path.child("finalizers"), detail);
        }
    }
    if new.text("resourceVersion").is_empty() {
        errors.invalid(
            &path.child("resourceVersion"),
            "",
            "must be specified for an update",
        );
    }
    let generation = new.int("generation").unwrap_or(0);
    if generation < old.int("generation").unwrap_or(0) {
        errors.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    for name in ["name", "namespace", "uid"] {
        if new.text(name) != old.text(name) {
            errors.invalid(&path.child(name), new.text(name), IMMUTABLE);
        }
    }
    for name in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if new.at(name) != old.at(name) {
            errors.invalid(&path.child(name), new.at(name).clone(), IMMUTABLE);
        }
    }
    validate_labels(new.at("labels"), &path.child("labels"), errors);
    validate_annotations(new.at("annotations"), &path.child("annotations"), errors);
    validate_owners(
        new.list("ownerReferences"),
        &path.child("ownerReferences"),
        errors,
    );
}

pub(crate) const IMMUTABLE: &str = "field is immutable";

pub(crate) fn validate_annotations(annotations: &Value, path: &Path, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.as_object().into_iter().flatten() {
        errors.invalid_each(path, key, qualified_name(&key.to_lowercase()));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATION_BYTES {
        errors.too_long(path, ANNOTATION_BYTES);
    }
}

fn validate_owners(owners: &[Value], path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let (version, kind) = (owner.text("apiVersion"), owner.text("kind"));
        let unversioned = match version.split_once('/') {
            None => version.is_empty(),
            Some((_, bare)) => bare.is_empty() || bare.contains('/'),
        };
        if unversioned {
            errors.invalid(&path.child("apiVersion"), version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if owner.text(name).is_empty() {
                errors.invalid(&path.child(name), "", "must not be empty");
            }
        }
        if version == "v1" && kind == "Event" {
            errors.invalid(
                path,
                owner.clone(),
                "/v1, Kind=Event is disallowed from being an owner",
            );
        }
        if !owner.flag("controller") {
            continue;
        }
        let this = format!("{kind}/{}", owner.text("name"));
        match &controller {
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                );
                errors.invalid_json(path, as_go_writes(owners), detail);
            }
            None => controller = Some(this),
        }
    }
}

/// Owner references in JSON, their fields in the order of Go's type.
fn as_go_writes(owners: &[Value]) -> String {
    let names = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ];
    let one = |owner: &Value| {
        let fields = names.iter().filter(|name| owner.has(name));
        let fields: Vec<String> = fields
            .map(|name| format!("{name:?}:{}", owner.at(name)))
            .collect();
        format!("{{{}}}", fields.join(","))
    };
    let all: Vec<String> = owners.iter().map(one).collect();
    format!("[{}]", all.join(","))
}

fn validate_finalizers(finalizers: &[Value], path: &Path, errors: &mut Errors) {
    let names = texts(finalizers);
    for name in &names {
        errors.invalid_each(path, name, qualified_name(name));
    }
    if names.contains(&"orphan") && names.contains(&"foregroundDeletion") {
        let detail = "finalizer foregroundDeletion and orphan cannot be both set";
        errors.invalid(path, Value::Array(finalizers.to_vec()), detail);
    }
}

/// Built-in kinds take qualified finalizers and the few standard ones.
pub(crate) fn validate_finalizer_kinds(object: &Value, errors: &mut Errors) {
    let path = Path::new("metadata").child("finalizers");
    for (i, name) in texts(object.at("metadata").list("finalizers"))
        .into_iter()
        .enumerate()
    {
        if !name.contains('/') && !["kubernetes", "orphan", "foregroundDeletion"].contains(&name) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(&path.index(i), name, detail);
        }
    }
}
