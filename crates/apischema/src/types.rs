//! The type table: the one description of a kind that pruning, defaulting, patching and server-side apply read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Index of a type in its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TypeId(pub u32);

/// A group, version and kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupVersionKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// Types by id, and the ids of the kinds among them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TypeTable {
    pub types: Vec<TypeDef>,
    pub kinds: BTreeMap<GroupVersionKind, TypeId>,
    /// How Go reads and writes each type, by `TypeId`; empty for custom resources, whose fields are kept as sent.
    pub go: Vec<GoType>,
}

/// The Go side of a type: its name in decoding errors, and which fields its encoder leaves out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoType {
    /// As Go's reflection prints it: `v1.Container`, `[]v1.Container`, `int32`.
    pub name: String,
    /// Beside the fields of a `TypeDef::Struct`, in the same order.
    pub fields: Vec<GoField>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoField {
    pub omit: Omit,
    pub pointer: bool,
}

/// When Go's encoder leaves a field out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Omit {
    Never,
    /// `omitempty`: false, 0, "", nil, no items; never a struct.
    Empty,
    /// `omitzero`: the zero value, structs too.
    Zero,
}

/// One type. Lists and maps carry the markers of the field that uses them (`x-kubernetes-*`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TypeDef {
    /// Any JSON value, kept as it is (`x-kubernetes-preserve-unknown-fields`, RawExtension, JSON). Atomic for merging.
    Any,
    Scalar(Scalar),
    Struct {
        /// Sorted by name.
        fields: Vec<Field>,
        /// `x-kubernetes-map-type: atomic` (LabelSelector, ObjectReference...): owned as a whole by server-side apply.
        atomic: bool,
        /// Unknown fields are kept (custom resources with `x-kubernetes-preserve-unknown-fields` beside properties).
        preserve_unknown: bool,
        /// `x-kubernetes-embedded-resource`: apiVersion, kind and metadata are implied.
        embedded_resource: bool,
    },
    Map {
        value: TypeId,
        atomic: bool,
    },
    List {
        item: TypeId,
        topology: ListTopology,
        /// Strategic merge; `None` replaces the list.
        patch: PatchStrategy,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub ty: TypeId,
    pub required: bool,
    /// `x-kubernetes-patch-strategy` on a struct or map field: `replace` or `retainKeys` (e.g. Deployment.spec.strategy).
    pub patch: PatchStrategy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scalar {
    String,
    Boolean,
    Integer32,
    Integer64,
    Number,
    IntOrString,
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    Duration,
    /// Base64 in JSON.
    Bytes,
}

/// `x-kubernetes-list-type` and keys, as structured merge sees a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListTopology {
    Atomic,
    Set,
    Map { keys: Vec<ListMapKey> },
}

/// A key of an associative list; a missing key takes its default where the schema has one (e.g. `protocol: TCP`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListMapKey {
    pub name: String,
    pub default: Option<String>,
}

/// `x-kubernetes-patch-strategy` and `x-kubernetes-patch-merge-key`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PatchStrategy {
    /// The list is merged: by this key, or as a set of scalars where `merge_key` is `None`.
    pub merge: bool,
    pub merge_key: Option<String>,
    pub replace: bool,
    pub retain_keys: bool,
}

impl TypeTable {
    pub fn get(&self, id: TypeId) -> &TypeDef {
        static ANY: TypeDef = TypeDef::Any;
        self.types.get(id.0 as usize).unwrap_or(&ANY)
    }

    pub fn kind(&self, gvk: &GroupVersionKind) -> Option<TypeId> {
        self.kinds.get(gvk).copied()
    }

    /// The Go side of a built-in type.
    pub fn go(&self, id: TypeId) -> Option<&GoType> {
        self.go.get(id.0 as usize).filter(|go| !go.name.is_empty())
    }

    pub fn push(&mut self, def: TypeDef) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(def);
        id
    }
}

impl TypeDef {
    /// The field of a struct by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        match self {
            TypeDef::Struct { fields, .. } => fields
                .binary_search_by(|f| f.name.as_str().cmp(name))
                .ok()
                .map(|i| &fields[i]),
            _ => None,
        }
    }
}
