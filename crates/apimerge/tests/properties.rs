//! What holds for every object: applying twice changes nothing, giving up what one applied removes it, and a
//! strategic patch made from two states leads from the one to the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]
use apischema::{GroupVersionKind, TypeId, TypeTable};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate_apimerge::ssa::{self, FieldFilter, FieldSet, ManagedFields, OneVersion, Schema, Writer};
use tidegate_apimerge::strategic;

fn pod() -> (&'static TypeTable, TypeId) {
    let gvk = GroupVersionKind {
        group: String::new(),
        version: "v1".into(),
        kind: "Pod".into(),
    };
    let table = &apischema::builtin().table;
    (table, table.kind(&gvk).unwrap())
}

fn labels() -> impl Strategy<Value = Value> {
    btree_map("[a-d]", "[xyz]", 1..4).prop_map(|labels| json!(labels))
}

fn container() -> impl Strategy<Value = Map<String, Value>> {
    let port = (
        prop_oneof![Just(80), Just(9)],
        prop_oneof![Just("TCP"), Just("UDP")],
    );
    let env = btree_map("[A-C]", "[xyz]", 1..3);
    (
        "[x-z]",
        proptest::option::of(env),
        proptest::option::of(port),
        proptest::option::of(vec("[a-c]", 1..3)),
    )
        .prop_map(|(image, env, port, args)| {
            let mut out = Map::new();
            out.insert("image".into(), json!(image));
            if let Some(env) = env {
                let env: Vec<Value> = env.iter().map(|(n, v)| json!({"name": n, "value": v})).collect();
                out.insert("env".into(), json!(env));
            }
            if let Some((port, protocol)) = port {
                out.insert(
                    "ports".into(),
                    json!([{"containerPort": port, "protocol": protocol}]),
                );
            }
            if let Some(args) = args {
                out.insert("args".into(), json!(args));
            }
            out
        })
}

fn config() -> impl Strategy<Value = Value> {
    (labels(), btree_map("[a-e]", container(), 1..4)).prop_map(|(labels, containers)| {
        let named = |(name, mut container): (String, Map<String, Value>)| {
            container.insert("name".into(), json!(name));
            Value::Object(container)
        };
        let containers: Vec<Value> = containers.into_iter().map(named).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "labels": labels},
            "spec": {"containers": containers},
        })
    })
}

fn apply(live: &Value, config: &Value, manager: &str, force: bool) -> ssa::Applied {
    let (table, ty) = pod();
    let versions = OneVersion {
        api_version: "v1",
        schema: Schema::builtin(table, ty),
    };
    let zero = json!({"apiVersion": "v1", "kind": "Pod"});
    let writer = Writer {
        manager,
        api_version: "v1",
        kind: "Pod",
        subresource: "",
        now: "2030-01-01T00:00:00Z".parse().unwrap(),
        versions: &versions,
        filter: &FieldFilter::Everything,
        zero: &zero,
    };
    ssa::apply(live, config, &writer, force).unwrap()
}

/// Without nulls and what only they left, as decoding leaves it.
fn clean(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), clean(v)))
            .collect(),
        Value::Array(items) => items.iter().map(clean).collect(),
        other => other.clone(),
    }
}

fn bare(object: &Value) -> Value {
    let mut object = clean(object);
    ssa::set_managed_fields(&mut object, None);
    object
}

