#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;
use serde_json::json;

#[test]
fn a_container_keeps_the_fields_nobody_knows() {
    let given = json!({"name": "a", "image": "i", "novel": {"x": 1}, "podInjectPolicy": "AfterAppContainer",
        "upgradeStrategy": {"upgradeType": "HotUpgrade"}, "shareVolumePolicy": {"type": "enabled"}});
    let c: SidecarContainer = serde_json::from_value(given.clone()).unwrap();
    assert!(c.is_hot() && c.share_volume_policy.is_enabled());
    assert_eq!(c.hot_slots(), ["a-1", "a-2"]);
    assert_eq!(serde_json::to_value(&c).unwrap(), given);
}

#[test]
fn null_is_absent_and_unreadable_percentages_are_kept() {
    let set: SidecarSet = serde_json::from_value(json!({"spec": {"containers": null, "volumes": null,
        "updateStrategy": {"partition": "five", "maxUnavailable": null, "selector": null}, "injectionStrategy": null}}))
    .unwrap();
    assert_eq!(
        set.spec.update_strategy.partition,
        Some(IntOrPercent::Text("five".into()))
    );
    assert_eq!(set.spec.update_strategy.max_unavailable, None);
}

#[test]
fn percentages_are_digits_and_a_percent_sign() {
    let text = |t: &str| IntOrPercent::Text(t.to_owned());
    assert_eq!(text("33%").of_rounded_up(10), Ok(4));
    assert_eq!(text("33%").of_rounded_down(10), Ok(3));
    assert_eq!(text("150%").of_rounded_up(10), Ok(15));
    assert_eq!(IntOrPercent::Int(-3).of_rounded_up(10), Ok(-3));
    assert_eq!(text("99999999999999999999%").percent(), Some(u32::MAX));
    for bad in ["5", "33.5%", "%", "-5%", "", "5 %"] {
        assert!(text(bad).of_rounded_up(10).is_err(), "{bad}");
    }
}

#[test]
fn v1alpha1_comes_back_from_v1beta1_unchanged() {
    let alpha = json!({"apiVersion": V1ALPHA1, "kind": "SidecarSet",
        "metadata": {"name": "s", "labels": {"a": "b", keys::CUSTOM_VERSION: "v7"}},
        "spec": {"namespace": "ns", "containers": [{"name": "c"}]}});
    let mut object = alpha.clone();
    to_v1beta1(&mut object).unwrap();
    assert_eq!(object["apiVersion"], V1BETA1);
    assert_eq!(
        object["spec"]["namespaceSelector"],
        json!({"matchLabels": {keys::NAMESPACE_NAME: "ns"}})
    );
    assert_eq!(object["spec"]["customVersion"], "v7");
    assert_eq!(object["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(object["spec"].get("namespace"), None);
    to_v1alpha1(&mut object).unwrap();
    assert_eq!(object, alpha);
}

#[test]
fn a_custom_version_that_cannot_be_a_label_leaves_v1alpha1_readable() {
    let beta = json!({"apiVersion": V1BETA1, "kind": "SidecarSet", "metadata": {"name": "s"},
        "spec": {"customVersion": "a b", "containers": [{"name": "c"}]}});
    let mut object = beta.clone();
    to_v1alpha1(&mut object).unwrap();
    assert_eq!(object["metadata"].get("labels"), None);
    to_v1beta1(&mut object).unwrap();
    assert_eq!(object, beta);
}

#[test]
fn a_selector_beside_namespace_is_refused_instead_of_dropped() {
    let mut object = json!({"apiVersion": V1ALPHA1, "kind": "SidecarSet", "metadata": {"name": "s"},
        "spec": {"namespace": "ns", "namespaceSelector": {"matchLabels": {"team": "a"}}}});
    assert!(matches!(
        to_v1beta1(&mut object),
        Err(ConversionError::TwoNamespaces { .. })
    ));
}

#[test]
fn a_selector_changed_in_v1beta1_is_not_overruled_by_the_remembered_namespace() {
    let mut object = json!({"apiVersion": V1BETA1, "kind": "SidecarSet",
        "metadata": {"name": "s", "annotations": {keys::FROM_NAMESPACE: "ns"}},
        "spec": {"namespaceSelector": {"matchLabels": {"team": "a"}}, "customVersion": "v1"}});
    to_v1alpha1(&mut object).unwrap();
    assert_eq!(
        object["spec"],
        json!({"namespaceSelector": {"matchLabels": {"team": "a"}}})
    );
    assert_eq!(
        object["metadata"],
        json!({"name": "s", "labels": {keys::CUSTOM_VERSION: "v1"}})
    );
}
