//! What the mutating webhook writes into a SidecarSet: defaults, then the two hashes over the defaulted spec.
use super::hash;
use super::revision::Revision;
use model::sidecarset::{SidecarSet, keys};
use serde_json::{Map, Value, json};

/// Defaults `object` (either version) and writes its hash annotations.
///
/// `old` is the stored object on update: while the hashed content is the same, its hashes stay as they are, also
/// where another controller computed them differently, because changed hashes make every pod outdated. Unless one of
/// the `revisions` shows that they stood for other content: then a change was stored and we were not asked.
pub fn mutate(
    object: &mut Value,
    old: Option<&Value>,
    revisions: &[Revision],
) -> Result<(), serde_json::Error> {
    let mut hashes = computed(object)?;
    apply_defaults(object);
    if let Some(old) = old {
        let annotations = &old["metadata"]["annotations"];
        let name = old["metadata"]["name"].as_str().unwrap_or_default();
        // An unreadable old object has nothing to keep.
        let before = computed(old).unwrap_or_default();
        for (at, key) in KEYS.iter().enumerate() {
            let stored = annotations[key].as_str().filter(|s| !s.is_empty());
            if let Some(stored) = stored.filter(|_| before[at] == hashes[at])
                && !stood_for_other_content(stored, at, &hashes[at], name, revisions)
            {
                hashes[at] = stored.to_owned();
            }
        }
    }
    let Some(annotations) = object_at(object, "metadata").and_then(|m| object_in(m, "annotations")) else {
        return Ok(());
    };
    for (key, hash) in KEYS.into_iter().zip(hashes) {
        annotations.insert(key.into(), Value::String(hash));
    }
    Ok(())
}

const KEYS: [&str; 2] = [keys::HASH, keys::HASH_WITHOUT_IMAGE];

/// The two hashes of the content as we compute them: over the defaulted spec.
pub(super) fn computed(object: &Value) -> Result<[String; 2], serde_json::Error> {
    let spec = object.get("spec").cloned().unwrap_or_else(|| json!({}));
    let mut whole = json!({ "spec": spec });
    apply_defaults(&mut whole);
    // With the path of what does not fit: serde's own errors name none.
    let set: SidecarSet = serde_path_to_error::deserialize(&whole).map_err(serde::de::Error::custom)?;
    Ok([hash::hash(&set.spec), hash::hash_without_image(&set.spec)])
}

/// A revision was recorded with this hash, and none of those has the content there is.
fn stood_for_other_content(
    stored: &str,
    at: usize,
    computed_now: &str,
    name: &str,
    revisions: &[Revision],
) -> bool {
    if stored == computed_now {
        return false;
    }
    let mut recorded = revisions
        .iter()
        .filter(|r| r.is_of(name) && r.annotations.get(KEYS[at]).is_some_and(|h| h == stored))
        .peekable();
    let has_content = |r: &Revision| computed(&r.data).is_ok_and(|c| c[at] == computed_now);
    recorded.peek().is_some() && !recorded.any(has_content)
}

/// The defaults alone.
pub fn apply_defaults(object: &mut Value) {
    let Some(spec) = object_at(object, "spec") else {
        return;
    };
    if let Some(strategy) = object_in(spec, "updateStrategy") {
        or_insert(strategy, "type", "RollingUpdate".into());
        or_insert(strategy, "maxUnavailable", 1.into());
        or_insert(strategy, "partition", 0.into());
    }
    or_insert(spec, "revisionHistoryLimit", 10.into());
    for container in items(spec, "initContainers") {
        sidecar(container, "AfterAppContainer");
    }
    for container in items(spec, "containers") {
        sidecar(container, "BeforeAppContainer");
    }
    for volume in items(spec, "volumes") {
        default_volume(volume);
    }
    for patch in items(spec, "patchPodMetadata") {
        or_insert(patch, "patchPolicy", "Retain".into());
    }
    let revision = spec
        .get_mut("injectionStrategy")
        .and_then(|s| s.get_mut("revision"));
    if let Some(revision) = revision.and_then(Value::as_object_mut) {
        or_insert(revision, "policy", "Always".into());
    }
}

