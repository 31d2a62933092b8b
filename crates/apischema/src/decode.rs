//! Reading an object as a real server does: through Go's types, so that what comes out is what Go would write.

use serde_json::{Map, Value};

use crate::scalars::{self, Mismatch};
use crate::types::{Field, GoField, GoType, Omit, Scalar, TypeDef, TypeId, TypeTable};

/// Objects nested deeper than this are refused before they can exhaust the stack.
const MAX_DEPTH: usize = 512;

/// What decoding found; the object itself was brought into stored form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Paths of fields that the type does not have (`spec.containers[0].foo`); they were removed.
    /// A server words each as `unknown field "PATH"`.
    pub unknown: Vec<String>,
    /// What Go's decoder would refuse; the first is the one that a server answers with, after
    /// `KIND in version "VERSION" cannot be handled as a KIND: `.
    pub errors: Vec<String>,
    /// Where each of the errors is, in the same order (`spec.containers[0].image`).
    pub places: Vec<String>,
}

/// Removes unknown fields, checks JSON types, and normalises: nulls and empty values as Go's encoder leaves them
/// out, structs that are always written, quantities, times and bytes in canonical form.
pub fn decode(table: &TypeTable, ty: TypeId, value: &mut Value) -> Decoded {
    run(table, ty, value, false)
}

/// The same of what a client sent: until it is stored, an empty list that is always written is not yet none at all.
pub fn decode_sent(table: &TypeTable, ty: TypeId, value: &mut Value) -> Decoded {
    run(table, ty, value, true)
}

fn run(table: &TypeTable, ty: TypeId, value: &mut Value, keep_empty: bool) -> Decoded {
    let mut decoder = Decoder {
        table,
        out: Decoded::default(),
        stopped: false,
        keep_empty,
    };
    decoder.value(ty, value, &mut Place::default(), 0);
    decoder.out
}

struct Decoder<'a> {
    table: &'a TypeTable,
    out: Decoded,
    /// Go stops at an error of a type that reads itself (a time, a quantity); it notes all others and reads on.
    stopped: bool,
    keep_empty: bool,
}

/// Where decoding is: once with list indices, once as Go names it in errors.
#[derive(Default)]
struct Place {
    path: String,
    /// As field errors have it: keys of maps in brackets, too.
    field_path: String,
    /// Innermost struct and the names of the fields that lead here.
    owner: String,
    fields: Vec<String>,
}

impl Decoder<'_> {
    fn value(&mut self, ty: TypeId, value: &mut Value, place: &mut Place, depth: usize) {
        if depth > MAX_DEPTH {
            return self.refuse("exceeded max depth".to_owned(), place);
        }
        match self.table.get(ty) {
            TypeDef::Any => {}
            TypeDef::Scalar(scalar) => self.scalar(*scalar, ty, value, place),
            TypeDef::Struct {
                fields,
                preserve_unknown,
                ..
            } => {
                let Value::Object(map) = value else {
                    return self.mismatch(ty, &scalars::json_type(value), place);
                };
                match self.table.go(ty) {
                    Some(go) => self.go_struct(fields, go, map, place, depth),
                    None => self.plain_struct(fields, *preserve_unknown, map, place, depth),
                }
            }
            TypeDef::Map { value: inner, .. } => {
                let Value::Object(map) = value else {
                    return self.mismatch(ty, &scalars::json_type(value), place);
                };
                for (key, item) in map.iter_mut() {
                    place.at(&format!("{}{key}", place.dot()), &format!("[{key}]"), |place| {
                        self.item(*inner, item, place, depth)
                    });
                }
            }
            TypeDef::List { item: inner, .. } => {
                let Value::Array(items) = value else {
                    return self.mismatch(ty, &scalars::json_type(value), place);
                };
                for (index, item) in items.iter_mut().enumerate() {
                    let index = format!("[{index}]");
                    place.at(&index, &index, |place| self.item(*inner, item, place, depth));
                }
            }
        }
    }

    /// A null among the items of a list or map is their type's zero value.
    fn item(&mut self, ty: TypeId, value: &mut Value, place: &mut Place, depth: usize) {
        if value.is_null() && self.table.go(ty).is_some() {
            *value = match self.table.get(ty) {
                TypeDef::Scalar(Scalar::Bytes) => Value::from(""),
                _ => zero(self.table, ty),
            };
            return;
        }
        self.value(ty, value, place, depth + 1);
    }

    fn scalar(&mut self, scalar: Scalar, ty: TypeId, value: &mut Value, place: &Place) {
        let go_name = self.table.go(ty).map_or("", |go| go.name.as_str());
        match scalars::normalise(scalar, go_name, value) {
            Ok(()) => {}
            Err(Mismatch::Type(found)) => self.mismatch(ty, &found, place),
            Err(Mismatch::Inner(found, wanted)) => self.cannot_unmarshal(&found, wanted, place),
            Err(Mismatch::Own(message)) if scalar == Scalar::Bytes => self.refuse(message, place),
            Err(Mismatch::Own(message)) if self.stopped => self.refuse(message, place),
            Err(Mismatch::Own(message)) => {
                self.stopped = true;
                self.out.errors.insert(0, message);
                self.out.places.insert(0, place.field_path.clone());
            }
        }
    }

    fn go_struct(
        &mut self,
        fields: &[Field],
        go: &GoType,
        map: &mut Map<String, Value>,
        place: &mut Place,
        depth: usize,
    ) {
        self.drop_unknown(fields, map, place);
        let owner = std::mem::replace(&mut place.owner, short_name(&go.name).to_owned());
        for (field, go_field) in fields.iter().zip(&go.fields) {
            let mut value = map.remove(&field.name).unwrap_or(Value::Null);
            if !value.is_null() {
                place.field(&field.name, |place| {
                    self.value(field.ty, &mut value, place, depth + 1)
                });
            }
            if self.keep_empty && go_field.omit == Omit::Never && is_empty_list(&value) {
                map.insert(field.name.clone(), value);
            } else if let Some(written) = written(self.table, field, *go_field, value) {
                map.insert(field.name.clone(), written);
            }
        }
        place.owner = owner;
    }

    fn plain_struct(
        &mut self,
        fields: &[Field],
        preserve_unknown: bool,
        map: &mut Map<String, Value>,
        place: &mut Place,
        depth: usize,
    ) {
        if !preserve_unknown {
            self.drop_unknown(fields, map, place);
        }
        for field in fields {
            if let Some(value) = map.get_mut(&field.name)
                && !value.is_null()
            {
                place.field(&field.name, |place| self.value(field.ty, value, place, depth + 1));
            }
        }
    }

    fn drop_unknown(&mut self, fields: &[Field], map: &mut Map<String, Value>, place: &Place) {
        let known = |name: &str| fields.binary_search_by(|f| f.name.as_str().cmp(name)).is_ok();
        let unknown: Vec<String> = map.keys().filter(|name| !known(name)).cloned().collect();
        for name in unknown {
            map.remove(&name);
            self.out
                .unknown
                .push(format!("{}{}{name}", place.path, place.dot()));
        }
    }

    fn mismatch(&mut self, ty: TypeId, found: &str, place: &Place) {
        let wanted = self.table.go(ty).map_or("", |go| go.name.as_str());
        self.cannot_unmarshal(found, wanted, place);
    }

    fn cannot_unmarshal(&mut self, found: &str, wanted: &str, place: &Place) {
        let target = if place.fields.is_empty() {
            format!("Go value of type {wanted}")
        } else {
            format!(
                "Go struct field {}.{} of type {wanted}",
                place.owner,
                place.fields.join(".")
            )
        };
        self.refuse(format!("json: cannot unmarshal {found} into {target}"), place);
    }

    fn refuse(&mut self, message: String, place: &Place) {
        self.out.errors.push(message);
        self.out.places.push(place.field_path.clone());
    }
}

