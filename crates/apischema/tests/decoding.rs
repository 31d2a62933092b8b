//! Messages of a real 1.36.3 server for bodies that its types cannot hold.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tidegate_apischema::{GroupVersionKind, builtin, decode::Decoded, decode::decode, openapi};

fn decoded(group: &str, kind: &str, mut object: Value) -> (Decoded, Value) {
    let gvk = GroupVersionKind {
        group: group.to_owned(),
        version: "v1".to_owned(),
        kind: kind.to_owned(),
    };
    let table = &builtin().table;
    let out = decode(table, table.kind(&gvk).unwrap(), &mut object);
    (out, object)
}

#[test]
fn wrong_json_types_are_refused_in_gos_words() {
    let quantity =
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
    let limits = |value: Value| json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": value}}}]}});
    let cases = [
        (
            "apps",
            "Deployment",
            json!({"spec": {"replicas": "3"}}),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"template": {"spec": {"containers": [{"name": 1}]}}}}),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.name of type string",
        ),
        (
            "apps",
            "Deployment",
            json!({"spec": {"template": {"spec": {"containers": {"name": 1}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"creationTimestamp": 5}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.creationTimestamp of type string",
        ),
        (
            "",
            "Pod",
            json!({"metadata": {"creationTimestamp": "x"}}),
            "parsing time \"x\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"x\" as \"2006\"",
        ),
        (
            "",
            "Pod",
            json!({"spec": {"activeDeadlineSeconds": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64",
        ),
        (
            "",
            "Pod",
            json!({"spec": 5}),
            "json: cannot unmarshal number into Go struct field Pod.spec of type v1.PodSpec",
        ),
        ("", "Pod", limits(json!("1x")), quantity),
        ("", "Pod", limits(json!(true)), quantity),
        (
            "",
            "Secret",
            json!({"data": {"a": "!!"}}),
            "illegal base64 data at input byte 0",
        ),
        (
            "",
            "Service",
            json!({"spec": {"ports": [{"port": 80, "targetPort": true}]}}),
            "json: cannot unmarshal bool into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
    ];
    for (group, kind, object, message) in cases {
        let (out, _) = decoded(group, kind, object);
        assert_eq!(out.errors.first().map(String::as_str), Some(message));
    }
}

#[test]
fn unknown_fields_are_removed_and_named_with_their_indices() {
    let pod = json!({"spec": {"containers": [{"name": "a", "foo": 1}], "bar": {"x": 1}}, "baz": 1});
    let (out, pod) = decoded("", "Pod", pod);
    assert_eq!(out.unknown, ["baz", "spec.bar", "spec.containers[0].foo"]);
    assert_eq!(
        pod["spec"]["containers"][0],
        json!({"name": "a", "resources": {}})
    );
}

#[test]
fn every_openapi_document_is_json_and_every_resource_has_a_type() {
    let v2: Value = serde_json::from_slice(openapi::v2()).unwrap();
    assert!(v2["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
    assert!(openapi::v3_index().len() > 20);
    for (path, _) in openapi::v3_index() {
        let document: Value = serde_json::from_slice(openapi::v3(path).unwrap()).unwrap();
        assert_eq!(document["openapi"], "3.0.0", "{path}");
    }
    assert!(openapi::v3("apis/nothing/v1").is_none());
    for resource in &builtin().resources {
        let gvk = GroupVersionKind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        };
        assert!(builtin().table.kind(&gvk).is_some(), "{gvk:?}");
    }
    let pods = builtin().resource("", "v1", "pods").unwrap();
    assert_eq!(pods.short_names, ["po"]);
    assert!(
        pods.subresources
            .iter()
            .any(|sub| sub.name == "eviction" && sub.group == "policy")
    );
}