fn sidecar(container: &mut Map<String, Value>, inject_policy: &str) {
    or_insert(container, "podInjectPolicy", inject_policy.into());
    if let Some(strategy) = object_in(container, "upgradeStrategy") {
        or_insert(strategy, "upgradeType", "ColdUpgrade".into());
    }
    if let Some(policy) = object_in(container, "shareVolumePolicy") {
        or_insert(policy, "type", "disabled".into());
    }
    for transfer in items(container, "transferEnv") {
        let from = transfer
            .get_mut("sourceContainerNameFrom")
            .and_then(|f| f.get_mut("fieldRef"));
        if let Some(from) = from.and_then(Value::as_object_mut) {
            or_insert(from, "apiVersion", "v1".into());
        }
    }
    if let Some(policy) = container
        .get_mut("resourcesPolicy")
        .and_then(Value::as_object_mut)
    {
        // The schema's default, for servers that run an older schema.
        if !policy.contains_key("targetContainersNameRegex") {
            policy.insert("targetContainersNameRegex".into(), ".*".into());
        }
    }
    core_container(container);
}

fn core_container(container: &mut Map<String, Value>) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let policy = if is_latest(image) {
        "Always"
    } else {
        "IfNotPresent"
    };
    or_insert(container, "imagePullPolicy", policy.into());
    or_insert(container, "terminationMessagePath", "/dev/termination-log".into());
    or_insert(container, "terminationMessagePolicy", "File".into());
    for port in items(container, "ports") {
        or_insert(port, "protocol", "TCP".into());
    }
    for env in items(container, "env") {
        let field = env.get_mut("valueFrom").and_then(|v| v.get_mut("fieldRef"));
        if let Some(field) = field.and_then(Value::as_object_mut) {
            or_insert(field, "apiVersion", "v1".into());
        }
    }
    // startupProbe keeps what it has: defaulting it would change the hashes pods carry.
    for probe in ["livenessProbe", "readinessProbe"] {
        if let Some(probe) = container.get_mut(probe).and_then(Value::as_object_mut) {
            or_insert(probe, "timeoutSeconds", 1.into());
            or_insert(probe, "periodSeconds", 10.into());
            or_insert(probe, "successThreshold", 1.into());
            or_insert(probe, "failureThreshold", 3.into());
            http_get(probe);
        }
    }
    let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) else {
        return;
    };
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = lifecycle.get_mut(hook).and_then(Value::as_object_mut) {
            http_get(hook);
        }
    }
}

fn http_get(handler: &mut Map<String, Value>) {
    if let Some(get) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        or_insert(get, "path", "/".into());
        or_insert(get, "scheme", "HTTP".into());
    }
}

/// No tag and no digest means `latest`.
fn is_latest(image: &str) -> bool {
    if image.is_empty() || image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_volume(volume: &mut Map<String, Value>) {
    if volume
        .iter()
        .all(|(field, value)| field == "name" || value.is_null())
    {
        volume.insert("emptyDir".into(), json!({}));
    }
    for (source, field, value) in [
        ("secret", "defaultMode", json!(420)),
        ("configMap", "defaultMode", json!(420)),
        ("downwardAPI", "defaultMode", json!(420)),
        ("projected", "defaultMode", json!(420)),
        ("iscsi", "iscsiInterface", json!("default")),
        ("rbd", "pool", json!("rbd")),
        ("rbd", "user", json!("admin")),
        ("rbd", "keyring", json!("/etc/ceph/keyring")),
        ("azureDisk", "cachingMode", json!("ReadWrite")),
        ("azureDisk", "kind", json!("Shared")),
        ("azureDisk", "fsType", json!("ext4")),
        ("azureDisk", "readOnly", json!(false)),
        ("scaleIO", "storageMode", json!("ThinProvisioned")),
        ("scaleIO", "fsType", json!("xfs")),
    ] {
        if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
            or_insert(source, field, value);
        }
    }
    if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
        path.entry("type").or_insert_with(|| "".into());
    }
    if let Some(source) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
        downward_items(source);
    }
    let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) else {
        return;
    };
    for source in items(projected, "sources") {
        if let Some(token) = source
            .get_mut("serviceAccountToken")
            .and_then(Value::as_object_mut)
        {
            or_insert(token, "expirationSeconds", 3600.into());
        }
        if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
            downward_items(downward);
        }
    }
}

fn downward_items(source: &mut Map<String, Value>) {
    for item in items(source, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            or_insert(field, "apiVersion", "v1".into());
        }
    }
}

/// Sets a field that is absent, null, or empty as Go sees it (`""`); a zero number counts as absent where the
/// default is a positive number of seconds or tries, which `0` cannot mean.
fn or_insert(map: &mut Map<String, Value>, field: &str, default: Value) {
    let keeps_zero = matches!(
        field,
        "partition" | "maxUnavailable" | "revisionHistoryLimit" | "defaultMode"
    );
    let empty = match map.get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty() && !keeps_zero,
        Some(Value::Number(n)) => n.as_i64() == Some(0) && !keeps_zero,
        Some(_) => false,
    };
    if empty {
        map.insert(field.to_owned(), default);
    }
}

