//! Replays what a real API server answered to random writes (see `record/record.py`). Each step starts from the
//! object that the server had; status, message, object and managedFields must be the same.
#![allow(clippy::unwrap_used, clippy::expect_used)]
mod difference;
mod widget;

use std::io::Read;

use apischema::{GroupVersionKind, TypeId, TypeTable};
use difference::difference;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidegate_apimerge::ssa::{self, ApplyError, FieldFilter, FieldSet, OneVersion, Schema, Writer};
use tidegate_apimerge::{json_patch, merge_patch, parse_merge_patch, strategic};
use widget::widget;

/// Later than anything recorded, so that it shows which times were set by the replay.
const NOW: &str = "2100-01-01T00:00:00Z";

#[test]
fn writes_end_as_a_real_api_server_ended_them() {
    let mut packed = &include_bytes!("../data/recorded.bin")[..];
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(&mut packed)
        .read_to_string(&mut text)
        .unwrap();
    let stories: Vec<Value> = serde_json::from_str(&text).unwrap();
    let (mut compared, mut skipped, mut other_faults, mut differing) = (0, 0, 0, Vec::new());
    let kinds = ["Deployment", "Service", "ConfigMap", "Pod", "Widget"].map(Kind::of);
    for story in &stories {
        let kind = kinds
            .iter()
            .find(|kind| story["kind"] == kind.gvk.kind.as_str())
            .unwrap();
        let mut live = Value::Null;
        for (index, step) in story["steps"].as_array().unwrap().iter().enumerate() {
            match kind.replay(&live, step) {
                Outcome::Same => compared += 1,
                Outcome::NotOurs => skipped += 1,
                Outcome::AnotherFault => other_faults += 1,
                Outcome::Differs(how) => {
                    let name = story["steps"][0]["body"]["metadata"]["name"].as_str().unwrap();
                    differing.push(format!("{name} step {index}: {how}"));
                }
            }
            if let Some(object) = step.get("object") {
                live = object.clone();
            }
        }
    }
    assert!(
        differing.is_empty(),
        "{} of {} differ:\n{}",
        differing.len(),
        compared + differing.len(),
        differing.join("\n")
    );
    assert!(
        compared > 2900,
        "only {compared} steps compared, {skipped} skipped"
    );
    assert!(
        other_faults < 30,
        "{other_faults} patches were refused for another fault"
    );
}

enum Outcome {
    Same,
    /// The server refused for a reason that patching knows nothing of (validation, names).
    NotOurs,
    /// Of several faults another one was named: Go walks maps in no order.
    AnotherFault,
    Differs(String),
}

struct Kind {
    gvk: GroupVersionKind,
    api_version: String,
    table: TypeTable,
    ty: TypeId,
    builtin: bool,
    zero: Value,
}

/// What a write leads to before validation: the object, or code and message.
type Written = Result<Value, (u16, String)>;

