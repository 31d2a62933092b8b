//! What structured merge needs to know of a type: scalar, list or map, who may own its parts, and its keys.
use apischema::{ListMapKey, ListTopology, Scalar, TypeDef, TypeId, TypeTable};
use serde_json::Value;

use super::path::PathElement;

/// A kind's types for structured merge.
#[derive(Debug, Clone, Copy)]
pub struct Schema<'t> {
    table: Option<&'t TypeTable>,
    root: Type,
    /// What `Any` means: owned as a whole (built-in kinds), or part by part as the value suggests.
    any: Type,
}

/// A type, or what stands for one where the schema says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Known(TypeId),
    /// Maps part by part, lists whole.
    Deduced,
    /// Everything whole.
    Whole,
}

/// The forms a value of a type may take.
#[derive(Debug, Clone, Default)]
pub(super) struct Shape<'t> {
    pub scalar: Option<ScalarKind>,
    pub list: Option<ListShape<'t>>,
    pub map: Option<MapShape<'t>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScalarKind {
    Numeric,
    String,
    Boolean,
    Untyped,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct ListShape<'t> {
    pub item: Type,
    pub kind: ListKind<'t>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ListKind<'t> {
    Atomic,
    Set,
    Keyed(&'t [ListMapKey]),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct MapShape<'t> {
    def: Option<&'t TypeDef>,
    /// The type of members that are not declared; `None`: there are none.
    pub other: Option<Type>,
    pub atomic: bool,
}

/// The one form that a value has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Form<'t> {
    Scalar(ScalarKind),
    List(ListShape<'t>),
    Map(MapShape<'t>),
}

impl<'t> Schema<'t> {
    /// A built-in kind: fields of any type are owned as a whole.
    pub fn builtin(table: &'t TypeTable, root: TypeId) -> Schema<'t> {
        Schema {
            table: Some(table),
            root: Type::Known(root),
            any: Type::Whole,
        }
    }

    /// A custom kind: fields of any type are owned part by part.
    pub fn custom(table: &'t TypeTable, root: TypeId) -> Schema<'t> {
        Schema {
            table: Some(table),
            root: Type::Known(root),
            any: Type::Deduced,
        }
    }

    /// No schema at all: maps part by part, lists whole.
    pub fn deduced() -> Schema<'static> {
        Schema {
            table: None,
            root: Type::Deduced,
            any: Type::Deduced,
        }
    }

    pub(super) fn root(self) -> Type {
        self.root
    }

    pub(super) fn shape(self, ty: Type) -> Shape<'t> {
        let any = |below: Type, atomic: bool| Shape {
            scalar: Some(ScalarKind::Untyped),
            list: Some(ListShape {
                item: Type::Whole,
                kind: ListKind::Atomic,
            }),
            map: Some(MapShape {
                def: None,
                other: Some(below),
                atomic,
            }),
        };
        match (ty, self.table) {
            (Type::Whole, _) => any(Type::Whole, true),
            (Type::Deduced, _) | (Type::Known(_), None) => any(Type::Deduced, false),
            (Type::Known(id), Some(table)) => match table.get(id) {
                TypeDef::Any => self.shape(self.any),
                TypeDef::Scalar(scalar) => Shape {
                    scalar: Some(scalar_kind(*scalar)),
                    ..Shape::default()
                },
                TypeDef::List { item, topology, .. } => Shape {
                    list: Some(ListShape {
                        item: Type::Known(*item),
                        kind: list_kind(topology),
                    }),
                    ..Shape::default()
                },
                TypeDef::Map { value, atomic } => {
                    let other = match table.get(*value) {
                        TypeDef::Any => Type::Deduced,
                        _ => Type::Known(*value),
                    };
                    let map = MapShape {
                        def: None,
                        other: Some(other),
                        atomic: *atomic,
                    };
                    Shape {
                        map: Some(map),
                        ..Shape::default()
                    }
                }
                def @ TypeDef::Struct {
                    atomic,
                    preserve_unknown,
                    embedded_resource,
                    ..
                } => {
                    let open = *preserve_unknown || *embedded_resource;
                    let other = open.then_some(Type::Deduced);
                    let map = MapShape {
                        def: Some(def),
                        other,
                        atomic: *atomic,
                    };
                    Shape {
                        map: Some(map),
                        ..Shape::default()
                    }
                }
            },
        }
    }

    /// The form of a value of this type; where the value fits none, the first that the type has.
    pub(super) fn form(self, ty: Type, value: Option<&Value>) -> Form<'t> {
        let shape = self.shape(ty);
        match value {
            Some(Value::Object(_)) => {
                if let Some(map) = shape.map {
                    return Form::Map(map);
                }
            }
            Some(Value::Array(_)) => {
                if let Some(list) = shape.list {
                    return Form::List(list);
                }
            }
            Some(Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                if let Some(scalar) = shape.scalar {
                    return Form::Scalar(scalar);
                }
            }
            Some(Value::Null) | None => {}
        }
        match shape {
            Shape { map: Some(map), .. } => Form::Map(map),
            Shape {
                scalar: Some(scalar), ..
            } => Form::Scalar(scalar),
            Shape { list: Some(list), .. } => Form::List(list),
            Shape { .. } => Form::Scalar(ScalarKind::Untyped),
        }
    }
}

impl<'t> MapShape<'t> {
    /// The type of a declared field.
    pub(super) fn declared(&self, name: &str) -> Option<Type> {
        Some(Type::Known(self.def?.field(name)?.ty))
    }

    pub(super) fn member(&self, name: &str) -> Option<Type> {
        self.declared(name).or(self.other)
    }
}

impl ListShape<'_> {
    pub(super) fn is_atomic(&self) -> bool {
        matches!(self.kind, ListKind::Atomic)
    }

    /// Whether a path can name this item.
    pub(super) fn names(&self, item: &Value) -> bool {
        match (self.kind, item) {
            (ListKind::Atomic, _) => true,
            (ListKind::Set, item) => !matches!(item, Value::Object(_) | Value::Array(_) | Value::Null),
            (ListKind::Keyed(keys), Value::Object(members)) => keys
                .iter()
                .any(|key| members.contains_key(&key.name) || default_of(key).is_some()),
            (ListKind::Keyed(_), _) => false,
        }
    }

    /// How a path names this item.
    pub(super) fn element(&self, item: &Value) -> Result<PathElement, String> {
        match self.kind {
            ListKind::Atomic => Err("invalid indexing of non-associative list".to_owned()),
            ListKind::Set => match item {
                Value::Object(_) => {
                    Err("associative list without keys has an element that's a map type".to_owned())
                }
                Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
                Value::Null => {
                    Err("associative list without keys has an element that's an explicit null".to_owned())
                }
                scalar => Ok(PathElement::Value(scalar.clone())),
            },
            ListKind::Keyed(keys) => keyed_element(keys, item),
        }
    }
}

fn keyed_element(keys: &[ListMapKey], item: &Value) -> Result<PathElement, String> {
    let members = match item {
        Value::Object(members) => members,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found: Vec<(String, Value)> = Vec::with_capacity(keys.len());
    for key in keys {
        let value = members
            .get(&key.name)
            .cloned()
            .or_else(|| default_of(key).map(default_value));
        if let Some(value) = value {
            found.push((key.name.clone(), value));
        }
    }
    if found.is_empty() {
        let names: Vec<String> = keys.iter().map(|key| format!("{:?}", key.name)).collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(PathElement::Key(found))
}

/// Of the built-in kinds' list keys only `protocol` (container and service ports) has a default.
fn default_of(key: &ListMapKey) -> Option<&str> {
    let builtin = (key.name == "protocol").then_some("TCP");
    key.default.as_deref().or(builtin)
}

/// The table keeps a key's default as text: JSON where it reads as a number or boolean, else a string.
fn default_value(text: &str) -> Value {
    match serde_json::from_str::<Value>(text) {
        Ok(value) if !value.is_object() && !value.is_array() => value,
        _ => Value::from(text),
    }
}

fn list_kind(topology: &ListTopology) -> ListKind<'_> {
    match topology {
        ListTopology::Atomic => ListKind::Atomic,
        ListTopology::Set => ListKind::Set,
        ListTopology::Map { keys } => ListKind::Keyed(keys),
    }
}

fn scalar_kind(scalar: Scalar) -> ScalarKind {
    match scalar {
        Scalar::Integer32 | Scalar::Integer64 | Scalar::Number => ScalarKind::Numeric,
        Scalar::String | Scalar::Bytes => ScalarKind::String,
        Scalar::Boolean => ScalarKind::Boolean,
        Scalar::IntOrString | Scalar::Quantity | Scalar::Time | Scalar::MicroTime | Scalar::Duration => {
            ScalarKind::Untyped
        }
    }
}
