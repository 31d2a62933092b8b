//! Objects nobody would write: the deciders say something about each, shortly, and panic at none.
//!
//! 2,000 mutated worlds by default, TIDEGATE_MUTATIONS for more: `cargo xtask hostile` runs 100,000.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use model::pod::PodView;
use model::sidecarset::{SidecarSet, keys};
use model::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tidegate_workload::sidecarset::prepare::PreparedSidecarSet;
use tidegate_workload::sidecarset::review::SidecarSetWorld;
use tidegate_workload::sidecarset::revision::{self, Revision};
use tidegate_workload::sidecarset::standing::{Standing, standing};
use tidegate_workload::upgrade::{Action, Membership, Plan, PodFacts, Snapshot, decide, what_changed};

/// Everything status may be made to say, in bytes.
const SHORT: usize = 32 << 10;

fn set() -> Value {
    json!({"metadata": {"name": "s", "uid": "s", "generation": 3, "creationTimestamp": "2026-11-21T12:00:00Z",
            "annotations": {keys::HASH: "new", keys::HASH_WITHOUT_IMAGE: "without",
                "tidegate.dev/ready-deadline": "10m", "tidegate.dev/failure-threshold": "50%"}},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {"matchLabels": {"t": "x"}},
            "initContainers": [{"name": "native", "image": "n:2", "restartPolicy": "Always"}],
            "containers": [{"name": "c", "image": "c:2"}, {"name": "hot", "image": "h:2",
                "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "e:1"}}],
            "patchPodMetadata": [{"annotations": {"a": "b"}, "patchPolicy": "Retain"}],
            "injectionStrategy": {"revision": {"revisionName": "s-1", "policy": "Partial"}},
            "updateStrategy": {"type": "RollingUpdate", "partition": "30%", "maxUnavailable": "50%",
                "scatterStrategy": [{"key": "app", "value": "*"}], "priorityStrategy": {"weightPriority":
                    [{"weight": 50, "matchSelector": {"matchLabels": {"app": "web"}}}]}}},
        "status": {"latestRevision": "s-1", "collisionCount": 1}})
}

fn pod(name: &str) -> Value {
    let hash = json!({"s": {"updateTimestamp": "2026-11-21T12:00:00Z", "hash": "old", "sidecarSetName": "s",
        "sidecarList": ["c", "hot", "native"], "controllerRevision": "s-1"}});
    let without = json!({"s": {"updateTimestamp": "2026-11-21T12:00:00Z", "hash": "without",
        "sidecarSetName": "s", "sidecarList": ["c", "hot", "native"]}});
    let state = json!({"s": {"revision": "old", "updateTimestamp": "2026-11-21T12:00:00Z",
        "lastContainerStatuses": {"c": {"imageID": "c@sha256:0"}}}});
    let status = |name: &str, image: &str| {
        json!({"name": name, "image": image, "imageID": format!("{image}@sha256:1"), "ready": true,
            "containerID": format!("containerd://{name}"), "restartCount": 1, "state": {"running": {}}})
    };
    json!({"metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": "7", "generation": 2,
            "labels": {"app": "web"}, "creationTimestamp": "2026-11-21T12:00:01Z", "annotations": {
                keys::HASH: hash.to_string(), keys::HASH_WITHOUT_IMAGE: without.to_string(),
                keys::INPLACE_UPDATE_STATE: state.to_string(), keys::INJECTED_LIST: "s",
                keys::WORKING_HOT_CONTAINER: "{\"hot\":\"hot-1\"}"}},
        "spec": {"nodeName": "n",
            "initContainers": [{"name": "native", "image": "n:1", "restartPolicy": "Always"}],
            "containers": [{"name": "app", "image": "a:1"}, {"name": "c", "image": "c:1"},
                {"name": "hot-1", "image": "h:1"}, {"name": "hot-2", "image": "e:1"}]},
        "status": {"phase": "Running", "observedGeneration": 2,
            "initContainerStatuses": [status("native", "n:1")],
            "containerStatuses": [status("app", "a:1"), status("c", "c:1"), status("hot-1", "h:1"),
                status("hot-2", "e:1")],
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T12:00:02Z"},
                {"type": keys::UPGRADABLE_CONDITION, "status": "False", "message": "{\"s\":false}"}]}})
}