impl Place {
    fn dot(&self) -> &'static str {
        if self.path.is_empty() { "" } else { "." }
    }

    fn at(&mut self, suffix: &str, in_field_path: &str, visit: impl FnOnce(&mut Self)) {
        let lengths = (self.path.len(), self.field_path.len());
        self.path.push_str(suffix);
        self.field_path.push_str(in_field_path);
        visit(self);
        self.path.truncate(lengths.0);
        self.field_path.truncate(lengths.1);
    }

    fn field(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        self.fields.push(name.to_owned());
        let suffix = format!("{}{name}", self.dot());
        self.at(&suffix, &suffix, visit);
        self.fields.pop();
    }
}

/// What Go writes for a field, `None` where it leaves the field out.
fn written(table: &TypeTable, field: &Field, go: GoField, value: Value) -> Option<Value> {
    if go.pointer {
        return match (value, go.omit) {
            (Value::Null, Omit::Never) => Some(Value::Null),
            (Value::Null, _) => None,
            (value, _) => Some(value),
        };
    }
    let is_struct = is_go_struct(table, field.ty);
    let value = match value {
        Value::Null => zero(table, field.ty),
        // Stored as protobuf, where no items and no list are the same.
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(map) if map.is_empty() && !is_struct => Value::Null,
        value => value,
    };
    let left_out = match go.omit {
        Omit::Never => false,
        Omit::Empty => !is_struct && is_empty(&value),
        Omit::Zero => value == zero(table, field.ty),
    };
    (!left_out).then_some(value)
}

/// What Go writes for a value of this type that nothing was read into.
fn zero(table: &TypeTable, ty: TypeId) -> Value {
    match table.get(ty) {
        TypeDef::Scalar(scalar) => scalars::zero(*scalar),
        TypeDef::Struct { fields, .. } => {
            let mut map = Map::new();
            for (field, go) in fields.iter().zip(table.go(ty).map_or(&[][..], |go| &go.fields)) {
                if let Some(value) = written(table, field, *go, Value::Null) {
                    map.insert(field.name.clone(), value);
                }
            }
            Value::Object(map)
        }
        TypeDef::Any | TypeDef::Map { .. } | TypeDef::List { .. } => Value::Null,
    }
}

/// Go never takes a struct for empty, and times, quantities and the like are structs.
fn is_go_struct(table: &TypeTable, ty: TypeId) -> bool {
    match table.get(ty) {
        TypeDef::Scalar(scalar) => matches!(
            scalar,
            Scalar::Quantity | Scalar::Time | Scalar::MicroTime | Scalar::IntOrString | Scalar::Duration
        ),
        TypeDef::Struct { .. } => true,
        TypeDef::Any => table.go(ty).is_some_and(|go| go.name != "[]uint8"),
        TypeDef::Map { .. } | TypeDef::List { .. } => false,
    }
}

fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn short_name(go_name: &str) -> &str {
    go_name.rsplit_once('.').map_or(go_name, |(_, name)| name)
}
