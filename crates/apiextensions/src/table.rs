//! A custom resource's type table, for patching and server-side apply.

use apischema::{
    Field, GroupVersionKind, ListMapKey, ListTopology, PatchStrategy, Scalar, TypeDef, TypeId, TypeTable,
};

use crate::schema::{Additional, Schema};

/// The table of one version: its own types, beside ObjectMeta's, which are copied from the built-in table.
pub(crate) fn table(schema: &Schema, gvk: &GroupVersionKind) -> (TypeTable, TypeId) {
    let mut table = TypeTable::default();
    let metadata = object_meta(&mut table);
    let text = table.push(TypeDef::Scalar(Scalar::String));
    let mut builder = Builder {
        table,
        metadata,
        text,
    };
    let id = builder.object(schema, true);
    builder.table.kinds.insert(gvk.clone(), id);
    (builder.table, id)
}

struct Builder {
    table: TypeTable,
    metadata: TypeId,
    text: TypeId,
}

impl Builder {
    fn node(&mut self, schema: &Schema) -> TypeId {
        if schema.int_or_string {
            return self.table.push(TypeDef::Scalar(Scalar::IntOrString));
        }
        let scalar = match schema.ty.as_str() {
            "object" => return self.object(schema, schema.embedded_resource),
            "array" => return self.list(schema),
            "string" => Scalar::String,
            "boolean" => Scalar::Boolean,
            "integer" => Scalar::Integer64,
            "number" => Scalar::Number,
            _ => return self.table.push(TypeDef::Any),
        };
        self.table.push(TypeDef::Scalar(scalar))
    }

    fn object(&mut self, schema: &Schema, is_resource: bool) -> TypeId {
        let atomic = schema.map_type == "atomic";
        match &schema.additional {
            Additional::Of(child) => {
                let value = self.node(child);
                return self.table.push(TypeDef::Map { value, atomic });
            }
            Additional::Any if schema.properties.is_empty() => {
                let value = self.table.push(TypeDef::Any);
                return self.table.push(TypeDef::Map { value, atomic });
            }
            _ => {}
        }
        if schema.properties.is_empty() && schema.preserve_unknown && !is_resource {
            let any = self.table.push(TypeDef::Any);
            return if atomic {
                any
            } else {
                self.table.push(TypeDef::Map { value: any, atomic })
            };
        }
        let mut fields = Vec::new();
        for (name, child) in &schema.properties {
            if is_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let ty = self.node(child);
            fields.push(field(name, ty, schema.required.contains(name)));
        }
        if is_resource {
            fields.push(field("apiVersion", self.text, false));
            fields.push(field("kind", self.text, false));
            fields.push(field("metadata", self.metadata, false));
        }
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        self.table.push(TypeDef::Struct {
            fields,
            atomic,
            preserve_unknown: schema.preserve_unknown,
            embedded_resource: schema.embedded_resource,
        })
    }

    fn list(&mut self, schema: &Schema) -> TypeId {
        let item = match &schema.items {
            Some(items) => self.node(items),
            None => self.table.push(TypeDef::Any),
        };
        let topology = match schema.list_type.as_str() {
            "set" => ListTopology::Set,
            "map" => ListTopology::Map {
                keys: schema
                    .list_map_keys
                    .iter()
                    .map(|key| map_key(schema, key))
                    .collect(),
            },
            _ => ListTopology::Atomic,
        };
        self.table.push(TypeDef::List {
            item,
            topology,
            patch: PatchStrategy::default(),
        })
    }
}

fn map_key(list: &Schema, key: &str) -> ListMapKey {
    let property = list.items.as_ref().and_then(|items| items.properties.get(key));
    let default = property
        .and_then(|p| p.default.as_ref())
        .map(|value| match value.as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        });
    ListMapKey {
        name: key.to_owned(),
        default,
    }
}

fn field(name: &str, ty: TypeId, required: bool) -> Field {
    Field {
        name: name.to_owned(),
        ty,
        required,
        patch: PatchStrategy::default(),
    }
}

/// ObjectMeta as built-in kinds have it, with the ids of the new table.
fn object_meta(table: &mut TypeTable) -> TypeId {
    let source = &apischema::builtin().table;
    let config_map = GroupVersionKind {
        group: String::new(),
        version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
    };
    let metadata = source
        .kind(&config_map)
        .and_then(|id| source.get(id).field("metadata"))
        .map(|f| f.ty);
    match metadata {
        Some(id) => copy(source, id, table),
        None => table.push(TypeDef::Any),
    }
}

fn copy(source: &TypeTable, id: TypeId, table: &mut TypeTable) -> TypeId {
    let def = match source.get(id).clone() {
        TypeDef::Struct {
            mut fields,
            atomic,
            preserve_unknown,
            embedded_resource,
        } => {
            for field in &mut fields {
                field.ty = copy(source, field.ty, table);
            }
            TypeDef::Struct {
                fields,
                atomic,
                preserve_unknown,
                embedded_resource,
            }
        }
        TypeDef::Map { value, atomic } => TypeDef::Map {
            value: copy(source, value, table),
            atomic,
        },
        TypeDef::List {
            item,
            topology,
            patch,
        } => TypeDef::List {
            item: copy(source, item, table),
            topology,
            patch,
        },
        other => other,
    };
    let copied = table.push(def);
    // Only these types were made so far, so that ids and Go's side stay beside each other.
    table.go.push(source.go(id).cloned().unwrap_or_default());
    copied
}
