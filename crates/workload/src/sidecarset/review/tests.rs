#![allow(clippy::unwrap_used, clippy::expect_used)]
mod before_sending;
mod words;

use super::*;
use base64::Engine;
use model::sidecarset::{V1ALPHA1, V1BETA1};
use proptest::prelude::*;
use serde_json::json;

fn sidecarset() -> Value {
    json!({"apiVersion": V1BETA1, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "namespaceSelector": {"matchLabels": {"t": "x"}},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "patchPodMetadata": [{"annotations": {"a": "{}"}, "patchPolicy": "MergePatchJson"}],
        "initContainers": [{"name": "i", "image": "i:1", "restartPolicy": "Always"}],
        "updateStrategy": {"partition": "30%", "scatterStrategy": [{"key": "a", "value": "b"}]},
        "injectionStrategy": {"revision": {"customVersion": "v1", "policy": "Partial"}},
        "containers": [{"name": "c", "image": "c:1", "env": [{"name": "E", "value": "e"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}], "shareVolumePolicy": {"type": "enabled"},
            "transferEnv": [{"sourceContainerName": "app", "envName": "X"}],
            "resourcesPolicy": {"targetContainersMode": "sum", "targetContainersNameRegex": ".*",
                "resourcesExpr": {"limits": {"cpu": "max(cpu*50%, 50m)"}}}}]}})
}

fn pod() -> Value {
    json!({"metadata": {"name": "p", "namespace": "ns", "labels": {"app": "web"}, "annotations": {"a": "{\"b\":1}"}},
        "spec": {"containers": [{"name": "app", "image": "app:1", "env": [{"name": "X", "value": "1"}],
            "resources": {"limits": {"cpu": "1"}}, "volumeMounts": [{"name": "d", "mountPath": "/d", "subPathExpr": "$(X)"}]}]}})
}

fn envelope(resource: &str, operation: &str, object: &Value, old: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "operation": operation, "namespace": "ns", "name": "n",
        "resource": {"group": "", "version": "v1", "resource": resource}, "object": object, "oldObject": old}}))
    .unwrap()
}

fn pod_answer(body: &[u8], sets: &[Arc<PreparedSidecarSet>], excluded: &[&str]) -> (Value, Outcome) {
    let labels = Arc::new(BTreeMap::from([("t".to_owned(), "x".to_owned())]));
    let world = PodWorld {
        sets,
        namespace_labels: &|_| Some(labels.clone()),
        excluded_namespaces: &excluded.iter().map(|n| (*n).to_owned()).collect(),
        asked_for: &[],
        now: "2026-11-21T12:00:00Z".parse().unwrap(),
        draw: 1,
    };
    let reviewed = review_pod(body, &world);
    (serde_json::from_slice(&reviewed.body).unwrap(), reviewed.outcome)
}

fn prepared(mut object: Value) -> Vec<Arc<PreparedSidecarSet>> {
    object["spec"]["injectionStrategy"] = Value::Null;
    vec![Arc::new(PreparedSidecarSet::new(
        &serde_json::from_value(object).unwrap(),
        &[],
    ))]
}

fn validated(body: &[u8]) -> Reviewed {
    let world = SidecarSetWorld {
        fresh: true,
        others: &[],
        revisions: &[],
        whitelist: None,
        metadata_allowed_by_default: true,
    };
    review_validate(body, &world)
}

#[test]
fn a_matching_pod_is_answered_with_a_patch() {
    let body = envelope("pods", "CREATE", &pod(), &Value::Null);
    let (answer, outcome) = pod_answer(&body, &prepared(sidecarset()), &[]);
    assert_eq!(
        (&answer["response"]["uid"], &answer["response"]["allowed"]),
        (&json!("u"), &json!(true))
    );
    let patch = answer["response"]["patch"].as_str().unwrap();
    let patch = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut out = pod();
    json_patch::patch(&mut out, &patch).unwrap();
    assert_eq!(out["spec"]["containers"][0]["name"], "c");
    assert_eq!(out["metadata"]["annotations"]["a"], "{\"b\":1}");
    assert!(matches!(outcome, Outcome::Changed { .. }));
}

#[test]
fn updates_subresources_and_excluded_namespaces_are_left_alone() {
    let sets = prepared(sidecarset());
    for (body, excluded) in [
        (envelope("pods", "UPDATE", &pod(), &pod()), &[][..]),
        (envelope("deployments", "CREATE", &pod(), &Value::Null), &[]),
        (envelope("pods", "CREATE", &pod(), &Value::Null), &["ns"]),
    ] {
        let (answer, outcome) = pod_answer(&body, &sets, excluded);
        assert_eq!(answer["response"], json!({"uid": "u", "allowed": true}));
        assert_eq!(outcome, Outcome::Untouched);
    }
}

