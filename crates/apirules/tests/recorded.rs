//! Replays writes that a real kube-apiserver 1.36.3 answered: the same errors, the same words, the same generation.
//!
//! `tests/data/recorded.json.zlib` holds stored objects and, for each, changes of single fields (try to change every
//! field), sent as an update, to a subresource, or as a new object; with the answer.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io::Read;

use apischema::GroupVersionKind;
use serde_json::{Value, json};
use tidegate_apirules::admission::{Lookup, Operation, Request, mutate};
use tidegate_apirules::validation::{
    ResourceRef, prepare_for_create, prepare_for_update, validate_create, validate_update,
};

/// Answers that depend on what is not this crate's: listed with the reason.
const ELSEWHERE: [(&str, &str); 0] = [];

fn recorded() -> Value {
    let mut text = String::new();
    let bytes: &[u8] = include_bytes!("data/recorded.json.zlib");
    flate2::read::ZlibDecoder::new(bytes)
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

fn group(resource: &str) -> &'static str {
    match resource {
        "deployments" | "replicasets" | "statefulsets" | "daemonsets" | "controllerrevisions" => "apps",
        "jobs" | "cronjobs" => "batch",
        "poddisruptionbudgets" => "policy",
        "leases" => "coordination.k8s.io",
        "priorityclasses" => "scheduling.k8s.io",
        "roles" | "rolebindings" => "rbac.authorization.k8s.io",
        _ => "",
    }
}

fn set(object: &mut Value, path: &[Value], value: &Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut at = object;
    for step in parents {
        at = match step {
            Value::String(name) => &mut at[name.as_str()],
            other => &mut at[usize::try_from(other.as_u64().unwrap()).unwrap()],
        };
    }
    match (last, value) {
        (Value::String(name), Value::Null) => {
            at.as_object_mut().unwrap().remove(name);
        }
        (Value::String(name), value) => at[name.as_str()] = value.clone(),
        (index, Value::Null) => {
            at.as_array_mut()
                .unwrap()
                .remove(usize::try_from(index.as_u64().unwrap()).unwrap());
        }
        (index, value) => at[usize::try_from(index.as_u64().unwrap()).unwrap()] = value.clone(),
    }
}

/// A new object like the stored one, as it was sent.
fn fresh(stored: &Value) -> Value {
    let mut out = stored.clone();
    out.as_object_mut().unwrap().remove("status");
    let meta = out["metadata"].as_object_mut().unwrap();
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation"] {
        meta.remove(field);
    }
    let name = format!("{}-new", stored["metadata"]["name"].as_str().unwrap());
    meta.insert("name".to_owned(), json!(name));
    out
}

struct Cluster;

/// What stood around the recorded objects.
impl Lookup for Cluster {
    fn get(&self, _: &str, resource: &str, _: Option<&str>, name: &str) -> Option<Value> {
        let class = json!({"metadata": {"name": name}, "value": 2_000_001_000});
        match resource {
            "namespaces" | "serviceaccounts" => Some(json!({"metadata": {"name": name}})),
            "priorityclasses" if name.starts_with("system-") => Some(class),
            _ => None,
        }
    }

    fn list(&self, _: &str, _: &str, _: Option<&str>) -> Vec<Value> {
        Vec::new()
    }
}

