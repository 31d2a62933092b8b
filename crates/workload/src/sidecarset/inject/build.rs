//! The containers, volumes and secrets a pod gets.
use super::super::prepare::{NamedValue, injected_env, take_list};
use super::patch::{PatchOp, Written, append};
use super::sharing::{share_devices, share_mounts, transferred};
use super::{
    PodParts, PreparedContainer, PreparedRevision, PreparedSidecarSet, is_injected, name_of, resources,
};
use model::sidecarset::keys;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Everything to inject, over all SidecarSets.
#[derive(Default)]
pub(super) struct Built {
    containers: Vec<Sidecar>,
    init_containers: Vec<Sidecar>,
    volumes: Vec<NamedValue>,
    secrets: Vec<NamedValue>,
    /// Names (without slot suffix) of hot-upgrade containers.
    pub(super) hot: Vec<String>,
    keeps_init_order: bool,
    /// Steps and copies so far: objects within the API's size limit can still multiply into gigabytes.
    work: usize,
}

const MOST_WORK: usize = 2_000_000;

struct Sidecar {
    set: String,
    name: String,
    before: bool,
    body: Written,
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
        declared: &HashSet<&str>,
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
            if !has(pod.items("imagePullSecrets"), &self.secrets, &secret.name) {
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
        let ready = |list: Vec<NamedValue>| list.into_iter().map(|v| Written::Ready(v.text)).collect();
        append(ops, "volumes", exists("volumes"), ready(volumes));
        let there = exists("imagePullSecrets");
        append(ops, "imagePullSecrets", there, ready(secrets));
        Ok(())
    }

    /// A name is free, or taken by an injected container in the same list, which is then replaced.
    fn check_names(&self, pod: &PodParts<'_>) -> Result<(), (String, String)> {
        let mut seen: HashMap<&str, &str> = HashMap::new();
        fn index(list: &[Value]) -> HashMap<&str, bool> {
            list.iter().map(|c| (name_of(c), is_injected(c))).collect()
        }
        let (regular, init) = (index(pod.containers), index(pod.init_containers));
        for (sidecars, same, other) in [
            (&self.containers, &regular, &init),
            (&self.init_containers, &init, &regular),
        ] {
            for sidecar in sidecars {
                let refuse = |why| Err((sidecar.set.clone(), why));
                if let Some(first) = seen.insert(&sidecar.name, &sidecar.set) {
                    let name = &sidecar.name;
                    return refuse(format!(
                        "container {name:?} is also injected by SidecarSet {first:?}"
                    ));
                }
                let own = same.get(sidecar.name.as_str()).is_some_and(|injected| !injected);
                if own || other.contains_key(sidecar.name.as_str()) {
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
        declared: &HashSet<&str>,
    ) -> Result<Vec<Sidecar>, String> {
        self.spend(c, pod)?;
        if let Some(text) = &c.ready {
            return Ok(vec![Sidecar {
                set: set.to_owned(),
                name: c.name.clone(),
                before: c.before,
                body: Written::Ready(text.clone()),
            }]);
        }
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
        env.push(injected_env());
        let mut names: HashSet<String> = env.iter().map(|e| name_of(e).to_owned()).collect();
        for more in transferred(&c.transfer_env, pod).chain(shared_env) {
            if names.insert(name_of(more).to_owned()) {
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
            body: Value::Object(body).into(),
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

    /// Accounts for what one container costs; an error once all together cost too much.
    fn spend(&mut self, c: &PreparedContainer, pod: &PodParts<'_>) -> Result<(), String> {
        let count = |field: &str| {
            let lists = pod
                .containers
                .iter()
                .map(|c| c.get(field).and_then(Value::as_array).map_or(0, Vec::len));
            lists.sum::<usize>()
        };
        let transfers: usize = c.transfer_env.iter().map(|t| 1 + t.env_names.len()).sum();
        let transferred = transfers.saturating_mul(count("env") + pod.containers.len() + 1);
        let shared = if c.share_mounts {
            count("volumeMounts") * 2
        } else {
            0
        };
        let devices = if c.share_devices {
            count("volumeDevices") * 2
        } else {
            0
        };
        let targets = if c.resources.is_some() {
            pod.containers.len()
        } else {
            0
        };
        self.work = [transferred, shared, devices, targets]
            .into_iter()
            .fold(self.work, usize::saturating_add);
        if self.work > MOST_WORK {
            return Err(format!(
                "container {:?}: the pod and the SidecarSet are too large together",
                c.name
            ));
        }
        Ok(())
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
        for volume in &content.volumes {
            let taken = || has(pod.items("volumes"), &self.volumes, &volume.name);
            if wanted.contains(volume.name.as_str()) && !taken() {
                self.volumes.push(volume.clone());
            }
        }
    }
}

fn has(of_the_pod: &[Value], ours: &[NamedValue], name: &str) -> bool {
    of_the_pod.iter().any(|v| name_of(v) == name) || ours.iter().any(|v| v.name == name)
}

/// Replaces those whose name is there, puts the others in front of or behind the pod's own.
fn place(ops: &mut Vec<PatchOp>, field: &str, existing: &[Value], sidecars: Vec<Sidecar>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let at: HashMap<&str, usize> = existing
        .iter()
        .enumerate()
        .map(|(i, c)| (name_of(c), i))
        .collect();
    for sidecar in sidecars {
        match at.get(sidecar.name.as_str()) {
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

fn version_env(name: &str, prefix: &str, slot: &str) -> Value {
    let path = format!("metadata.annotations['{prefix}{slot}']");
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}
