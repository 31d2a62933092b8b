//! Secrets: what each type must hold.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::kinds::{MAX_DATA, immutable_data};
use super::meta::IMMUTABLE;
use super::names::config_key;
use crate::path::{Errors, Path};
use crate::read::Read;

pub(super) fn validate(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("data");
    let mut size = 0;
    for (key, value) in new.map("data").into_iter().flatten() {
        errors.invalid_each(&path.key(key), key, config_key(key));
        size += value
            .as_str()
            .map_or(0, |v| v.trim_end_matches('=').len() * 3 / 4);
    }
    if size > MAX_DATA {
        errors.too_long(&path, MAX_DATA);
    }
    let required: &[&str] = match new.text("type") {
        "kubernetes.io/service-account-token" => {
            let annotation = "kubernetes.io/service-account.name";
            if new.at("metadata").at("annotations").text(annotation).is_empty() {
                errors.required(&Path::new("metadata").child("annotations").key(annotation), "");
            }
            &[]
        }
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/basic-auth" => {
            let present = ["username", "password"].iter().any(|k| new.at("data").has(k));
            if present { &[] } else { &["username", "password"] }
        }
        _ => &[],
    };
    for key in required.iter().filter(|k| !new.at("data").has(k)) {
        errors.required(&path.key(key), "");
    }
    if let [key @ (".dockercfg" | ".dockerconfigjson")] = required {
        readable_login(new.at("data").at(key), &path.key(key), errors);
    }
    let Some(old) = old else { return };
    if new.text("type") != old.text("type") {
        errors.invalid(&Path::new("type"), new.text("type"), IMMUTABLE);
    }
    immutable_data(new, old, &["data"], errors);
}

/// Logins of registries are a JSON object.
fn readable_login(data: &Value, path: &Path, errors: &mut Errors) {
    let Some(bytes) = data.as_str().and_then(|d| BASE64.decode(d).ok()) else {
        return;
    };
    let into = "into Go value of type map[string]interface {}";
    let why = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(Value::Array(_)) => format!("json: cannot unmarshal array {into}"),
        Ok(Value::String(_)) => format!("json: cannot unmarshal string {into}"),
        Ok(Value::Number(_)) => format!("json: cannot unmarshal number {into}"),
        Ok(Value::Bool(_)) => format!("json: cannot unmarshal bool {into}"),
        Err(error) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(error) => error.to_string(),
    };
    errors.invalid(path, "<secret contents redacted>", why);
}
