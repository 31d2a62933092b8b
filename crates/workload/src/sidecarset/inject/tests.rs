#![allow(clippy::unwrap_used, clippy::expect_used)]
mod computed_resources;

use super::super::prepare::PreparedSidecarSet;
use super::super::revision::Revision;
use super::*;
use model::sidecarset::keys;
use serde_json::json;

fn set(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "annotations": {keys::HASH: format!("{name}-hash"),
        keys::HASH_WITHOUT_IMAGE: format!("{name}-without")}}, "spec": spec})
}

fn all(mut spec: Value) -> Value {
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    spec
}

fn prepared(sets: &[Value], revisions: &[Revision]) -> Vec<Arc<PreparedSidecarSet>> {
    let one = |v: &Value| {
        Arc::new(PreparedSidecarSet::new(
            &serde_json::from_value(v.clone()).unwrap(),
            revisions,
        ))
    };
    sets.iter().map(one).collect()
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app:1"}]}})
}

fn try_inject(pod: &Value, sets: &[Value]) -> Result<Value, Denied> {
    run(pod, &prepared(sets, &[]), 0)
}

fn run(pod: &Value, sets: &[Arc<PreparedSidecarSet>], draw: u64) -> Result<Value, Denied> {
    let namespace = std::collections::BTreeMap::from([(keys::NAMESPACE_NAME.to_owned(), "ns".to_owned())]);
    let now = "2026-11-21T12:00:00Z".parse().unwrap();
    let input = InjectInput {
        pod,
        namespace: "ns",
        namespace_labels: Some(&namespace),
        sets,
        now,
        draw,
    };
    let injected = inject(&input);
    // A review reads no more of a pod than it takes to say the same.
    let read = super::super::review::read_of_a_pod(pod.clone());
    let said =
        |answer: &Result<Injection, Denied>| answer.as_ref().map(|i| json!(i.patch)).map_err(Denied::clone);
    assert_eq!(
        said(&inject(&InjectInput { pod: &read, ..input })),
        said(&injected)
    );
    let injection = injected?;
    let patch: json_patch::Patch = serde_json::from_value(json!(injection.patch)).unwrap();
    let mut out = pod.clone();
    json_patch::patch(&mut out, &patch).unwrap();
    Ok(out)
}

fn injected(pod: &Value, sets: &[Value]) -> Value {
    try_inject(pod, sets).unwrap()
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    pod["spec"][list]
        .as_array()
        .into_iter()
        .flatten()
        .map(|c| name_of(c).to_owned())
        .collect()
}

fn container(pod: &Value, name: &str) -> Value {
    let all = pod["spec"]["containers"].as_array().unwrap();
    all.iter().find(|c| name_of(c) == name).unwrap().clone()
}

#[test]
fn sidecars_go_before_and_after_the_pods_own_containers_and_everything_is_recorded() {
    let spec = all(json!({"containers": [
        {"name": "late", "image": "l:1", "podInjectPolicy": "AfterAppContainer"},
        {"name": "b", "image": "b:1", "podInjectPolicy": "BeforeAppContainer", "shareVolumePolicy": {"type": "disabled"},
            "upgradeStrategy": {"upgradeType": "ColdUpgrade"}}, {"name": "a", "image": "a:1"}]}));
    let out = injected(&pod(), &[set("s", spec)]);
    assert_eq!(names(&out, "containers"), ["b", "a", "app", "late"]);
    assert_eq!(
        container(&out, "b"),
        json!({"name": "b", "image": "b:1", "env": [{"name": "IS_INJECTED", "value": "true"}]})
    );
    let annotations = &out["metadata"]["annotations"];
    assert_eq!(
        annotations[keys::HASH],
        r#"{"s":{"updateTimestamp":"2026-11-21T12:00:00Z","hash":"s-hash","sidecarSetName":"s","sidecarList":["a","b","late"]}}"#
    );
    assert!(
        annotations[keys::HASH_WITHOUT_IMAGE]
            .as_str()
            .unwrap()
            .contains("s-without")
    );
    assert_eq!(annotations[keys::INJECTED_LIST], "s");
}

