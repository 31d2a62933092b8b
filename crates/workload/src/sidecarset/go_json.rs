//! JSON as Go's encoder writes it from typed structs: the hashes of Kruise are taken over that text.
use super::layout::{Field, Kind};
use model::quantity::Quantity;
use serde_json::{Map, Value};

/// Writes `value` by its layout: fields in Go's order, empty ones omitted, unknown ones dropped.
pub(super) fn write(out: &mut Vec<u8>, value: &Value, kind: &Kind) {
    match (kind, value) {
        (Kind::Struct(fields), Value::Object(map)) => write_struct(out, map, fields),
        (Kind::Pointer(_) | Kind::List(_) | Kind::Map(_), Value::Null) => out.extend(b"null"),
        (Kind::Struct(fields), Value::Null) => write_struct(out, &Map::new(), fields),
        (Kind::Pointer(inner), value) => write(out, value, inner),
        (Kind::List(inner), Value::Array(items)) => {
            out.push(b'[');
            separated(out, items, |out, item| write(out, item, inner));
            out.push(b']');
        }
        (Kind::Map(inner), Value::Object(map)) => {
            out.push(b'{');
            separated(out, map, |out, (key, value)| {
                write_text(out, key);
                out.push(b':');
                write(out, value, inner);
            });
            out.push(b'}');
        }
        (Kind::Quantity, value) => write_quantity(out, value),
        (Kind::Text, Value::Null) => out.extend(b"\"\""),
        (Kind::Int, Value::Null) => out.push(b'0'),
        (_, value) => write_any(out, value),
    }
}

/// Any JSON, keys sorted, with Go's escapes.
pub(super) fn write_any(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::String(text) => write_text(out, text),
        Value::Array(items) => {
            out.push(b'[');
            separated(out, items, write_any);
            out.push(b']');
        }
        Value::Object(map) => {
            out.push(b'{');
            separated(out, map, |out, (key, value)| {
                write_text(out, key);
                out.push(b':');
                write_any(out, value);
            });
            out.push(b'}');
        }
        plain => out.extend(plain.to_string().as_bytes()),
    }
}

fn write_struct(out: &mut Vec<u8>, map: &Map<String, Value>, fields: &[Field]) {
    let present = fields.iter().filter_map(|field| {
        let value = map.get(field.name).unwrap_or(&Value::Null);
        let omitted = field.omitted_when_empty && is_empty(value, &field.kind);
        (!omitted).then_some((field, value))
    });
    out.push(b'{');
    separated(out, present, |out, (field, value)| {
        write_text(out, field.name);
        out.push(b':');
        write(out, value, &field.kind);
    });
    out.push(b'}');
}

/// Whether Go's `omitempty` leaves the field out.
fn is_empty(value: &Value, kind: &Kind) -> bool {
    match (kind, value) {
        (Kind::Struct(_) | Kind::Quantity, _) => false,
        (_, Value::Null) => true,
        (Kind::Pointer(_), _) => false,
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(set)) => !set,
        (_, Value::Number(n)) => n.as_f64() == Some(0.0),
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(map)) => map.is_empty(),
    }
}

fn write_quantity(out: &mut Vec<u8>, value: &Value) {
    let text = match value {
        Value::Null => "0".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let canonical = Quantity::parse(text.trim()).map_or(text, |q| q.to_string());
    write_text(out, &canonical);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend(b"\\\""),
            '\\' => out.extend(b"\\\\"),
            '\n' => out.extend(b"\\n"),
            '\r' => out.extend(b"\\r"),
            '\t' => out.extend(b"\\t"),
            '\u{8}' => out.extend(b"\\b"),
            '\u{c}' => out.extend(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.extend(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn separated<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, write: impl Fn(&mut Vec<u8>, T)) {
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item);
    }
}
