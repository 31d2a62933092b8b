//! `additionalPrinterColumns`: simple JSON paths, and the cells they give in a Table.

use model::field::FieldError;
use serde_json::Value;

/// One printed column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub ty: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    pub json_path: String,
}

pub(crate) fn parse(value: &Value, at: &str, errors: &mut Vec<FieldError>) -> Vec<Column> {
    let mut out = Vec::new();
    for (i, column) in value.as_array().into_iter().flatten().enumerate() {
        let text = |name: &str| column[name].as_str().unwrap_or_default().to_owned();
        let (name, json_path, ty) = (text("name"), text("jsonPath"), text("type"));
        let types = ["boolean", "date", "integer", "number", "string"];
        if name.is_empty() {
            errors.push(FieldError::required(format!("{at}[{i}].name"), ""));
        }
        let detail = format!("must be one of {}", types.join(","));
        if ty.is_empty() {
            errors.push(FieldError::required(format!("{at}[{i}].type"), detail));
        } else if !types.contains(&ty.as_str()) {
            errors.push(FieldError::invalid(
                format!("{at}[{i}].type"),
                format!("{ty:?}"),
                detail,
            ));
        }
        if json_path.is_empty() {
            errors.push(FieldError::required(format!("{at}[{i}].JSONPath"), ""));
        } else if steps(&json_path).is_none() {
            let detail = "must be a simple json path starting with .";
            errors.push(FieldError::invalid(
                format!("{at}[{i}].JSONPath"),
                format!("{json_path:?}"),
                detail,
            ));
        }
        let description = match text("description") {
            said if said.is_empty() => {
                format!("Custom resource definition column (in JSONPath format): {json_path}")
            }
            said => said,
        };
        let priority = column["priority"].as_i64().unwrap_or(0);
        out.push(Column {
            name,
            ty,
            format: text("format"),
            description,
            priority,
            json_path,
        });
    }
    out
}

/// The cell of a column; null where the path finds nothing. Dates are left as RFC 3339: the caller, who knows the
/// time, prints their age.
pub fn cell(column: &Column, object: &Value) -> Value {
    let found = json_path(&column.json_path, object);
    let Some(first) = found.first() else {
        return Value::Null;
    };
    match (column.ty.as_str(), *first) {
        (_, Value::Null) => Value::Null,
        ("integer", Value::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|n| n as i64))
            .into(),
        ("integer", Value::String(text)) => text.parse::<i64>().ok().into(),
        ("number", Value::Number(number)) => Value::Number(number.clone()),
        ("boolean", Value::Bool(flag)) => Value::Bool(*flag),
        ("date", Value::String(text)) => Value::String(text.clone()),
        ("string", Value::String(text)) => Value::String(text.clone()),
        ("string", other) => Value::String(other.to_string()),
        _ => Value::Null,
    }
}

/// Values at a simple JSON path: `.spec.a`, `.status.conditions[?(@.type=="Ready")].status`, `.items[0]`, `.a['b.c']`,
/// `.list[*].name`.
pub fn json_path<'a>(path: &str, object: &'a Value) -> Vec<&'a Value> {
    let Some(steps) = steps(path) else {
        return Vec::new();
    };
    let mut here = vec![object];
    for step in steps {
        here = here.into_iter().flat_map(|value| follow(&step, value)).collect();
    }
    here
}

enum Step {
    Field(String),
    Index(i64),
    All,
    Where(Vec<String>, String),
}

fn follow<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Field(name) => value.get(name).into_iter().collect(),
        Step::Index(index) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let at = if *index < 0 {
                items.len() as i64 + index
            } else {
                *index
            };
            usize::try_from(at)
                .ok()
                .and_then(|at| items.get(at))
                .into_iter()
                .collect()
        }
        Step::All => match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(map) => map.values().collect(),
            _ => Vec::new(),
        },
        Step::Where(field, wanted) => {
            let items = value.as_array().into_iter().flatten();
            items.filter(|item| matches(item, field, wanted)).collect()
        }
    }
}

fn matches(item: &Value, field: &[String], wanted: &str) -> bool {
    let found = field.iter().try_fold(item, |here, name| here.get(name));
    found.is_some_and(|value| match value {
        Value::String(text) => text == wanted,
        Value::Bool(flag) => wanted == if *flag { "true" } else { "false" },
        other => format!("{other}").as_str() == wanted,
    })
}

fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path
        .strip_prefix('{')
        .and_then(|p| p.strip_suffix('}'))
        .unwrap_or(path);
    let mut out = Vec::new();
    if !rest.starts_with(['.', '[']) {
        return None;
    }
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('[') {
            let end = closing(tail)?;
            out.push(bracket(&tail[..end])?);
            rest = &tail[end + 1..];
        } else if let Some(tail) = rest.strip_prefix('.') {
            let (name, tail) = field_name(tail);
            match name.as_str() {
                "" => {}
                "*" => out.push(Step::All),
                _ => out.push(Step::Field(name)),
            }
            rest = tail;
        } else {
            return None;
        }
    }
    Some(out)
}

/// A name up to the next dot or bracket; `\.` is a dot in it.
fn field_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            _ => name.push(c),
        }
    }
    (name, "")
}

fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Ok(index) = text.parse() {
        return Some(Step::Index(index));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        let (left, right) = filter.split_once("==")?;
        let field = left.trim().strip_prefix("@.")?;
        let wanted = right.trim().trim_matches(['"', '\'']).to_owned();
        return Some(Step::Where(field.split('.').map(str::to_owned).collect(), wanted));
    }
    let quoted = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    quoted.map(|name| Step::Field(name.to_owned()))
}
