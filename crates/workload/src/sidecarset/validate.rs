//! Every rule a SidecarSet must keep, with the path of what breaks it.
//!
//! Rules stricter than Kruise's are errors on creation and when the field they concern changes; on any other
//! write they are warnings, so that an adopted object can always be paused, read and deleted.
mod as_pod;
mod conflicts;
mod containers;
mod metadata;
mod mounts;
mod strategy;

use super::revision::{self, Revision};
use model::field::{FieldError, shortened};
use model::selector::{LabelSelector, Selector, label_value_problem};
use model::sidecarset::{SidecarSet, keys};
use serde_json::json;
use std::sync::Arc;

pub(super) use as_pod::mistyped;
pub use metadata::{Whitelist, WhitelistError};

/// Errors told of one object.
const NAMED: usize = 16;

pub struct ValidateInput<'a> {
    /// Defaulted, as v1beta1.
    pub set: &'a SidecarSet,
    pub old: Option<&'a SidecarSet>,
    /// The other SidecarSets of the cluster; one of the same name is skipped.
    pub others: &'a [Arc<SidecarSet>],
    pub revisions: &'a [Revision],
    pub whitelist: Option<&'a Whitelist>,
    pub metadata_allowed_by_default: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub errors: Vec<FieldError>,
    pub warnings: Vec<String>,
}

impl Verdict {
    /// All errors in one line, as an API server aggregates them; `None` when there are none. Bounded, whatever was
    /// written.
    pub fn message(&self) -> Option<String> {
        let mut texts: Vec<String> = Vec::new();
        for error in &self.errors {
            let text = shortened(&error.to_string());
            if !texts.contains(&text) {
                texts.push(text);
            }
            if texts.len() > NAMED {
                texts[NAMED] = format!("and more: {} in all", self.errors.len());
                break;
            }
        }
        match texts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(format!("[{}]", many.join(", "))),
        }
    }

    /// An error where the field is new or `changed`, a warning otherwise.
    fn stricter(&mut self, changed: bool, error: FieldError) {
        if changed {
            self.errors.push(error)
        } else {
            self.warnings.push(error.to_string())
        }
    }
}

pub fn validate(input: &ValidateInput<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    let ValidateInput { set, old, .. } = input;
    if set.metadata.deletion_timestamp.is_some() {
        // Only finalizers change any more: nothing may stand in the way.
        return verdict;
    }
    name(set, &mut verdict);
    selectors(set, &mut verdict);
    containers::validate(set, *old, &mut verdict);
    strategy::validate(set, &mut verdict);
    metadata::validate(input, &mut verdict);
    pin(input, &mut verdict);
    failure_policy(set, *old, &mut verdict);
    custom_version(set, *old, &mut verdict);
    conflicts::validate(input, &mut verdict);
    verdict
}

/// Whether what else there is decides if it is refused, not only what is warned of.
pub(super) fn depends_on_others(set: &SidecarSet, old: Option<&SidecarSet>) -> bool {
    let pin = |set: &SidecarSet| set.spec.injection_strategy.revision.clone();
    set.metadata.deletion_timestamp.is_none()
        && old.is_none_or(|old| conflicts::may_differ(old, set) || pin(old) != pin(set))
}

fn name(set: &SidecarSet, verdict: &mut Verdict) {
    let name = &set.metadata.name;
    let quoted = json!(name).to_string();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        verdict.errors.push(FieldError::invalid(
            "metadata.name",
            quoted,
            "must consist of alphanumeric characters or '-'",
        ));
    } else if name.len() > 63 {
        verdict.errors.push(FieldError::invalid(
            "metadata.name",
            quoted,
            "must be no more than 63 characters",
        ));
    }
}

fn selectors(set: &SidecarSet, verdict: &mut Verdict) {
    match &set.spec.selector {
        None => verdict.errors.push(FieldError::required(
            "spec.selector",
            "no selector defined for SidecarSet",
        )),
        Some(selector) => verdict.errors.extend(selector_error("spec.selector", selector)),
    }
    if let Some(selector) = &set.spec.namespace_selector {
        verdict
            .errors
            .extend(selector_error("spec.namespaceSelector", selector));
    }
}

/// Empty or malformed.
fn selector_error(path: &str, selector: &LabelSelector) -> Option<FieldError> {
    if selector.is_empty() {
        return Some(FieldError::invalid(
            path,
            "{}",
            "empty selector is not valid for SidecarSet",
        ));
    }
    let error = Selector::try_from(selector).err()?;
    Some(FieldError::invalid(
        format!("{path}.{}", error.at),
        json!(selector).to_string(),
        error.problem,
    ))
}

fn pin(input: &ValidateInput<'_>, verdict: &mut Verdict) {
    let Some(pin) = &input.set.spec.injection_strategy.revision else {
        return;
    };
    let path = "spec.injectionStrategy.revision";
    if pin.revision_name.is_none() && pin.custom_version.is_none() {
        verdict.errors.push(FieldError::required(
            path,
            "revisionName or customVersion must be set",
        ));
        return;
    }
    if !matches!(pin.policy.as_str(), "" | "Always" | "Partial") {
        let policy = json!(pin.policy).to_string();
        verdict.errors.push(FieldError::invalid(
            format!("{path}.policy"),
            policy,
            "must be Always or Partial",
        ));
    }
    if let Err(why) = revision::pinned(input.set, input.revisions) {
        // A revision that vanished since must not keep anybody from pausing.
        let changed = input
            .old
            .is_none_or(|old| old.spec.injection_strategy.revision.as_ref() != Some(pin));
        verdict.stricter(changed, FieldError::invalid(path, json!(pin).to_string(), why));
    }
}

fn failure_policy(set: &SidecarSet, old: Option<&SidecarSet>, verdict: &mut Verdict) {
    let of = |set: &SidecarSet| set.metadata.annotations.get(keys::FAILURE_POLICY).cloned();
    let Some(policy) = of(set).filter(|p| p != "Fail" && p != "Ignore") else {
        return;
    };
    let changed = old.is_none_or(|old| of(old).as_ref() != Some(&policy));
    let path = format!("metadata.annotations[{}]", keys::FAILURE_POLICY);
    let error = FieldError::invalid(path, json!(policy).to_string(), "must be Fail or Ignore");
    verdict.stricter(changed, error);
}

/// It becomes a label: of revisions, and of the SidecarSet as v1alpha1 shows it.
fn custom_version(set: &SidecarSet, old: Option<&SidecarSet>, verdict: &mut Verdict) {
    let version = &set.spec.custom_version;
    let Some(problem) = label_value_problem(version) else {
        return;
    };
    let changed = old.is_none_or(|old| old.spec.custom_version != *version);
    let error = FieldError::invalid("spec.customVersion", json!(version).to_string(), problem);
    verdict.stricter(changed, error);
}

#[cfg(test)]
mod rows;
#[cfg(test)]
mod tests;
