//! Reviews in, answers out, as bytes: what our webhooks say, whatever they are sent.
mod conversion;
mod envelope;
mod object;
mod versions;

use super::inject::{Denied, InjectInput, inject, matching};
use super::prepare::PreparedSidecarSet;
use super::validate::{self, ValidateInput};
use super::{default, webhooks};
use envelope::{Answer, Request};
use model::sidecarset::{SidecarSet, to_v1beta1};
use model::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use conversion::review_conversion;

pub type NamespaceLabels = Arc<BTreeMap<String, String>>;

/// What admitting a pod depends on beside the pod.
pub struct PodWorld<'a> {
    pub sets: &'a [Arc<PreparedSidecarSet>],
    /// Labels of a namespace; `None` where it cannot be read.
    pub namespace_labels: &'a dyn Fn(&str) -> Option<NamespaceLabels>,
    /// Never matched: our own namespace and the configured ones.
    pub excluded_namespaces: &'a BTreeSet<String>,
    /// Those whose entry the API server asked by: to its knowledge at least one of them selects the pod. None where
    /// the path does not say.
    pub asked_for: &'a [&'a str],
    pub now: Timestamp,
    pub draw: u64,
}

/// The answer, and what it was for metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct Reviewed {
    pub body: Vec<u8>,
    pub outcome: Outcome,
    /// What the caller has to look at before this may be sent.
    pub before_sending: Option<BeforeSending>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum BeforeSending {
    /// By what we know of its namespace none of the SidecarSets that were asked for selects the pod: what we know may
    /// be old. To be read anew, and the pod reviewed again.
    NamespaceInDoubt(String),
    /// What the SidecarSet is judged by may be old: other SidecarSets always, and these. To be read anew, and the
    /// SidecarSet reviewed again.
    JudgedByMemory { revisions: bool, whitelist: bool },
    /// This SidecarSet may be stored with the answer: other pods than before are to be asked about from then on.
    Announce(Box<SidecarSet>),
}

impl Reviewed {
    fn new(body: Vec<u8>, outcome: Outcome) -> Self {
        Self {
            body,
            outcome,
            before_sending: None,
        }
    }