/// Defaulting and the plugins, which stand between a body and its validation.
fn arrive(reference: &ResourceRef<'_>, object: &mut Value, old: Option<&Value>, gvk: &GroupVersionKind) {
    apischema::defaults::apply(gvk, object);
    let scoped = !["nodes", "namespaces", "priorityclasses"].contains(&reference.resource);
    if scoped
        && object["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .is_empty()
    {
        object["metadata"]["namespace"] = json!("rules");
    }
    let operation = if old.is_some() {
        Operation::Update
    } else {
        Operation::Create
    };
    let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
    let request = Request {
        operation,
        group: reference.group,
        resource: reference.resource,
        subresource: reference.subresource,
        namespace: namespace.as_deref(),
        name: "",
    };
    let _ = mutate(&request, object, old, &Cluster, &mut || "qkhfw".to_owned());
}

fn message(errors: &[model::field::FieldError]) -> Vec<String> {
    let mut out: Vec<String> = errors.iter().map(ToString::to_string).collect();
    out.sort();
    out.dedup();
    out
}

/// The errors within `Kind "name" is invalid: [a, b]`, by trying ours: exact text, order aside.
fn agrees(want: &str, ours: &[String]) -> bool {
    let Some((_, body)) = want.split_once(" is invalid: ") else {
        return false;
    };
    let body = match ours.len() {
        0 | 1 => body.to_owned(),
        _ => body
            .strip_prefix('[')
            .and_then(|b| b.strip_suffix(']'))
            .unwrap_or(body)
            .to_owned(),
    };
    let mut rest = body;
    let mut by_length: Vec<&String> = ours.iter().collect();
    by_length.sort_by_key(|o| std::cmp::Reverse(o.len()));
    for one in by_length {
        match rest.find(one.as_str()) {
            Some(at) => rest.replace_range(at..at + one.len(), ""),
            None => return false,
        }
    }
    rest.chars().all(|c| c == ',' || c == ' ')
}

#[test]
fn every_recorded_write_is_answered_as_the_real_server_answered_it() {
    let recorded = recorded();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut wrong: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let (mut right, mut total) = (0, 0);
    for case in recorded["cases"].as_array().unwrap() {
        let base = &recorded["bases"][usize::try_from(case[0].as_u64().unwrap()).unwrap()];
        let resource = base["resource"].as_str().unwrap();
        let (operation, sub) = (case[1].as_str().unwrap(), case[2].as_str().unwrap());
        let reference = ResourceRef::new(group(resource), resource, sub);
        let stored = &base["object"];
        let mut new = if operation == "create" {
            fresh(stored)
        } else {
            stored.clone()
        };
        set(&mut new, case[3].as_array().unwrap(), &case[4]);
        let old = stored.clone();
        let (version, kind) = (
            stored["apiVersion"].as_str().unwrap(),
            stored["kind"].as_str().unwrap(),
        );
        let gvk = GroupVersionKind {
            group: reference.group.to_owned(),
            version: version.rsplit('/').next().unwrap().to_owned(),
            kind: kind.to_owned(),
        };
        arrive(
            &reference,
            &mut new,
            (operation != "create").then_some(&old),
            &gvk,
        );
        let errors = if operation == "create" {
            new["metadata"]["uid"] = json!("new-uid");
            prepare_for_create(&reference, &mut new, now);
            validate_create(&reference, &new)
        } else {
            prepare_for_update(&reference, &mut new, &old);
            validate_update(&reference, &new, &old)
        };
        total += 1;
        let ours = message(&errors);
        let want = &case[5];
        let good = match want["message"].as_str() {
            Some(text) => !ours.is_empty() && agrees(text, &ours),
            None => {
                let generation = new["metadata"].get("generation").cloned().unwrap_or(Value::Null);
                ours.is_empty() && generation == want.get("generation").cloned().unwrap_or(Value::Null)
            }
        };
        if good || ELSEWHERE.iter().any(|(text, _)| want.to_string().contains(text)) {
            right += 1;
            continue;
        }
        let key = format!("{resource}/{sub} {operation} {}", last_word(&case[3]));
        let shown = format!(
            "{}\n   at {} = {}\n   real: {want}\n   ours: {ours:?}",
            base["object"]["metadata"]["name"], case[3], case[4]
        );
        wrong.entry(key).or_insert((0, shown)).0 += 1;
    }
    let count: usize = wrong.values().map(|w| w.0).sum();
    let report: Vec<String> = wrong
        .iter()
        .map(|(k, (n, first))| format!("{n} x {k}: {first}"))
        .collect();
    assert!(
        count == 0,
        "{right} of {total} agree, {count} do not:\n{}",
        report.join("\n")
    );
}

fn last_word(path: &Value) -> String {
    let mut words = path.as_array().unwrap().iter().filter_map(Value::as_str);
    words.next_back().unwrap_or_default().to_owned()
}
