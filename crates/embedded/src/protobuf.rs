//! Protobuf request bodies, as stock kubectl sends them for the kinds it was compiled with.
//!
//! Field numbers come from `data/protobuf.txt`; the result is the JSON that the same client would have sent.

use std::collections::HashMap;
use std::sync::OnceLock;

use apischema::{GroupVersionKind, TypeDef, TypeId, TypeTable};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::time::{rfc3339_micros, rfc3339_seconds};
use serde_json::{Map, Value, json};

use crate::catalog::split_group_version;
use crate::status::Status;

pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

const MAGIC: &[u8] = b"k8s\0";
const MAX_DEPTH: usize = 64;

/// A `runtime.Unknown` envelope as JSON.
pub fn decode(bytes: &[u8]) -> Result<Value, Status> {
    read(bytes).map_err(|why| Status::bad_request(format!("error decoding protobuf: {why}")))
}

fn read(bytes: &[u8]) -> Result<Value, String> {
    let body = bytes
        .strip_prefix(MAGIC)
        .ok_or("provided data does not appear to be a protobuf message")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(body) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for part in Fields(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(object)) => raw = object,
            _ => {}
        }
    }
    let (group, version) = split_group_version(&api_version);
    let name = match kind.as_str() {
        "DeleteOptions" => "~apis.meta.v1.DeleteOptions".to_owned(),
        _ => {
            let package = if group.is_empty() {
                "core"
            } else {
                group.split('.').next().unwrap_or_default()
            };
            format!("{package}.{version}.{kind}")
        }
    };
    let gvk = GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.clone(),
    };
    let table = &apischema::builtin().table;
    let mut value = message(table, &name, table.kind(&gvk), raw, 0)?;
    if let Some(map) = value.as_object_mut() {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    Ok(value)
}

struct Known {
    name: &'static str,
    /// `*` repeated, `%` a map, space for one.
    mark: char,
    kind: &'static str,
}

type Messages = HashMap<&'static str, HashMap<u64, Known>>;

fn messages() -> &'static Messages {
    static MESSAGES: OnceLock<Messages> = OnceLock::new();
    MESSAGES.get_or_init(|| {
        let mut out = Messages::new();
        let mut current = "";
        for line in include_str!("../data/protobuf.txt").lines() {
            let Some(field) = line.strip_prefix(' ') else {
                current = line;
                out.entry(current).or_default();
                continue;
            };
            let parts: Vec<&'static str> = field.splitn(3, ' ').collect();
            let [number, name, kind] = parts.as_slice() else {
                continue;
            };
            let (mark, kind) = match kind.chars().next() {
                Some(mark @ ('*' | '%')) => (mark, &kind[1..]),
                _ => (' ', *kind),
            };
            if let Ok(number) = number.parse() {
                out.entry(current)
                    .or_default()
                    .insert(number, Known { name, mark, kind });
            }
        }
        out
    })
}

fn message(
    table: &TypeTable,
    name: &str,
    ty: Option<TypeId>,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err("exceeded max depth".to_owned());
    }
    if let Some(special) = special(name, bytes)? {
        return Ok(special);
    }
    let known = messages().get(name).ok_or_else(|| format!("no type {name:?}"))?;
    let mut out = Map::new();
    for part in Fields(bytes) {
        let (number, wire) = part?;
        let Some(field) = known.get(&number) else { continue };
        let below = ty.and_then(|ty| table.get(ty).field(field.name)).map(|f| f.ty);
        if below.is_none() && ty.is_some() && is_message(field) {
            // Embedded in Go: its fields are the parent's in JSON.
            if let (Wire::Bytes(bytes), ' ') = (&wire, field.mark)
                && let Value::Object(inner) = message(table, field.kind, ty, bytes, depth + 1)?
            {
                out.extend(inner);
                continue;
            }
        }
        match field.mark {
            '*' => {
                let item = below.and_then(|ty| match table.get(ty) {
                    TypeDef::List { item, .. } => Some(*item),
                    _ => None,
                });
                let value = value(table, field.kind, item, &wire, depth)?;
                match out.entry(field.name).or_insert_with(|| json!([])) {
                    Value::Array(list) => list.push(value),
                    _ => return Err(format!("{} is no list", field.name)),
                }
            }
            '%' => {
                let item = below.and_then(|ty| match table.get(ty) {
                    TypeDef::Map { value, .. } => Some(*value),
                    _ => None,
                });
                let (key, value) = entry(table, field.kind, item, &wire, depth)?;
                match out.entry(field.name).or_insert_with(|| json!({})) {
                    Value::Object(map) => map.insert(key, value),
                    _ => return Err(format!("{} is no map", field.name)),
                };
            }
            _ => {
                out.insert(
                    field.name.to_owned(),
                    value(table, field.kind, below, &wire, depth)?,
                );
            }
        }
    }
    Ok(Value::Object(out))
}

