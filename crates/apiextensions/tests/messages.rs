//! What a real 1.36.3 server says of bad definitions and bad objects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};
use tidegate_apiextensions::{Crd, cell};

const UNCHECKED: &str = "<nil>: Invalid value: null: some validation rules were not checked because the object was \
                         invalid; correct the existing errors to complete validation";

fn probe() -> Crd {
    let definition: Value = serde_json::from_str(include_str!("probe_crd.json")).unwrap();
    Crd::parse(&definition).unwrap()
}

fn object(spec: Value) -> Value {
    json!({"apiVersion": "schemaprobe.example.com/v1", "kind": "Probe", "metadata": {"name": "p"}, "spec": spec})
}

fn said(new: &Value, old: Option<&Value>) -> Vec<String> {
    let crd = probe();
    let mut new = new.clone();
    crd.versions[0].prune(&mut new);
    crd.versions[0].default(&mut new);
    crd.versions[0]
        .validate(&new, old)
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn bad_objects_get_the_messages_of_a_real_server() {
    let cases: Vec<(Value, Vec<&str>)> = vec![
        (json!({}), vec!["spec.need: Required value", UNCHECKED]),
        (
            json!({"need": 1}),
            vec![
                "spec.need: Invalid value: \"integer\": spec.need in body must be of type string: \"integer\"",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "n": 0, "x": 3}),
            vec![
                "spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1",
                "spec.x: Invalid value: 3: spec.x in body should be a multiple of 2",
            ],
        ),
        (
            json!({"need": "a", "n": 60, "x": 0}),
            vec![
                "spec.x: Invalid value: 0: spec.x in body should be greater than 0",
                "spec: Invalid value: n is below 50",
            ],
        ),
        (
            json!({"need": "a", "s": "b"}),
            vec![
                "spec.s: Invalid value: \"b\": spec.s in body should be at least 2 chars long",
                "spec.s: Invalid value: \"b\": spec.s in body should match '^a'",
            ],
        ),
        (
            json!({"need": "a", "s": "abcdef"}),
            vec!["spec.s: Too long: may not be more than 4 bytes", UNCHECKED],
        ),
        (
            json!({"need": "a", "e": "C"}),
            vec![
                "spec.e: Unsupported value: \"C\": supported values: \"A\", \"B\"",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "d": "nope"}),
            vec![
                "spec.d: Invalid value: \"nope\": spec.d in body must be of type date-time: \"nope\"",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "set": ["a", "a"]}),
            vec!["spec.set[1]: Duplicate value: \"a\""],
        ),
        (
            json!({"need": "a", "set": []}),
            vec!["spec.set: Invalid value: 0: spec.set in body should have at least 1 items"],
        ),
        (
            json!({"need": "a", "m": [{"name": "a"}, {"name": "a"}]}),
            vec!["spec.m[1]: Duplicate value: {\"name\":\"a\"}"],
        ),
        (
            json!({"need": "a", "m": [{}]}),
            vec!["spec.m[0].name: Required value", UNCHECKED],
        ),
        (
            json!({"need": "a", "map": {"a": "x"}}),
            vec![
                "spec.map.a: Invalid value: \"string\": spec.map.a in body must be of type integer: \"string\"",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "map": {}}),
            vec!["spec.map: Invalid value: 0: spec.map in body should have at least 1 properties"],
        ),
        (
            json!({"need": "a", "ios": true}),
            vec![
                "spec.ios: Invalid value: \"boolean\": spec.ios in body must be of type integer,string: \"boolean\"",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "any": {}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.any\" must validate at least one schema (anyOf)",
                "spec.any.a: Required value",
                UNCHECKED,
            ],
        ),
        (
            json!({"need": "a", "one": {"a": "1", "b": "2"}}),
            vec![
                "<nil>: Invalid value: \"\": \"spec.one\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ],
        ),
        (
            json!({"need": "a", "not": "bad"}),
            vec!["<nil>: Invalid value: \"\": \"spec.not\" must not validate the schema (not)"],
        ),
        (
            json!({"need": "a", "cel": 7}),
            vec!["spec.cel: Invalid value: 7: failed rule: self != 7"],
        ),
        (
            json!({"need": null}),
            vec!["spec.need: Required value", UNCHECKED],
        ),
        (json!({"need": "a", "n": null, "zzz": 1}), vec![]),
    ];
    for (spec, wanted) in cases {
        assert_eq!(said(&object(spec.clone()), None), wanted, "{spec}");
    }
}

#[test]
fn transition_rules_look_at_the_old_object() {
    let old = object(json!({"need": "a", "n": 5}));
    let new = object(json!({"need": "a", "n": 3}));
    let wanted = "spec.n: Forbidden: failed rule: !has(self.n) || !has(oldSelf.n) || self.n >= oldSelf.n";
    assert_eq!(said(&new, Some(&old)), [wanted]);
    assert_eq!(said(&old, Some(&new)), Vec::<String>::new());
}

