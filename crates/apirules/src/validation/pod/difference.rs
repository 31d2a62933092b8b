//! Objects as Kubernetes' internal types print them: field names in Go's spelling, every field, unset ones too.
//!
//! Some messages of a real server show them, so the layout of these types (`layout.txt`: one type a line, fields in
//! order; `*` pointer, `[]` list, `{}` map, `s` string, `b` boolean, `i` integer, `?` left out when empty) is data here.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value};

use super::resources::quantity_of;
use super::unified::unified;
use crate::read::Read;

struct Field {
    name: &'static str,
    lower: String,
    kind: &'static str,
    omit_empty: bool,
}

type Layout = HashMap<&'static str, Vec<Field>>;

fn layout() -> &'static Layout {
    static LAYOUT: OnceLock<Layout> = OnceLock::new();
    LAYOUT.get_or_init(|| {
        include_str!("layout.txt")
            .lines()
            .filter_map(parse_line)
            .collect()
    })
}

fn parse_line(line: &'static str) -> Option<(&'static str, Vec<Field>)> {
    let (name, fields) = line.split_once(' ')?;
    let fields = fields
        .split(' ')
        .filter_map(|f| f.split_once(':'))
        .map(|(name, kind)| {
            let bare = name.strip_suffix('?').unwrap_or(name);
            Field {
                name: bare,
                lower: external_name(bare),
                kind,
                omit_empty: bare != name,
            }
        });
    Some((name, fields.collect()))
}

/// The external name in lower case; nearly always the same word.
fn external_name(internal: &str) -> String {
    match internal {
        "EndpointsName" => "endpoints".to_owned(),
        other => other.to_lowercase(),
    }
}

/// What a message shows of a changed pod spec or ephemeral container.
pub(super) fn difference(old: &Value, new: &Value, kind: &str) -> String {
    unified(&pretty(old, kind), &pretty(new, kind))
}

/// Whether two external objects are one internal object (unset and empty are the same).
pub(crate) fn same_internal(a: &Value, b: &Value, kind: &str) -> bool {
    let plain = |value| printed(value, kind, None, false);
    plain(a) == plain(b)
}

/// `{"Name":"a",...}`.
pub(crate) fn internal_json(value: &Value, kind: &str) -> String {
    printed(value, kind, None, true)
}

fn pretty(value: &Value, kind: &str) -> String {
    printed(value, kind, Some(0), true)
}

fn printed(value: &Value, kind: &str, indent: Option<usize>, shows_empty: bool) -> String {
    let mut out = Printer {
        text: String::new(),
        indent,
        shows_empty,
    };
    out.print(value, kind);
    out.text
}

struct Printer {
    text: String,
    /// Depth, where the output is indented by one space a level.
    indent: Option<usize>,
    /// Whether an empty list differs from an absent one.
    shows_empty: bool,
}

impl Printer {
    fn print(&mut self, value: &Value, kind: &str) {
        if let Some(inner) = kind.strip_prefix('*') {
            return if value.is_null() {
                self.text.push_str("null")
            } else {
                self.print(value, inner)
            };
        }
        if let Some(inner) = kind.strip_prefix("[]") {
            return self.print_list(value, inner);
        }
        if let Some(inner) = kind.strip_prefix("{}") {
            return self.print_map(value, inner);
        }
        match kind {
            "s" => self.text.push_str(&quoted(value.as_str().unwrap_or_default())),
            "b" => self.text.push_str(if value.as_bool() == Some(true) {
                "true"
            } else {
                "false"
            }),
            "i" => self.text.push_str(&value.as_i64().unwrap_or(0).to_string()),
            "Quantity" => {
                let shown = quantity_of(value).map_or_else(|| "0".to_owned(), |q| q.to_string());
                self.text.push_str(&quoted(&shown));
            }
            "IntOrString" => match value {
                Value::String(text) => self.text.push_str(&quoted(text)),
                other => self.text.push_str(&other.as_i64().unwrap_or(0).to_string()),
            },
            "Time" | "bytes" => match value {
                Value::String(text) => self.text.push_str(&quoted(text)),
                _ => self.text.push_str("null"),
            },
            _ => self.print_struct(value, kind),
        }
    }

    fn print_list(&mut self, value: &Value, inner: &str) {
        let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
        if items.is_empty() {
            let given = self.shows_empty && value.is_array();
            return self.text.push_str(if given { "[]" } else { "null" });
        }
        self.open('[');
        for (i, item) in items.iter().enumerate() {
            self.next(i);
            self.print(item, inner);
        }
        self.close(']');
    }

    fn print_map(&mut self, value: &Value, inner: &str) {
        let Some(map) = value.as_object().filter(|m| !m.is_empty()) else {
            let given = self.shows_empty && value.is_object();
            return self.text.push_str(if given { "{}" } else { "null" });
        };
        self.open('{');
        for (i, (key, item)) in map.iter().enumerate() {
            self.next(i);
            self.key(key);
            self.print(item, inner);
        }
        self.close('}');
    }

    fn print_struct(&mut self, value: &Value, kind: &str) {
        let Some(fields) = layout().get(kind) else {
            return self.text.push_str(&value.to_string());
        };
        let moved = (kind == "PodSpec").then(|| with_host_fields(value));
        let value = moved.as_ref().unwrap_or(value);
        let by_name: HashMap<String, &Value> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.to_lowercase(), v))
            .collect();
        let shown: Vec<(&Field, &Value)> = fields
            .iter()
            .map(|f| (f, by_name.get(&f.lower).copied().unwrap_or(&Value::Null)))
            .filter(|(f, v)| !f.omit_empty || !is_empty(v))
            .collect();
        if shown.is_empty() {
            return self.text.push_str("{}");
        }
        self.open('{');
        for (i, (field, item)) in shown.into_iter().enumerate() {
            self.next(i);
            self.key(field.name);
            self.print(item, field.kind);
        }
        self.close('}');
    }

    fn key(&mut self, key: &str) {
        self.text.push_str(&quoted(key));
        self.text.push_str(if self.indent.is_some() { ": " } else { ":" });
    }

    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.indent = self.indent.map(|d| d + 1);
    }

    fn next(&mut self, index: usize) {
        if index > 0 {
            self.text.push(',');
        }
        self.line();
    }

    fn close(&mut self, bracket: char) {
        self.indent = self.indent.map(|d| d.saturating_sub(1));
        self.line();
        self.text.push(bracket);
    }

    fn line(&mut self) {
        if let Some(depth) = self.indent {
            self.text.push('\n');
            self.text.push_str(&" ".repeat(depth));
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_i64() == Some(0),
    }
}

/// Internally the host's namespaces belong to the security context, which a pod always has.
fn with_host_fields(spec: &Value) -> Value {
    let mut out = spec.clone();
    let mut security = spec
        .at("securityContext")
        .as_object()
        .cloned()
        .unwrap_or_default();
    for field in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "shareProcessNamespace",
        "hostUsers",
    ] {
        if let Some(value) = spec.get(field) {
            security.insert(field.to_owned(), value.clone());
        }
    }
    let account = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if let Some(map) = out.as_object_mut() {
        map.insert("securityContext".to_owned(), Value::Object(security));
        set_text(map, "serviceAccountName", account);
    }
    out
}

fn set_text(map: &mut Map<String, Value>, key: &str, text: String) {
    map.insert(key.to_owned(), Value::String(text));
}

/// A JSON string as Go writes it: `<`, `>` and `&` escaped.
fn quoted(text: &str) -> String {
    let plain = Value::String(text.to_owned()).to_string();
    plain
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}
