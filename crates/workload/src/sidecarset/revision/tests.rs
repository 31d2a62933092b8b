#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn set(image: &str) -> SidecarSet {
    serde_json::from_value(
        json!({"metadata": {"name": "s", "uid": "u", "labels": {"team": "a"}},
        "spec": {"containers": [{"name": "c", "image": image}], "revisionHistoryLimit": 2}}),
    )
    .unwrap()
}

fn stored(set: &SidecarSet, number: i64) -> Revision {
    let name = revision_name(&set.metadata.name, &data(&set.spec), 0);
    serde_json::from_value(object(set, &name, data(&set.spec), number)).unwrap()
}

#[test]
fn a_new_content_gets_a_revision_with_labels_owner_and_number() {
    let mut s = set("a:1");
    s.spec.custom_version = "v1".into();
    let plan = plan(&s, &[], &BTreeSet::new());
    let [RevisionAction::Create { object }] = plan.actions.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(object["metadata"]["name"], plan.current.as_str());
    assert_eq!(object["revision"], 1);
    assert_eq!(object["metadata"]["labels"][keys::CUSTOM_VERSION], "v1");
    assert_eq!(object["metadata"]["labels"]["team"], "a");
    assert_eq!(object["data"]["spec"]["volumes"], Value::Null);
    assert_eq!(object["metadata"]["ownerReferences"][0]["apiVersion"], V1BETA1);
}

#[test]
fn a_content_that_returns_is_numbered_anew_and_nothing_is_doubled() {
    let (one, two) = (set("a:1"), set("a:2"));
    let revisions = [stored(&one, 1), stored(&two, 2)];
    assert_eq!(plan(&two, &revisions, &BTreeSet::new()).actions, []);
    let back = plan(&one, &revisions, &BTreeSet::new());
    let [RevisionAction::Patch { name, patch, .. }] = back.actions.as_slice() else {
        panic!("{back:?}")
    };
    assert_eq!((name, patch), (&revisions[0].name, &json!({"revision": 3})));
}

#[test]
fn a_revision_written_by_another_controller_is_found_by_meaning() {
    let s = set("a:1");
    let mut theirs = stored(&s, 4);
    theirs.data["spec"]["containers"][0]["env"] = Value::Null;
    theirs.data["spec"]["creationTimestamp"] = Value::Null;
    theirs.name = "s-other".into();
    let plan = plan(&s, &[theirs], &BTreeSet::new());
    assert_eq!((plan.current.as_str(), plan.actions.len()), ("s-other", 0));
}

#[test]
fn history_is_cut_from_the_oldest_but_never_what_is_in_use_or_pinned() {
    let sets: Vec<_> = (0..5).map(|n| set(&format!("a:{n}"))).collect();
    let revisions: Vec<_> = (1..).zip(&sets).map(|(n, s)| stored(s, n)).collect();
    let mut current = sets[4].clone();
    current.spec.injection_strategy.revision = Some(model::sidecarset::InjectRevision {
        revision_name: Some(revisions[1].name.clone()),
        ..Default::default()
    });
    let plan = plan(&current, &revisions, &BTreeSet::from([revisions[0].name.clone()]));
    let deleted: Vec<_> = plan
        .actions
        .iter()
        .map(|a| match a {
            RevisionAction::Delete { name, .. } => name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(deleted, [&revisions[2].name, &revisions[3].name]);
}

#[test]
fn a_taken_name_is_avoided_by_counting_collisions() {
    let (s, other) = (set("a:1"), set("a:2"));
    let mut taken = stored(&other, 1);
    taken.name = revision_name("s", &data(&s.spec), 0);
    let plan = plan(&s, &[taken], &BTreeSet::new());
    assert_eq!(plan.collision_count, 1);
    assert_eq!(plan.current, revision_name("s", &data(&s.spec), 1));
}

#[test]
fn a_custom_version_pins_its_newest_revision_of_this_set() {
    let mut s = set("a:1");
    s.spec.custom_version = "v".into();
    let mut older = stored(&s, 1);
    older.name = "older".into();
    let mut foreign = stored(&s, 9);
    foreign.labels.insert(keys::REVISION_OWNER.into(), "other".into());
    s.spec.injection_strategy.revision = serde_json::from_value(json!({"customVersion": "v"})).unwrap();
    let revisions = [older, stored(&s, 3), foreign];
    assert_eq!(pinned(&s, &revisions).unwrap().unwrap().revision, 3);
    s.spec.injection_strategy.revision = serde_json::from_value(json!({"customVersion": "w"})).unwrap();
    assert!(pinned(&s, &revisions).is_err());
}

#[test]
fn a_pod_is_injected_with_the_name_of_its_revision_before_status_says_it() {
    use super::super::prepare::{Choice, PreparedSidecarSet};
    let named =
        |set: &SidecarSet, revisions: &[Revision]| match PreparedSidecarSet::new(set, revisions).choice {
            Choice::Current(content) => content.unwrap().controller_revision,
            other => panic!("{other:?}"),
        };
    let mut s = set("a:1");
    s.metadata.generation = 1;
    assert_eq!(named(&s, &[]), plan(&s, &[], &BTreeSet::new()).current);
    s.status.latest_revision = "as-status-says".into();
    s.status.observed_generation = 1;
    assert_eq!(named(&s, &[]), "as-status-says");
    let mut changed = set("a:2");
    changed.metadata.generation = 2;
    changed.status = s.status.clone();
    let found = Revision {
        name: "theirs".into(),
        ..stored(&changed, 1)
    };
    assert_eq!(named(&changed, &[found]), "theirs");
}
