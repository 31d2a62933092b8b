#![allow(clippy::unwrap_used, clippy::expect_used)]
use serde_json::json;

use super::*;

/// A schemaless kind served as `t.dev/v1` and, with `spec.size` called `spec.count`, as `t.dev/v2`.
struct TwoVersions;

impl Versions for TwoVersions {
    fn schema(&self, api_version: &str) -> Option<Schema<'_>> {
        matches!(api_version, "t.dev/v1" | "t.dev/v2").then(Schema::deduced)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let (from, to) = if api_version == "t.dev/v1" {
            ("count", "size")
        } else {
            ("size", "count")
        };
        let mut object = object.clone();
        object["apiVersion"] = json!(api_version);
        if let Some(Value::Object(spec)) = object.get_mut("spec")
            && let Some(value) = spec.remove(from)
        {
            spec.insert(to.to_owned(), value);
        }
        Some(object)
    }
}

fn writer<'a>(manager: &'a str, api_version: &'a str, second: i64, zero: &'a Value) -> Writer<'a> {
    Writer {
        manager,
        api_version,
        kind: "T",
        subresource: "",
        now: Timestamp::from_second(second).unwrap(),
        versions: &TwoVersions,
        filter: &FieldFilter::Everything,
        zero,
    }
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "t.dev/v1", "kind": "T", "metadata": {"name": "x", "uid": "u"}, "spec": spec})
}

fn updated(live: &Value, mut new: Value, manager: &str, second: i64) -> Value {
    let zero = json!({"apiVersion": "t.dev/v1", "kind": "T"});
    let managed = update(live, &new, &writer(manager, "t.dev/v1", second, &zero));
    set_managed_fields(&mut new, managed);
    new
}

#[test]
fn one_conflict_is_worded_as_a_real_server_words_it() {
    let zero = json!({"apiVersion": "t.dev/v1", "kind": "T"});
    let live = updated(&Value::Null, object(json!({"size": 1})), "kubectl-edit", 1);
    let config = object(json!({"size": 2}));
    let error = apply(&live, &config, &writer("me", "t.dev/v1", 2, &zero), false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using t.dev/v1: .spec.size"
    );
    let ApplyError::Conflicts(conflicts) = error else {
        panic!("not a conflict")
    };
    let cause = Cause {
        message: "conflict with \"kubectl-edit\" using t.dev/v1".into(),
        field: ".spec.size".into(),
    };
    assert_eq!(conflicts.causes(), [cause]);
}

#[test]
fn a_field_owned_in_another_version_conflicts_under_its_name_there() {
    let zero = json!({"apiVersion": "t.dev/v2", "kind": "T"});
    let live = updated(&Value::Null, object(json!({"size": 1})), "old", 1);
    let live = TwoVersions.convert(&live, "t.dev/v2").unwrap();
    let mut config = object(json!({"count": 2}));
    config["apiVersion"] = json!("t.dev/v2");
    let error = apply(&live, &config, &writer("me", "t.dev/v2", 2, &zero), false).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("conflict with \"old\" using t.dev/v1: .spec.size"),
        "{error}"
    );
    let forced = apply(&live, &config, &writer("me", "t.dev/v2", 2, &zero), true).unwrap();
    assert_eq!(forced.object["spec"], json!({"count": 2}));
}

#[test]
fn an_applier_that_moves_to_another_version_keeps_its_entry() {
    let (one, two) = (
        json!({"apiVersion": "t.dev/v1"}),
        json!({"apiVersion": "t.dev/v2"}),
    );
    let config = object(json!({"size": 1, "a": 1}));
    let live = apply(&Value::Null, &config, &writer("me", "t.dev/v1", 1, &one), false)
        .unwrap()
        .object;
    let live = TwoVersions.convert(&live, "t.dev/v2").unwrap();
    let mut config = object(json!({"count": 1}));
    config["apiVersion"] = json!("t.dev/v2");
    let done = apply(&live, &config, &writer("me", "t.dev/v2", 2, &two), false).unwrap();
    assert_eq!(done.object["spec"], json!({"count": 1}));
    assert_eq!(done.managed_fields.entries.len(), 1);
}

