//! Pods and pod templates.

use serde_json::{Value, json};

use super::{Object, at, each, is_set, pod_resources, set_default, text};

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const INIT_CONTAINER_ANNOTATIONS: [&str; 4] = [
    "pod.beta.kubernetes.io/init-containers",
    "pod.alpha.kubernetes.io/init-containers",
    "pod.beta.kubernetes.io/init-container-statuses",
    "pod.alpha.kubernetes.io/init-container-statuses",
];

pub(super) fn pod(object: &mut Object) {
    drop_init_container_annotations(object);
    status(object);
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    pod_resources::apply(spec);
    if spec
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|s| s < 0)
    {
        spec.insert("terminationGracePeriodSeconds".to_owned(), Value::from(1));
    }
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        host_ports(spec);
    }
    pod_spec(spec);
}

pub(super) fn status(object: &mut Object) {
    if let Some(status) = at(object, &["status"]) {
        twin_pod_ips(status);
    }
}

/// A `PodTemplateSpec`.
pub(super) fn template(value: Option<&mut Value>) {
    let Some(Value::Object(template)) = value else {
        return;
    };
    drop_init_container_annotations(template);
    if let Some(spec) = at(template, &["spec"]) {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Object) {
    for list in CONTAINER_LISTS {
        for container in each(spec, list) {
            if text(container, "imagePullPolicy").is_empty() {
                let policy = pull_policy(text(container, "image"));
                container.insert("imagePullPolicy".to_owned(), Value::from(policy));
            }
        }
    }
    for volume in each(spec, "volumes") {
        self::volume(volume);
    }
    twin_service_account(spec);
}

fn volume(volume: &mut Object) {
    let has_source = volume
        .iter()
        .any(|(name, value)| name != "name" && !value.is_null());
    if !has_source {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    if let Some(image) = at(volume, &["image"])
        && text(image, "pullPolicy").is_empty()
    {
        let policy = pull_policy(text(image, "reference"));
        image.insert("pullPolicy".to_owned(), Value::from(policy));
    }
}

/// `Always` for `latest`, said or implied; a digest or another tag is pulled once.
pub(super) fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map(|(_, tag)| tag);
    let implied = tag.is_none() && digest.is_none() && is_reference(name);
    if tag == Some("latest") || implied {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// An image that cannot be parsed has no tag; validation refuses it later.
fn is_reference(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace()) && {
        let path = name.rsplit('/').next().unwrap_or(name);
        !path.is_empty()
            && path
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
    }
}

fn host_ports(spec: &mut Object) {
    for list in ["containers", "initContainers"] {
        for container in each(spec, list) {
            for port in each(container, "ports") {
                let container_port = port.get("containerPort").and_then(Value::as_i64).unwrap_or(0);
                if container_port != 0 {
                    set_default(port, "hostPort", container_port);
                }
            }
        }
    }
}

/// The old name of the field is kept beside the new one, which wins.
fn twin_service_account(spec: &mut Object) {
    let name = match (text(spec, "serviceAccountName"), text(spec, "serviceAccount")) {
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    if !name.is_empty() {
        spec.insert("serviceAccountName".to_owned(), Value::from(name.as_str()));
        spec.insert("serviceAccount".to_owned(), Value::from(name));
    }
}

fn twin_pod_ips(status: &mut Object) {
    let single = text(status, "podIP").to_owned();
    let first = status
        .get("podIPs")
        .and_then(|ips| ips.get(0))
        .map(|ip| ip["ip"].as_str().unwrap_or_default().to_owned());
    match first {
        Some(first) if single.is_empty() => {
            if !first.is_empty() {
                status.insert("podIP".to_owned(), Value::from(first));
            }
        }
        Some(first) if first == single => {}
        _ if single.is_empty() => {}
        _ => {
            status.insert("podIPs".to_owned(), json!([{ "ip": single }]));
        }
    }
}

fn drop_init_container_annotations(object: &mut Object) {
    let Some(metadata) = at(object, &["metadata"]) else {
        return;
    };
    if let Some(annotations) = at(metadata, &["annotations"]) {
        for name in INIT_CONTAINER_ANNOTATIONS {
            annotations.remove(name);
        }
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
}

/// Labels of a pod template, where it has any.
pub(super) fn template_labels(spec: &Object) -> Option<Value> {
    let labels = spec.get("template")?.get("metadata")?.get("labels")?;
    is_set(spec, "template").then(|| labels.clone())
}
