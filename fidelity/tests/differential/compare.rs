//! What may differ between any two servers is taken out; the rest must be equal.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Uids, versions and times of one server. A uid becomes the count of objects that had its kind and name before:
/// one object that only one server has does not renumber all others.
#[derive(Default)]
pub struct Masks {
    uids: BTreeMap<String, String>,
    bearers: BTreeMap<String, usize>,
}

const VERSION_FIELDS: [&str; 1] = ["resourceVersion"];
/// Given out by each server at random.
const PORT_FIELDS: [&str; 2] = ["nodePort", "healthCheckNodePort"];
const TIME_FIELDS: [&str; 9] = [
    "creationTimestamp",
    "deletionTimestamp",
    "time",
    "lastTransitionTime",
    "lastUpdateTime",
    "startTime",
    "renewTime",
    "acquireTime",
    "expirationTimestamp",
];

impl Masks {
    pub fn mask(&mut self, value: &mut Value) {
        leave_out_published(value);
        sort_rules(value);
        self.mask_values(value, "");
        sort_causes(value);
    }

    /// `kind` is that of the object around the value.
    fn mask_values(&mut self, value: &mut Value, kind: &str) {
        match value {
            Value::Object(map) => {
                let kind = map.get("kind").and_then(Value::as_str).unwrap_or(kind);
                let kind = kind.strip_suffix("List").unwrap_or(kind).to_owned();
                let name = map
                    .get("name")
                    .and_then(Value::as_str)
                    .map_or_else(String::new, |n| self.mask_text(n));
                for (key, inner) in map.iter_mut() {
                    let key = key.as_str();
                    if key == "uid" && inner.is_string() {
                        let uid = inner.as_str().unwrap_or_default().to_owned();
                        *inner = Value::from(self.uid(uid, &format!("{kind} {name}")));
                    } else if VERSION_FIELDS.contains(&key) && inner.as_str().is_some_and(is_number) {
                        *inner = Value::from("RV");
                    } else if TIME_FIELDS.contains(&key) && inner.is_string() {
                        *inner = Value::from("TIME");
                    } else if PORT_FIELDS.contains(&key) && inner.is_number() {
                        *inner = Value::from("PORT");
                    } else if key == "continue" && inner.as_str().is_some_and(|c| !c.is_empty()) {
                        *inner = Value::from("CONTINUE");
                    } else {
                        self.mask_values(inner, &kind);
                    }
                    if key == "managedFields"
                        && let Value::Array(entries) = inner
                    {
                        // In the order of their times, which a second's turn can change.
                        entries.sort_by_key(Value::to_string);
                    }
                }
                self.mask_keys(map);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.mask_values(item, kind)),
            Value::String(text) => *text = self.mask_text(text),
            _ => {}
        }
    }

    /// Owned items of lists are keys, and some have names that the server made up.
    fn mask_keys(&self, map: &mut serde_json::Map<String, Value>) {
        let random: Vec<String> = map.keys().filter(|k| k.starts_with("k:{")).cloned().collect();
        for key in random {
            let masked = self.mask_text(&key);
            if let Some(value) = map.remove(&key) {
                map.insert(masked, value);
            }
        }
    }

    fn uid(&mut self, uid: String, bearer: &str) -> String {
        let count = self.bearers.entry(bearer.to_owned()).or_default();
        self.uids
            .entry(uid)
            .or_insert_with(|| {
                *count += 1;
                format!("uid-{count} of {bearer}")
            })
            .clone()
    }

    /// Messages quote uids, versions, addresses and the random ends of generated names.
    fn mask_text(&self, text: &str) -> String {
        let mut text = sorted_object(text).unwrap_or_else(|| text.to_owned());
        for (pattern, replacement) in PATTERNS.iter() {
            if let std::borrow::Cow::Owned(masked) = pattern.replace_all(&text, *replacement) {
                text = masked;
            }
        }
        text
    }
}

