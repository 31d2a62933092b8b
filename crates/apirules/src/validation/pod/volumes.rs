//! Volumes of a pod.

use serde_json::Value;

use super::env::{no_backsteps, validate_field_ref, validate_resource_ref};
use super::mounts::descending;
use crate::path::{Errors, Path};
use crate::quantity::Quantity;
use crate::read::Read;
use crate::validation::names::{dns_label, dns_subdomain};

/// Validates the volumes and gives those that are sound: only these can be mounted.
pub(super) fn validate_volumes<'a>(
    volumes: &'a [Value],
    meta: &Value,
    path: &Path,
    errors: &mut Errors,
) -> Vec<&'a Value> {
    let mut sound: Vec<&Value> = Vec::new();
    for (i, volume) in volumes.iter().enumerate() {
        let (at, name) = (path.index(i), volume.text("name"));
        let before = errors.0.len();
        validate_source(volume, meta, &at, errors);
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        } else {
            errors.invalid_each(&at.child("name"), name, dns_label(name));
        }
        if sound.iter().any(|v| v.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
        if errors.0.len() == before {
            sound.push(volume);
        }
    }
    sound
}

/// In the order in which Kubernetes looks at them; the first one counts.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn validate_source(volume: &Value, meta: &Value, path: &Path, errors: &mut Errors) {
    let mut found = false;
    for kind in KINDS.into_iter().filter(|k| volume.has(k)) {
        if found {
            errors.forbidden(
                &path.child(misnamed(kind)),
                "may not specify more than 1 volume type",
            );
            continue;
        }
        found = true;
        validate_kind(kind, volume.at(kind), &path.child(kind), errors);
        if kind == "ephemeral" {
            validate_ephemeral_name(volume, meta, path, errors);
        }
    }
    if !found {
        errors.required(path, "must specify a volume type");
    }
}

/// Kubernetes spells two of the paths its own way.
fn misnamed(kind: &str) -> &str {
    match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    }
}

fn validate_kind(kind: &str, source: &Value, path: &Path, errors: &mut Errors) {
    match kind {
        "emptyDir" if Quantity::parse(source.text("sizeLimit")).is_some_and(Quantity::is_negative) => {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.forbidden(&path.child("sizeLimit"), detail);
        }
        "hostPath" => validate_host_path(source, path, errors),
        "gitRepo" => {
            required(source, &["repository"], path, errors);
            descending(source.text("directory"), &path.child("directory"), errors);
        }
        "secret" => validate_files(source, "secretName", path, errors),
        "configMap" => validate_files(source, "name", path, errors),
        "persistentVolumeClaim" => required(source, &["claimName"], path, errors),
        "nfs" => {
            required(source, &["server", "path"], path, errors);
            if !source.text("path").starts_with('/') {
                errors.invalid(
                    &path.child("path"),
                    source.text("path"),
                    "must be an absolute path",
                );
            }
        }
        "downwardAPI" => {
            validate_mode(source, "defaultMode", path, errors);
            for file in source.list("items") {
                validate_downward_file(file, path, errors);
            }
        }
        "projected" => {
            validate_mode(source, "defaultMode", path, errors);
            validate_projections(source, path, errors);
        }
        "csi" => required(source, &["driver"], path, errors),
        "glusterfs" => required(source, &["endpoints", "path"], path, errors),
        "ephemeral" if !source.has("volumeClaimTemplate") => {
            errors.required(&path.child("volumeClaimTemplate"), "");
        }
        "image" => validate_image(source, path, errors),
        _ => {}
    }
}