impl Kind {
    fn of(kind: &str) -> Kind {
        let (group, version) = match kind {
            "Deployment" => ("apps", "v1"),
            "Widget" => ("t.dev", "v1"),
            _ => ("", "v1"),
        };
        let gvk = GroupVersionKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        };
        let api_version = if group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{group}/{version}")
        };
        let known = apischema::builtin();
        let mut table = known.table.clone();
        let ty = if kind == "Widget" {
            widget(&mut table)
        } else {
            table.kind(&gvk).unwrap()
        };
        let builtin = kind != "Widget";
        let zero = if builtin {
            ssa::zero(&table, ty, &api_version, kind)
        } else {
            json!({"apiVersion": api_version, "kind": kind})
        };
        Kind {
            gvk,
            api_version,
            table,
            ty,
            builtin,
            zero,
        }
    }

    fn replay(&self, live: &Value, step: &Value) -> Outcome {
        let status = u16::try_from(step["status"].as_u64().unwrap()).unwrap();
        let reason = step["error"]["reason"].as_str().unwrap_or_default();
        let message = step["error"]["message"].as_str().unwrap_or_default();
        if reason == "Invalid" || message.contains("was undeterminable") {
            return Outcome::NotOurs;
        }
        let written = self.write(live, step);
        match (written, step.get("object")) {
            (Ok(object), Some(expected)) => self.compare(live, &object, expected, step),
            (Err(found), None) => {
                if found == (status, message.to_owned()) || same_lines(&found.1, message) {
                    return Outcome::Same;
                }
                let is_among_ours = || {
                    message
                        .split("): ")
                        .last()
                        .is_some_and(|fault| found.1.contains(fault))
                };
                match step["how"].as_str() {
                    Some("strategic") => return Outcome::AnotherFault,
                    Some("apply") if found.0 == status && is_among_ours() => return Outcome::AnotherFault,
                    _ => {}
                }
                Outcome::Differs(format!(
                    "{}\n  expected {status} {message}\n  found {found:?}",
                    step["how"]
                ))
            }
            (Ok(_), None) => Outcome::Differs(format!("{}: expected {status} {message}", step["how"])),
            (Err(found), Some(_)) => Outcome::Differs(format!("{}: refused with {found:?}", step["how"])),
        }
    }

    fn write(&self, live: &Value, step: &Value) -> Written {
        let sub = step["sub"].as_str().unwrap_or_default();
        let filter = self.filter(sub);
        let schema = if self.builtin {
            Schema::builtin(&self.table, self.ty)
        } else {
            Schema::custom(&self.table, self.ty)
        };
        let versions = OneVersion {
            api_version: &self.api_version,
            schema,
        };
        let writer = Writer {
            manager: step["manager"].as_str().unwrap(),
            api_version: &self.api_version,
            kind: &self.gvk.kind,
            subresource: sub,
            now: NOW.parse::<Timestamp>().unwrap(),
            versions: &versions,
            filter: &filter,
            zero: &self.zero,
        };
        let body = &step["body"];
        let bytes = body.to_string().into_bytes();
        let refused = |error: tidegate_apimerge::PatchError| (error.code(), error.to_string());
        let new = match step["how"].as_str().unwrap() {
            "apply" => {
                let force = step.get("force").is_some();
                let mut applied = body.clone();
                applied["metadata"]["namespace"] = json!("default");
                let applied = if body.pointer("/metadata/namespace").is_none() {
                    body
                } else {
                    &applied
                };
                let done = ssa::apply(live, applied, &writer, force).map_err(|error| match error {
                    ApplyError::Conflicts(_) => (409, error.to_string()),
                    ApplyError::BadRequest(_) => (400, error.to_string()),
                    ApplyError::Internal(_) => (500, error.to_string()),
                })?;
                return Ok(self.normal(done.object));
            }
            "create" | "update" => body.clone(),
            "merge" => merge_patch(live, &parse_merge_patch(&bytes).map_err(refused)?),
            "json" => json_patch(live, &bytes).map_err(refused)?,
            "strategic" => strategic(live, body, &self.table, self.ty).map_err(refused)?,
            other => panic!("unknown step {other}"),
        };
        let mut new = self.normal(new);
        if self.builtin && body.pointer("/metadata/managedFields") == Some(&json!([])) {
            ssa::set_managed_fields(&mut new, Some(json!([])));
        }
        let managed = ssa::update(live, &new, &writer);
        ssa::set_managed_fields(&mut new, managed);
        Ok(new)
    }

    /// As decoding and defaulting bring an object into stored form.
    fn normal(&self, mut object: Value) -> Value {
        if self.builtin {
            apischema::decode::decode(&self.table, self.ty, &mut object);
            apischema::defaults::apply(&self.gvk, &mut object);
            return object;
        }
        // What the schema does not have is pruned.
        apischema::decode::decode(&self.table, self.ty, &mut object);
        for row in object
            .pointer_mut("/spec/keyed")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            let row = row.as_object_mut().unwrap();
            if row.get("proto").is_none_or(Value::is_null) {
                row.insert("proto".to_owned(), json!("TCP"));
            }
        }
        object
    }

    fn filter(&self, sub: &str) -> FieldFilter {
        let paths: &[&[&str]] = match (self.gvk.kind.as_str(), sub) {
            ("ConfigMap", _) => return FieldFilter::Everything,
            ("Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
            ("Widget", "status") => &[&["metadata"], &["spec"]],
            _ => &[&["status"]],
        };
        FieldFilter::Except(FieldSet::of_fields(paths))
    }

    fn compare(&self, live: &Value, object: &Value, expected: &Value, step: &Value) -> Outcome {
        let mut object = object.clone();
        if ssa::only_times_differ(live, &object) {
            object = live.clone();
        }
        let (found, wanted) = (entries(&object), entries(expected));
        if timeless(&found) != timeless(&wanted) {
            return Outcome::Differs(difference(
                "managedFields",
                step,
                &timeless(&found),
                &timeless(&wanted),
            ));
        }
        if let Some(fault) = wrong_times(live, &found, &wanted) {
            return Outcome::Differs(format!("{} by {}: {fault}", step["how"], step["manager"]));
        }
        if step["how"] == "create" || live.is_null() {
            return Outcome::Same;
        }
        let (found, wanted) = (
            self.content(&object, live, step),
            self.content(expected, live, step),
        );
        if found != wanted {
            return Outcome::Differs(difference("object", step, &found, &wanted));
        }
        Outcome::Same
    }

    /// What the patch decides: without what the server's strategies reset or count.
    fn content(&self, object: &Value, live: &Value, step: &Value) -> Value {
        let mut object = object.clone();
        let part = if step.get("sub").is_some() {
            "spec"
        } else {
            "status"
        };
        match live.get(part) {
            Some(value) => object[part] = value.clone(),
            None => {
                object.as_object_mut().unwrap().remove(part);
            }
        }
        for name in ["managedFields", "resourceVersion", "generation"] {
            object["metadata"].as_object_mut().unwrap().remove(name);
        }
        if part == "spec" {
            object["metadata"] = Value::Null;
        }
        if self.gvk.kind == "Service" {
            // Allocated and cleared by the registry.
            object["spec"]
                .as_object_mut()
                .unwrap()
                .remove("externalTrafficPolicy");
            for port in object
                .pointer_mut("/spec/ports")
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten()
            {
                port.as_object_mut().unwrap().remove("nodePort");
            }
        }
        object
    }
}

