#![allow(clippy::unwrap_used)]
use super::tests::{errors, verdict_with, with};
use model::sidecarset::keys;
use serde_json::{Value, json};

/// Rows of Kruise's rules beside those above: one fault each, and the field it is told at.
#[test]
fn the_rules_of_strategies_policies_and_metadata_name_their_fields() {
    let strategy = |value: Value| ("/spec/updateStrategy", value);
    let priority = |value: Value| strategy(json!({"priorityStrategy": value}));
    let container = |field: &str, value: Value| {
        (
            "/spec/containers",
            json!([{"name": "c", "image": "c:1", field: value}]),
        )
    };
    let labels = json!({"matchLabels": {"a": "b"}});
    let metadata = |value: Value| ("/spec/patchPodMetadata", value);
    let priority_path = "spec.updateStrategy.priorityStrategy";
    for ((pointer, value), path) in [
        (
            strategy(json!({"partition": -1})),
            "spec.updateStrategy.partition".to_owned(),
        ),
        (
            strategy(json!({"maxUnavailable": "5"})),
            "spec.updateStrategy.maxUnavailable".into(),
        ),
        (
            strategy(json!({"selector": labels, "partition": 3})),
            "spec.updateStrategy".into(),
        ),
        (
            strategy(json!({"scatterStrategy": [{"key": "", "value": "b"}]})),
            "spec.updateStrategy.scatterStrategy[0].key".into(),
        ),
        (
            priority(json!({"orderPriority": [{"orderedKey": "k"}],
                "weightPriority": [{"weight": 1, "matchSelector": labels}]})),
            priority_path.into(),
        ),
        (
            priority(json!({"orderPriority": [{"orderedKey": ""}]})),
            format!("{priority_path}.orderPriority[0].orderedKey"),
        ),
        (
            priority(json!({"weightPriority": [{"weight": 1, "matchSelector": {}}]})),
            format!("{priority_path}.weightPriority[0].matchSelector"),
        ),
        (
            container("shareVolumePolicy", json!({"type": "x"})),
            "spec.containers[0].shareVolumePolicy.type".into(),
        ),
        (
            (
                "/spec/injectionStrategy",
                json!({"revision": {"revisionName": "r", "policy": "Some"}}),
            ),
            "spec.injectionStrategy.revision.policy".into(),
        ),
        (
            metadata(json!([{"annotations": {}}])),
            "spec.patchPodMetadata[0].annotations".into(),
        ),
    ] {
        let found = errors(pointer, value.clone());
        assert!(
            found.contains(&path),
            "{pointer} = {value}: {found:?}, not {path}"
        );
    }
}

/// Rules of pods, which Kruise checks by Kubernetes' own validation.
#[test]
fn what_no_pod_may_have_is_refused_at_its_field() {
    let container = |more: Value| {
        let mut c = json!({"name": "c", "image": "c:1"});
        c.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!([c])
    };
    let (c, i, v) = ("/spec/containers", "/spec/initContainers", "/spec/volumes");
    let setup = json!({"name": "i"});
    let init = |more: Value| {
        let mut list = container(setup.clone());
        list[0]
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        list
    };
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": -1});
    let field = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}]);
    let ports = json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]);
    for (pointer, value, path) in [
        (
            c,
            container(json!({"env": field})),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
        ),
        (
            c,
            container(json!({"env": [{"name": "A", "value": 1}]})),
            "spec.containers[0].env[0].value",
        ),
        (
            c,
            container(json!({"ports": ports})),
            "spec.containers[0].ports[1].name",
        ),
        (
            c,
            container(json!({"resources": {"limits": {"x": 1}}})),
            "spec.containers[0].resources.limits[x]",
        ),
        (
            c,
            container(json!({"livenessProbe": probe})),
            "spec.containers[0].livenessProbe.periodSeconds",
        ),
        (c, container(json!({"image": " c:1"})), "spec.containers[0].image"),
        (
            c,
            container(json!({"imagePullPolicy": "Sometimes"})),
            "spec.containers[0].imagePullPolicy",
        ),
        (
            c,
            container(json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}})),
            "spec.containers[0].securityContext",
        ),
        (
            i,
            init(json!({"livenessProbe": {"httpGet": {"port": 80}}})),
            "spec.initContainers[0].livenessProbe",
        ),
        (
            i,
            init(json!({"lifecycle": {"preStop": {"exec": {"command": ["a"]}}}})),
            "spec.initContainers[0].lifecycle",
        ),
        (
            i,
            init(json!({"restartPolicy": "Maybe"})),
            "spec.initContainers[0].restartPolicy",
        ),
        (
            v,
            json!([{"name": "v", "configMap": {}}]),
            "spec.volumes[0].configMap.name",
        ),
        (
            v,
            json!([{"name": "v", "hostPath": {"path": "/x", "type": "Z"}}]),
            "spec.volumes[0].hostPath.type",
        ),
        (
            v,
            json!([{"name": "v", "hostPath": {"path": "/x/.."}}]),
            "spec.volumes[0].hostPath.path",
        ),
        (
            v,
            json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            "spec.volumes[0].hostPath",
        ),
        (v, json!(["v"]), "spec.volumes[0]"),
        (v, json!(vec![json!({"name": "v"}); 1_001]), "spec.volumes"),
        ("/spec/customVersion", json!("a b"), "spec.customVersion"),
        (
            "/spec/updateStrategy",
            json!({"partition": 2_147_483_648_u32}),
            "spec.updateStrategy.partition",
        ),
    ] {
        let mut found = errors(pointer, value.clone());
        found.dedup();
        assert_eq!(found, [path], "{pointer} = {value}");
    }
    let startup = container(json!({"startupProbe": {"httpGet": {"port": 80}}}));
    assert_eq!(errors(c, startup), Vec::<String>::new());
    assert_eq!(errors(i, init(json!({}))), Vec::<String>::new());
}

#[test]
fn what_was_accepted_by_other_rules_does_not_keep_anybody_from_changing_the_rest() {
    let env = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}]);
    let of = |image: &str, hash: &str| {
        let mut object = with(
            "/spec/containers",
            json!([{"name": "c", "image": image, "env": env}]),
        );
        object["metadata"]["annotations"] = json!({keys::HASH: hash});
        object
    };
    let verdict = verdict_with(of("c:2", "theirs"), Some(of("c:1", "theirs")), vec![], None);
    assert_eq!(
        (verdict.errors.len(), verdict.warnings.len()),
        (0, 1),
        "{verdict:?}"
    );
    let mut worse = of("c:2", "theirs");
    worse["spec"]["containers"][0]["ports"] = json!([{"containerPort": 70_000}]);
    let verdict = verdict_with(worse, Some(of("c:1", "theirs")), vec![], None);
    assert_eq!(
        (verdict.errors.len(), verdict.warnings.len()),
        (1, 1),
        "{verdict:?}"
    );
}
