//! Mounts of volumes that are not in the SidecarSet. Kruise refuses them; a pod may bring the volume.
use super::Verdict;
use model::sidecarset::SidecarSet;
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn validate(set: &SidecarSet, verdict: &mut Verdict) {
    let volumes: BTreeSet<&str> = set.spec.volumes.iter().map(name).collect();
    let lists = [
        ("initContainers", &set.spec.init_containers),
        ("containers", &set.spec.containers),
    ];
    for (field, list) in lists {
        for (i, c) in list.iter().enumerate() {
            for kind in ["volumeMounts", "volumeDevices"] {
                let mounts = c.body.get(kind).and_then(Value::as_array);
                for (j, mount) in mounts.into_iter().flatten().enumerate() {
                    let volume = name(mount);
                    if !volume.is_empty() && !volumes.contains(volume) {
                        verdict.warnings.push(format!(
                            "spec.{field}[{i}].{kind}[{j}].name: {volume:?} is not in spec.volumes: pods must bring it"
                        ));
                    }
                }
            }
        }
    }
}

fn name(object: &Value) -> &str {
    object["name"].as_str().unwrap_or_default()
}
