//! Volume mounts and block devices of a container.

use serde_json::Value;

use super::SpecContext;
use super::env::no_backsteps;
use crate::path::{Errors, Path};
use crate::read::Read;

pub(super) fn validate_mounts(
    context: &SpecContext<'_>,
    container: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let devices = container.list("volumeDevices");
    let mut points = Vec::new();
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        let (at, name, point) = (path.index(i), mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !context.volumes.iter().any(|v| v.text("name") == name) {
            errors.not_found(&at.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&at.child("mountPath"), "");
        }
        if points.contains(&point) {
            errors.invalid(&at.child("mountPath"), point, "must be unique");
        }
        points.push(point);
        if devices.iter().any(|d| d.text("name") == name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| d.text("devicePath") == point) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(&at.child("mountPath"), point, detail);
        }
        validate_subpaths(mount, &at, path, errors);
        if mount.has("mountPropagation") {
            validate_propagation(mount, container, &path.child("mountPropagation"), errors);
        }
        validate_recursive(mount, &path.child("recursiveReadOnly"), errors);
    }
}

fn validate_subpaths(mount: &Value, at: &Path, path: &Path, errors: &mut Errors) {
    let (sub, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    if !sub.is_empty() {
        descending(sub, &path.child("subPath"), errors);
    }
    if !expression.is_empty() {
        if !sub.is_empty() {
            let detail = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&at.child("subPathExpr"), expression, detail);
        }
        descending(expression, &path.child("subPathExpr"), errors);
    }
}

/// A relative path without `..`.
pub(super) fn descending(text: &str, path: &Path, errors: &mut Errors) {
    if text.starts_with('/') {
        errors.invalid(path, text, "must be a relative path");
    }
    errors.invalid_each(path, text, no_backsteps(text));
}

fn validate_propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Errors) {
    let mode = mount.text("mountPropagation");
    let supported = ["Bidirectional", "HostToContainer", "None"];
    if !supported.contains(&mode) {
        errors.not_supported(path, mode, &supported);
    }
    let privileged = container.at("securityContext").flag("privileged");
    if mode == "Bidirectional" && !privileged {
        errors.forbidden(
            path,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
}

fn validate_recursive(mount: &Value, path: &Path, errors: &mut Errors) {
    if !mount.has("recursiveReadOnly") {
        return;
    }
    match mount.text("recursiveReadOnly") {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            let propagation = mount.text("mountPropagation");
            if !propagation.is_empty() && propagation != "None" {
                errors.forbidden(
                    path,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        other => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub(super) fn validate_devices(
    context: &SpecContext<'_>,
    container: &Value,
    path: &Path,
    errors: &mut Errors,
) {
    let mounts = container.list("volumeMounts");
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let (at, name, device_path) = (path.index(i), device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if names.contains(&name) {
            errors.invalid(&at.child("name"), name, "must be unique");
        }
        match context.volumes.iter().find(|v| v.text("name") == name) {
            None => errors.not_found(&at.child("name"), name),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at.child("name"), name, detail);
            }
            Some(_) => {}
        }
        if device_path.is_empty() {
            errors.required(&at.child("devicePath"), "");
        }
        if paths.contains(&device_path) {
            errors.invalid(&at.child("devicePath"), device_path, "must be unique");
        }
        if no_backsteps(device_path).is_empty() {
            paths.push(device_path);
        } else {
            errors.invalid(
                &at.child("devicePath"),
                device_path,
                "can not contain backsteps ('..')",
            );
        }
        if mounts.iter().any(|m| m.text("name") == name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| m.text("mountPath") == device_path) {
            let detail = "must not already exist as a path in volumeMounts";
            errors.invalid(&at.child("devicePath"), device_path, detail);
        }
        names.push(name);
    }
}
