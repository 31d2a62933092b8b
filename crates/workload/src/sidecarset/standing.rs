//! What our webhooks would have said of a stored SidecarSet, had they been asked when it was written.
//!
//! They are not asked while their configuration is missing: in a cluster where the CRD came first, or after an
//! uninstall. The stored hashes tell: the mutating webhook is the only one to write them.
use super::default::{self, mutate};
use super::review::SidecarSetWorld;
use super::validate::{self, ValidateInput};
use model::field::shortened;
use model::sidecarset::{SidecarSet, keys};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// The hashes are those of the content.
    Written,
    /// The hashes are not as we compute them, and nothing says that they stood for other content: another
    /// controller's, which stay.
    Kept,
    /// The webhooks were not asked. What they would have made of it.
    Missed(Box<SidecarSet>),
    /// It would not have passed: why, with the paths of the fields.
    Invalid(String),
}

impl Standing {
    /// Whether it stays so whatever becomes of revisions and other SidecarSets.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Written)
    }

    pub fn may_be_acted_upon(&self) -> bool {
        matches!(self, Self::Written | Self::Kept)
    }
}

pub fn standing(set: &SidecarSet, world: &SidecarSetWorld<'_>) -> Standing {
    let stored = json!({"metadata": set.metadata, "spec": set.spec});
    let mut amended = stored.clone();
    if let Err(error) = mutate(&mut amended, Some(&stored), world.revisions) {
        return Standing::Invalid(shortened(&error.to_string()));
    }
    let hashes = |object: &Value| {
        let annotations = &object["metadata"]["annotations"];
        [keys::HASH, keys::HASH_WITHOUT_IMAGE].map(|key| annotations[key].clone())
    };
    // Valid when it was written: rules that came later, and what others wrote since, are no reason to stop it.
    let as_stored = fault(set, Some(set), &[], world);
    // Defaults are no part of the hashes: the same content may have been written again without them.
    let missed = hashes(&stored) != hashes(&amended) || (as_stored.is_some() && amended != stored);
    if missed {
        let mut whole: SidecarSet = match serde_json::from_value(amended) {
            Ok(whole) => whole,
            Err(error) => return Standing::Invalid(shortened(&error.to_string())),
        };
        whole.status.clone_from(&set.status);
        return match fault(&whole, None, &before(set, world.others), world) {
            Some(message) => Standing::Invalid(message),
            None => Standing::Missed(Box::new(whole)),
        };
    }
    match as_stored {
        Some(message) => Standing::Invalid(message),
        None if default::computed(&stored).is_ok_and(|c| hashes(&amended) == c.map(Value::String)) => {
            Standing::Written
        }
        None => Standing::Kept,
    }
}

fn fault(
    set: &SidecarSet,
    old: Option<&SidecarSet>,
    others: &[Arc<SidecarSet>],
    world: &SidecarSetWorld<'_>,
) -> Option<String> {
    let verdict = validate::validate(&ValidateInput {
        set,
        old,
        others,
        revisions: world.revisions,
        whitelist: world.whitelist,
        metadata_allowed_by_default: world.metadata_allowed_by_default,
    });
    verdict.message()
}

