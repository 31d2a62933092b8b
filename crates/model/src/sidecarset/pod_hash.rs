//! What a pod says of the SidecarSets injected into it (annotations `kruise.io/sidecarset-hash...`).
use crate::json::null_default;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// By SidecarSet name.
pub type PodHashes = BTreeMap<String, PodHash>;

/// Fields in the order Kruise writes them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodHash {
    /// RFC 3339; `null` where unknown.
    pub update_timestamp: Option<String>,
    #[serde(deserialize_with = "null_default")]
    pub hash: String,
    #[serde(rename = "sidecarSetName", deserialize_with = "null_default")]
    pub sidecarset: String,
    #[serde(rename = "sidecarList")]
    pub sidecars: Option<Vec<String>>,
    #[serde(deserialize_with = "null_default", skip_serializing_if = "String::is_empty")]
    pub controller_revision: String,
}

/// Reads the annotation's value; the older flat form `{"set":"hash"}` is understood, too. Empty text is empty.
pub fn parse_pod_hashes(text: &str) -> Result<PodHashes, serde_json::Error> {
    if text.is_empty() {
        return Ok(PodHashes::new());
    }
    let current: Result<Option<PodHashes>, _> = serde_json::from_str(text);
    match current {
        Ok(hashes) => Ok(hashes.unwrap_or_default()),
        Err(error) => {
            let flat: BTreeMap<String, String> = serde_json::from_str(text).map_err(|_| error)?;
            let entry = |(set, hash): (String, String)| {
                (
                    set.clone(),
                    PodHash {
                        hash,
                        sidecarset: set,
                        ..PodHash::default()
                    },
                )
            };
            Ok(flat.into_iter().map(entry).collect())
        }
    }
}

/// The annotation's value.
pub fn pod_hashes_text(hashes: &PodHashes) -> String {
    // Maps of text always serialise.
    serde_json::to_string(hashes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_wire_form_is_kept_and_the_older_form_is_read() {
        let text = r#"{"m":{"updateTimestamp":"2026-11-21T12:00:00Z","hash":"h","sidecarSetName":"m","sidecarList":["a"],"controllerRevision":"m-1"}}"#;
        assert_eq!(pod_hashes_text(&parse_pod_hashes(text).unwrap()), text);
        let old = parse_pod_hashes(r#"{"m":"h"}"#).unwrap();
        assert_eq!(
            pod_hashes_text(&old),
            r#"{"m":{"updateTimestamp":null,"hash":"h","sidecarSetName":"m","sidecarList":null}}"#
        );
        assert!(parse_pod_hashes("[]").is_err());
        assert!(parse_pod_hashes("{\"m\":3}").is_err());
        assert_eq!(parse_pod_hashes("null").unwrap().len(), 0);
    }
}
