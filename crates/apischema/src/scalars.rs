//! Scalars as Go reads them from JSON and writes them again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::quantity;
use crate::types::Scalar;

/// Why a scalar was refused.
pub(crate) enum Mismatch {
    /// A JSON type that Go cannot store in this field: `string`, `number 1.5`, `bool`, `array`, `object`.
    Type(String),
    /// The same inside a type's own decoder, which wants this Go type.
    Inner(String, &'static str),
    /// The message of the type's own decoder.
    Own(String),
}

/// Checks the value and brings it to the form in which Go writes it.
pub(crate) fn normalise(scalar: Scalar, go_name: &str, value: &mut Value) -> Result<(), Mismatch> {
    match scalar {
        Scalar::String => expect(value.is_string(), value),
        Scalar::Boolean => expect(value.is_boolean(), value),
        Scalar::Integer32 | Scalar::Integer64 => integer(go_name, value),
        Scalar::Number => expect(value.is_number(), value),
        Scalar::IntOrString => int_or_string(value),
        Scalar::Quantity => quantity_form(value),
        Scalar::Time => time(value, false),
        Scalar::MicroTime => time(value, true),
        Scalar::Duration => own_string(value).map(|_| ()),
        Scalar::Bytes => bytes(value),
    }
}

/// What Go writes for a field of this type that was never set.
pub(crate) fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::String => Value::from(""),
        Scalar::Boolean => Value::from(false),
        Scalar::Integer32 | Scalar::Integer64 | Scalar::Number | Scalar::IntOrString => Value::from(0),
        Scalar::Quantity => Value::from("0"),
        Scalar::Duration => Value::from("0s"),
        Scalar::Time | Scalar::MicroTime | Scalar::Bytes => Value::Null,
    }
}

/// The name of a value's JSON type in Go's messages.
pub(crate) fn json_type(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

fn expect(fits: bool, value: &Value) -> Result<(), Mismatch> {
    if fits {
        Ok(())
    } else {
        Err(Mismatch::Type(json_type(value)))
    }
}

fn integer(go_name: &str, value: &Value) -> Result<(), Mismatch> {
    let Value::Number(number) = value else {
        return Err(Mismatch::Type(json_type(value)));
    };
    let fits = match go_name {
        "int32" => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "uint32" => number.as_u64().is_some_and(|n| u32::try_from(n).is_ok()),
        "uint64" => number.is_u64(),
        _ => number.is_i64(),
    };
    if fits {
        Ok(())
    } else {
        Err(Mismatch::Type(format!("number {number}")))
    }
}

fn int_or_string(value: &Value) -> Result<(), Mismatch> {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
        Value::Number(n) => Err(own_type(&format!("number {n}"), "int32")),
        other => Err(own_type(&json_type(other), "int32")),
    }
}

fn quantity_form(value: &mut Value) -> Result<(), Mismatch> {
    let text = match &*value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return Err(Mismatch::Own(quantity::QuantityError::Form.to_string())),
    };
    let text = if text.is_empty() { "0".to_owned() } else { text };
    let canonical = quantity::canonical(&text).map_err(|e| Mismatch::Own(e.to_string()))?;
    *value = Value::String(canonical);
    Ok(())
}

fn time(value: &mut Value, micro: bool) -> Result<(), Mismatch> {
    let text = own_string(value)?.to_owned();
    let layout = if micro {
        "2006-01-02T15:04:05.000000Z07:00"
    } else {
        "2006-01-02T15:04:05Z07:00"
    };
    if micro && let Some((rest, wanted)) = unlike_micro_layout(&text) {
        let message = format!("parsing time {text:?} as {layout:?}: cannot parse {rest:?} as {wanted:?}");
        return Err(Mismatch::Own(message));
    }
    let parsed = if has_rfc3339_form(&text) {
        text.parse::<Timestamp>().ok()
    } else {
        None
    };
    let Some(timestamp) = parsed else {
        let message = format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"");
        return Err(Mismatch::Own(message));
    };
    let utc = timestamp.to_zoned(TimeZone::UTC);
    let form = if micro {
        "%Y-%m-%dT%H:%M:%S.%6fZ"
    } else {
        "%Y-%m-%dT%H:%M:%SZ"
    };
    *value = Value::String(utc.strftime(form).to_string());
    Ok(())
}

/// Go wants exactly six digits of a second's fraction; what it found in their place, and what it wanted there.
fn unlike_micro_layout(text: &str) -> Option<(&str, &'static str)> {
    let rest = text.get(19..)?;
    let fraction = rest.as_bytes().get(..7);
    let six_digits =
        fraction.is_some_and(|f| matches!(f[0], b'.' | b',') && f[1..].iter().all(u8::is_ascii_digit));
    if !six_digits {
        return Some((rest, ".000000"));
    }
    let zone = rest.get(7..)?;
    let known = zone == "Z" || zone.len() == 6 && zone.starts_with(['+', '-']);
    (!known).then_some((zone, "Z07:00"))
}

/// jiff accepts more forms (a space, no offset) than Go's RFC 3339 layout.
fn has_rfc3339_form(text: &str) -> bool {
    let bytes = text.as_bytes();
    let zoned = text.ends_with('Z') || text.len() > 6 && matches!(bytes[bytes.len() - 6], b'+' | b'-');
    bytes.len() >= 20 && bytes[10] == b'T' && zoned
}

fn bytes(value: &mut Value) -> Result<(), Mismatch> {
    let Value::String(text) = &*value else {
        return Err(Mismatch::Type(json_type(value)));
    };
    let clean: String = text.chars().filter(|c| *c != '\n' && *c != '\r').collect();
    match STANDARD.decode(&clean) {
        Ok(decoded) => {
            *value = Value::String(STANDARD.encode(decoded));
            Ok(())
        }
        Err(error) => Err(Mismatch::Own(format!(
            "illegal base64 data at input byte {}",
            bad_offset(&error, &clean)
        ))),
    }
}

fn bad_offset(error: &base64::DecodeError, text: &str) -> usize {
    match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    }
}

fn own_string(value: &Value) -> Result<&str, Mismatch> {
    value
        .as_str()
        .ok_or_else(|| own_type(&json_type(value), "string"))
}

fn own_type(found: &str, wanted: &'static str) -> Mismatch {
    Mismatch::Inner(found.to_owned(), wanted)
}
