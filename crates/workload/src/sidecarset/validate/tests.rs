#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::super::default;
use super::*;
use model::sidecarset::V1BETA1;
use serde_json::Value;

fn good() -> Value {
    json!({"apiVersion": V1BETA1, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "containers": [{"name": "c", "image": "c:1"}]}})
}

fn set(mut object: Value) -> SidecarSet {
    default::mutate(&mut object, None, &[]).unwrap();
    serde_json::from_value(object).unwrap()
}

pub(super) fn verdict_with(
    new: Value,
    old: Option<Value>,
    others: Vec<Value>,
    whitelist: Option<&str>,
) -> Verdict {
    let whitelist = whitelist.map(|w| Whitelist::parse(w).unwrap());
    let others: Vec<Arc<SidecarSet>> = others.into_iter().map(|o| Arc::new(set(o))).collect();
    validate(&ValidateInput {
        set: &set(new),
        old: old.map(set).as_ref(),
        others: &others,
        revisions: &[],
        whitelist: whitelist.as_ref(),
        metadata_allowed_by_default: false,
    })
}

pub(super) fn with(pointer: &str, value: Value) -> Value {
    let mut object = good();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

fn paths(verdict: &Verdict) -> Vec<&str> {
    verdict.errors.iter().map(|e| e.path.as_str()).collect()
}

/// The paths of the errors of a created object.
pub(super) fn errors(pointer: &str, value: Value) -> Vec<String> {
    paths(&verdict_with(with(pointer, value), None, vec![], None))
        .into_iter()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_good_sidecarset_passes_without_a_word() {
    assert_eq!(verdict_with(good(), None, vec![], None), Verdict::default());
}

#[test]
fn every_broken_rule_names_its_field() {
    let policy = |p: Value| json!([{"name": "c", "image": "c", "resourcesPolicy": p}]);
    let container = |more: Value| {
        let mut c = json!({"name": "c", "image": "c"});
        c.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([c])
    };
    let strategy = "spec.updateStrategy";
    for (pointer, value, path) in [
        ("/metadata/name", json!("a.b"), "metadata.name".to_owned()),
        ("/metadata/name", json!("a".repeat(64)), "metadata.name".into()),
        ("/spec/selector", json!(null), "spec.selector".into()),
        ("/spec/selector", json!({}), "spec.selector".into()),
        (
            "/spec/selector",
            json!({"matchLabels": {"-": "x"}}),
            "spec.selector.matchLabels".into(),
        ),
        (
            "/spec/namespaceSelector",
            json!({}),
            "spec.namespaceSelector".into(),
        ),
        ("/spec/containers", json!([]), "spec.containers".into()),
        (
            "/spec/containers",
            container(json!({"name": "A"})),
            "spec.containers[0].name".into(),
        ),
        (
            "/spec/containers",
            container(json!({"image": ""})),
            "spec.containers[0].image".into(),
        ),
        (
            "/spec/containers",
            container(json!({"podInjectPolicy": "x"})),
            "spec.containers[0].podInjectPolicy".into(),
        ),
        (
            "/spec/containers",
            container(json!({"ports": [{}]})),
            "spec.containers[0].ports[0].containerPort".into(),
        ),
        (
            "/spec/containers",
            container(json!({"resources": {"limits": {"cpu": "x"}}})),
            "spec.containers[0].resources.limits[cpu]".into(),
        ),
        (
            "/spec/containers",
            container(json!({"upgradeStrategy": {"upgradeType": "HotUpgrade"}})),
            "spec.containers[0].upgradeStrategy.hotUpgradeEmptyImage".into(),
        ),
        (
            "/spec/containers",
            container(
                json!({"transferEnv": [{"sourceContainerNameFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
            ),
            "spec.containers[0].transferEnv[0].sourceContainerNameFrom.fieldRef.fieldPath".into(),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "c", "image": "x"}]),
            "spec.initContainers[0].name".into(),
        ),
        (
            "/spec/containers",
            policy(json!({"targetContainersMode": "sum", "resourcesExpr": {"limits": {"cpu": "cpu*cpu"}}})),
            "spec.containers[0].resourcesPolicy.resourcesExpr.limits.cpu".into(),
        ),
        (
            "/spec/containers",
            policy(json!({"targetContainersMode": "sum", "resourcesExpr": {"requests": {"memory": "5K"}}})),
            "spec.containers[0].resourcesPolicy.resourcesExpr.requests.memory".into(),
        ),
        (
            "/spec/containers",
            policy(
                json!({"targetContainersMode": "sum", "targetContainersNameRegex": "(", "resourcesExpr": {"limits": {}}}),
            ),
            "spec.containers[0].resourcesPolicy.targetContainersNameRegex".into(),
        ),
        (
            "/spec/updateStrategy",
            json!({"selector": {}}),
            format!("{strategy}.selector"),
        ),
        (
            "/spec/updateStrategy",
            json!({"selector": {"matchLabels": {"a": "b"}}, "partition": "0%"}),
            strategy.into(),
        ),
        (
            "/spec/updateStrategy",
            json!({"partition": "33.5%"}),
            format!("{strategy}.partition"),
        ),
        (
            "/spec/updateStrategy",
            json!({"maxUnavailable": -1}),
            format!("{strategy}.maxUnavailable"),
        ),
        (
            "/spec/updateStrategy",
            json!({"scatterStrategy": [{"key": "a", "value": "b"}, {"key": "a", "value": "b"}]}),
            format!("{strategy}.scatterStrategy[1]"),
        ),
        (
            "/spec/updateStrategy",
            json!({"priorityStrategy": {"weightPriority": [{"weight": 101, "matchSelector": {"matchLabels": {"a": "b"}}}]}}),
            format!("{strategy}.priorityStrategy.weightPriority[0].weight"),
        ),
        (
            "/spec/injectionStrategy",
            json!({"revision": {}}),
            "spec.injectionStrategy.revision".into(),
        ),
        (
            "/spec/injectionStrategy",
            json!({"revision": {"revisionName": "gone"}}),
            "spec.injectionStrategy.revision".into(),
        ),
        (
            "/spec/patchPodMetadata",
            json!([{"annotations": {"a": "b"}}]),
            "spec.patchPodMetadata[0].annotations[a]".into(),
        ),
        (
            "/spec/volumes",
            json!([{"name": "v"}, {"name": "v"}]),
            "spec.volumes[1].name".into(),
        ),
        (
            "/metadata/annotations",
            json!({keys::FAILURE_POLICY: "Maybe"}),
            format!("metadata.annotations[{}]", keys::FAILURE_POLICY),
        ),
    ] {
        assert_eq!(errors(pointer, value.clone()), [path], "{pointer} = {value}");
    }
}

#[test]
fn what_kruise_accepts_is_accepted() {
    for (pointer, value) in [
        (
            "/spec/updateStrategy",
            json!({"partition": "150%", "maxUnavailable": 0}),
        ),
        (
            "/spec/updateStrategy",
            json!({"type": "NotUpdate", "partition": "nonsense"}),
        ),
        (
            "/spec/updateStrategy",
            json!({"selector": {"matchLabels": {"a": "b"}}, "partition": 0}),
        ),
        (
            "/spec/initContainers",
            json!([{"name": "n", "image": "n", "restartPolicy": "Always"}]),
        ),
        ("/spec/revisionHistoryLimit", json!(-5)),
    ] {
        assert_eq!(
            errors(pointer, value.clone()),
            Vec::<String>::new(),
            "{pointer} = {value}"
        );
    }
}

#[test]
fn a_stricter_rule_lets_an_adopted_object_be_paused() {
    let hot = json!([{"name": "c", "image": "c", "upgradeStrategy": {"upgradeType": "HotUpgrade"}}]);
    let old = with("/spec/containers", hot);
    let mut paused = old.clone();
    paused["spec"]["updateStrategy"] = json!({"paused": true});
    let verdict = verdict_with(paused, Some(old.clone()), vec![], None);
    assert_eq!(
        (verdict.errors.len(), verdict.warnings.len()),
        (0, 1),
        "{verdict:?}"
    );
    let mut deleted = old;
    deleted["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z");
    assert_eq!(verdict_with(deleted, None, vec![], None), Verdict::default());
}

#[test]
fn containers_cannot_be_added_but_removed() {
    let two = with(
        "/spec/containers",
        json!([{"name": "c", "image": "c"}, {"name": "d", "image": "d"}]),
    );
    assert_eq!(
        paths(&verdict_with(two.clone(), Some(good()), vec![], None)),
        ["spec.containers[1].name"]
    );
    assert_eq!(
        paths(&verdict_with(good(), Some(two), vec![], None)),
        Vec::<&str>::new()
    );
    let hot = json!([{"name": "c", "image": "c", "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e"}}]);
    let verdict = verdict_with(with("/spec/containers", hot), Some(good()), vec![], None);
    assert_eq!(
        paths(&verdict),
        ["spec.containers[0].upgradeStrategy.upgradeType"]
    );
    let init = with("/spec/initContainers", json!([{"name": "i", "image": "i"}]));
    assert_eq!(
        paths(&verdict_with(init, Some(good()), vec![], None)),
        Vec::<&str>::new()
    );
}

#[test]
fn sidecarsets_that_can_match_one_pod_must_not_clash() {
    let other = |labels: Value| {
        let mut o = good();
        o["metadata"]["name"] = "other".into();
        o["spec"]["selector"]["matchLabels"] = labels;
        o
    };
    let clash = verdict_with(good(), None, vec![other(json!({"team": "x"}))], None);
    assert_eq!(paths(&clash), ["spec.containers[0].name"]);
    assert!(clash.message().unwrap().contains("SidecarSet other"));
    assert_eq!(
        paths(&verdict_with(
            good(),
            None,
            vec![other(json!({"app": "db"}))],
            None
        )),
        Vec::<&str>::new()
    );
    let adopted = verdict_with(good(), Some(good()), vec![other(json!({"team": "x"}))], None);
    assert_eq!((adopted.errors.len(), adopted.warnings.len()), (0, 1));
}

#[test]
fn the_whitelist_allows_by_unanchored_expression_and_set_labels() {
    let mut object = with(
        "/spec/patchPodMetadata",
        json!([{"annotations": {"oom-score": "1"}}]),
    );
    object["metadata"]["labels"] = json!({"team": "a"});
    let rule = |selector: &str, key: &str| {
        format!(r#"{{"rules":[{{"selector":{selector},"allowedAnnotationKeyExprs":["{key}"]}}]}}"#)
    };
    let count = |list: String| {
        verdict_with(object.clone(), None, vec![], Some(&list))
            .errors
            .len()
    };
    assert_eq!(count(rule("null", "score")), 0);
    assert_eq!(count(rule(r#"{"matchLabels":{"team":"a"}}"#, "^oom")), 0);
    assert_eq!(count(rule(r#"{"matchLabels":{"team":"b"}}"#, "^oom")), 1);
    assert_eq!(count(rule("null", "^score")), 1);
    assert!(Whitelist::parse("[").is_err());
}

#[test]
fn several_errors_are_one_message_in_brackets() {
    let mut object = good();
    object["spec"]["selector"] = json!({});
    object["spec"]["containers"][0]["image"] = "".into();
    let message = verdict_with(object, None, vec![], None).message().unwrap();
    assert_eq!(
        message,
        "[spec.selector: Invalid value: {}: empty selector is not valid for SidecarSet, spec.containers[0].image: Required value]"
    );
}

#[test]
fn a_mount_of_a_volume_that_pods_must_bring_is_a_warning() {
    let c = json!([{"name": "c", "image": "c", "volumeMounts": [{"name": "data", "mountPath": "/d"}]}]);
    let verdict = verdict_with(with("/spec/containers", c), None, vec![], None);
    assert_eq!((verdict.errors.len(), verdict.warnings.len()), (0, 1));
}

#[test]
fn what_changed_around_an_object_is_a_warning_for_it() {
    let mut object = with("/spec/patchPodMetadata", json!([{"annotations": {"a": "1"}}]));
    object["spec"]["injectionStrategy"] = json!({"revision": {"revisionName": "gone"}});
    let verdict = verdict_with(object.clone(), Some(object.clone()), vec![], None);
    assert_eq!(
        (verdict.errors.len(), verdict.warnings.len()),
        (0, 2),
        "{verdict:?}"
    );
    assert_eq!(verdict_with(object, None, vec![], None).errors.len(), 2);
}

#[test]
fn values_nobody_knows_are_refused_and_one_name_in_two_lists_clashes() {
    let c = json!([{"name": "c", "image": "c", "shareVolumeDevicePolicy": {"type": "x"},
        "upgradeStrategy": {"upgradeType": "Warm"}}]);
    let init = json!([{"name": "i", "image": "i", "podInjectPolicy": "x",
        "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e"}}]);
    assert_eq!(
        errors("/spec/containers", c),
        [
            "spec.containers[0].shareVolumeDevicePolicy.type",
            "spec.containers[0].upgradeStrategy.upgradeType"
        ]
    );
    assert_eq!(
        errors("/spec/initContainers", init),
        [
            "spec.initContainers[0].podInjectPolicy",
            "spec.initContainers[0].upgradeStrategy.upgradeType"
        ]
    );
    let mut other = with("/spec/initContainers", json!([{"name": "c", "image": "x"}]));
    other["metadata"]["name"] = "other".into();
    other["spec"]["containers"] = json!([]);
    assert_eq!(
        paths(&verdict_with(good(), None, vec![other], None)),
        ["spec.containers[0].name"]
    );
}
