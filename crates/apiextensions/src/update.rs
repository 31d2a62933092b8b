//! A definition becomes another: what may not change, and what must stay for the objects that are stored.

use model::field::FieldError;
use serde_json::Value;

use crate::crd::Crd;

/// What is wrong with a changed definition.
pub fn update_errors(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Crd::parse(new).err().unwrap_or_default();
    // The name was right when the definition was made.
    errors.retain(|error| error.path != "metadata.name");
    let established = old["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Established" && c["status"] == "True");
    if established {
        for (pointer, path) in [
            ("/spec/group", "spec.group"),
            ("/spec/scope", "spec.scope"),
            ("/spec/names/kind", "spec.names.kind"),
            ("/spec/names/plural", "spec.names.plural"),
        ] {
            let (before, after) = (old.pointer(pointer), new.pointer(pointer));
            if before != after {
                let shown = after.map_or_else(|| "\"\"".to_owned(), Value::to_string);
                errors.push(FieldError::invalid(path, shown, "field is immutable"));
            }
        }
    }
    errors
}

/// What is wrong with a new definition in a group that is the community's own.
pub fn approval_errors(definition: &Value) -> Vec<FieldError> {
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    const SEE: &str = "see https://github.com/kubernetes/enhancements/pull/1111";
    let group = definition["spec"]["group"].as_str().unwrap_or_default();
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|own| {
        group
            .strip_suffix(own)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    if !protected {
        return Vec::new();
    }
    let at = format!("metadata.annotations[{ANNOTATION}]");
    let given = definition["metadata"]["annotations"][ANNOTATION]
        .as_str()
        .unwrap_or_default();
    if given.is_empty() {
        let detail = format!("protected groups must have approval annotation {ANNOTATION:?}, {SEE}");
        return vec![FieldError::required(at, detail)];
    }
    if given.starts_with("unapproved") || given.contains("://") {
        return Vec::new();
    }
    let detail = format!(
        "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \
         \"unapproved\", {SEE}"
    );
    vec![FieldError::invalid(at, format!("{given:?}"), detail)]
}

/// A version in which objects may be stored cannot go.
pub fn stored_version_errors(definition: &Value) -> Vec<FieldError> {
    const AT: &str = "status.storedVersions";
    let stored: Vec<&str> = definition["status"]["storedVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if stored.is_empty() {
        return vec![FieldError::invalid(
            AT,
            "null",
            "must have at least one stored version",
        )];
    }
    let shown = Value::from(stored.clone()).to_string();
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let versions: Vec<(&str, bool)> = versions
        .map(|v| (v["name"].as_str().unwrap_or_default(), v["storage"] == true))
        .collect();
    let mut errors = Vec::new();
    for (i, (name, storage)) in versions.iter().enumerate() {
        // A name that comes twice counts once.
        let known = stored.contains(name) && versions[..i].iter().all(|(other, _)| other != name);
        if *storage && !known {
            let detail = format!("must have the storage version {name}");
            errors.push(FieldError::invalid(AT, shown.clone(), detail));
        }
    }
    for (i, name) in stored.iter().enumerate() {
        if versions.iter().all(|(known, _)| known != name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            errors.push(FieldError::invalid(
                format!("{AT}[{i}]"),
                format!("{name:?}"),
                detail,
            ));
        }
    }
    errors
}
