//! How a version describes itself in OpenAPI.

use serde_json::{Map, Value, json};

use crate::crd::{Crd, CrdVersion};

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
    this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Name and schema of the version in `components.schemas` of an OpenAPI v3 document.
pub fn openapi_v3_schema(crd: &Crd, version: &CrdVersion) -> (String, Value) {
    let mut schema = version.raw_schema.clone();
    spread_int_or_string(&mut schema);
    let reference = json!({ "description": METADATA, "allOf": [{ "$ref": format!("#/components/schemas/{OBJECT_META}") }] });
    complete(crd, version, &mut schema, reference);
    (definition_name(crd, version), schema)
}

/// Name and schema of the version in `definitions` of the OpenAPI v2 document, which knows less.
pub fn openapi_v2_definition(crd: &Crd, version: &CrdVersion) -> (String, Value) {
    let mut schema = version.raw_schema.clone();
    simplify(&mut schema);
    let reference = json!({ "description": METADATA, "$ref": format!("#/definitions/{OBJECT_META}") });
    complete(crd, version, &mut schema, reference);
    (definition_name(crd, version), schema)
}

/// `com.example.stable.v1.CronTab`.
fn definition_name(crd: &Crd, version: &CrdVersion) -> String {
    let reversed: Vec<&str> = crd.group.split('.').rev().collect();
    format!("{}.{}.{}", reversed.join("."), version.name, crd.kind)
}

fn complete(crd: &Crd, version: &CrdVersion, schema: &mut Value, metadata: Value) {
    let Value::Object(map) = schema else {
        return;
    };
    map.insert("type".to_owned(), json!("object"));
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    if let Value::Object(properties) = properties {
        properties.insert(
            "apiVersion".to_owned(),
            json!({ "description": API_VERSION, "type": "string" }),
        );
        properties.insert(
            "kind".to_owned(),
            json!({ "description": KIND, "type": "string" }),
        );
        properties.insert("metadata".to_owned(), metadata);
    }
    let gvk = json!([{ "group": crd.group, "kind": crd.kind, "version": version.name }]);
    map.insert("x-kubernetes-group-version-kind".to_owned(), gvk);
}

/// OpenAPI has no int-or-string but as an alternative.
fn spread_int_or_string(schema: &mut Value) {
    let Value::Object(map) = schema else {
        return;
    };
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) && !map.contains_key("anyOf") {
        map.insert(
            "anyOf".to_owned(),
            json!([{ "type": "integer" }, { "type": "string" }]),
        );
    }
    children(map, spread_int_or_string);
}

/// v2 clients take fields that they cannot understand for missing; what v2 cannot say is left out.
fn simplify(schema: &mut Value) {
    let Value::Object(map) = schema else {
        return;
    };
    for name in ["anyOf", "oneOf", "allOf", "not", "nullable", "default"] {
        map.remove(name);
    }
    let free = [
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
    ];
    if free.iter().any(|name| map.get(*name) == Some(&Value::Bool(true))) {
        for name in ["type", "items", "properties"] {
            map.remove(name);
        }
    }
    children(map, simplify);
}

fn children(map: &mut Map<String, Value>, visit: fn(&mut Value)) {
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(visit);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(name) {
            visit(child);
        }
    }
}