    /// The same consent with a warning.
    #[must_use]
    pub fn warned(self, warning: &str) -> Self {
        Self {
            body: envelope::warned(self.body, warning),
            ..self
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Changed; for pods by these SidecarSets.
    Changed {
        sets: Vec<String>,
        skipped: Vec<Denied>,
    },
    Untouched,
    Denied(String),
    /// Not a review we can read.
    Malformed(String),
}

/// `/mutate-pod`: injects on creation, leaves every other request alone.
pub fn review_pod(body: &[u8], world: &PodWorld<'_>) -> Reviewed {
    let request = match Request::read_pod(body) {
        Ok(request) => request,
        Err(why) => return malformed(why),
    };
    let answer = Answer::to(&request);
    let concerns = request.operation == "CREATE"
        && request.subresource.is_empty()
        && request.resource == "pods"
        && !world.excluded_namespaces.contains(request.namespace.as_str());
    if !concerns {
        return untouched(&answer);
    }
    let namespace = if request.namespace.is_empty() {
        "default"
    } else {
        &request.namespace
    };
    let labels = (world.namespace_labels)(namespace);
    let input = InjectInput {
        pod: &request.object,
        namespace,
        namespace_labels: labels.as_deref(),
        sets: world.sets,
        now: world.now,
        draw: world.draw,
    };
    let in_doubt = |injected: &[String]| {
        let asked_for = |name: &str| world.asked_for.contains(&name);
        !world.asked_for.is_empty()
            && !injected.iter().any(|name| asked_for(name))
            && !matching(&input).iter().any(|set| asked_for(&set.name))
    };
    match inject(&input) {
        Ok(done) => {
            let before_sending =
                in_doubt(&done.injected).then(|| BeforeSending::NamespaceInDoubt(namespace.to_owned()));
            let warnings: Vec<String> = done.skipped.iter().map(Denied::to_string).collect();
            let body = answer.allowed(&done.patch, &warnings);
            let outcome = match done.patch.is_empty() && done.skipped.is_empty() {
                true => Outcome::Untouched,
                false => Outcome::Changed {
                    sets: done.injected,
                    skipped: done.skipped,
                },
            };
            Reviewed {
                body,
                outcome,
                before_sending,
            }
        }
        Err(denied) => refused(&answer, 500, denied.to_string()),
    }
}

/// `/mutate-apps-kruise-io-sidecarset`: defaults and hashes.
pub fn review_mutate(body: &[u8], revisions: &[super::revision::Revision]) -> Reviewed {
    let request = match Request::read(body) {
        Ok(request) => request,
        Err(why) => return malformed(why),
    };
    let answer = Answer::to(&request);
    if !request.is_write_of("sidecarsets") {
        return untouched(&answer);
    }
    let mut object = request.object.clone();
    let old = Some(&request.old_object).filter(|o| o.is_object());
    if let Err(e) = default::mutate(&mut object, old, revisions) {
        return refused(
            &answer,
            400,
            format!("SidecarSet {:?} cannot be read: {e}", request.name),
        );
    }
    let leaving = !request.object["metadata"]["deletionTimestamp"].is_null();
    if let Some(error) = validate::mistyped(&request.object).filter(|_| !leaving) {
        let (name, at, why) = (&request.name, error.path, error.detail);
        return refused(
            &answer,
            400,
            format!("SidecarSet {name:?} cannot be read: {at}: {why}"),
        );
    }
    let patch = envelope::top_level_difference(&request.object, &object);
    let outcome = match patch.is_empty() {
        true => Outcome::Untouched,
        false => Outcome::Changed {
            sets: vec![request.name.clone()],
            skipped: Vec::new(),
        },
    };
    Reviewed::new(answer.allowed(&patch, &[]), outcome)
}

/// What validating a SidecarSet depends on beside it.
pub struct SidecarSetWorld<'a> {
    pub others: &'a [Arc<SidecarSet>],
    /// Read from the API server since the review came, not just remembered.
    pub fresh: bool,
    pub revisions: &'a [super::revision::Revision],
    pub whitelist: Option<&'a validate::Whitelist>,
    /// Gate SidecarSetPatchPodMetadataDefaultsAllowed.
    pub metadata_allowed_by_default: bool,
}

/// `/validate-apps-kruise-io-sidecarset`: every problem with its path; code 500, as Kruise answers.
pub fn review_validate(body: &[u8], world: &SidecarSetWorld<'_>) -> Reviewed {
    let request = match Request::read(body) {
        Ok(request) => request,
        Err(why) => return malformed(why),
    };
    let answer = Answer::to(&request);
    if !request.is_write_of("sidecarsets") {
        return untouched(&answer);
    }
    let read = |object: &Value| -> Result<SidecarSet, String> {
        let mut object = object.clone();
        to_v1beta1(&mut object).map_err(|e| e.to_string())?;
        serde_json::from_value(object)
            .map_err(|e| format!("SidecarSet {:?} cannot be read: {e}", request.name))
    };
    let new = match read(&request.object) {
        Ok(set) => set,
        Err(why) => return refused(&answer, 400, why),
    };
    // An old object that cannot be read any more must not keep its successor out.
    let old = Some(&request.old_object).filter(|o| o.is_object());
    let old = old.and_then(|old| {
        let mut old = old.clone();
        // One that was stored past our webhooks has no defaults, which are no change now.
        default::apply_defaults(&mut old);
        read(&old).ok()
    });
    let mut verdict = validate::validate(&ValidateInput {
        set: &new,
        old: old.as_ref(),
        others: world.others,
        revisions: world.revisions,
        whitelist: world.whitelist,
        metadata_allowed_by_default: world.metadata_allowed_by_default,
    });
    let from_memory = !world.fresh && validate::depends_on_others(&new, old.as_ref());
    versions::tell_in_the_words_of(&request.object, &mut verdict.errors);
    let mut reviewed = match verdict.message() {
        None => Reviewed {
            body: answer.allowed(&[], &verdict.warnings),
            outcome: Outcome::Untouched,
            before_sending: (!request.dry_run && covers_others(&new, old.as_ref()))
                .then(|| BeforeSending::Announce(Box::new(new.clone()))),
        },
        Some(message) => refused(&answer, 500, message),
    };
    if from_memory {
        reviewed.before_sending = Some(BeforeSending::JudgedByMemory {
            revisions: new.spec.injection_strategy.revision.is_some(),
            whitelist: !new.spec.patch_pod_metadata.is_empty(),
        });
    }
    reviewed
}

fn covers_others(new: &SidecarSet, old: Option<&SidecarSet>) -> bool {
    new.metadata.deletion_timestamp.is_none()
        && webhooks::announces(new)
        && old.is_none_or(|old| webhooks::id(old) != webhooks::id(new))
}

/// The review a path asks for, where the caller has everything at hand.
pub fn review(path: &str, body: &[u8], pods: &PodWorld<'_>, sets: &SidecarSetWorld<'_>) -> Option<Reviewed> {
    match webhooks::known(path)? {
        webhooks::POD_PATH => Some(review_pod(body, pods)),
        webhooks::MUTATE_PATH => Some(review_mutate(body, sets.revisions)),
        webhooks::VALIDATE_PATH => Some(review_validate(body, sets)),
        webhooks::CONVERT_PATH => Some(review_conversion(body)),
        _ => None,
    }
}

fn untouched(answer: &Answer<'_>) -> Reviewed {
    Reviewed::new(answer.allowed(&[], &[]), Outcome::Untouched)
}

fn refused(answer: &Answer<'_>, code: u16, message: String) -> Reviewed {
    Reviewed::new(answer.denied(code, &message), Outcome::Denied(message))
}

fn malformed(why: String) -> Reviewed {
    let body = Answer {
        uid: "",
        api_version: "admission.k8s.io/v1",
    }
    .denied(400, &why);
    Reviewed::new(body, Outcome::Malformed(why))
}

/// What a review reads of it.
#[cfg(test)]
pub(super) fn read_of_a_pod(pod: Value) -> Value {
    let read: Result<object::Pod, _> = serde_json::from_value(pod);
    read.map(Value::from).unwrap_or_default()
}

#[cfg(test)]
mod tests;