#[test]
fn a_pod_nothing_matches_is_left_alone() {
    let spec = all(json!({"containers": [{"name": "a", "image": "a:1"}]}));
    let mut other = pod();
    other["metadata"]["labels"]["app"] = "db".into();
    assert_eq!(injected(&other, &[set("s", spec.clone())]), other);
    let mut paused = spec.clone();
    paused["injectionStrategy"] = json!({"paused": true});
    assert_eq!(injected(&pod(), &[set("s", paused)]), pod());
    let mut elsewhere = spec.clone();
    elsewhere["namespaceSelector"] = json!({"matchLabels": {"team": "x"}});
    assert_eq!(injected(&pod(), &[set("s", elsewhere)]), pod());
    let mut empty = spec.clone();
    empty["selector"] = json!({});
    assert_eq!(injected(&pod(), &[set("s", empty)]), pod());
    let mut finished = pod();
    finished["status"] = json!({"phase": "Succeeded"});
    assert_eq!(injected(&finished, &[set("s", spec)]), finished);
}

#[test]
fn sets_that_pin_the_namespace_come_first_and_init_containers_are_sorted_together() {
    let mut pins = all(
        json!({"containers": [{"name": "z", "image": "z"}], "initContainers": [{"name": "i2", "image": "i"}]}),
    );
    pins["namespaceSelector"] =
        json!({"matchExpressions": [{"key": keys::NAMESPACE_NAME, "operator": "In", "values": ["ns"]}]});
    let rest = all(
        json!({"containers": [{"name": "a", "image": "a"}], "initContainers": [
        {"name": "i3", "image": "i"}, {"name": "i1", "image": "i", "podInjectPolicy": "BeforeAppContainer"}]}),
    );
    let mut given = pod();
    given["spec"]["initContainers"] = json!([{"name": "own", "image": "o"}]);
    let out = injected(&given, &[set("a-rest", rest), set("z-pins", pins)]);
    assert_eq!(names(&out, "containers"), ["z", "a", "app"]);
    assert_eq!(names(&out, "initContainers"), ["i1", "own", "i2", "i3"]);
}

#[test]
fn init_containers_keep_the_order_of_the_spec_where_asked() {
    let spec = all(json!({"initContainers": [{"name": "z", "image": "i"}, {"name": "a", "image": "i"}]}));
    let mut s = set("s", spec);
    s["metadata"]["annotations"]["tidegate.dev/init-container-order"] = "Spec".into();
    assert_eq!(names(&injected(&pod(), &[s]), "initContainers"), ["z", "a"]);
}

#[test]
fn a_container_of_the_pods_own_is_never_overwritten() {
    let spec = all(json!({"containers": [{"name": "app", "image": "evil"}]}));
    let denied = try_inject(&pod(), &[set("s", spec)]).unwrap_err();
    assert!(
        denied.to_string().contains("container \"app\" of its own"),
        "{denied}"
    );
    let init = all(json!({"initContainers": [{"name": "app", "image": "x"}]}));
    assert!(try_inject(&pod(), &[set("s", init)]).is_err());
    let twice = all(json!({"containers": [{"name": "x", "image": "x"}]}));
    assert!(try_inject(&pod(), &[set("s", twice.clone()), set("t", twice)]).is_err());
}

#[test]
fn injecting_again_changes_nothing_and_a_copy_with_an_old_hash_is_renewed() {
    let spec = all(
        json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "m", "image": "m:1",
        "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e"}}],
        "initContainers": [{"name": "i", "image": "i"}]}),
    );
    let once = injected(&pod(), &[set("s", spec.clone())]);
    assert_eq!(injected(&once, &[set("s", spec.clone())]), once);
    let mut newer = set("s", spec);
    newer["metadata"]["annotations"][keys::HASH] = "newer".into();
    newer["spec"]["containers"][0]["image"] = "a:2".into();
    let renewed = injected(&once, &[newer]);
    assert_eq!(names(&renewed, "containers"), names(&once, "containers"));
    assert_eq!(container(&renewed, "a")["image"], "a:2");
}

#[test]
fn a_hot_upgrade_container_becomes_two_slots() {
    let spec = all(json!({"containers": [{"name": "mesh", "image": "mesh:1",
        "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty:1"}}]}));
    let out = injected(&pod(), &[set("s", spec)]);
    assert_eq!(names(&out, "containers"), ["mesh-1", "mesh-2", "app"]);
    assert_eq!(container(&out, "mesh-2")["image"], "empty:1");
    let env = &container(&out, "mesh-1")["env"];
    assert_eq!(env[1]["name"], "SIDECARSET_VERSION");
    assert_eq!(
        env[2]["valueFrom"]["fieldRef"]["fieldPath"],
        "metadata.annotations['versionalt.sidecarset.kruise.io/mesh-1']"
    );
    let a = &out["metadata"]["annotations"];
    assert_eq!(
        a["kruise.io/sidecarset-working-hotupgrade-container"],
        r#"{"mesh":"mesh-1"}"#
    );
    assert_eq!(
        [
            &a["version.sidecarset.kruise.io/mesh-1"],
            &a["version.sidecarset.kruise.io/mesh-2"]
        ],
        ["1", "0"]
    );
    assert_eq!(
        [
            &a["versionalt.sidecarset.kruise.io/mesh-1"],
            &a["versionalt.sidecarset.kruise.io/mesh-2"]
        ],
        ["0", "1"]
    );
}

