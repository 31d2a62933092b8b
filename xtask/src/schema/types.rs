//! The Go program's types.json as a `TypeTable`.

use std::error::Error;

use apischema::{
    Field, GoField, GoType, GroupVersionKind, ListMapKey, ListTopology, Omit, PatchStrategy, Scalar, TypeDef,
    TypeId, TypeTable,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Output {
    types: Vec<JsonType>,
    kinds: Vec<JsonKind>,
}

#[derive(Deserialize)]
struct JsonType {
    form: String,
    go: String,
    #[serde(default)]
    fields: Vec<JsonField>,
    #[serde(default)]
    atomic: bool,
    #[serde(default)]
    item: u32,
    #[serde(default)]
    topology: String,
    #[serde(default)]
    keys: Vec<JsonKey>,
    patch: JsonPatch,
}

#[derive(Deserialize)]
struct JsonField {
    name: String,
    #[serde(rename = "type")]
    ty: u32,
    required: bool,
    omit: String,
    pointer: bool,
    patch: JsonPatch,
}

#[derive(Deserialize)]
struct JsonKey {
    name: String,
    default: Option<String>,
}

#[derive(Deserialize)]
struct JsonPatch {
    strategy: String,
    key: String,
}

#[derive(Deserialize)]
struct JsonKind {
    group: String,
    version: String,
    kind: String,
    #[serde(rename = "type")]
    ty: u32,
}

pub fn table(types: &Value) -> Result<TypeTable, Box<dyn Error>> {
    let output = Output::deserialize(types)?;
    let mut table = TypeTable::default();
    for ty in &output.types {
        table.push(type_def(ty)?);
        table.go.push(GoType {
            name: ty.go.clone(),
            fields: ty.fields.iter().map(go_field).collect::<Result<_, _>>()?,
        });
    }
    for kind in output.kinds {
        let gvk = GroupVersionKind {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
        };
        table.kinds.insert(gvk, TypeId(kind.ty));
    }
    Ok(table)
}

fn type_def(ty: &JsonType) -> Result<TypeDef, String> {
    Ok(match ty.form.as_str() {
        "Any" => TypeDef::Any,
        "Struct" => TypeDef::Struct {
            fields: ty.fields.iter().map(field).collect(),
            atomic: ty.atomic,
            preserve_unknown: false,
            embedded_resource: false,
        },
        "Map" => TypeDef::Map {
            value: TypeId(ty.item),
            atomic: ty.atomic,
        },
        "List" => TypeDef::List {
            item: TypeId(ty.item),
            topology: topology(ty),
            patch: patch(&ty.patch),
        },
        form => TypeDef::Scalar(scalar(form)?),
    })
}

fn field(field: &JsonField) -> Field {
    Field {
        name: field.name.clone(),
        ty: TypeId(field.ty),
        required: field.required,
        patch: patch(&field.patch),
    }
}

fn go_field(field: &JsonField) -> Result<GoField, String> {
    let omit = match field.omit.as_str() {
        "Never" => Omit::Never,
        "Empty" => Omit::Empty,
        "Zero" => Omit::Zero,
        other => return Err(format!("field {}: omission rule {other}", field.name)),
    };
    Ok(GoField {
        omit,
        pointer: field.pointer,
    })
}

fn topology(ty: &JsonType) -> ListTopology {
    match ty.topology.as_str() {
        "set" => ListTopology::Set,
        "map" => ListTopology::Map {
            keys: ty
                .keys
                .iter()
                .map(|key| ListMapKey {
                    name: key.name.clone(),
                    default: key.default.clone(),
                })
                .collect(),
        },
        _ => ListTopology::Atomic,
    }
}

fn patch(patch: &JsonPatch) -> PatchStrategy {
    let has = |strategy: &str| patch.strategy.split(',').any(|s| s == strategy);
    PatchStrategy {
        merge: has("merge"),
        merge_key: (!patch.key.is_empty()).then(|| patch.key.clone()),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
    }
}

fn scalar(form: &str) -> Result<Scalar, String> {
    Ok(match form {
        "String" => Scalar::String,
        "Boolean" => Scalar::Boolean,
        "Integer32" => Scalar::Integer32,
        "Integer64" => Scalar::Integer64,
        "Number" => Scalar::Number,
        "IntOrString" => Scalar::IntOrString,
        "Quantity" => Scalar::Quantity,
        "Time" => Scalar::Time,
        "MicroTime" => Scalar::MicroTime,
        "Duration" => Scalar::Duration,
        "Bytes" => Scalar::Bytes,
        other => return Err(format!("type form {other}")),
    })
}