#[test]
fn a_pod_that_cannot_be_injected_is_denied_with_500_unless_the_policy_is_ignore() {
    let mut object = sidecarset();
    object["spec"]["containers"][0]["name"] = "app".into();
    let body = envelope("pods", "CREATE", &pod(), &Value::Null);
    let (answer, _) = pod_answer(&body, &prepared(object.clone()), &[]);
    assert_eq!(answer["response"]["status"]["code"], 500);
    assert_eq!(answer["response"]["allowed"], false);
    object["metadata"]["annotations"] = json!({"tidegate.dev/failure-policy": "Ignore"});
    let (answer, outcome) = pod_answer(&body, &prepared(object), &[]);
    assert_eq!(answer["response"]["allowed"], true);
    assert_eq!(answer["response"]["warnings"].as_array().unwrap().len(), 1);
    assert!(matches!(outcome, Outcome::Changed { skipped, .. } if skipped.len() == 1));
}

#[test]
fn the_mutating_answer_defaults_by_small_patches_and_then_validates() {
    for version in [V1BETA1, V1ALPHA1] {
        let mut object = sidecarset();
        object["apiVersion"] = version.into();
        object["spec"]["injectionStrategy"] = json!({});
        let reviewed = review_mutate(&envelope("sidecarsets", "CREATE", &object, &Value::Null), &[]);
        let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
        let patch = answer["response"]["patch"].as_str().unwrap();
        let patch: json_patch::Patch =
            serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(patch).unwrap())
                .unwrap();
        assert!(patch.iter().all(|op| op.path().as_str() != "/spec"));
        json_patch::patch(&mut object, &patch).unwrap();
        assert_eq!(
            object["metadata"]["annotations"]["kruise.io/sidecarset-hash"]
                .as_str()
                .unwrap()
                .len(),
            64
        );
        let again = review_mutate(&envelope("sidecarsets", "UPDATE", &object, &object), &[]);
        assert_eq!(again.outcome, Outcome::Untouched);
        let verdict = validated(&envelope("sidecarsets", "CREATE", &object, &Value::Null));
        assert_eq!(verdict.outcome, Outcome::Untouched);
    }
}

#[test]
fn an_invalid_sidecarset_is_denied_with_500_and_the_path() {
    let mut object = sidecarset();
    object["spec"]["selector"] = json!({});
    let reviewed = validated(&envelope("sidecarsets", "CREATE", &object, &Value::Null));
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    assert_eq!(answer["response"]["status"]["code"], 500);
    assert!(
        answer["response"]["status"]["message"]
            .as_str()
            .unwrap()
            .contains("spec.selector")
    );
}

#[test]
fn defaults_that_nobody_wrote_before_are_no_change() {
    let bare = json!({"apiVersion": V1BETA1, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "containers": [{"name": "c", "image": "c:1"}]}});
    let mut defaulted = bare.clone();
    super::super::default::mutate(&mut defaulted, None, &[]).unwrap();
    let verdict = validated(&envelope("sidecarsets", "UPDATE", &defaulted, &bare));
    assert_eq!(verdict.outcome, Outcome::Untouched);
}

#[test]
fn conversion_answers_for_all_objects_or_fails_as_a_whole() {
    let review = |objects: Value, desired: &str| {
        let body = serde_json::to_vec(
            &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "request": {"uid": "u", "desiredAPIVersion": desired, "objects": objects}}),
        )
        .unwrap();
        serde_json::from_slice::<Value>(&review_conversion(&body).body).unwrap()["response"].clone()
    };
    let done = review(json!([sidecarset()]), V1ALPHA1);
    assert_eq!(
        (&done["uid"], &done["result"]["status"]),
        (&json!("u"), &json!("Success"))
    );
    assert_eq!(done["convertedObjects"][0]["apiVersion"], V1ALPHA1);
    assert_eq!(
        review(json!([sidecarset(), 3]), V1ALPHA1)["result"]["status"],
        "Failure"
    );
    assert_eq!(
        review(json!([sidecarset()]), "apps.kruise.io/v9")["result"]["status"],
        "Failure"
    );
}

