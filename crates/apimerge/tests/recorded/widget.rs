//! The type of the recorded custom resource, written by hand.
use apischema::{
    Field, GroupVersionKind, ListMapKey, ListTopology, PatchStrategy, Scalar, TypeDef, TypeId, TypeTable,
};

pub fn widget(table: &mut TypeTable) -> TypeId {
    let pod = GroupVersionKind {
        group: String::new(),
        version: "v1".into(),
        kind: "Pod".into(),
    };
    let metadata = table.get(table.kind(&pod).unwrap()).field("metadata").unwrap().ty;
    let text = table.push(TypeDef::Scalar(Scalar::String));
    let number = table.push(TypeDef::Scalar(Scalar::Integer64));
    let any = table.push(TypeDef::Any);
    let row = structure(
        table,
        &[("name", text), ("note", text), ("port", number), ("proto", text)],
    );
    let cell = structure(table, &[("k", number)]);
    let list = |table: &mut TypeTable, item, topology| {
        table.push(TypeDef::List {
            item,
            topology,
            patch: PatchStrategy::default(),
        })
    };
    let keys = vec![
        ListMapKey {
            name: "name".into(),
            default: None,
        },
        ListMapKey {
            name: "proto".into(),
            default: Some("TCP".into()),
        },
    ];
    let keyed = list(table, row, ListTopology::Map { keys });
    let set = list(table, text, ListTopology::Set);
    let atomic = list(table, cell, ListTopology::Atomic);
    let whole = table.push(TypeDef::Map {
        value: text,
        atomic: true,
    });
    let free = table.push(TypeDef::Map {
        value: any,
        atomic: false,
    });
    let fields = [
        ("atomic", atomic),
        ("count", number),
        ("free", free),
        ("keyed", keyed),
        ("set", set),
        ("text", text),
        ("whole", whole),
    ];
    let spec = structure(table, &fields);
    let status = structure(table, &[("phase", text)]);
    let fields = [
        ("apiVersion", text),
        ("kind", text),
        ("metadata", metadata),
        ("spec", spec),
        ("status", status),
    ];
    structure(table, &fields)
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