fn is_message(field: &Known) -> bool {
    !matches!(field.kind, "s" | "b" | "i" | "y" | "d")
}

fn value(
    table: &TypeTable,
    kind: &str,
    ty: Option<TypeId>,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<Value, String> {
    match (kind, wire) {
        ("s", Wire::Bytes(text)) => utf8(text).map(Value::String),
        ("y", Wire::Bytes(bytes)) => Ok(Value::String(STANDARD.encode(bytes))),
        ("b", Wire::Number(n)) => Ok(Value::Bool(*n != 0)),
        ("i", Wire::Number(n)) => Ok(Value::from(n.cast_signed())),
        ("d", Wire::Fixed(n)) => Ok(Value::from(f64::from_bits(*n))),
        (kind, Wire::Bytes(bytes)) => message(table, kind, ty, bytes, depth + 1),
        _ => Err(format!("wrong wire type for {kind}")),
    }
}

fn entry(
    table: &TypeTable,
    kind: &str,
    ty: Option<TypeId>,
    wire: &Wire<'_>,
    depth: usize,
) -> Result<(String, Value), String> {
    let Wire::Bytes(bytes) = wire else {
        return Err("wrong wire type for a map".to_owned());
    };
    let (mut key, mut item) = (String::new(), None);
    for part in Fields(bytes) {
        match part? {
            (1, Wire::Bytes(text)) => key = utf8(text)?,
            (2, wire) => item = Some(value(table, kind, ty, &wire, depth)?),
            _ => {}
        }
    }
    let absent = || {
        if kind == "s" || kind == "y" {
            json!("")
        } else {
            json!({})
        }
    };
    Ok((key, item.unwrap_or_else(absent)))
}

/// Types whose JSON is not that of their fields.
fn special(name: &str, bytes: &[u8]) -> Result<Option<Value>, String> {
    let number = |wanted: u64| -> Result<i64, String> {
        let mut out = 0;
        for part in Fields(bytes) {
            if let (number, Wire::Number(n)) = part?
                && number == wanted
            {
                out = n.cast_signed();
            }
        }
        Ok(out)
    };
    let blob = |wanted: u64| -> Result<Option<&[u8]>, String> {
        let mut out = None;
        for part in Fields(bytes) {
            if let (number, Wire::Bytes(b)) = part?
                && number == wanted
            {
                out = Some(b);
            }
        }
        Ok(out)
    };
    let value = match name {
        "~api.resource.Quantity" => Value::String(utf8(blob(1)?.unwrap_or_default())?),
        "~util.intstr.IntOrString" if number(1)? == 0 => Value::from(number(2)?),
        "~util.intstr.IntOrString" => Value::String(utf8(blob(3)?.unwrap_or_default())?),
        "~apis.meta.v1.Time" | "~apis.meta.v1.MicroTime" if bytes.is_empty() => Value::Null,
        "~apis.meta.v1.Time" | "~apis.meta.v1.MicroTime" => {
            let nanos = i32::try_from(number(2)?).map_err(|e| e.to_string())?;
            let at = Timestamp::new(number(1)?, nanos).map_err(|e| e.to_string())?;
            Value::String(if name.ends_with("MicroTime") {
                rfc3339_micros(at)
            } else {
                rfc3339_seconds(at)
            })
        }
        "~apis.meta.v1.Duration" => Value::String(format!("{}ms", number(1)? / 1_000_000)),
        "~apis.meta.v1.FieldsV1" | "~runtime.RawExtension" => match blob(1)? {
            Some(json) => serde_json::from_slice(json).map_err(|e| e.to_string())?,
            None => Value::Null,
        },
        name if name.ends_with(".ExtraValue") || name.ends_with(".Verbs") => {
            let mut list = Vec::new();
            for part in Fields(bytes) {
                if let (1, Wire::Bytes(text)) = part? {
                    list.push(Value::String(utf8(text)?));
                }
            }
            Value::Array(list)
        }
        _ => return Ok(None),
    };
    Ok(Some(value))
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "string field contains invalid UTF-8".to_owned())
}

enum Wire<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

/// The fields of an encoded message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut out = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or("unexpected EOF")?;
            self.0 = rest;
            out |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(out);
            }
        }
        Err("varint overflows".to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(length).ok_or("unexpected EOF")?;
        self.0 = rest;
        Ok(head)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), String> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => {
                let bytes = <[u8; 8]>::try_from(self.take(8)?).map_err(|e| e.to_string())?;
                Wire::Fixed(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|e| e.to_string())?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = <[u8; 4]>::try_from(self.take(4)?).map_err(|e| e.to_string())?;
                Wire::Fixed(u64::from(u32::from_le_bytes(bytes)))
            }
            other => return Err(format!("unknown wire type {other}")),
        };
        Ok((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}
