//! Request bodies: from bytes to objects of the version the URL names.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::catalog::{Resource, split_group_version};
use crate::pipeline;
use crate::query::FieldValidation;
use crate::service::Call;
use crate::status::{Status, Warnings};

const ACCEPTED: [&str; 3] = [
    "application/json",
    "application/yaml",
    crate::protobuf::MEDIA_TYPE,
];

/// A body read as an object, with what was wrong but bearable.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub value: Value,
    pub warnings: Warnings,
}

/// The body as JSON, whatever kind it is of.
pub(crate) fn body(call: &Call) -> Result<Value, Status> {
    let (value, _) = parse(call)?;
    Ok(value)
}

/// The body as an object of `group`, `version` and `kind`: unknown fields are pruned and reported.
pub(crate) fn object(
    call: &Call,
    resource: &Resource,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (mut value, duplicates) =
        parse(call).map_err(|status| unrecognized(status, &resource.kind, &call.body))?;
    if let Some(custom) = &resource.custom {
        let missing = ["kind", "apiVersion"]
            .iter()
            .find(|f| value[**f].as_str().is_none_or(str::is_empty));
        if let Some(field) = missing.filter(|_| value.is_object()) {
            let name = if *field == "kind" { "Kind" } else { "apiVersion" };
            let text = String::from_utf8_lossy(&call.body).into_owned();
            let why = Status::bad_request(format!("Object '{name}' is missing in '{text}'"));
            return Err(unrecognized(why, &resource.kind, &call.body));
        }
        let (_, version) = split_group_version(value["apiVersion"].as_str().unwrap_or_default());
        if custom.schema_of(version).is_none() && validation == FieldValidation::Warn {
            // Of a version that does not exist nothing is known.
            let fields = value.as_object().into_iter().flat_map(|map| map.keys());
            let unknown = fields.filter(|f| !["apiVersion", "kind", "metadata"].contains(&f.as_str()));
            call.warn(unknown.map(|f| format!("unknown field {f:?}")).collect());
        }
    }
    check_kind(
        &mut value,
        &resource.group,
        &resource.version,
        &resource.kind,
        &call.body,
    )?;
    finish(resource, value, duplicates, validation)
}

/// The body as a Scale, Binding, Eviction... of a subresource.
pub(crate) fn of_kind(call: &Call, group: &str, version: &str, kind: &str) -> Result<Value, Status> {
    let (mut value, _) = parse(call).map_err(|status| unrecognized(status, kind, &call.body))?;
    check_kind(&mut value, group, version, kind, &call.body)?;
    let (errors, _) = pipeline::prune_kind(group, version, kind, &mut value);
    match errors.first() {
        None => Ok(value),
        Some(error) => Err(cannot_handle(kind, version, error)),
    }
}

/// Prunes and checks a decoded or patched object.
pub(crate) fn finish(
    resource: &Resource,
    mut value: Value,
    mut strict: Vec<String>,
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let (errors, unknown) = pipeline::prune(resource, &mut value);
    if let Some(error) = errors.first() {
        return Err(cannot_handle(&resource.kind, &resource.version, error));
    }
    strict.extend(unknown);
    match validation {
        FieldValidation::Ignore => Ok(Decoded {
            value,
            warnings: Vec::new(),
        }),
        FieldValidation::Warn => Ok(Decoded {
            value,
            warnings: strict,
        }),
        FieldValidation::Strict if strict.is_empty() => Ok(Decoded {
            value,
            warnings: Vec::new(),
        }),
        FieldValidation::Strict => {
            let error = format!("strict decoding error: {}", strict.join(", "));
            Err(cannot_handle(&resource.kind, &resource.version, &error))
        }
    }
}

/// A body that is not even an object of any kind, with the start of it.
fn unrecognized(status: Status, kind: &str, body: &[u8]) -> Status {
    if status.code != 400 {
        return status;
    }
    let message = format!(
        "the object provided is unrecognized (must be of type {kind}): {}",
        status.message
    );
    Status::bad_request(format!("{message} ({})", summary(body)))
}

/// The start of a body, for a message: as text where it looks like JSON.
fn summary(body: &[u8]) -> String {
    let start = body.get(..30).unwrap_or(body);
    let more = if body.len() > 30 { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(start)),
        Some(_) => {
            let hex: Vec<String> = start.iter().map(|b| format!("{b:02x}")).collect();
            format!("{}{more}", hex.concat())
        }
    }
}

fn cannot_handle(kind: &str, version: &str, error: &str) -> Status {
    Status::bad_request(format!(
        "{kind} in version {version:?} cannot be handled as a {kind}: {error}"
    ))
}