#[test]
fn unknown_fields_go_and_defaults_come() {
    let crd = probe();
    let mut new = object(json!({"need": "a", "n": null, "zzz": 1}));
    assert_eq!(crd.versions[0].prune(&mut new), ["spec.zzz"]);
    crd.versions[0].default(&mut new);
    assert_eq!(new["spec"], json!({"need": "a", "b": true}));
    assert_eq!(new["metadata"], json!({"name": "p"}));
}

#[test]
fn columns_print_as_a_real_server_prints_them() {
    let crd = probe();
    let object = object(json!({"n": 5, "set": ["q"]}));
    let cells: Vec<Value> = crd.versions[0]
        .columns
        .iter()
        .map(|column| cell(column, &object))
        .collect();
    assert_eq!(cells, [json!(5), Value::Null, json!("[\"q\"]")]);
}

fn refusals(schema: Value) -> Vec<String> {
    let definition = json!({
        "metadata": {"name": "bads.schemaprobe.example.com"},
        "spec": {
            "group": "schemaprobe.example.com",
            "names": {"plural": "bads", "kind": "Bad"},
            "scope": "Namespaced",
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    match Crd::parse(&definition) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn bad_schemas_get_the_messages_of_a_real_server() {
    let root = "spec.validation.openAPIV3Schema";
    let of_a = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
    let cases = [
        (
            json!({"type": "string"}),
            ".type: Invalid value: \"string\": must be object at the root",
        ),
        (json!({}), ".type: Required value: must not be empty at the root"),
        (
            of_a(json!({})),
            ".properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            of_a(json!({"type": "array"})),
            ".properties[a].items: Required value: must be specified",
        ),
        (
            of_a(
                json!({"type": "object", "additionalProperties": {"type": "string"}, "properties": {"b": {"type": "string"}}}),
            ),
            ".properties[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            of_a(json!({"type": "foo"})),
            ".properties[a].type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (
            of_a(json!({"type": "string", "default": 1})),
            ".properties[a].default: Invalid value: \"integer\":  in body must be of type string: \"integer\"",
        ),
        (
            of_a(
                json!({"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            ),
            ".properties[a].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            of_a(
                json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}),
            ),
            ".properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            of_a(json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}})),
            ".properties[a].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            ".x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            of_a(json!({"type": "object", "anyOf": [{"properties": {"z": {"type": "string"}}}]})),
            ".properties[a].anyOf[0].properties[z].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            ".properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
        ),
        (
            of_a(json!({"type": "integer", "x-kubernetes-validations": [{"rule": ""}]})),
            ".properties[a].x-kubernetes-validations[0].rule: Required value: rule is not specified",
        ),
    ];
    for (schema, wanted) in cases {
        assert_eq!(refusals(schema), [format!("{root}{wanted}")]);
    }
    assert_eq!(
        refusals(of_a(
            json!({"type": "string", "x-kubernetes-int-or-string": true})
        )),
        Vec::<String>::new()
    );
}

#[test]
fn rules_that_cannot_be_checked_are_refused_with_the_definition() {
    let rule = |ty: &str, rule: &str| {
        let items = if ty == "array" {
            json!({"type": "string"})
        } else {
            Value::Null
        };
        refusals(
            json!({"type": "object", "properties": {"a": {"type": ty, "items": items,
            "x-kubernetes-validations": [{"rule": rule}]}}}),
        )
    };
    let ends = |errors: Vec<String>, end: &str| {
        assert!(
            errors.len() == 1 && errors[0].ends_with(end),
            "{errors:?} does not end in {end:?}"
        );
    };
    ends(
        rule("object", "self.x > 1"),
        "<input>:1:5: undefined field 'x'\n | self.x > 1\n | ....^",
    );
    ends(
        rule("integer", "self + 1"),
        "cel expression must evaluate to a bool",
    );
    ends(
        rule("integer", "self == \"a\""),
        "<input>:1:6: found no matching overload for '_==_' applied to '(int, string)'\n | self == \"a\"\n | .....^",
    );
    ends(
        rule("integer", "other == 1"),
        "<input>:1:1: undeclared reference to 'other' (in container '')\n | other == 1\n | ^",
    );
    ends(
        rule("integer", "self.foo()"),
        "<input>:1:9: undeclared reference to 'foo' (in container '')\n | self.foo()\n | ........^",
    );
    assert!(!rule("object", "foo(").is_empty());
    let costly = rule("array", "self.all(x, self.all(y, x != y))");
    assert!(
        costly.len() == 3
            && costly[0].contains("estimated rule cost exceeds budget by factor of more than 100x"),
        "{costly:?}"
    );
    assert_eq!(rule("array", "self.all(x, x != 'a')"), Vec::<String>::new());
}