fn entries(object: &Value) -> Vec<Value> {
    object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

/// Entries without their times, in an order that does not depend on them.
fn timeless(entries: &[Value]) -> Value {
    let mut entries: Vec<Value> = entries.to_vec();
    for entry in &mut entries {
        let entry = entry.as_object_mut().unwrap();
        entry.remove("time");
    }
    entries.sort_by_key(Value::to_string);
    Value::Array(entries)
}

/// A time that the replay set must be new in the recording, one that it kept must be old there.
fn wrong_times(live: &Value, found: &[Value], wanted: &[Value]) -> Option<String> {
    let same_entry = |a: &Value, b: &Value| {
        ["manager", "operation", "apiVersion", "subresource"]
            .iter()
            .all(|name| a.get(name) == b.get(name))
    };
    let before = entries(live);
    for entry in found {
        let recorded = wanted.iter().find(|other| same_entry(entry, other))?;
        let old = before
            .iter()
            .find(|other| same_entry(entry, other))
            .and_then(|entry| entry.get("time"));
        let (ours, theirs) = (entry.get("time"), recorded.get("time"));
        let is_new = ours.is_some_and(|time| time == NOW);
        let fits = if is_new { theirs.is_some() } else { ours == theirs };
        if !fits {
            return Some(format!(
                "time of {}: found {ours:?}, expected {theirs:?}, before {old:?}",
                entry["manager"]
            ));
        }
    }
    None
}

fn same_lines(a: &str, b: &str) -> bool {
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    sorted(a) == sorted(b)
}
