//! Reading `openAPIV3Schema`; what cannot be read is a field error.

use model::field::{FieldError, FieldErrorKind};
use regex::Regex;
use serde_json::{Map, Value};

use crate::schema::{Additional, Rule, Schema};

const MAX_DEPTH: usize = 100;
const TYPES: &str =
    "supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"";
const KNOWN_TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// Go prints these as zero numbers.
const FORBIDDEN: [&str; 7] = [
    "definitions",
    "dependencies",
    "id",
    "patternProperties",
    "additionalItems",
    "$ref",
    "deprecated",
];

/// Parses a schema found at `path`.
pub(crate) fn schema(value: &Value, path: &str, errors: &mut Vec<FieldError>) -> Schema {
    Parser { errors }.schema(value, path, 0)
}

struct Parser<'a> {
    errors: &'a mut Vec<FieldError>,
}

impl Parser<'_> {
    fn schema(&mut self, value: &Value, path: &str, depth: usize) -> Schema {
        let Value::Object(map) = value else {
            self.errors.push(FieldError::invalid(
                path,
                value.to_string(),
                "must be a schema object",
            ));
            return Schema::default();
        };
        if depth > MAX_DEPTH {
            self.errors
                .push(FieldError::forbidden(path, "schema is nested too deeply"));
            return Schema::default();
        }
        for name in FORBIDDEN.iter().filter(|name| map.contains_key(**name)) {
            let detail = match *name {
                "$ref" => "$ref is not supported",
                _ => "must not be used",
            };
            self.errors
                .push(FieldError::forbidden(format!("{path}.{name}"), detail));
        }
        if map.get("uniqueItems") == Some(&Value::Bool(true)) {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.errors
                .push(FieldError::forbidden(format!("{path}.uniqueItems"), detail));
        }
        let mut out = scalars(map);
        self.check_type(&out, path);
        out.pattern = self.pattern(map, path);
        out.rules = self.rules(map, path);
        self.children(map, path, depth, &mut out);
        self.junctors(map, path, depth, &mut out);
        out
    }

    fn check_type(&mut self, schema: &Schema, path: &str) {
        if !schema.ty.is_empty() && !KNOWN_TYPES.contains(&schema.ty.as_str()) {
            let bad = format!("{:?}", schema.ty);
            self.errors.push(FieldError::new(
                format!("{path}.type"),
                FieldErrorKind::NotSupported,
                bad,
                TYPES,
            ));
        }
    }

    fn children(&mut self, map: &Map<String, Value>, path: &str, depth: usize, out: &mut Schema) {
        if let Some(Value::Object(properties)) = map.get("properties") {
            for (name, value) in properties {
                let child = self.schema(value, &format!("{path}.properties[{name}]"), depth + 1);
                out.properties.insert(name.clone(), child);
            }
        }
        match map.get("additionalProperties") {
            None | Some(Value::Null) => {}
            Some(Value::Bool(true)) => out.additional = Additional::Any,
            Some(Value::Bool(false)) => out.additional = Additional::Forbidden,
            Some(value) => {
                let child = self.schema(value, &format!("{path}.additionalProperties"), depth + 1);
                out.additional = Additional::Of(Box::new(child));
            }
        }
        if let Some(items) = map.get("items").filter(|items| !items.is_null()) {
            let child = if items.is_array() {
                let detail = "items must be a schema object and not an array";
                self.errors
                    .push(FieldError::forbidden(format!("{path}.items"), detail));
                Schema::default()
            } else {
                self.schema(items, &format!("{path}.items"), depth + 1)
            };
            out.items = Some(Box::new(child));
        }
    }

    fn junctors(&mut self, map: &Map<String, Value>, path: &str, depth: usize, out: &mut Schema) {
        let mut list = |name: &str| -> Vec<Schema> {
            let items = map.get(name).and_then(Value::as_array).into_iter().flatten();
            let numbered = items.enumerate();
            numbered
                .map(|(i, value)| self.schema(value, &format!("{path}.{name}[{i}]"), depth + 1))
                .collect()
        };
        out.all_of = list("allOf");
        out.any_of = list("anyOf");
        out.one_of = list("oneOf");
        if let Some(not) = map.get("not").filter(|not| !not.is_null()) {
            out.not = Some(Box::new(self.schema(not, &format!("{path}.not"), depth + 1)));
        }
    }

    fn pattern(&mut self, map: &Map<String, Value>, path: &str) -> Option<(String, Regex)> {
        let text = map.get("pattern")?.as_str()?;
        if text.is_empty() {
            return None;
        }
        match Regex::new(text) {
            Ok(regex) => Some((text.to_owned(), regex)),
            Err(error) => {
                let reason = error.to_string();
                let reason = reason
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim_start_matches("error: ");
                let detail = format!("must be a valid regular expression, but isn't: {reason}");
                self.errors.push(FieldError::invalid(
                    format!("{path}.pattern"),
                    format!("{text:?}"),
                    detail,
                ));
                None
            }
        }
    }

    fn rules(&mut self, map: &Map<String, Value>, path: &str) -> Vec<Rule> {
        let mut out = Vec::new();
        let entries = map.get("x-kubernetes-validations").and_then(Value::as_array);
        for (i, entry) in entries.into_iter().flatten().enumerate() {
            match serde_json::from_value::<Rule>(entry.clone()) {
                Ok(rule) => out.push(rule),
                Err(error) => {
                    let at = format!("{path}.x-kubernetes-validations[{i}]");
                    self.errors
                        .push(FieldError::invalid(at, entry.to_string(), error.to_string()));
                }
            }
        }
        out
    }
}

fn scalars(map: &Map<String, Value>) -> Schema {
    let text = |name: &str| {
        map.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let flag = |name: &str| map.get(name) == Some(&Value::Bool(true));
    let number = |name: &str| map.get(name).and_then(Value::as_f64);
    let count = |name: &str| map.get(name).and_then(Value::as_u64);
    let texts = |name: &str| -> Vec<String> {
        let items = map.get(name).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    Schema {
        ty: text("type"),
        format: text("format"),
        nullable: flag("nullable"),
        default: map.get("default").filter(|v| !v.is_null()).cloned(),
        required: texts("required"),
        enumeration: map
            .get("enum")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
        minimum: number("minimum"),
        maximum: number("maximum"),
        exclusive_minimum: flag("exclusiveMinimum"),
        exclusive_maximum: flag("exclusiveMaximum"),
        multiple_of: number("multipleOf"),
        min_length: count("minLength"),
        max_length: count("maxLength"),
        min_items: count("minItems"),
        max_items: count("maxItems"),
        min_properties: count("minProperties"),
        max_properties: count("maxProperties"),
        int_or_string: flag("x-kubernetes-int-or-string"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag("x-kubernetes-embedded-resource"),
        list_type: text("x-kubernetes-list-type"),
        list_map_keys: texts("x-kubernetes-list-map-keys"),
        map_type: text("x-kubernetes-map-type"),
        ..Schema::default()
    }
}