fn content() -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "c:1"}], "initContainers": null, "$patch": "replace"}})
}

/// All that an operator decides about them; how much it says. `None` where they cannot even be read: the watch shows
/// that on the object itself.
fn decided(set: &Value, pods: &[Value], data: &Value) -> Option<usize> {
    let set: SidecarSet = serde_json::from_value(set.clone()).ok()?;
    let stored = json!({"metadata": {"name": "s-1", "resourceVersion": "1",
        "labels": {keys::REVISION_OWNER: "s"}, "annotations": {keys::HASH: "new"}}, "revision": 1, "data": data});
    let revisions: Vec<Revision> = serde_json::from_value(stored).into_iter().collect();
    let said = judged(&set, &revisions);
    let changes = revisions.iter().filter_map(|r| {
        let change = what_changed(&r.spec().ok()?, &set.spec);
        Some((r.name.clone(), change))
    });
    let changes: BTreeMap<String, String> = changes.collect();
    let Ok(plan) = Plan::new(&set) else {
        return Some(said);
    };
    let labels = BTreeMap::from([("t".to_owned(), "x".to_owned())]);
    let (mut members, mut not_injected) = (Vec::new(), Vec::new());
    for pod in pods {
        let Ok(pod) = serde_json::from_value::<PodView>(pod.clone()) else {
            continue;
        };
        let pod = Arc::new(pod);
        match PodFacts::read(&plan, &pod, Some(&labels)) {
            Membership::Member(facts) => members.push(*facts),
            Membership::NotInjected => not_injected.push(pod),
            Membership::Stranger => {}
        }
    }
    let snapshot = Snapshot {
        plan: &plan,
        pods: members.iter().collect(),
        not_injected: not_injected.iter().collect(),
        changes: &changes,
        doubt: None,
        room: 1024,
    };
    let now: Timestamp = "2026-11-21T13:00:00Z".parse().unwrap();
    let decision = decide(&snapshot, now);
    let upgrades = decision
        .actions
        .iter()
        .filter(|a| matches!(a, Action::Upgrade(_)));
    assert!(upgrades.count() <= members.len());
    let report = [json!(decision.report.waiting), json!(decision.report.conditions)];
    Some(said + report.iter().map(|part| part.to_string().len()).sum::<usize>())
}

/// What is decided about the SidecarSet alone.
fn judged(set: &SidecarSet, revisions: &[Revision]) -> usize {
    let world = SidecarSetWorld {
        fresh: true,
        others: &[Arc::new(set.clone())],
        revisions,
        whitelist: None,
        metadata_allowed_by_default: true,
    };
    let _ = PreparedSidecarSet::new(set, revisions);
    let _ = revision::plan(set, revisions, &BTreeSet::new());
    match standing(set, &world) {
        Standing::Invalid(why) => why.len(),
        _ => 0,
    }
}

#[test]
fn the_world_that_is_mutated_is_upgraded_as_it_is() {
    let mut quiet = set();
    quiet["spec"]["containers"].as_array_mut().unwrap().remove(1);
    let said = decided(&quiet, &[pod("a"), pod("b")], &content()).unwrap();
    assert!(said > 100, "{said}");
}

