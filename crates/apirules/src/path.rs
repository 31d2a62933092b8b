//! Field paths and a collector of field errors that renders bad values as a real server does.

use std::fmt;

use model::field::{FieldError, FieldErrorKind};
use serde_json::Value;

/// `spec.containers[0].image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(String);

impl Path {
    pub fn new(root: &str) -> Self {
        Self(root.to_owned())
    }

    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() {
            Self(name.to_owned())
        } else {
            Self(format!("{}.{name}", self.0))
        }
    }

    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Field errors in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Errors(pub Vec<FieldError>);

impl Errors {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn required(&mut self, path: &Path, detail: &str) {
        self.0.push(FieldError::required(path.to_string(), detail));
    }

    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.0.push(FieldError::forbidden(path.to_string(), detail));
    }

    /// `bad` as JSON; strings are quoted.
    pub fn invalid(&mut self, path: &Path, bad: impl Into<Value>, detail: impl Into<String>) {
        self.0
            .push(FieldError::invalid(path.to_string(), shown(&bad.into()), detail));
    }

    /// `bad` is text already rendered.
    pub fn invalid_json(&mut self, path: &Path, bad: String, detail: impl Into<String>) {
        self.0.push(FieldError::invalid(path.to_string(), bad, detail));
    }

    /// One error per message.
    pub fn invalid_each(&mut self, path: &Path, bad: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, bad, message);
        }
    }

    pub fn duplicate(&mut self, path: &Path, bad: impl Into<Value>) {
        self.0
            .push(FieldError::duplicate(path.to_string(), shown(&bad.into())));
    }

    /// `bad` is text already rendered.
    pub fn duplicate_json(&mut self, path: &Path, bad: String) {
        self.0.push(FieldError::duplicate(path.to_string(), bad));
    }

    pub fn not_found(&mut self, path: &Path, bad: impl Into<Value>) {
        self.push(path, FieldErrorKind::NotFound, shown(&bad.into()), String::new());
    }

    pub fn not_supported(&mut self, path: &Path, bad: &str, supported: &[&str]) {
        self.not_supported_json(path, &go_quote(bad), supported);
    }

    /// `bad` is text already rendered.
    pub fn not_supported_json(&mut self, path: &Path, bad: &str, supported: &[&str]) {
        let list: Vec<String> = supported.iter().map(|s| go_quote(s)).collect();
        let detail = format!("supported values: {}", list.join(", "));
        self.push(path, FieldErrorKind::NotSupported, bad.to_owned(), detail);
    }

    pub fn too_long(&mut self, path: &Path, max: usize) {
        let detail = format!("may not be more than {max} bytes");
        self.push(path, FieldErrorKind::TooLong, String::new(), detail);
    }

    pub fn too_many(&mut self, path: &Path, actual: usize, max: usize) {
        let noun = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {noun}");
        self.push(path, FieldErrorKind::TooMany, actual.to_string(), detail);
    }

    fn push(&mut self, path: &Path, kind: FieldErrorKind, bad: String, detail: String) {
        self.0.push(FieldError::new(path.to_string(), kind, bad, detail));
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => go_quote(text),
        other => other.to_string(),
    }
}

/// A string as Go's `%q` prints it.
pub(crate) fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `["a" "b"]`, Go's `%q` of a slice.
pub(crate) fn go_quote_list<S: AsRef<str>>(items: &[S]) -> String {
    let quoted: Vec<String> = items.iter().map(|s| go_quote(s.as_ref())).collect();
    format!("[{}]", quoted.join(" "))
}