/// Those a webhook would have known of: accepted already, or older. So one of two that clash is accepted.
fn before(set: &SidecarSet, others: &[Arc<SidecarSet>]) -> Vec<Arc<SidecarSet>> {
    let age = |s: &SidecarSet| (s.metadata.creation_timestamp, s.metadata.name.clone());
    let earlier = |other: &&Arc<SidecarSet>| {
        let accepted = other.metadata.annotations.contains_key(keys::HASH);
        accepted || age(other) < age(set)
    };
    others.iter().filter(earlier).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::revision::{self, Revision, RevisionAction};
    use super::*;
    use std::collections::BTreeSet;

    fn bare(name: &str, image: &str) -> SidecarSet {
        let whole = json!({"metadata": {"name": name, "uid": name, "creationTimestamp": "2026-11-21T12:00:00Z"},
            "spec": {"selector": {"matchLabels": {"app": "web"}},
                "containers": [{"name": "log", "image": image}]}});
        serde_json::from_value(whole).unwrap()
    }

    fn judge(set: &SidecarSet, others: &[Arc<SidecarSet>], revisions: &[Revision]) -> Standing {
        let world = SidecarSetWorld {
            fresh: true,
            others,
            revisions,
            whitelist: None,
            metadata_allowed_by_default: false,
        };
        standing(set, &world)
    }

    fn amended(set: &SidecarSet, revisions: &[Revision]) -> SidecarSet {
        match judge(set, &[], revisions) {
            Standing::Missed(amended) => *amended,
            other => panic!("{other:?}"),
        }
    }

    fn revision_of(set: &SidecarSet) -> Revision {
        let plan = revision::plan(set, &[], &BTreeSet::new());
        let Some(RevisionAction::Create { object }) = plan.actions.into_iter().next() else {
            panic!("no revision");
        };
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn one_without_hashes_was_missed_and_gets_defaults_and_hashes() {
        let set = amended(&bare("log", "log:1"), &[]);
        assert_eq!(set.metadata.annotations.len(), 2);
        assert_eq!(set.spec.update_strategy.kind, "RollingUpdate");
        assert_eq!(judge(&set, &[], &[]), Standing::Written);
    }

    #[test]
    fn one_that_kept_the_hash_of_its_former_content_was_missed() {
        let mut set = amended(&bare("log", "log:1"), &[]);
        let before = revision_of(&set);
        set.spec.containers[0].body.insert("image".into(), "log:2".into());
        let after = amended(&set, std::slice::from_ref(&before));
        assert_ne!(
            after.metadata.annotations[keys::HASH],
            set.metadata.annotations[keys::HASH]
        );
        let without = |s: &SidecarSet| s.metadata.annotations[keys::HASH_WITHOUT_IMAGE].clone();
        assert_eq!(without(&after), without(&set), "it is upgraded in place");
        assert_eq!(judge(&after, &[], &[before]), Standing::Written);
    }

    #[test]
    fn one_that_was_written_again_without_its_defaults_was_missed() {
        let whole = amended(&bare("log", "log:1"), &[]);
        let mut again = bare("log", "log:1");
        again.metadata.annotations = whole.metadata.annotations.clone();
        assert_eq!(amended(&again, &[]), whole);
        again.spec.containers[0].body.remove("image");
        assert!(matches!(judge(&again, &[], &[]), Standing::Invalid(_)));
    }

    #[test]
    fn hashes_of_another_controller_stay() {
        let mut set = amended(&bare("log", "log:1"), &[]);
        for hash in set.metadata.annotations.values_mut() {
            *hash = "theirs".to_owned();
        }
        assert_eq!(judge(&set, &[], &[]), Standing::Kept);
        assert_eq!(judge(&set, &[], &[revision_of(&set)]), Standing::Kept);
    }

    #[test]
    fn what_would_not_have_passed_is_told_with_its_field() {
        let mut set = bare("log", "log:1");
        set.spec.containers[0].body.remove("image");
        let Standing::Invalid(why) = judge(&set, &[], &[]) else {
            panic!("accepted");
        };
        assert!(why.contains("spec.containers[0].image"), "{why}");
    }

    #[test]
    fn of_two_that_clash_the_first_is_accepted_and_stays_so() {
        let (first, second) = (bare("a", "log:1"), bare("b", "log:1"));
        let others = [Arc::new(first.clone()), Arc::new(second.clone())];
        assert!(matches!(judge(&first, &others, &[]), Standing::Missed(_)));
        let Standing::Invalid(why) = judge(&second, &others, &[]) else {
            panic!("accepted");
        };
        assert!(why.contains("SidecarSet a"), "{why}");
        let accepted = amended(&first, &[]);
        assert_eq!(judge(&accepted, &others, &[]), Standing::Written);
    }
}