/// Pairs of a SidecarSet and a pod that are huge, deep or contradict themselves.
fn extremes() -> Vec<(Value, Value)> {
    let many = |n: usize| -> Value {
        (0..n)
            .map(|i| json!({"name": format!("c{i}"), "image": "x:1"}))
            .collect()
    };
    let (deep, long) = ("[".repeat(50_000), "x".repeat(200_000));
    let with = |mut object: Value, at: &str, new: Value| {
        *object.pointer_mut(at).unwrap() = new;
        object
    };
    let wide_set = with(set(), "/spec/containers", many(10_000));
    let wide_pod = with(pod("a"), "/spec/containers", many(10_000));
    let wide_pod = with(wide_pod, "/status/containerStatuses", many(10_000));
    let named_long = json!({"name": long[..500], "image": ""});
    let named_long: Value = (0..10_000).map(|_| named_long.clone()).collect();
    let mut all = vec![
        (wide_set.clone(), wide_pod),
        (wide_set, pod("a")),
        (with(set(), "/spec/containers", named_long), pod("a")),
    ];
    for key in [
        keys::HASH,
        keys::HASH_WITHOUT_IMAGE,
        keys::INPLACE_UPDATE_STATE,
        keys::INJECTED_LIST,
    ] {
        for text in [
            &deep,
            &long,
            "{\"s\":{\"hash\":7}}",
            "\u{0}\u{fffd}",
            "{\"s\":{\"updateTimestamp\":\"9999-12-31T23:59:59Z\"}}",
        ] {
            let at = format!("/metadata/annotations/{}", key.replace('/', "~1"));
            all.push((set(), with(pod("a"), &at, text.into())));
        }
    }
    let waiting = json!({"waiting": {"reason": long, "message": deep}});
    all.push((
        set(),
        with(pod("a"), "/status/containerStatuses/0/state", waiting),
    ));
    let statuses = pod("a")["status"]["containerStatuses"].clone();
    let twice = json!([statuses[1], statuses[1], statuses[1], statuses[0]]);
    all.push((set(), with(pod("a"), "/status/containerStatuses", twice)));
    let selector = json!({"matchExpressions": [{"key": long, "operator": long, "values": [deep]}]});
    all.push((with(set(), "/spec/selector", selector), pod("a")));
    all
}

#[test]
fn what_is_huge_deep_or_contradictory_is_answered_shortly() {
    for (n, (set, pod)) in extremes().into_iter().enumerate() {
        let said = decided(&set, &[pod], &content()).unwrap_or(0);
        assert!(said < SHORT, "case {n} says {said} bytes");
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect()),
        (0usize..3000).prop_map(|n| "{\"s\":".repeat(n)),
        (0usize..3000).prop_map(|n| "x".repeat(n)),
    ]
}

const TEXTS: [&str; 22] = [
    "true",
    "Always",
    "s",
    "c",
    "hot-1",
    "web",
    "100%",
    "-1%",
    "99999999999999999999%",
    "{}",
    "-1",
    "HotUpgrade",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "999999999999h",
    "False",
    "Failed",
    "c@sha256:0",
    "{\"s\":{\"hash\":\"new\"}}",
    "{\"s\":\"old\"}",
    "NotIn",
    "*",
];
const FIELDS: [&str; 9] = [
    "name", "image", "s", "key", "operator", "values", "imageID", "type", "hash",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        prop::sample::select(TEXTS.to_vec()).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let field = prop::sample::select(FIELDS.to_vec()).prop_map(str::to_owned);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(field, inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

/// Puts `new` at the `at`-th node of `value`, counted depth first.
fn mutate_at(value: &mut Value, at: &mut usize, new: &Value) -> bool {
    if *at == 0 {
        *value = new.clone();
        return true;
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().any(|v| mutate_at(v, at, new)),
        Value::Object(map) => map.values_mut().any(|v| mutate_at(v, at, new)),
        _ => false,
    }
}

fn cases() -> u32 {
    let told = std::env::var("TIDEGATE_MUTATIONS").ok();
    told.and_then(|n| n.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_worlds_are_decided_shortly_and_without_a_panic(
        changes in prop::collection::vec((0usize..110, any_json(), 0u8..4), 1..5),
    ) {
        let (mut set, mut pods, mut data) = (set(), [pod("a"), pod("b")], content());
        for (at, new, which) in &changes {
            let target = match which {
                0 => &mut set,
                1 => &mut pods[0],
                2 => &mut pods[1],
                _ => &mut data,
            };
            mutate_at(target, &mut at.clone(), new);
        }
        if let Some(said) = decided(&set, &pods, &data) {
            prop_assert!(said < SHORT, "{} bytes", said);
        }
    }
}
