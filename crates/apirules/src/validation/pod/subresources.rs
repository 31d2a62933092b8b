//! Binding and ephemeral containers.

use serde_json::Value;

use super::difference::{difference, same_internal};
use super::{MIRROR, validate_annotation_updates, validate_meta_and_spec};
use crate::path::{Errors, Path};
use crate::read::Read;
use crate::validation::meta::validate_meta_update;

pub(crate) fn validate_binding(binding: &Value, errors: &mut Errors) {
    let (target, path) = (binding.at("target"), Path::new("target"));
    let kind = target.text("kind");
    if !kind.is_empty() && kind != "Node" {
        errors.not_supported(&path.child("kind"), kind, &["Node", "<empty>"]);
    }
    if target.text("name").is_empty() {
        errors.required(&path.child("name"), "");
    }
}

pub(crate) fn validate_ephemeral_update(new: &Value, old: &Value, errors: &mut Errors) {
    validate_meta_update(new, old, errors);
    validate_meta_and_spec(new, errors);
    validate_annotation_updates(new, old, errors);
    if old.at("metadata").at("annotations").has(MIRROR) {
        errors.0.clear();
        return errors.forbidden(
            &Path::new("<nil>"),
            "static pods do not support ephemeral containers",
        );
    }
    let path = Path::new("spec").child("ephemeralContainers");
    let list = "ephemeralContainers";
    for before in old.at("spec").list(list) {
        let name = before.text("name");
        match new.at("spec").list(list).iter().find(|c| c.text("name") == name) {
            None => {
                let detail = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.forbidden(&path, detail);
            }
            Some(after) if !same_internal(before, after, "EphemeralContainer") => {
                let diff = difference(before, after, "EphemeralContainer");
                let detail = format!("existing ephemeral containers {name:?} may not be changed\n{diff}");
                errors.forbidden(&path, detail);
            }
            Some(_) => {}
        }
    }
}