#[test]
fn the_eleventh_updater_makes_the_oldest_two_ancient() {
    let mut live = updated(&Value::Null, object(json!({"f0": 0})), "m0", 0);
    for number in 1..11 {
        let mut spec = live["spec"].clone();
        spec[format!("f{number}")] = json!(number);
        let mut new = live.clone();
        new["spec"] = spec;
        live = updated(&live, new, &format!("m{number}"), number);
    }
    let managed = ManagedFields::decode(live.pointer("/metadata/managedFields")).unwrap();
    assert_eq!(managed.entries.len(), 10);
    let ancient = ManagerId::new("ancient-changes", Operation::Update, "t.dev/v1", "");
    let owned = &managed.entries[&ancient];
    let paths: Vec<String> = owned.fields.paths().iter().map(Path::to_string).collect();
    assert_eq!(paths, [".spec", ".spec.f0", ".spec.f1"]);
    assert_eq!(owned.time, Some(Timestamp::from_second(1).unwrap()));
}

#[test]
fn kubectl_takes_over_what_client_side_apply_set_and_keeps_its_annotation() {
    let zero = json!({"apiVersion": "t.dev/v1", "kind": "T"});
    let mut new = object(json!({"size": 1, "other": 1}));
    let last = json!({"apiVersion": "t.dev/v1", "kind": "T", "metadata": {"name": "x"}, "spec": {"size": 1}});
    new["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": last.to_string()});
    let live = updated(&Value::Null, new, "kubectl-client-side-apply", 1);
    let mut config = last.clone();
    config["spec"]["size"] = json!(2);
    let done = apply(&live, &config, &writer("kubectl", "t.dev/v1", 2, &zero), false).unwrap();
    assert_eq!(done.object["spec"], json!({"size": 2, "other": 1}));
    let annotation =
        &done.object["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation, &json!(format!("{config}\n")));
    config["spec"]["other"] = json!(2);
    let error = apply(&live, &config, &writer("kubectl", "t.dev/v1", 2, &zero), false).unwrap_err();
    assert!(error.to_string().contains("1 conflict: "), "{error}");
}

#[test]
fn an_object_without_a_record_belongs_to_before_first_apply() {
    let zero = json!({"apiVersion": "t.dev/v1", "kind": "T"});
    let live = object(json!({"size": 1}));
    assert_eq!(
        update(
            &live,
            &object(json!({"size": 2})),
            &writer("m", "t.dev/v1", 1, &zero)
        ),
        None
    );
    let config = object(json!({"color": "red"}));
    let done = apply(&live, &config, &writer("me", "t.dev/v1", 2, &zero), false).unwrap();
    let managers: Vec<&str> = done
        .managed_fields
        .entries
        .keys()
        .map(|id| id.manager.as_str())
        .collect();
    assert_eq!(managers, ["before-first-apply", "me"]);
}

#[test]
fn field_sets_are_spelled_as_structured_merge_spells_them() {
    let key = PathElement::Key(vec![
        ("containerPort".into(), json!(80)),
        ("protocol".into(), json!("TCP")),
    ]);
    let mut set = FieldSet::new();
    set.insert(&[PathElement::field("ports"), key.clone()]);
    set.insert(&[PathElement::field("ports"), key, PathElement::field("name")]);
    set.insert(&[PathElement::field("finalizers"), PathElement::Value(json!("a<b"))]);
    let expected = json!({
        "f:finalizers": {"v:\"a\\u003cb\"": {}},
        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}},
    });
    assert_eq!(set.to_fields_v1(), expected);
    assert_eq!(FieldSet::from_fields_v1(&expected).unwrap(), set);
}