#[test]
fn ten_thousand_containers_are_answered() {
    let mut huge = pod();
    let many: Vec<Value> = (0..10_000)
        .map(|n| json!({"name": format!("c{n}"), "image": "x"}))
        .collect();
    huge["spec"]["containers"] = Value::Array(many);
    let (answer, _) = pod_answer(
        &envelope("pods", "CREATE", &huge, &Value::Null),
        &prepared(sidecarset()),
        &[],
    );
    assert!(answer["response"]["allowed"].is_boolean());
    let mut set = sidecarset();
    set["spec"]["containers"] = huge["spec"]["containers"].clone();
    assert!(
        !validated(&envelope("sidecarsets", "CREATE", &set, &Value::Null))
            .body
            .is_empty()
    );
}

#[test]
fn a_pod_and_a_sidecarset_that_multiply_are_denied_at_once() {
    let mut huge = pod();
    let mounts: Vec<Value> = (0..20_000)
        .map(|n| json!({"name": "d", "mountPath": format!("/{n}")}))
        .collect();
    huge["spec"]["containers"][0]["volumeMounts"] = Value::Array(mounts);
    let mut set = sidecarset();
    let sharing =
        |n| json!({"name": format!("c{n}"), "image": "c", "shareVolumePolicy": {"type": "enabled"}});
    set["spec"]["containers"] = Value::Array((0..5_000).map(sharing).collect());
    let (answer, _) = pod_answer(
        &envelope("pods", "CREATE", &huge, &Value::Null),
        &prepared(set),
        &[],
    );
    assert!(
        answer["response"]["status"]["message"]
            .as_str()
            .unwrap()
            .contains("too large together")
    );
}

#[test]
fn what_is_no_review_is_answered_with_400() {
    let deep = "[".repeat(100_000);
    for body in [
        &b""[..],
        b"{",
        b"null",
        b"{}",
        b"\xff\xfe",
        b"{\"request\": 3}",
        deep.as_bytes(),
    ] {
        let (answer, outcome) = pod_answer(body, &[], &[]);
        assert_eq!(answer["response"]["status"]["code"], 400);
        assert!(matches!(outcome, Outcome::Malformed(_)));
        assert!(!review_conversion(body).body.is_empty());
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect())
}

fn any_key() -> impl Strategy<Value = String> {
    let known = [
        "name",
        "env",
        "image",
        "value",
        "type",
        "matchLabels",
        "key",
        "operator",
        "values",
        "cpu",
        "limits",
    ];
    prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        any_text()
    ]
}

/// Any JSON, small.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any_text().prop_map(Value::from),
        prop::sample::select(vec![
            "true",
            "Always",
            "IS_INJECTED",
            "app",
            "$(X)",
            "100%",
            "{}",
            "-1",
            "HotUpgrade"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any_key(), inner, 0..4)
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
    std::env::var("TIDEGATE_MUTATIONS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_objects_get_an_answer_and_never_a_panic(
        changes in prop::collection::vec((0usize..70, any_json(), any::<bool>()), 1..4),
    ) {
        let (mut set, mut pod) = (sidecarset(), pod());
        for (at, new, of_set) in &changes {
            let target = if *of_set { &mut set } else { &mut pod };
            mutate_at(target, &mut at.clone(), new);
        }
        let bodies = [
            envelope("sidecarsets", "CREATE", &set, &Value::Null),
            envelope("sidecarsets", "UPDATE", &set, &sidecarset()),
            envelope("sidecarsets", "UPDATE", &sidecarset(), &set),
        ];
        for body in &bodies {
            for reviewed in [review_mutate(body, &[]), validated(body)] {
                prop_assert!(serde_json::from_slice::<Value>(&reviewed.body).unwrap()["response"]["allowed"].is_boolean());
            }
        }
        let conversion = json!({"request": {"uid": "u", "desiredAPIVersion": V1ALPHA1, "objects": [set.clone()]}});
        let converted = review_conversion(&serde_json::to_vec(&conversion).unwrap());
        prop_assert!(!converted.body.is_empty());
        let mut sets = prepared(sidecarset());
        if let Ok(parsed) = serde_json::from_value::<SidecarSet>(set) {
            sets = vec![Arc::new(PreparedSidecarSet::new(&parsed, &[]))];
            let _ = super::super::revision::plan(&parsed, &[], &BTreeSet::new());
        }
        let body = envelope("pods", "CREATE", &pod, &Value::Null);
        let (answer, _) = pod_answer(&body, &sets, &[]);
        prop_assert!(answer["response"]["allowed"].is_boolean());
        // A patch that is answered can be applied.
        if let Some(patch) = answer["response"]["patch"].as_str() {
            let bytes = base64::engine::general_purpose::STANDARD.decode(patch).unwrap();
            let patch: json_patch::Patch = serde_json::from_slice(&bytes).unwrap();
            prop_assert!(json_patch::patch(&mut pod, &patch).is_ok());
        }
    }
}
