//! What a move means for each SidecarSet.
use super::Direction;
use crate::sidecarset::hash;
use model::sidecarset::{SidecarContainer, SidecarSet, keys};
use serde_json::Value;

/// SidecarSets that the other could not go on with; a move with one of them is refused.
pub fn refusals(sets: &[Value], direction: Direction) -> Vec<String> {
    let hot = |set: &&Value| {
        let containers = set["spec"]["containers"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        containers
            .iter()
            .any(|c| c["upgradeStrategy"]["upgradeType"] == "HotUpgrade")
    };
    match direction {
        Direction::TakeOver => sets
            .iter()
            .filter(hot)
            .map(|s| {
                format!(
                    "SidecarSet {}: hot upgrade is not something Tidegate carries out yet",
                    name(s)
                )
            })
            .collect(),
        Direction::GiveBack => Vec::new(),
    }
}

/// What will be different under the other.
pub fn warnings(sets: &[Value], direction: Direction) -> Vec<String> {
    let mut out = Vec::new();
    for set in sets {
        let mut warn = |text: String| out.push(format!("SidecarSet {}: {text}", name(set)));
        let Ok(parsed) = serde_json::from_value::<SidecarSet>(set.clone()) else {
            warn("its fields cannot be read".to_owned());
            continue;
        };
        let stored = parsed.metadata.annotations.get(keys::HASH);
        match direction {
            Direction::TakeOver if stored.is_none() => warn("it has no hash yet".to_owned()),
            Direction::TakeOver => {}
            Direction::GiveBack => back(&parsed, set, stored, &mut warn),
        }
    }
    out
}

fn back(parsed: &SidecarSet, set: &Value, stored: Option<&String>, warn: &mut impl FnMut(String)) {
    let spec = &parsed.spec;
    // 1.9 drops fields newer than core/v1 1.32 and computes hashes anew at every write.
    let newer = ["restartPolicyRules", "fileKeyRef"];
    let text = set["spec"]["containers"].to_string() + &set["spec"]["initContainers"].to_string();
    let dropped: Vec<&str> = newer
        .into_iter()
        .filter(|f| text.contains(&format!("\"{f}\":")))
        .collect();
    if !dropped.is_empty() || stored.is_some_and(|s| *s != hash::hash(spec)) {
        let why = match dropped.as_slice() {
            [] => "the stored hash is of an earlier form".to_owned(),
            fields => format!("Kruise 1.9 does not know {}", fields.join(", ")),
        };
        warn(format!(
            "at its next write under Kruise all its pods count as outdated: {why}"
        ));
    }
    let native = spec.init_containers.iter().any(SidecarContainer::is_native);
    if native && set["spec"]["updateStrategy"]["type"] != "NotUpdate" {
        warn("native sidecars with RollingUpdate: Kruise refuses every write of it".to_owned());
    }
    let ours = |key: &&String| key.starts_with("tidegate.dev/");
    let without_effect: Vec<&str> = parsed
        .metadata
        .annotations
        .keys()
        .filter(ours)
        .map(String::as_str)
        .collect();
    if !without_effect.is_empty() {
        warn(format!("means nothing to Kruise: {}", without_effect.join(", ")));
    }
}

fn name(set: &Value) -> &str {
    set["metadata"]["name"].as_str().unwrap_or_default()
}
