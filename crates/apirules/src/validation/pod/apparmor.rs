//! AppArmor profiles as annotations: what they mean in fields.

use serde_json::{Value, json};

use crate::read::{Read as _, object_mut};

pub(crate) const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Profiles of containers that are annotated and say nothing themselves go into their fields.
pub(super) fn from_annotations(pod: &mut Value) {
    for found in annotated(pod) {
        let Some(profile) = found.profile.filter(|_| !found.is_of_pod) else {
            continue;
        };
        let container = pod
            .get_mut("spec")
            .and_then(|spec| spec.get_mut(found.list)?.get_mut(found.index));
        if let Some(security) = container.and_then(|c| object_mut(c, "securityContext")) {
            security.insert("appArmorProfile".to_owned(), profile);
        }
    }
}

/// Keys of the annotations that are warned about when a pod is made: those that say more than the pod's own profile,
/// and those that cannot be read.
pub(crate) fn deprecated(pod: &Value) -> Vec<String> {
    let all = annotated(pod).into_iter();
    all.filter(|found| !found.is_of_pod)
        .map(|found| found.key)
        .collect()
}

struct Annotated {
    list: &'static str,
    index: usize,
    key: String,
    profile: Option<Value>,
    /// The pod has the same profile.
    is_of_pod: bool,
}

fn annotated(pod: &Value) -> Vec<Annotated> {
    let (spec, annotations) = (pod.at("spec"), pod.at("metadata").at("annotations"));
    if !annotations.is_object() || spec.at("os").text("name") == "windows" {
        return Vec::new();
    }
    let own = spec.at("securityContext").at("appArmorProfile");
    let mut out = Vec::new();
    for list in LISTS {
        for (index, container) in spec.list(list).iter().enumerate() {
            let key = format!("{ANNOTATION}{}", container.text("name"));
            if !annotations.has(&key) || container.at("securityContext").has("appArmorProfile") {
                continue;
            }
            let profile = profile(annotations.text(&key));
            let is_of_pod = profile.as_ref() == Some(own);
            out.push(Annotated {
                list,
                index,
                key,
                profile,
                is_of_pod,
            });
        }
    }
    out
}

fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let name = other.strip_prefix("localhost/")?;
            let is_valid = !name.is_empty() && name == name.trim() && name.len() <= 4095;
            is_valid.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}