/// A strategic patch from one pod to another: changed containers, deletions, and the order.
fn patch_between(old: &Value, new: &Value) -> Value {
    let containers = |pod: &Value| pod["spec"]["containers"].as_array().cloned().unwrap_or_default();
    let names = |list: &[Value]| list.iter().map(|c| c["name"].clone()).collect::<Vec<_>>();
    let (before, after) = (containers(old), containers(new));
    let mut list = Vec::new();
    for container in &after {
        let mut change = container.clone();
        if let Some(old) = before.iter().find(|c| c["name"] == container["name"]) {
            for key in old.as_object().unwrap().keys() {
                if container.get(key).is_none() {
                    change[key] = Value::Null;
                }
            }
            for (key, id) in [("env", "name"), ("ports", "containerPort")] {
                let (Some(Value::Array(had)), Some(Value::Array(has))) = (old.get(key), container.get(key))
                else {
                    continue;
                };
                let gone = had
                    .iter()
                    .filter(|row| !has.iter().any(|other| other[id] == row[id]));
                let gone: Vec<Value> = gone.map(|row| json!({id: row[id], "$patch": "delete"})).collect();
                change[key].as_array_mut().unwrap().extend(gone);
                let order: Vec<Value> = has.iter().map(|row| json!({id: row[id]})).collect();
                change[format!("$setElementOrder/{key}")] = json!(order);
            }
        }
        list.push(change);
    }
    let kept = names(&after);
    for name in names(&before) {
        if !kept.contains(&name) {
            list.push(json!({"name": name, "$patch": "delete"}));
        }
    }
    let order: Vec<Value> = kept.iter().map(|name| json!({"name": name})).collect();
    let mut labels = new["metadata"]["labels"].clone();
    labels["$patch"] = json!("replace");
    json!({
        "metadata": {"labels": labels},
        "spec": {"$setElementOrder/containers": order, "containers": list},
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn applying_the_same_again_changes_nothing(config in config()) {
        let once = apply(&Value::Null, &config, "a", false);
        prop_assert!(once.changed);
        let live = clean(&once.object);
        let twice = apply(&live, &config, "a", false);
        prop_assert!(!twice.changed);
        prop_assert_eq!(clean(&twice.object), live);
    }

    #[test]
    fn an_applied_object_is_what_was_applied_last(first in config(), second in config()) {
        let live = clean(&apply(&Value::Null, &first, "a", false).object);
        let object = bare(&apply(&live, &second, "a", false).object);
        let sorted = |pod: &Value| {
            let mut pod = pod.clone();
            pod["spec"]["containers"].as_array_mut().unwrap().sort_by_key(|c| c["name"].to_string());
            for container in pod["spec"]["containers"].as_array_mut().unwrap() {
                if let Some(env) = container.get_mut("env").and_then(Value::as_array_mut) {
                    env.sort_by_key(|row| row["name"].to_string());
                }
            }
            pod
        };
        prop_assert_eq!(sorted(&object), sorted(&second));
    }

    #[test]
    fn what_one_applier_gives_up_stays_where_another_owns_it(mine in config(), theirs in config()) {
        let live = clean(&apply(&Value::Null, &theirs, "b", false).object);
        let live = clean(&apply(&live, &mine, "a", true).object);
        let nothing = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let left = apply(&live, &nothing, "a", false);
        let owned = &left.managed_fields;
        prop_assert!(owned.entries.keys().all(|id| id.manager == "b"));
        // Nobody owns a field that the object no longer has.
        let again = ManagedFields::decode(left.object.pointer("/metadata/managedFields")).unwrap();
        prop_assert_eq!(&again, owned);
    }

    #[test]
    fn a_conflict_names_a_field_that_both_set_differently(mine in config(), theirs in config()) {
        let live = clean(&apply(&Value::Null, &theirs, "b", false).object);
        let forced = apply(&live, &mine, "a", true);
        let of = |manager: &str| {
            let entries = forced.managed_fields.entries.iter();
            entries.filter(|(id, _)| id.manager == manager).fold(FieldSet::new(), |set, (_, o)| set.union(&o.fields))
        };
        let (a, b) = (of("a"), of("b"));
        // After force, what both own is equal in both configurations: applying again does not conflict.
        let calm = apply(&clean(&forced.object), &mine, "a", false);
        prop_assert!(!calm.changed);
        prop_assert!(!a.is_empty());
        prop_assert_eq!(a.intersection(&b), b.intersection(&a));
    }

    #[test]
    fn field_sets_survive_their_encoding(config in config()) {
        let applied = apply(&Value::Null, &config, "a", false);
        for owned in applied.managed_fields.entries.values() {
            let encoded = owned.fields.to_fields_v1();
            prop_assert_eq!(&FieldSet::from_fields_v1(&encoded).unwrap(), &owned.fields);
            prop_assert!(owned.fields.difference(&owned.fields).is_empty());
            prop_assert_eq!(&owned.fields.union(&owned.fields), &owned.fields);
        }
    }

    #[test]
    fn a_strategic_patch_leads_from_one_state_to_the_other(old in config(), new in config()) {
        let (table, ty) = pod();
        let patched = strategic(&old, &patch_between(&old, &new), table, ty).unwrap();
        prop_assert_eq!(patched, new);
    }
}