/// A body of another kind: one that exists cannot be converted, one that does not is not registered.
fn other_kind(given_version: &str, given: &str, group: &str, kind: &str) -> Status {
    let (given_group, version) = split_group_version(given_version);
    let known = crate::catalog::builtin()
        .of_version(given_group, version)
        .any(|r| r.kind == given);
    let why = match known {
        true => {
            let internal = if group.is_empty() {
                "core"
            } else {
                group.split('.').next().unwrap_or_default()
            };
            let external = if given_group.is_empty() {
                version
            } else {
                given_group
            };
            format!("converting ({external}.{given}) to ({internal}.{kind}): unknown conversion")
        }
        false => format!(
            "no kind {given:?} is registered for version {given_version:?} in scheme \"pkg/runtime/scheme.go:111\""
        ),
    };
    Status::bad_request(format!(
        "{given} in version {version:?} cannot be handled as a {kind}: {why}"
    ))
}

/// An absent kind or version is the expected one; another is refused.
fn check_kind(value: &mut Value, group: &str, version: &str, kind: &str, body: &[u8]) -> Result<(), Status> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    let said = go_type(value);
    let Some(map) = value.as_object_mut() else {
        let why = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {said} into Go value of type struct \
             {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
             \"json:\\\"kind,omitempty\\\"\" }}"
        );
        return Err(unrecognized(Status::bad_request(why), kind, body));
    };
    for name in ["apiVersion", "kind"] {
        if let Some(given) = map.get(name).filter(|v| !v.is_string() && !v.is_null()) {
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go struct field .{name} \
                 of type string",
                go_type(given)
            );
            return Err(unrecognized(Status::bad_request(why), kind, body));
        }
    }
    let text = |map: &Map<String, Value>, name: &str| {
        map.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (given_version, given_kind) = (text(map, "apiVersion"), text(map, "kind"));
    let expected = crate::catalog::group_version(group, version);
    let given_version = if given_version.is_empty() {
        expected.clone()
    } else {
        given_version
    };
    let custom = crate::catalog::builtin()
        .of_version(group, version)
        .next()
        .is_none();
    let given_kind = if given_kind.is_empty() {
        kind.to_owned()
    } else {
        given_kind
    };
    if given_version == expected && given_kind != kind && custom {
        // Any kind can be read of a custom group version; validation tells that it is another.
        return Ok(());
    }
    if given_version != expected && (custom || given_kind == kind && was_served(&given_version, group)) {
        return Err(Status::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({expected})"
        )));
    }
    if given_version != expected || given_kind != kind {
        return Err(other_kind(&given_version, &given_kind, group, kind));
    }
    map.insert("apiVersion".into(), expected.into());
    map.insert("kind".into(), kind.into());
    Ok(())
}

/// Versions of built-in groups that a real server still reads, and serves no more.
fn was_served(api_version: &str, group: &str) -> bool {
    let (given, version) = split_group_version(api_version);
    given == group
        && matches!(
            (group, version),
            ("apps", "v1beta1" | "v1beta2")
                | ("autoscaling", "v2beta1" | "v2beta2")
                | (
                    "batch" | "policy" | "discovery.k8s.io" | "events.k8s.io",
                    "v1beta1"
                )
                | (
                    "storage.k8s.io" | "rbac.authorization.k8s.io" | "scheduling.k8s.io",
                    "v1alpha1" | "v1beta1"
                )
        )
}

/// What Go's decoder calls the kind of a JSON value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn parse(call: &Call) -> Result<(Value, Vec<String>), Status> {
    let media = call
        .header("content-type")
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    match media {
        "" | "application/json" => json(&call.body),
        "application/yaml" => yaml(&call.body).map(|v| (v, Vec::new())),
        crate::protobuf::MEDIA_TYPE => crate::protobuf::decode(&call.body).map(|v| (v, Vec::new())),
        _ => Err(Status::unsupported_media_type(&ACCEPTED)),
    }
}

pub(crate) fn yaml(bytes: &[u8]) -> Result<Value, Status> {
    serde_yaml_ng::from_slice(bytes).map_err(|e| Status::bad_request(format!("error parsing YAML: {e}")))
}

/// Parses JSON and lists the fields that appear twice (the last one counts).
pub(crate) fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    let mut duplicates = Vec::new();
    let mut path = String::new();
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let seed = Tracked {
        path: &mut path,
        duplicates: &mut duplicates,
    };
    let value = seed
        .deserialize(&mut parser)
        .and_then(|v| parser.end().map(|()| v))
        .map_err(|e| {
            let why = match e.is_eof() {
                true => "unexpected end of JSON input".to_owned(),
                false => e.to_string(),
            };
            Status::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
        })?;
    Ok((value, duplicates))
}

struct Tracked<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Tracked<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tracked<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::from(v))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        let length = self.path.len();
        loop {
            self.path.push_str(&format!("[{}]", out.len()));
            let item = seq.next_element_seed(Tracked {
                path: self.path,
                duplicates: self.duplicates,
            })?;
            self.path.truncate(length);
            match item {
                Some(item) => out.push(item),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let length = self.path.len();
        while let Some(key) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if out.contains_key(&key) {
                self.duplicates.push(format!("duplicate field {:?}", self.path));
            }
            let value = map.next_value_seed(Tracked {
                path: self.path,
                duplicates: self.duplicates,
            })?;
            self.path.truncate(length);
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}
