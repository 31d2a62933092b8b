//! Label and field selectors in their query-string form.

use crate::catalog::Resource;
use crate::fields;
use crate::status::Status;
use crate::store::Stored;

/// What a list, watch or deletecollection covers.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Keys start with it: `namespace/`, or empty for all.
    pub prefix: String,
    /// Exactly this object.
    pub name: Option<String>,
    pub labels: Vec<Requirement>,
    pub fields: Vec<FieldRequirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

#[derive(Debug, Clone)]
pub struct FieldRequirement {
    /// As it is kept with the stored object, or the JSON pointer of a custom kind's field.
    pub field: String,
    pub value: String,
    pub equal: bool,
}

impl Selection {
    pub fn matches(&self, object: &Stored) -> bool {
        object.key.starts_with(&self.prefix)
            && self.name.as_deref().is_none_or(|name| object.name() == name)
            && self.labels.iter().all(|r| r.matches(object.label(&r.key)))
            && self.fields.iter().all(|r| r.matches(object))
    }

    /// Only the key decides: labels and fields are not looked at.
    pub fn is_by_key_only(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}

impl Requirement {
    pub fn matches(&self, value: Option<&str>) -> bool {
        let among = |v: &str| self.values.iter().any(|w| w == v);
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = |s: &str| s.parse::<i64>().ok();
                let (Some(have), Some(than)) = (
                    value.and_then(number),
                    self.values.first().and_then(|v| number(v)),
                ) else {
                    return false;
                };
                if self.operator == Operator::GreaterThan {
                    have > than
                } else {
                    have < than
                }
            }
        }
    }
}

impl FieldRequirement {
    fn matches(&self, object: &Stored) -> bool {
        let value = match self.field.as_str() {
            "metadata.name" => object.name(),
            "metadata.namespace" => object.namespace().unwrap_or_default(),
            other if other.starts_with('/') => {
                return (custom_field(object, other) == self.value) == self.equal;
            }
            other => {
                let found = object.fields.iter().find(|(name, _)| *name == other);
                found.map_or("", |(_, v)| v)
            }
        };
        (value == self.value) == self.equal
    }
}

/// The value of a selectable field of a custom kind, by its JSON pointer.
fn custom_field(object: &Stored, pointer: &str) -> String {
    match object.bare().pointer(pointer) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// `a=b,c in (d,e),!f`.
pub fn parse_labels(text: &str) -> Result<Vec<Requirement>, Status> {
    let mut parser = Parser {
        tokens: tokenize(text),
        at: 0,
    };
    let mut out = Vec::new();
    if parser.peek().is_none() {
        return Ok(out);
    }
    loop {
        out.push(parser.requirement()?);
        match parser.next().as_deref() {
            None => return Ok(out),
            Some(",") => match parser.peek() {
                Some(t) if t == "!" || is_word(t) => {}
                other => {
                    let found = other.unwrap_or_default();
                    return Err(bad(format!("found '{found}', expected: identifier after ','")));
                }
            },
            Some(other) => return Err(bad(format!("found '{other}', expected: ',' or 'end of string'"))),
        }
    }
}

/// `metadata.name=x,status.phase!=Running`.
pub fn parse_fields(resource: &Resource, text: &str) -> Result<Vec<FieldRequirement>, Status> {
    let mut out = Vec::new();
    for term in text.split(',').filter(|t| !t.is_empty()) {
        let (field, value, equal) = if let Some((k, v)) = term.split_once("!=") {
            (k, v, false)
        } else if let Some((k, v)) = term.split_once("==") {
            (k, v, true)
        } else if let Some((k, v)) = term.split_once('=') {
            (k, v, true)
        } else {
            return Err(bad(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            )));
        };
        let selectable = resource.custom.as_ref().and_then(|c| c.selectable_pointer(field));
        let stored = selectable
            .or_else(|| fields::supported(&resource.storage, &resource.group, field))
            .ok_or_else(|| bad(fields::unsupported_message(&resource.storage, field)))?;
        out.push(FieldRequirement {
            field: stored,
            value: value.to_owned(),
            equal,
        });
    }
    Ok(out)
}

fn bad(message: String) -> Status {
    let prefix = if message.starts_with("found") {
        "unable to parse requirement: "
    } else {
        ""
    };
    Status::bad_request(format!("{prefix}{message}"))
}

