//! What a sidecar takes over from the pod's own containers: mounts, devices, environment.
use super::super::prepare::take_list;
use super::{PodParts, name_of};
use model::sidecarset::TransferEnv;
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashSet};

/// Adds the app containers' mounts; returns the env entries their subPathExpr need.
pub(super) fn share_mounts<'a>(body: &mut Map<String, Value>, pod: &PodParts<'a>) -> Vec<&'a Value> {
    let mut mounts = take_list(body, "volumeMounts");
    let mut paths = taken_paths(&mounts, list(body, "volumeDevices"));
    let mut env = Vec::new();
    for app in pod.app_containers() {
        for mount in app
            .get("volumeMounts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if !paths.insert(text(mount, "mountPath").to_owned()) {
                continue;
            }
            mounts.push(mount.clone());
            let app_env = app
                .get("env")
                .and_then(Value::as_array)
                .map_or(&[][..], Vec::as_slice);
            for name in references(text(mount, "subPathExpr")) {
                env.extend(app_env.iter().find(|e| name_of(e) == name));
            }
        }
    }
    if !mounts.is_empty() {
        body.insert("volumeMounts".into(), Value::Array(mounts));
    }
    env
}

pub(super) fn share_devices(body: &mut Map<String, Value>, pod: &PodParts<'_>) {
    let mut devices = take_list(body, "volumeDevices");
    let mut paths = taken_paths(list(body, "volumeMounts"), &devices);
    for app in pod.app_containers() {
        for device in app
            .get("volumeDevices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if paths.insert(text(device, "devicePath").to_owned()) {
                devices.push(device.clone());
            }
        }
    }
    if !devices.is_empty() {
        body.insert("volumeDevices".into(), Value::Array(devices));
    }
}

fn taken_paths(mounts: &[Value], devices: &[Value]) -> HashSet<String> {
    let mounts = mounts.iter().map(|m| text(m, "mountPath"));
    mounts
        .chain(devices.iter().map(|d| text(d, "devicePath")))
        .map(str::to_owned)
        .collect()
}

/// Env entries copied whole from named containers of the pod; what is missing is skipped.
pub(super) fn transferred<'a>(
    transfers: &'a [TransferEnv],
    pod: &'a PodParts<'_>,
) -> impl Iterator<Item = &'a Value> {
    transfers.iter().flat_map(move |transfer| {
        let from = transfer
            .source_container_name_from
            .as_ref()
            .and_then(|f| f.field_ref.as_ref());
        let source = match from {
            Some(field) => pod_field(&field.field_path, pod).unwrap_or_default(),
            None => &transfer.source_container_name,
        };
        let names: BTreeSet<&str> = transfer
            .env_names
            .iter()
            .chain([&transfer.env_name])
            .map(String::as_str)
            .collect();
        let container = pod.containers.iter().find(|c| name_of(c) == source);
        let env = container.and_then(|c| c.get("env")).and_then(Value::as_array);
        let env = env.map_or(&[][..], Vec::as_slice);
        names
            .into_iter()
            .filter_map(move |name| env.iter().find(|e| !name.is_empty() && name_of(e) == name))
    })
}

/// `metadata.labels['k']` or `metadata.annotations['k']`.
fn pod_field<'a>(path: &str, pod: &PodParts<'a>) -> Option<&'a str> {
    let key = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']");
    match (key("metadata.labels['"), key("metadata.annotations['")) {
        (Some(key), _) => pod.label(key),
        (_, Some(key)) => pod.annotation(key),
        _ => None,
    }
}

/// Names in `$(NAME)`; `$$(NAME)` is no reference.
fn references(expression: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find('$') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            names.push(name);
            rest = after;
        }
    }
    names
}

fn list<'a>(body: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    body.get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
