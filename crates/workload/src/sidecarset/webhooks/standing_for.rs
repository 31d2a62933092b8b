//! Which SidecarSets an entry stands for, said by its path: a replica that is asked by an entry of SidecarSets it has
//! not seen knows that its view is late, and reads anew before it answers.
use super::{FailurePolicy, POD_PATH};
use model::sidecarset::SidecarSet;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Last part of the names of our entries for pods.
const SUFFIX: &str = ".sidecarset.tidegate.dev";
const ANNOUNCED: &str = "announced-";

/// All of a SidecarSet that its entry is made from: an image changes nothing, another of the same name does.
fn coverage(set: &SidecarSet) -> String {
    let spec = &set.spec;
    json!([
        set.metadata.name,
        set.metadata.uid,
        spec.selector,
        spec.namespace_selector,
        spec.injection_strategy.paused,
        FailurePolicy::of(set).as_str(),
    ])
    .to_string()
}

/// Short name of a coverage.
pub fn id(set: &SidecarSet) -> String {
    digest(&coverage(set))
}

/// The first 64 bits of SHA-256, in hexadecimal: a path's segment as the API takes it (RFC 1123).
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(String::new(), |mut out, byte| {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// The path of an entry that stands for these.
pub(super) fn path<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    ids.fold(POD_PATH.to_owned(), |path, id| path + "/" + id)
}

/// What the entry with this path stands for; `None` where it is no path for pods.
pub fn ids(path: &str) -> Option<impl Iterator<Item = &str> + Clone> {
    let rest = path.strip_prefix(POD_PATH)?;
    (rest.is_empty() || rest.starts_with('/')).then(|| rest.split('/').filter(|id| !id.is_empty()))
}

/// Name of the entry of a SidecarSet that is being admitted; each admission has one of its own.
pub(super) fn announced_name(id: &str, admission: &str) -> String {
    format!("{ANNOUNCED}{id}-{admission}{SUFFIX}")
}

/// What an entry with this name announces.
pub fn announced(name: &str) -> Option<&str> {
    let (id, _) = name
        .strip_prefix(ANNOUNCED)?
        .strip_suffix(SUFFIX)?
        .split_once('-')?;
    Some(id)
}

/// Name of an entry of SidecarSets that are there.
pub(super) fn name(policy: FailurePolicy, namespaces: &str, chunk: usize) -> String {
    format!(
        "pods-{}-{namespaces}-{chunk}{SUFFIX}",
        policy.as_str().to_lowercase()
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn set(uid: &str, image: &str) -> SidecarSet {
        let whole = json!({"metadata": {"name": "log", "uid": uid}, "spec": {
            "selector": {"matchLabels": {"app": "a"}}, "containers": [{"name": "log", "image": image}]}});
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn another_image_is_the_same_coverage_and_another_object_of_the_same_name_is_not() {
        assert_eq!(id(&set("u", "log:1")), id(&set("u", "log:2")));
        assert_ne!(id(&set("u", "log:1")), id(&set("v", "log:1")));
    }

    #[test]
    fn a_path_says_what_it_was_made_from() {
        let (a, b) = (id(&set("u", "i")), id(&set("v", "i")));
        let path = path([&*a, &*b].into_iter());
        assert!(ids(&path).unwrap().eq([&*a, &*b]));
        assert_eq!(ids(POD_PATH).unwrap().count(), 0);
        assert!(ids("/mutate-pods").is_none() && ids("/convert").is_none());
        assert_eq!(announced(&announced_name(&a, "7")), Some(&*a));
        assert_eq!(announced(&name(FailurePolicy::Fail, "x", 0)), None);
    }
}
