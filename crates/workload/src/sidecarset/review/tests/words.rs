//! How problems are told.
use super::*;

fn message(reviewed: &Reviewed) -> (i64, String) {
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    let status = &answer["response"]["status"];
    let text = status["message"].as_str().unwrap_or_default();
    (status["code"].as_i64().unwrap_or_default(), text.to_owned())
}

#[test]
fn a_problem_is_told_in_the_version_that_was_written() {
    let mut alpha = json!({"apiVersion": V1ALPHA1, "kind": "SidecarSet", "metadata": {"name": "s"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "namespace": "a b",
        "containers": [{"name": "c", "image": "c:1"}]}});
    default::mutate(&mut alpha, None, &[]).unwrap();
    let reviewed = validated(&envelope("sidecarsets", "CREATE", &alpha, &Value::Null));
    let (code, text) = message(&reviewed);
    assert_eq!(code, 500);
    assert!(
        text.starts_with("spec.namespace: Invalid value: \"a b\": "),
        "{text}"
    );
}

#[test]
fn a_value_of_a_wrong_type_in_a_container_or_volume_is_named_with_its_path() {
    for (field, value, path) in [
        (
            "containers",
            json!([{"name": "c", "image": "c", "env": [{"name": "A", "value": 1}]}]),
            "env[0].value",
        ),
        (
            "containers",
            json!([{"name": "c", "image": "c", "command": "run"}]),
            "command",
        ),
        (
            "initContainers",
            json!([{"name": "i", "image": "i", "resources": {"limits": {"cpu": "x"}}}]),
            "limits[cpu]",
        ),
        (
            "volumes",
            json!([{"name": "v", "secret": {"defaultMode": "rw"}}]),
            "secret.defaultMode",
        ),
    ] {
        let mut object = sidecarset();
        object["spec"][field] = value;
        let reviewed = review_mutate(&envelope("sidecarsets", "CREATE", &object, &Value::Null), &[]);
        let (code, text) = message(&reviewed);
        assert_eq!(code, 400, "{text}");
        assert!(
            text.contains(&format!("{path}: ")) && text.contains(&format!("spec.{field}[0].")),
            "{text}"
        );
        object["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z".into();
        let leaving = review_mutate(&envelope("sidecarsets", "UPDATE", &object, &object), &[]);
        assert_eq!(message(&leaving).0, 0, "one that is deleted loses its finalizers");
    }
}

#[test]
fn what_other_sidecarsets_decide_is_not_answered_from_memory() {
    let review = |old: &Value, fresh: bool| {
        let mut object = sidecarset();
        object["spec"]["injectionStrategy"] = Value::Null;
        default::mutate(&mut object, None, &[]).unwrap();
        let world = SidecarSetWorld {
            others: &[],
            fresh,
            revisions: &[],
            whitelist: None,
            metadata_allowed_by_default: true,
        };
        review_validate(&envelope("sidecarsets", "UPDATE", &object, old), &world).before_sending
    };
    let asks = Some(BeforeSending::JudgedByMemory {
        revisions: false,
        whitelist: true,
    });
    assert_eq!(review(&Value::Null, false), asks);
    assert!(matches!(
        review(&Value::Null, true),
        Some(BeforeSending::Announce(_))
    ));
    let mut old = sidecarset();
    old["spec"]["injectionStrategy"] = Value::Null;
    old["spec"]["updateStrategy"] = json!({"paused": true});
    assert_eq!(review(&old, false), None, "a pause waits for nobody");
    old["spec"]["selector"] = json!({"matchLabels": {"app": "other"}});
    assert_eq!(review(&old, false), asks);
}