fn is_word(token: &str) -> bool {
    !matches!(token, "(" | ")" | "," | "!" | "=" | "==" | "!=" | "<" | ">")
}

fn tokenize(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut token = String::new();
        let symbol = |c: char| matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>');
        if symbol(c) {
            token.push(c);
            chars.next();
            if matches!(c, '=' | '!') && chars.peek() == Some(&'=') {
                token.push('=');
                chars.next();
            }
        } else {
            while let Some(&c) = chars.peek().filter(|c| !c.is_whitespace() && !symbol(**c)) {
                token.push(c);
                chars.next();
            }
        }
        out.push(token);
    }
    out
}

struct Parser {
    tokens: Vec<String>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(String::as_str)
    }

    fn next(&mut self) -> Option<String> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn requirement(&mut self) -> Result<Requirement, Status> {
        let negated = self.peek() == Some("!");
        if negated {
            self.next();
        }
        let key = match self.next() {
            Some(token) if is_word(&token) => token,
            other => {
                let found = other.unwrap_or_default();
                return Err(bad(format!("found '{found}', expected: identifier")));
            }
        };
        if let Some(error) = label_key_error(&key) {
            return Err(bad(format!("unable to parse requirement: {error}")));
        }
        if negated {
            return Ok(Requirement {
                key,
                operator: Operator::DoesNotExist,
                values: vec![],
            });
        }
        if matches!(self.peek(), None | Some(",")) {
            return Ok(Requirement {
                key,
                operator: Operator::Exists,
                values: vec![],
            });
        }
        let (operator, values) = match self.next().unwrap_or_default().as_str() {
            "=" | "==" => (Operator::In, vec![self.exact()?]),
            "!=" => (Operator::NotIn, vec![self.exact()?]),
            ">" | "gt" => (Operator::GreaterThan, vec![self.integer()?]),
            "<" | "lt" => (Operator::LessThan, vec![self.integer()?]),
            "in" => (Operator::In, self.values()?),
            "notin" => (Operator::NotIn, self.values()?),
            other => {
                return Err(bad(format!(
                    "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                )));
            }
        };
        if let Some(error) = values.iter().find_map(|v| label_value_error(&key, v)) {
            return Err(bad(format!("unable to parse requirement: {error}")));
        }
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    fn exact(&mut self) -> Result<String, Status> {
        match self.peek() {
            None | Some(",") => Ok(String::new()),
            Some(token) if is_word(token) => Ok(self.next().unwrap_or_default()),
            Some(other) => Err(bad(format!("found '{other}', expected: identifier"))),
        }
    }

    fn value(&mut self) -> String {
        match self.peek() {
            Some(token) if is_word(token) => self.next().unwrap_or_default(),
            _ => String::new(),
        }
    }

    fn integer(&mut self) -> Result<String, Status> {
        let value = self.value();
        if value.parse::<i64>().is_err() {
            let why = "for 'Gt', 'Lt' operators, the value must be an integer";
            return Err(bad(format!(
                "unable to parse requirement: values[0]: Invalid value: {value:?}: {why}"
            )));
        }
        Ok(value)
    }

    fn values(&mut self) -> Result<Vec<String>, Status> {
        match self.next().as_deref() {
            Some("(") => {}
            other => {
                return Err(bad(format!(
                    "found '{}' expected: '('",
                    other.unwrap_or_default()
                )));
            }
        }
        let mut out = vec![self.value()];
        loop {
            match self.next().as_deref() {
                Some(",") => out.push(self.value()),
                Some(")") => break,
                other => {
                    let found = other.unwrap_or_default();
                    return Err(bad(format!("found '{found}', expected: ',' or ')'")));
                }
            }
        }
        out.sort();
        out.dedup();
        Ok(out)
    }
}

fn is_label_text(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last())
}

fn label_key_error(key: &str) -> Option<String> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    if is_label_text(name) {
        return None;
    }
    let why = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
               alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
               '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    Some(format!("<nil>: Invalid value: {key:?}: {why}"))
}

fn label_value_error(key: &str, value: &str) -> Option<String> {
    if value.is_empty() || is_label_text(value) {
        return None;
    }
    let why = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
               start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
               for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    Some(format!("values[0][{key}]: Invalid value: {value:?}: {why}"))
}