#[test]
fn volumes_mounts_and_env_are_shared_in_the_recorded_order() {
    let mut given = pod();
    given["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {"medium": "Memory"}}]);
    given["spec"]["imagePullSecrets"] = json!([{"name": "one"}]);
    given["metadata"]["labels"]["main"] = "app".into();
    given["spec"]["containers"][0] = json!({"name": "app", "image": "app:1",
        "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "X", "value": "x"},
            {"name": "OWN", "value": "app"}, {"name": "B", "value": "b"}],
        "volumeMounts": [{"name": "data", "mountPath": "/logs", "subPathExpr": "$(POD)/$$(X)/$(MISSING)"},
            {"name": "data", "mountPath": "/taken"}]});
    let spec = all(json!({
        "volumes": [{"name": "data", "hostPath": {"path": "/"}}, {"name": "mine", "emptyDir": {}}, {"name": "unused", "emptyDir": {}}],
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "containers": [{"name": "log", "image": "log:1", "env": [{"name": "OWN", "value": "log"}],
            "shareVolumePolicy": {"type": "enabled"},
            "volumeMounts": [{"name": "mine", "mountPath": "/taken"}],
            "transferEnv": [{"sourceContainerNameFrom": {"fieldRef": {"fieldPath": "metadata.labels['main']"}},
                "sourceContainerName": "ignored", "envName": "X", "envNames": ["OWN", "B", "B"]},
                {"sourceContainerName": "nobody", "envName": "X"}]}]}));
    let out = injected(&given, &[set("s", spec)]);
    let log = container(&out, "log");
    let env: Vec<&str> = log["env"].as_array().unwrap().iter().map(name_of).collect();
    assert_eq!(env, ["OWN", "IS_INJECTED", "B", "X", "POD"]);
    assert_eq!(log["env"][0]["value"], "log");
    let paths: Vec<&Value> = log["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| &m["mountPath"])
        .collect();
    assert_eq!(paths, ["/taken", "/logs"]);
    assert_eq!(names(&out, "volumes"), ["data", "mine"]);
    assert_eq!(out["spec"]["volumes"][0]["emptyDir"]["medium"], "Memory");
    assert_eq!(names(&out, "imagePullSecrets"), ["one", "two"]);
}

#[test]
fn devices_are_shared_by_device_path() {
    let mut given = pod();
    given["spec"]["containers"][0]["volumeDevices"] =
        json!([{"name": "d", "devicePath": "/dev/a"}, {"name": "d", "devicePath": "/m"}]);
    let spec = all(
        json!({"containers": [{"name": "s", "image": "s", "shareVolumeDevicePolicy": {"type": "enabled"},
        "volumeMounts": [{"name": "v", "mountPath": "/m"}]}]}),
    );
    let out = injected(&given, &[set("s", spec)]);
    assert_eq!(
        container(&out, "s")["volumeDevices"],
        json!([{"name": "d", "devicePath": "/dev/a"}])
    );
}

#[test]
fn metadata_is_patched_by_each_policy() {
    let mut given = pod();
    given["metadata"]["annotations"] = json!({"have": "1", "json": "{\"a\":1}", "over": "old"});
    let patches = json!([
        {"patchPolicy": "Retain", "annotations": {"have": "2", "new": "n"}},
        {"patchPolicy": "Overwrite", "annotations": {"over": "new"}},
        {"patchPolicy": "MergePatchJson", "annotations": {"json": "{\"b\":{\"c\":2},\"a\":null}", "fresh": "{\"x\": 1}"}},
        {"patchPolicy": "Odd", "annotations": {"odd": "1"}}]);
    let spec = all(json!({"containers": [{"name": "s", "image": "s"}], "patchPodMetadata": patches}));
    let out = injected(&given, &[set("s", spec.clone())]);
    let a = &out["metadata"]["annotations"];
    assert_eq!([&a["have"], &a["new"], &a["over"]], ["1", "n", "new"]);
    assert_eq!([&a["json"], &a["fresh"]], ["{\"b\":{\"c\":2}}", "{\"x\": 1}"]);
    assert_eq!(a.get("odd"), None);
    given["metadata"]["annotations"]["json"] = "not json".into();
    assert!(
        try_inject(&given, &[set("s", spec)])
            .unwrap_err()
            .why
            .contains("cannot be merged")
    );
}

fn pinned_world(strategy: Value, policy: &str) -> Vec<Arc<PreparedSidecarSet>> {
    let revision: Revision = serde_json::from_value(json!({"metadata": {"name": "s-old",
        "annotations": {keys::HASH: "old-hash"}, "labels": {keys::REVISION_OWNER: "s"}}, "revision": 1,
        "data": {"spec": {"containers": [{"name": "a", "image": "a:old"}]}}}))
    .unwrap();
    let mut spec = all(json!({"containers": [{"name": "a", "image": "a:new"}],
        "injectionStrategy": {"revision": {"revisionName": "s-old", "policy": policy}}}));
    spec["updateStrategy"] = strategy;
    prepared(&[set("s", spec)], &[revision])
}

#[test]
fn a_pinned_revision_is_injected_with_its_own_hash_and_name() {
    let out = run(
        &pod(),
        &pinned_world(json!({"selector": {"matchLabels": {"app": "web"}}}), "Always"),
        7,
    )
    .unwrap();
    assert_eq!(container(&out, "a")["image"], "a:old");
    let hash = out["metadata"]["annotations"][keys::HASH].as_str().unwrap();
    assert!(
        hash.contains("old-hash") && hash.contains(r#""controllerRevision":"s-old""#),
        "{hash}"
    );
}

#[test]
fn partial_pins_what_the_selector_leaves_out_and_draws_for_the_rest() {
    let images = |strategy: Value| -> Vec<bool> {
        let world = pinned_world(strategy, "Partial");
        (0..200)
            .map(|draw| container(&run(&pod(), &world, draw).unwrap(), "a")["image"] == "a:old")
            .collect()
    };
    let left_out = images(json!({"selector": {"matchLabels": {"app": "canary"}}}));
    assert!(left_out.iter().all(|old| *old));
    assert!(images(json!({})).iter().all(|old| !old));
    assert!(images(json!({"partition": 5})).iter().all(|old| !old));
    assert!(
        images(json!({"partition": "30%", "paused": true}))
            .iter()
            .all(|old| *old)
    );
    let old = images(json!({"partition": "30%"}))
        .iter()
        .filter(|old| **old)
        .count();
    assert!((40..=80).contains(&old), "{old} of 200");
}

#[test]
fn a_missing_pinned_revision_denies_only_pods_that_match() {
    let mut spec = all(json!({"containers": [{"name": "a", "image": "a"}],
        "injectionStrategy": {"revision": {"revisionName": "gone"}}}));
    assert!(
        try_inject(&pod(), &[set("s", spec.clone())])
            .unwrap_err()
            .why
            .contains("gone")
    );
    spec["selector"]["matchLabels"]["app"] = "db".into();
    assert!(try_inject(&pod(), &[set("s", spec)]).is_ok());
}

#[test]
fn an_unreadable_hash_annotation_denies_and_the_older_form_is_understood() {
    let spec = all(json!({"containers": [{"name": "a", "image": "a"}]}));
    let mut given = pod();
    given["metadata"]["annotations"] = json!({keys::HASH: "{"});
    assert!(try_inject(&given, &[set("s", spec.clone())]).is_err());
    given["metadata"]["annotations"] = json!({keys::HASH: "{\"other\":\"h\"}", keys::INJECTED_LIST: "other"});
    let out = injected(&given, &[set("s", spec)]);
    assert_eq!(out["metadata"]["annotations"][keys::INJECTED_LIST], "other,s");
    assert!(
        out["metadata"]["annotations"][keys::HASH]
            .as_str()
            .unwrap()
            .contains(r#""sidecarSetName":"other""#)
    );
}

#[test]
fn annotations_copied_without_the_containers_do_not_keep_sidecars_out() {
    let spec = all(json!({"containers": [{"name": "a", "image": "a:1"}]}));
    let once = injected(&pod(), &[set("s", spec.clone())]);
    let mut copied = pod();
    copied["metadata"]["annotations"] = once["metadata"]["annotations"].clone();
    assert_eq!(
        names(&injected(&copied, &[set("s", spec.clone())]), "containers"),
        ["a", "app"]
    );
    let mut altered = once.clone();
    altered["spec"]["containers"][0]["image"] = "other".into();
    assert_eq!(
        container(&injected(&altered, &[set("s", spec)]), "a")["image"],
        "a:1"
    );
}