fn object_at<'a>(value: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    object_in(value.as_object_mut()?, field)
}

/// The object at `field`, made when absent or null; `None` where something else is there.
fn object_in<'a>(map: &'a mut Map<String, Value>, field: &str) -> Option<&'a mut Map<String, Value>> {
    let value = map.entry(field).or_insert(Value::Null);
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut()
}

fn items<'a>(
    map: &'a mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_bare_sidecarset_gets_every_default() {
        let mut object = json!({"metadata": {"name": "s"}, "spec": {
            "containers": [{"name": "c", "image": "registry:5000/x"}],
            "initContainers": [{"name": "i", "image": "x@sha256:00"}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
            "patchPodMetadata": [{"annotations": {"a": "b"}}],
            "injectionStrategy": {"revision": {"customVersion": "v1"}}}});
        mutate(&mut object, None, &[]).unwrap();
        let spec = &object["spec"];
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "maxUnavailable": 1, "partition": 0})
        );
        assert_eq!(spec["revisionHistoryLimit"], 10);
        assert_eq!(
            spec["containers"][0],
            json!({"name": "c", "image": "registry:5000/x", "imagePullPolicy": "Always",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "podInjectPolicy": "BeforeAppContainer", "upgradeStrategy": {"upgradeType": "ColdUpgrade"},
                "shareVolumePolicy": {"type": "disabled"}})
        );
        assert_eq!(spec["initContainers"][0]["podInjectPolicy"], "AfterAppContainer");
        assert_eq!(spec["initContainers"][0]["imagePullPolicy"], "IfNotPresent");
        assert_eq!(spec["volumes"][0]["emptyDir"], json!({}));
        assert_eq!(spec["volumes"][1]["secret"]["defaultMode"], 420);
        assert_eq!(spec["patchPodMetadata"][0]["patchPolicy"], "Retain");
        assert_eq!(spec["injectionStrategy"]["revision"]["policy"], "Always");
        assert_eq!(object["metadata"]["annotations"].as_object().unwrap().len(), 2);
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        let mut once = json!({"metadata": {"name": "s"}, "spec": {"containers": [{"name": "c", "image": "a:b",
            "livenessProbe": {"httpGet": {"port": 1}}, "startupProbe": {"httpGet": {"port": 1}}}]}});
        mutate(&mut once, None, &[]).unwrap();
        let mut twice = once.clone();
        mutate(&mut twice, None, &[]).unwrap();
        assert_eq!(once, twice);
        assert_eq!(
            once["spec"]["containers"][0]["startupProbe"],
            json!({"httpGet": {"port": 1}})
        );
    }

    #[test]
    fn stored_hashes_stay_while_the_content_is_the_same() {
        let old = json!({"metadata": {"annotations": {keys::HASH: "theirs", keys::HASH_WITHOUT_IMAGE: "theirs2"}},
            "spec": {"containers": [{"name": "c", "image": "a:b"}]}});
        let mut paused = old.clone();
        paused["spec"]["updateStrategy"] = json!({"paused": true});
        paused["metadata"]["annotations"] = json!({});
        mutate(&mut paused, Some(&old), &[]).unwrap();
        assert_eq!(paused["metadata"]["annotations"][keys::HASH], "theirs");
        let mut changed = old.clone();
        changed["spec"]["containers"][0]["image"] = "a:c".into();
        mutate(&mut changed, Some(&old), &[]).unwrap();
        assert_ne!(changed["metadata"]["annotations"][keys::HASH], "theirs");
        assert_eq!(
            changed["metadata"]["annotations"][keys::HASH_WITHOUT_IMAGE],
            "theirs2"
        );
    }

    #[test]
    fn a_field_of_a_wrong_type_is_named_by_its_path() {
        for (spec, path) in [
            (
                json!({"updateStrategy": {"paused": "yes"}}),
                "spec.updateStrategy.paused: invalid type",
            ),
            (
                json!({"containers": [{"name": "a"}, {"transferEnv": [{"envNames": ["A", 1]}]}]}),
                "spec.containers[1].transferEnv[0].envNames[1]: invalid type",
            ),
            (
                json!({"containers": {"name": "a"}}),
                "spec.containers: invalid type",
            ),
            (
                json!({"updateStrategy": {"partition": []}}),
                "spec.updateStrategy.partition: ",
            ),
        ] {
            let error = computed(&json!({"spec": spec})).unwrap_err().to_string();
            assert!(error.starts_with(path), "{error}");
        }
    }
}
