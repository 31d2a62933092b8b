#![allow(clippy::unwrap_used, clippy::expect_used)]
use apischema::{ListTopology, Scalar};
use serde_json::json;

use super::*;

/// `{strategy: retainKeys struct, containers: merge by name, finalizers: merge, args: replace, labels: map}`.
fn table() -> (TypeTable, TypeId) {
    let mut table = TypeTable::default();
    let text = table.push(TypeDef::Scalar(Scalar::String));
    let texts = |table: &mut TypeTable, merge| {
        table.push(TypeDef::List {
            item: text,
            topology: ListTopology::Atomic,
            patch: PatchStrategy {
                merge,
                ..PatchStrategy::default()
            },
        })
    };
    let args = texts(&mut table, false);
    let finalizers = texts(&mut table, true);
    let labels = table.push(TypeDef::Map {
        value: text,
        atomic: false,
    });
    let container = structure(
        &mut table,
        &[
            ("args", args),
            ("image", text),
            ("labels", labels),
            ("name", text),
        ],
    );
    let containers = table.push(TypeDef::List {
        item: container,
        topology: ListTopology::Atomic,
        patch: PatchStrategy {
            merge: true,
            merge_key: Some("name".to_owned()),
            ..PatchStrategy::default()
        },
    });
    let strategy = structure(&mut table, &[("rollingUpdate", labels), ("type", text)]);
    let root = structure(
        &mut table,
        &[
            ("args", args),
            ("containers", containers),
            ("finalizers", finalizers),
            ("labels", labels),
            ("strategy", strategy),
        ],
    );
    (table, root)
}

fn structure(table: &mut TypeTable, fields: &[(&str, TypeId)]) -> TypeId {
    let field = |(name, ty): &(&str, TypeId)| Field {
        name: (*name).to_owned(),
        ty: *ty,
        required: false,
        patch: PatchStrategy::default(),
    };
    table.push(TypeDef::Struct {
        fields: fields.iter().map(field).collect(),
        atomic: false,
        preserve_unknown: false,
        embedded_resource: false,
    })
}

fn patched(doc: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (table, root) = table();
    strategic(doc, patch, &table, root)
}

#[test]
fn containers_merge_by_name_and_new_ones_come_where_the_patch_puts_them() {
    let doc =
        json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1", "args": ["x"]}]});
    let patch =
        json!({"containers": [{"name": "c", "image": "3"}, {"name": "b", "image": "2", "args": ["y"]}]});
    let expected = json!({"containers": [
        {"name": "c", "image": "3"},
        {"name": "a", "image": "1"},
        {"name": "b", "image": "2", "args": ["y"]},
    ]});
    assert_eq!(patched(&doc, &patch).unwrap(), expected);
}

#[test]
fn set_element_order_decides_the_order_and_delete_removes() {
    let doc = json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
    let patch = json!({
        "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}],
        "containers": [{"name": "b", "image": "2"}, {"name": "a", "$patch": "delete"}],
    });
    let expected = json!({"containers": [{"name": "c"}, {"name": "b", "image": "2"}]});
    assert_eq!(patched(&doc, &patch).unwrap(), expected);
}

#[test]
fn primitive_lists_merge_as_sets_and_shrink_by_a_deletion_list() {
    let doc = json!({"finalizers": ["a", "b", "c"]});
    let patch = json!({"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d", "a"]});
    assert_eq!(
        patched(&doc, &patch).unwrap(),
        json!({"finalizers": ["d", "a", "c"]})
    );
}

#[test]
fn replace_takes_the_map_as_it_is_and_delete_empties_it() {
    let doc = json!({"labels": {"a": "1"}, "strategy": {"type": "x"}});
    let patch = json!({"labels": {"$patch": "replace", "b": "2"}, "strategy": {"$patch": "delete"}});
    assert_eq!(
        patched(&doc, &patch).unwrap(),
        json!({"labels": {"b": "2"}, "strategy": {}})
    );
}

#[test]
fn retain_keys_clears_what_it_does_not_name() {
    let doc = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"a": "1"}}});
    let patch = json!({"strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
    assert_eq!(
        patched(&doc, &patch).unwrap(),
        json!({"strategy": {"type": "Recreate"}})
    );
    let patch = json!({"strategy": {"$retainKeys": [], "type": "Recreate"}});
    assert_eq!(patched(&doc, &patch).unwrap_err().code(), 400);
}

#[test]
fn an_item_without_its_merge_key_is_an_error_that_shows_the_item() {
    let doc = json!({"containers": [{"name": "a"}]});
    let error = patched(&doc, &json!({"containers": [{"image": "x"}]})).unwrap_err();
    assert_eq!(error.code(), 500);
    assert_eq!(
        error.to_string(),
        "map: map[image:x] does not contain declared merge key: name"
    );
}
