//! patchPodMetadata, and the whitelist of annotations a SidecarSet may write.
use super::{ValidateInput, Verdict};
use model::field::FieldError;
use model::json::null_default;
use model::selector::{LabelSelector, Selector};
use regex::Regex;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Parsed from ConfigMap `kruise-configuration`, key `SidecarSet_PatchPodMetadata_WhiteList`.
#[derive(Debug, Clone)]
pub struct Whitelist {
    /// `None` selects every SidecarSet.
    rules: Vec<(Option<Selector>, Vec<Regex>)>,
}

#[derive(Debug, thiserror::Error)]
#[error("whitelist of patchPodMetadata: {0}")]
pub struct WhitelistError(String);

impl Whitelist {
    pub fn parse(text: &str) -> Result<Self, WhitelistError> {
        let wire: Wire = serde_json::from_str(text).map_err(|e| WhitelistError(e.to_string()))?;
        let mut rules = Vec::new();
        for (i, rule) in wire.rules.iter().enumerate() {
            let at = |e: &dyn std::fmt::Display| WhitelistError(format!("rules[{i}]: {e}"));
            let selector = rule
                .selector
                .as_ref()
                .map(Selector::try_from)
                .transpose()
                .map_err(|e| at(&e))?;
            let keys = rule.allowed_annotation_key_exprs.iter().map(|e| Regex::new(e));
            rules.push((selector, keys.collect::<Result<_, _>>().map_err(|e| at(&e))?));
        }
        Ok(Self { rules })
    }

    /// The expressions of the rules that select a SidecarSet with these labels; `None` where no rule does.
    fn allowed(&self, labels: &BTreeMap<String, String>) -> Option<Vec<&Regex>> {
        let selects = |s: &Option<Selector>| s.as_ref().is_none_or(|s| s.matches_map(labels));
        let mut rules = self
            .rules
            .iter()
            .filter(|(selector, _)| selects(selector))
            .peekable();
        rules.peek()?;
        Some(rules.flat_map(|(_, keys)| keys).collect())
    }
}

pub(super) fn validate(input: &ValidateInput<'_>, verdict: &mut Verdict) {
    let patches = &input.set.spec.patch_pod_metadata;
    if patches.is_empty() {
        return;
    }
    let changed = input
        .old
        .is_none_or(|old| old.spec.patch_pod_metadata != *patches);
    let allowed = input
        .whitelist
        .and_then(|w| w.allowed(&input.set.metadata.labels));
    let mut seen = BTreeSet::new();
    for (i, patch) in patches.iter().enumerate() {
        let path = format!("spec.patchPodMetadata[{i}]");
        if patch.annotations.is_empty() {
            verdict.errors.push(FieldError::required(
                format!("{path}.annotations"),
                "no annotations defined",
            ));
        }
        if patch.patch_policy.is_empty() {
            verdict.errors.push(FieldError::required(
                format!("{path}.patchPolicy"),
                "no policy defined",
            ));
        } else if !matches!(
            patch.patch_policy.as_str(),
            "Retain" | "Overwrite" | "MergePatchJson"
        ) {
            verdict.warnings.push(format!(
                "{path}.patchPolicy: {:?} is unknown and does nothing",
                patch.patch_policy
            ));
        }
        for key in patch.annotations.keys() {
            let at = format!("{path}.annotations[{key}]");
            if !seen.insert(key) {
                verdict
                    .errors
                    .push(FieldError::duplicate(at.clone(), json!(key).to_string()));
            }
            let fits = match &allowed {
                Some(expressions) => expressions.iter().any(|e| e.is_match(key)),
                None => input.metadata_allowed_by_default,
            };
            if !fits {
                let why = "the annotation is not in the whitelist of patchPodMetadata";
                // The whitelist may have shrunk since: that must not keep anybody from pausing.
                verdict.stricter(changed, FieldError::forbidden(at, why));
            }
        }
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "null_default")]
    rules: Vec<WireRule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRule {
    #[serde(default)]
    selector: Option<LabelSelector>,
    #[serde(default, deserialize_with = "null_default")]
    allowed_annotation_key_exprs: Vec<String>,
}
