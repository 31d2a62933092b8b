use super::tests::errors;
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
