//! The containers, volumes and secrets a pod gets.
use super::patch::{PatchOp, append};
use super::{
    PodParts, PreparedContainer, PreparedRevision, PreparedSidecarSet, is_injected, name_of, resources,
};
use model::sidecarset::{TransferEnv, keys};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Everything to inject, over all SidecarSets.
#[derive(Default)]
pub(super) struct Built {
    containers: Vec<Sidecar>,
    init_containers: Vec<Sidecar>,
    volumes: Vec<Value>,
    secrets: Vec<Value>,
    /// Names (without slot suffix) of hot-upgrade containers.
    pub(super) hot: Vec<String>,
    keeps_init_order: bool,
}

struct Sidecar {
    set: String,
    name: String,
    before: bool,
    body: Value,
}

impl Built {
    pub(super) fn is_empty(&self) -> bool {
        self.containers.is_empty() && self.init_containers.is_empty()
    }

    pub(super) fn add(
        &mut self,
        set: &PreparedSidecarSet,
        content: &PreparedRevision,
        pod: &PodParts<'_>,
        declared: &[&str],
    ) -> Result<(), String> {
        for c in &content.containers {
            let sidecars = self.sidecars(&set.name, c, pod, declared)?;
            self.containers.extend(sidecars);
        }
        let mut inits = Vec::new();
        for c in &content.init_containers {
            inits.extend(self.sidecars(&set.name, c, pod, declared)?);
        }
        self.keeps_init_order |= set.init_in_spec_order;
        if !set.init_in_spec_order {
            inits.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.init_containers.extend(inits);
        self.add_volumes(content, pod);
        for secret in &content.image_pull_secrets {
            let taken = |s: &Value| name_of(s) == name_of(secret);
            if !pod
                .items("imagePullSecrets")
                .iter()
                .chain(&self.secrets)
                .any(taken)
            {
                self.secrets.push(secret.clone());
            }
        }
        Ok(())
    }

    /// Writes the patch; an error names the SidecarSet whose container cannot be placed.
    pub(super) fn write(
        mut self,
        pod: &PodParts<'_>,
        ops: &mut Vec<PatchOp>,
    ) -> Result<(), (String, String)> {
        if !self.keeps_init_order {
            self.init_containers.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.check_names(pod)?;
        let Self {
            containers,
            init_containers,
            volumes,
            secrets,
            ..
        } = self;
        place(ops, "initContainers", pod.init_containers, init_containers);
        place(ops, "containers", pod.containers, containers);
        let exists = |field| pod.spec.and_then(|s| s.get(field)).is_some_and(Value::is_array);
        append(ops, "volumes", exists("volumes"), volumes);
        append(ops, "imagePullSecrets", exists("imagePullSecrets"), secrets);
        Ok(())
    }

    /// A name is free, or taken by an injected container in the same list, which is then replaced.
    fn check_names(&self, pod: &PodParts<'_>) -> Result<(), (String, String)> {
        let mut seen: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
        let lists = [
            (&self.containers, pod.containers, pod.init_containers),
            (&self.init_containers, pod.init_containers, pod.containers),
        ];
        for (sidecars, same, other) in lists {
            for sidecar in sidecars {
                let refuse = |why| Err((sidecar.set.clone(), why));
                if let Some(first) = seen.insert(&sidecar.name, &sidecar.set) {
                    let name = &sidecar.name;
                    return refuse(format!(
                        "container {name:?} is also injected by SidecarSet {first:?}"
                    ));
                }
                let own = same.iter().any(|c| name_of(c) == sidecar.name && !is_injected(c));
                if own || other.iter().any(|c| name_of(c) == sidecar.name) {
                    return refuse(format!("the pod has a container {:?} of its own", sidecar.name));
                }
            }
        }
        Ok(())
    }

    /// One sidecar, or the two slots of a hot-upgrade one.
    fn sidecars(
        &mut self,
        set: &str,
        c: &PreparedContainer,
        pod: &PodParts<'_>,
        declared: &[&str],
    ) -> Result<Vec<Sidecar>, String> {
        let mut body = c.body.clone();
        let shared_env = if c.share_mounts {
            share_mounts(&mut body, pod)
        } else {
            Vec::new()
        };
        if c.share_devices {
            share_devices(&mut body, pod);
        }
        let mut env = take_list(&mut body, "env");
        env.push(json!({"name": keys::ENV_INJECTED, "value": "true"}));
        for more in transferred(&c.transfer_env, pod).chain(shared_env) {
            if !env.iter().any(|e| name_of(e) == name_of(more)) {
                env.push(more.clone());
            }
        }
        if let Some(policy) = &c.resources {
            let computed = resources::compute(policy, pod, declared)
                .map_err(|why| format!("container {:?}: {why}", c.name))?;
            body.insert("resources".into(), computed);
        }
        let sidecar = |name: String, body: Map<String, Value>| Sidecar {
            set: set.to_owned(),
            name,
            before: c.before,
            body: Value::Object(body),
        };
        let Some(empty_image) = &c.hot else {
            body.insert("env".into(), Value::Array(env));
            return Ok(vec![sidecar(c.name.clone(), body)]);
        };
        self.hot.push(c.name.clone());
        let slot = |n: u8| {
            let name = format!("{}-{n}", c.name);
            let (mut body, mut env) = (body.clone(), env.clone());
            env.push(version_env(keys::ENV_VERSION, keys::VERSION_PREFIX, &name));
            env.push(version_env(
                keys::ENV_VERSION_ALT,
                keys::VERSION_ALT_PREFIX,
                &name,
            ));
            body.insert("name".into(), Value::String(name.clone()));
            body.insert("env".into(), Value::Array(env));
            if n == 2 {
                body.insert("image".into(), Value::String(empty_image.clone()));
            }
            sidecar(name, body)
        };
        Ok(vec![slot(1), slot(2)])
    }

    /// Volumes the sidecars themselves name and the pod lacks.
    fn add_volumes(&mut self, content: &PreparedRevision, pod: &PodParts<'_>) {
        let mut wanted = BTreeSet::new();
        for c in content.containers.iter().chain(&content.init_containers) {
            for field in ["volumeMounts", "volumeDevices"] {
                let mounts = c.body.get(field).and_then(Value::as_array);
                wanted.extend(mounts.into_iter().flatten().map(name_of));
            }
        }
        for (name, volume) in &content.volumes {
            let taken = |v: &Value| name_of(v) == name;
            if wanted.contains(name.as_str()) && !pod.items("volumes").iter().chain(&self.volumes).any(taken)
            {
                self.volumes.push(volume.clone());
            }
        }
    }
}

/// Replaces those whose name is there, puts the others in front of or behind the pod's own.
fn place(ops: &mut Vec<PatchOp>, field: &str, existing: &[Value], sidecars: Vec<Sidecar>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for sidecar in sidecars {
        match existing.iter().position(|c| name_of(c) == sidecar.name) {
            Some(at) => ops.push(PatchOp::replace(format!("/spec/{field}/{at}"), sidecar.body)),
            None if sidecar.before => before.push(sidecar.body),
            None => after.push(sidecar.body),
        }
    }
    if existing.is_empty() {
        before.append(&mut after);
        append(ops, field, false, before);
        return;
    }
    for (at, body) in before.into_iter().enumerate() {
        ops.push(PatchOp::add(format!("/spec/{field}/{at}"), body));
    }
    append(ops, field, true, after);
}

/// Adds the app containers' mounts; returns the env entries their subPathExpr need.
fn share_mounts<'a>(body: &mut Map<String, Value>, pod: &PodParts<'a>) -> Vec<&'a Value> {
    let mut mounts = take_list(body, "volumeMounts");
    let devices = list(body, "volumeDevices");
    let mut env = Vec::new();
    for app in pod.app_containers() {
        for mount in app
            .get("volumeMounts")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let path = text(mount, "mountPath");
            let taken = mounts.iter().any(|m| text(m, "mountPath") == path)
                || devices.iter().any(|d| text(d, "devicePath") == path);
            if taken {
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

fn share_devices(body: &mut Map<String, Value>, pod: &PodParts<'_>) {
    let mut devices = take_list(body, "volumeDevices");
    let mounts = list(body, "volumeMounts");
    for app in pod.app_containers() {
        for device in app
            .get("volumeDevices")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let path = text(device, "devicePath");
            let taken = devices.iter().any(|d| text(d, "devicePath") == path)
                || mounts.iter().any(|m| text(m, "mountPath") == path);
            if !taken {
                devices.push(device.clone());
            }
        }
    }
    if !devices.is_empty() {
        body.insert("volumeDevices".into(), Value::Array(devices));
    }
}

/// Env entries copied whole from named containers of the pod; what is missing is skipped.
fn transferred<'a>(transfers: &'a [TransferEnv], pod: &'a PodParts<'_>) -> impl Iterator<Item = &'a Value> {
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

fn version_env(name: &str, prefix: &str, slot: &str) -> Value {
    let path = format!("metadata.annotations['{prefix}{slot}']");
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}

fn take_list(body: &mut Map<String, Value>, field: &str) -> Vec<Value> {
    match body.remove(field) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn list<'a>(body: &'a Map<String, Value>, field: &str) -> &'a [Value] {
    body.get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}
