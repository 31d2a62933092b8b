//! Query strings, and the options of reads and writes in them.

use model::field::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use crate::status::Status;

/// A decoded query string.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key, true), decode(value, true))
        });
        Self(pairs.collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(k, _)| k == name)
            .map(|(_, v)| v.as_str())
    }

    /// As Go's query decoding reads a boolean: `false` and `0` are no, anything else is yes.
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// Percent-decoding; `+` is a space in queries.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok());
        match (bytes[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            (other, _) => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// How unknown and duplicate fields are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_manager: String,
    pub field_validation: FieldValidation,
    pub force: Option<bool>,
}

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`.
    pub fn parse(query: &Query, kind: &str) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let dry_run: Vec<&str> = query.all("dryRun").filter(|v| !v.is_empty()).collect();
        errors.extend(dry_run_errors(&dry_run));
        let manager = query.get("fieldManager").unwrap_or_default();
        if manager.len() > 128 {
            let kind = FieldErrorKind::TooLong;
            errors.push(FieldError::new(
                "fieldManager",
                kind,
                String::new(),
                "may not be more than 128 bytes",
            ));
        } else if manager.chars().any(char::is_control) {
            let why = "should only contain printable characters";
            errors.push(FieldError::invalid("fieldManager", format!("{manager:?}"), why));
        }
        let field_validation = match query.get("fieldValidation").unwrap_or_default() {
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            "" | "Warn" => FieldValidation::Warn,
            other => {
                let supported = "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
                let error = FieldErrorKind::NotSupported;
                errors.push(FieldError::new(
                    "fieldValidation",
                    error,
                    format!("{other:?}"),
                    supported,
                ));
                FieldValidation::Warn
            }
        };
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", kind, "", &errors));
        }
        Ok(Self {
            dry_run: !dry_run.is_empty(),
            field_manager: manager.to_owned(),
            field_validation,
            force: query.optional_flag("force"),
        })
    }

    /// Options of a write that the server makes itself.
    pub fn internal(dry_run: bool) -> Self {
        Self {
            dry_run,
            field_manager: String::new(),
            field_validation: FieldValidation::Ignore,
            force: None,
        }
    }

    /// The options object that webhooks see.
    pub fn to_value(&self, kind: &str) -> Value {
        let mut out = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        if let Some(map) = out.as_object_mut() {
            if self.dry_run {
                map.insert("dryRun".into(), json!(["All"]));
            }
            if !self.field_manager.is_empty() {
                map.insert("fieldManager".into(), self.field_manager.clone().into());
            }
            let validation = match self.field_validation {
                FieldValidation::Ignore => "Ignore",
                FieldValidation::Warn => "Warn",
                FieldValidation::Strict => "Strict",
            };
            if self.field_validation != FieldValidation::Warn {
                map.insert("fieldValidation".into(), validation.into());
            }
            if let Some(force) = self.force {
                map.insert("force".into(), force.into());
            }
        }
        out
    }
}

/// `dryRun` may only be `All`.
pub fn dry_run_errors(values: &[&str]) -> Option<FieldError> {
    values.iter().find(|v| **v != "All")?;
    let shown = format!(
        "[{}]",
        values
            .iter()
            .map(|v| format!("{v:?}"))
            .collect::<Vec<_>>()
            .join(",")
    );
    Some(FieldError::new(
        "dryRun",
        FieldErrorKind::NotSupported,
        shown,
        "supported values: \"All\"",
    ))
}
