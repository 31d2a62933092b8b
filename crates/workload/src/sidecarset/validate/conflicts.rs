//! What two SidecarSets that can match the same pod must not both bring.
//!
//! Whether they can is decided exactly; Kruise lets some conflicts pass, so these are warnings for an object that
//! was there before, unless what conflicts changes.
use super::{ValidateInput, Verdict};
use model::field::FieldError;
use model::selector::Selector;
use model::sidecarset::{SidecarContainer, SidecarSet, SidecarSetSpec};
use serde_json::{Value, json};

pub(super) fn validate(input: &ValidateInput<'_>, verdict: &mut Verdict) {
    let set = input.set;
    for other in input
        .others
        .iter()
        .filter(|o| o.metadata.name != set.metadata.name)
    {
        if !overlap(set, other) {
            continue;
        }
        let changed = input.old.is_none_or(|old| may_differ(old, set));
        for error in conflicts(&set.spec, other) {
            verdict.stricter(changed, error);
        }
    }
}

/// A conflict can have come or gone with this change.
pub(super) fn may_differ(old: &SidecarSet, new: &SidecarSet) -> bool {
    concerns(&old.spec) != concerns(&new.spec)
}

/// Some pod in some namespace can match both. What cannot be parsed matches nothing.
fn overlap(a: &SidecarSet, b: &SidecarSet) -> bool {
    let parse = |s: &Option<_>| s.as_ref().map(Selector::try_from);
    let namespaces = match (
        parse(&a.spec.namespace_selector),
        parse(&b.spec.namespace_selector),
    ) {
        (Some(Ok(a)), Some(Ok(b))) => a.overlaps(&b),
        (Some(Err(_)), _) | (_, Some(Err(_))) => false,
        (None, _) | (_, None) => true,
    };
    let pods = match (parse(&a.spec.selector), parse(&b.spec.selector)) {
        (Some(Ok(a)), Some(Ok(b))) => !a.is_empty() && !b.is_empty() && a.overlaps(&b),
        _ => false,
    };
    namespaces && pods
}

/// The fields a conflict can come from.
fn concerns(spec: &SidecarSetSpec) -> impl PartialEq {
    let names = |list: &[SidecarContainer]| list.iter().map(|c| c.name().to_owned()).collect::<Vec<_>>();
    (
        spec.selector.clone(),
        spec.namespace_selector.clone(),
        names(&spec.containers),
        names(&spec.init_containers),
        spec.volumes.clone(),
        spec.patch_pod_metadata.clone(),
    )
}

fn conflicts(spec: &SidecarSetSpec, other: &SidecarSet) -> Vec<FieldError> {
    let theirs = &other.spec;
    let name = &other.metadata.name;
    let mut errors = Vec::new();
    let lists = [
        ("containers", &spec.containers, &theirs.containers),
        ("initContainers", &spec.init_containers, &theirs.init_containers),
        // A pod has one set of container names.
        ("containers", &spec.containers, &theirs.init_containers),
        ("initContainers", &spec.init_containers, &theirs.containers),
    ];
    for (field, ours, theirs) in lists {
        let taken: Vec<String> = theirs
            .iter()
            .flat_map(super::super::prepare::final_names)
            .collect();
        for (i, c) in ours.iter().enumerate() {
            if super::super::prepare::final_names(c)
                .iter()
                .any(|n| taken.contains(n))
            {
                errors.push(FieldError::invalid(
                    format!("spec.{field}[{i}].name"),
                    json!(c.name()).to_string(),
                    format!(
                        "the container already exists in SidecarSet {name}, which can match the same pods"
                    ),
                ));
            }
        }
    }
    for (i, volume) in spec.volumes.iter().enumerate() {
        let same = |v: &&Value| v.get("name") == volume.get("name");
        if theirs.volumes.iter().find(same).is_some_and(|v| v != volume) {
            errors.push(FieldError::invalid(
                format!("spec.volumes[{i}].name"),
                volume.get("name").unwrap_or(&Value::Null).to_string(),
                format!("SidecarSet {name}, which can match the same pods, defines this volume differently"),
            ));
        }
    }
    for (i, patch) in spec
        .patch_pod_metadata
        .iter()
        .enumerate()
        .filter(|(_, p)| p.patch_policy != "Retain")
    {
        for key in patch.annotations.keys() {
            let clashes = theirs.patch_pod_metadata.iter().any(|p| {
                let merges = p.patch_policy == "MergePatchJson" && patch.patch_policy == "MergePatchJson";
                p.patch_policy != "Retain" && !merges && p.annotations.contains_key(key)
            });
            if clashes {
                errors.push(FieldError::invalid(
                    format!("spec.patchPodMetadata[{i}].annotations"),
                    json!(key).to_string(),
                    format!("SidecarSet {name}, which can match the same pods, writes this annotation, too"),
                ));
            }
        }
    }
    errors
}
