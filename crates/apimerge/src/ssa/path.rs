//! Path elements: how a field set names a place in an object.
use std::cmp::Ordering;
use std::fmt;

use serde_json::{Map, Number, Value};

/// One step of a path.
#[derive(Debug, Clone)]
pub enum PathElement {
    /// `f:name`: a member of a struct or map.
    Field(String),
    /// `k:{"name":"x"}`: an item of an associative list, by its keys sorted by name.
    Key(Vec<(String, Value)>),
    /// `v:"x"`: an item of a set.
    Value(Value),
    /// `i:0`: an item by its position.
    Index(i64),
}

/// A path from the root of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(pub Vec<PathElement>);

impl PathElement {
    pub fn field(name: impl Into<String>) -> PathElement {
        PathElement::Field(name.into())
    }

    /// As FieldsV1 spells it.
    pub fn encode(&self) -> String {
        match self {
            PathElement::Field(name) => format!("f:{name}"),
            PathElement::Key(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), html_safe(value)))
                    .collect();
                format!("k:{{{}}}", keys.join(","))
            }
            PathElement::Value(value) => format!("v:{}", html_safe(value)),
            PathElement::Index(index) => format!("i:{index}"),
        }
    }

    /// Reads FieldsV1's spelling. `Ok(None)` is a kind of element that a later version may know.
    pub fn decode(text: &str) -> Result<Option<PathElement>, String> {
        let (kind, rest) = match text.as_bytes() {
            [_, b':', ..] => text.split_at(2),
            [_, _, ..] => return Err(format!("missing colon: {text}")),
            _ => return Err("key must be 2 characters long:".to_owned()),
        };
        let parsed = || serde_json::from_str::<Value>(rest).map_err(|error| error.to_string());
        Ok(Some(match kind {
            "f:" => PathElement::Field(rest.to_owned()),
            "v:" => PathElement::Value(parsed()?),
            "k:" => match parsed()? {
                // The map is sorted by name, as keys are.
                Value::Object(keys) => PathElement::Key(keys.into_iter().collect()),
                other => return Err(format!("expected an object of keys, got {other}")),
            },
            "i:" => PathElement::Index(rest.parse().map_err(|_| format!("invalid index {rest:?}"))?),
            _ => return Ok(None),
        }))
    }
}

impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathElement::Field(name) => write!(f, ".{name}"),
            PathElement::Key(keys) => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|(name, value)| format!("{name}={}", readable(value)))
                    .collect();
                write!(f, "[{}]", keys.join(","))
            }
            PathElement::Value(value) => write!(f, "[={}]", readable(value)),
            PathElement::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|element| write!(f, "{element}"))
    }
}

impl PartialEq for PathElement {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for PathElement {}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        use PathElement::{Field, Index, Key};
        match (self, other) {
            (Field(a), Field(b)) => a.cmp(b),
            (Key(a), Key(b)) => {
                let pair = |(x, y): (&(String, Value), &(String, Value))| {
                    x.0.cmp(&y.0).then_with(|| compare(&x.1, &y.1))
                };
                let differing = a.iter().zip(b).map(pair).find(|order| order.is_ne());
                differing.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (PathElement::Value(a), PathElement::Value(b)) => compare(a, b),
            (Index(a), Index(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PathElement {
    fn rank(&self) -> u8 {
        match self {
            PathElement::Field(_) => 0,
            PathElement::Key(_) => 1,
            PathElement::Value(_) => 2,
            PathElement::Index(_) => 3,
        }
    }
}

/// A total order over JSON values; whole and broken numbers compare by what they are worth.
pub(super) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => {
            let differing = a
                .iter()
                .zip(b)
                .map(|(x, y)| compare(x, y))
                .find(|order| order.is_ne());
            differing.unwrap_or_else(|| a.len().cmp(&b.len()))
        }
        (Value::Object(a), Value::Object(b)) => compare_maps(a, b),
        _ => kind(a).cmp(&kind(b)),
    }
}

/// Equality in which `1` and `1.0` are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    compare(a, b).is_eq()
}

fn compare_maps(a: &Map<String, Value>, b: &Map<String, Value>) -> Ordering {
    let member = |((ka, va), (kb, vb)): ((&String, &Value), (&String, &Value))| {
        ka.cmp(kb).then_with(|| compare(va, vb))
    };
    let differing = a.iter().zip(b).map(member).find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_numbers(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i64(), b.as_i64()) {
        return a.cmp(&b);
    }
    let worth = |number: &Number| number.as_f64().unwrap_or(f64::INFINITY);
    worth(a).total_cmp(&worth(b))
}

fn kind(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// JSON as Go writes it into a key: markup characters escaped.
fn html_safe(value: &Value) -> String {
    let mut out = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => out.push(other),
        }
    }
    out
}

/// A value as conflicts and errors print it.
fn readable(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(readable).collect::<Vec<_>>().join(",")),
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| format!("{name}={}", readable(value)))
            .collect(),
        other => other.to_string(),
    }
}
