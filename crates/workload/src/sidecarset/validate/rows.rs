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

fn one_error_at(rows: Vec<(&str, Value, &str)>) {
    for (pointer, value, path) in rows {
        let mut found = errors(pointer, value.clone());
        found.dedup();
        assert_eq!(found, [path], "{pointer} = {value}");
    }
}

fn container(more: Value) -> Value {
    let mut c = json!({"name": "c", "image": "c:1"});
    c.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    json!([c])
}

fn init(more: Value) -> Value {
    let mut list = container(more);
    list[0]["name"] = "i".into();
    list
}

/// Rules of pods, which Kruise checks by Kubernetes' own validation.
#[test]
fn what_no_pod_may_have_is_refused_at_its_field() {
    let c = "/spec/containers";
    let at = |field: &str, path: &'static str, value: Value| (c, container(json!({field: value})), path);
    let field = json!([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nope"}}}]);
    let ports = json!([{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]);
    let probe = json!({"httpGet": {"port": 80}, "periodSeconds": -1});
    let context = json!({"privileged": true, "allowPrivilegeEscalation": false});
    one_error_at(vec![
        at(
            "env",
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath",
            field,
        ),
        at(
            "env",
            "spec.containers[0].env[0].value",
            json!([{"name": "A", "value": 1}]),
        ),
        at("ports", "spec.containers[0].ports[1].name", ports),
        at(
            "resources",
            "spec.containers[0].resources.limits[x]",
            json!({"limits": {"x": 1}}),
        ),
        at(
            "livenessProbe",
            "spec.containers[0].livenessProbe.periodSeconds",
            probe,
        ),
        at("image", "spec.containers[0].image", json!(" c:1")),
        at(
            "imagePullPolicy",
            "spec.containers[0].imagePullPolicy",
            json!("Sometimes"),
        ),
        at("securityContext", "spec.containers[0].securityContext", context),
    ]);
    let startup = container(json!({"startupProbe": {"httpGet": {"port": 80}}}));
    assert_eq!(errors(c, startup), Vec::<String>::new());
}

#[test]
fn what_no_init_container_or_volume_may_be_is_refused_at_its_field() {
    let i = "/spec/initContainers";
    let at = |field: &str, path: &'static str, value: Value| (i, init(json!({field: value})), path);
    let hook = json!({"preStop": {"exec": {"command": ["a"]}}});
    one_error_at(vec![
        at(
            "livenessProbe",
            "spec.initContainers[0].livenessProbe",
            json!({"httpGet": {"port": 80}}),
        ),
        at("lifecycle", "spec.initContainers[0].lifecycle", hook),
        at(
            "restartPolicy",
            "spec.initContainers[0].restartPolicy",
            json!("Maybe"),
        ),
    ]);
    assert_eq!(errors(i, init(json!({}))), Vec::<String>::new());
    let volume = |path: &'static str, source: Value| {
        let mut volume = json!({"name": "v"});
        volume
            .as_object_mut()
            .unwrap()
            .extend(source.as_object().unwrap().clone());
        ("/spec/volumes", json!([volume]), path)
    };
    one_error_at(vec![
        volume("spec.volumes[0].configMap.name", json!({"configMap": {}})),
        volume(
            "spec.volumes[0].hostPath.type",
            json!({"hostPath": {"path": "/x", "type": "Z"}}),
        ),
        volume(
            "spec.volumes[0].hostPath.path",
            json!({"hostPath": {"path": "/x/.."}}),
        ),
        volume(
            "spec.volumes[0].hostPath",
            json!({"emptyDir": {}, "hostPath": {"path": "/x"}}),
        ),
        ("/spec/volumes", json!(["v"]), "spec.volumes[0]"),
        (
            "/spec/volumes",
            json!(vec![json!({"name": "v"}); 1_001]),
            "spec.volumes",
        ),
    ]);
}

#[test]
fn what_clients_could_not_read_back_is_refused() {
    let partition = json!({"partition": 2_147_483_648_u32});
    one_error_at(vec![
        ("/spec/customVersion", json!("a b"), "spec.customVersion"),
        ("/spec/updateStrategy", partition, "spec.updateStrategy.partition"),
    ]);
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