/// A refused patch is quoted as the whole object; a real server writes the parts that the patch did not touch in the
/// order of Go's fields, which says nothing.
fn sorted_object(text: &str) -> Option<String> {
    let start = text.find(r#"Invalid value: "{"#)? + "Invalid value: ".len();
    let end = start + text[start..].find(r#"}": "#)? + 2;
    let quoted: String = serde_json::from_str(&text[start..end]).ok()?;
    let object: Value = serde_json::from_str(&quoted).ok()?;
    Some(format!("{}{object}{}", &text[..start], &text[end..]))
}

static PATTERNS: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-XXXXX"),
        (r"generated-(\d+)-[a-z0-9]{5}\b", "generated-$1-XXXXX"),
        (r"(\bBad_|-all-in-a)[a-z0-9]{5}\b", "${1}XXXXX"),
        (
            r"ResourceVersion in record \(\d+\)",
            "ResourceVersion in record (RV)",
        ),
        (r"https://[\w.]+:\d+", "SERVER"),
        (r"^\d+(s|m\d*s?)$", "AGE"),
        (r"\b3[0-2]\d\d\d/(TCP|UDP|SCTP)", "PORT/$1"),
        (r"Duplicate value: 3[0-2]\d\d\d\b", "Duplicate value: PORT"),
        (r"^eyJ[\w.-]+$", "TOKEN"),
        (r"\b(127\.0\.0\.1|192\.0\.2\.\d+):\d+", "SERVER"),
        (r#"resourceVersion([\\":]+)\d+"#, "resourceVersion${1}RV"),
        (
            r"Precondition failed: UID in precondition: [^,]+, UID in object meta: \S+",
            "UID PRECONDITION",
        ),
        (r"\b10\.\d+\.\d+\.\d+\b", "IP"),
    ]
    .into_iter()
    .map(|(pattern, replacement)| (Regex::new(pattern).unwrap(), replacement))
    .collect()
});

/// The ConfigMap that the controller manager publishes in each namespace: the real server runs here without one,
/// the embedded server does it itself.
fn leave_out_published(reply: &mut Value) {
    let published = |object: &Value| {
        let object = object.get("object").unwrap_or(object);
        object["metadata"]["name"] == "kube-root-ca.crt"
    };
    match reply {
        Value::Array(events) => events.retain(|e| !published(e)),
        _ => {
            if let Some(items) = reply.get_mut("items").and_then(Value::as_array_mut) {
                items.retain(|item| !published(item));
            }
        }
    }
}

/// What somebody may do, a real server finds in caches that are in no order.
fn sort_rules(reply: &mut Value) {
    if reply["kind"] != "SelfSubjectRulesReview" {
        return;
    }
    for list in ["resourceRules", "nonResourceRules"] {
        if let Some(rules) = reply["status"][list].as_array_mut() {
            rules.sort_by_key(Value::to_string);
        }
    }
}

/// A real server goes through some maps in random order: causes, and the message made of them, are a set.
fn sort_causes(reply: &mut Value) {
    let Some(body) = reply
        .get_mut("kind")
        .is_some_and(|k| k == "Status")
        .then_some(reply)
    else {
        return;
    };
    if let Some(causes) = body["details"]["causes"].as_array_mut() {
        // A compiler has its own words for what it could not read.
        let mut compiled = false;
        for cause in causes.iter_mut() {
            for start in [
                "compilation failed",
                "must be a valid regular expression, but isn't",
                // What changed follows, as Go prints structs.
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            ] {
                if let Some((head, _)) = cause["message"].as_str().and_then(|m| m.split_once(start)) {
                    cause["message"] = Value::from(format!("{head}{start}"));
                    compiled = true;
                }
            }
        }
        causes.sort_by_key(Value::to_string);
        // A real server looks at some fields several times; how often says nothing.
        causes.dedup();
        if compiled {
            body["message"] = Value::from("COMPILATION FAILED");
        }
    }
    if let Some(message) = body["message"].as_str() {
        let separator = if message.contains("\n") { "\n" } else { ", " };
        let (head, list) = message.split_once(": ").unwrap_or((message, ""));
        let mut parts: Vec<&str> = list
            .strip_prefix('[')
            .and_then(|l| l.strip_suffix(']'))
            .unwrap_or(list)
            .split(separator)
            .map(str::trim)
            .collect();
        parts.sort_unstable();
        body["message"] = Value::from(format!("{head}: {}", parts.join(separator)));
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The first few places where two values differ, as `path: left | right`.
pub fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", left, right, &mut found);
    found.truncate(8);
    found
}

fn walk(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let missing = Value::from("<absent>");
                walk(
                    &format!("{path}.{key}"),
                    a.get(key).unwrap_or(&missing),
                    b.get(key).unwrap_or(&missing),
                    found,
                );
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (x, y)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}[{index}]"), x, y, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: real {left} | embedded {right}")),
    }
}