fn required(source: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        if source.text(field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
}

fn validate_image(source: &Value, path: &Path, errors: &mut Errors) {
    required(source, &["reference"], path, errors);
    let policy = source.text("pullPolicy");
    let supported = ["Always", "IfNotPresent", "Never"];
    if policy.is_empty() {
        errors.required(&path.child("pullPolicy"), "");
    } else if !supported.contains(&policy) {
        errors.not_supported(&path.child("pullPolicy"), policy, &supported);
    }
}

fn validate_host_path(source: &Value, path: &Path, errors: &mut Errors) {
    let text = source.text("path");
    if text.is_empty() {
        return errors.required(&path.child("path"), "");
    }
    errors.invalid_each(&path.child("path"), text, no_backsteps(text));
    let supported = [
        "",
        "BlockDevice",
        "CharDevice",
        "Directory",
        "DirectoryOrCreate",
        "File",
        "FileOrCreate",
        "Socket",
    ];
    if source.has("type") && !supported.contains(&source.text("type")) {
        errors.not_supported(&path.child("type"), source.text("type"), &supported);
    }
}

fn validate_files(source: &Value, name: &str, path: &Path, errors: &mut Errors) {
    required(source, &[name], path, errors);
    validate_mode(source, "defaultMode", path, errors);
    for (i, item) in source.list("items").iter().enumerate() {
        validate_item(item, &path.child("items").index(i), errors);
    }
}

fn validate_item(item: &Value, path: &Path, errors: &mut Errors) {
    required(item, &["key", "path"], path, errors);
    local_path(item.text("path"), &path.child("path"), errors);
    validate_mode(item, "mode", path, errors);
}

fn validate_mode(source: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if let Some(mode) = source.int(field).filter(|m| !(0..=0o777).contains(m)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.invalid(&path.child(field), mode, detail);
    }
}

fn local_path(text: &str, path: &Path, errors: &mut Errors) {
    descending(text, path, errors);
    if text.starts_with("..") && !text.starts_with("../") {
        errors.invalid(path, text, "must not start with '..'");
    }
}

const VOLUME_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

fn validate_downward_file(file: &Value, path: &Path, errors: &mut Errors) {
    required(file, &["path"], path, errors);
    local_path(file.text("path"), &path.child("path"), errors);
    if file.has("fieldRef") {
        validate_field_ref(
            file.at("fieldRef"),
            &VOLUME_FIELDS,
            &path.child("fieldRef"),
            errors,
        );
        if file.has("resourceFieldRef") {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.invalid(path, "resource", detail);
        }
    } else if file.has("resourceFieldRef") {
        validate_resource_ref(
            file.at("resourceFieldRef"),
            true,
            &path.child("resourceFieldRef"),
            errors,
        );
    } else {
        errors.required(path, "one of fieldRef and resourceFieldRef is required");
    }
    validate_mode(file, "mode", path, errors);
}

fn validate_projections(source: &Value, path: &Path, errors: &mut Errors) {
    let mut used: Vec<String> = Vec::new();
    for (i, projection) in source.list("sources").iter().enumerate() {
        let at = path.child("sources").index(i);
        let mut count = 0;
        for kind in ["secret", "configMap"].into_iter().filter(|k| projection.has(k)) {
            count += 1;
            let (inner, at) = (projection.at(kind), at.child(kind));
            required(inner, &["name"], &at, errors);
            for (j, item) in inner.list("items").iter().enumerate() {
                validate_item(item, &at.child("items").index(j), errors);
                claim(&mut used, item.text("path"), inner.text("name"), path, errors);
            }
        }
        if projection.has("downwardAPI") {
            count += 1;
            for file in projection.at("downwardAPI").list("items") {
                validate_downward_file(file, &at.child("downwardAPI"), errors);
                claim(&mut used, file.text("path"), file.text("path"), path, errors);
            }
        }
        if projection.has("serviceAccountToken") {
            count += 1;
            let token = projection.at("serviceAccountToken");
            validate_token(token, &at.child("serviceAccountToken"), path, errors);
        }
        for kind in ["clusterTrustBundle", "podCertificate"]
            .into_iter()
            .filter(|k| projection.has(k))
        {
            count += 1;
            let file = projection.at(kind).text("path");
            if !file.is_empty() {
                local_path(file, &at.child(kind).child("path"), errors);
                claim(&mut used, file, file, path, errors);
            }
        }
        if count > 1 {
            errors.forbidden(&at, "may not specify more than 1 volume type per source");
        }
    }
}

fn claim(used: &mut Vec<String>, file: &str, shown: &str, path: &Path, errors: &mut Errors) {
    if file.is_empty() {
        return;
    }
    if used.iter().any(|u| u == file) {
        errors.invalid(path, shown, "conflicting duplicate paths");
    } else {
        used.push(file.to_owned());
    }
}

fn validate_token(token: &Value, at: &Path, volume: &Path, errors: &mut Errors) {
    let seconds = token.int("expirationSeconds").unwrap_or(0);
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    if seconds > 1 << 32 {
        let detail = "may not specify a duration larger than 2^32 seconds";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    if token.text("path").is_empty() {
        errors.required(&volume.child("path"), "");
    } else {
        local_path(token.text("path"), &volume.child("path"), errors);
    }
}

fn validate_ephemeral_name(volume: &Value, meta: &Value, path: &Path, errors: &mut Errors) {
    let (pod, name) = (meta.text("name"), volume.text("name"));
    if pod.is_empty() || name.is_empty() {
        return;
    }
    let claim = format!("{pod}-{name}");
    for message in dns_subdomain(&claim) {
        errors.invalid(
            &path.child("name"),
            name,
            format!("PVC name {claim:?}: {message}"),
        );
    }
}
