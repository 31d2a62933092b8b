//! The entries of Kruise's two webhook configurations that concern pods and SidecarSets.
//!
//! Kruise's manager rebuilds its configurations, about every minute and after every change, from a copy it keeps in
//! their annotation `template`: what is to stay away must be gone from there too, and what is in there comes back.
use super::super::sidecarset::webhooks::{MUTATE_PATH, POD_PATH, VALIDATE_PATH};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub const MUTATING: &str = "kruise-mutating-webhook-configuration";
pub const VALIDATING: &str = "kruise-validating-webhook-configuration";
const TEMPLATE: &str = "template";
/// Kruise's webhook for deletes and evictions of pods; it goes with the one for creation (see `manager`).
const VALIDATE_POD_PATH: &str = "/validate-pod";
const TAKEN: [&str; 4] = [POD_PATH, VALIDATE_POD_PATH, MUTATE_PATH, VALIDATE_PATH];

/// The entries as they were, without authorities (those change).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntriesBefore {
    pub template: Option<String>,
    pub webhooks: Vec<Value>,
    /// Names of all entries in their order.
    pub order: Vec<String>,
}

/// Whether Kruise is asked about SidecarSets or their pods.
pub fn serves_sidecarsets(configuration: &Value) -> bool {
    list(&configuration["webhooks"])
        .iter()
        .any(|e| [POD_PATH, MUTATE_PATH].contains(&path(e)))
}

/// Whether an entry that is to be taken is there, or would come back.
pub fn are_there(configuration: &Value) -> bool {
    let template = template(configuration).unwrap_or_default();
    list(&configuration["webhooks"])
        .iter()
        .chain(&template)
        .any(is_taken)
}

/// The configuration without them.
pub fn without(configuration: &Value) -> Value {
    let mut out = configuration.clone();
    out["webhooks"] = kept(&configuration["webhooks"]);
    if let Some(text) = template_text(configuration)
        && let Ok(all) = serde_json::from_str::<Value>(text)
    {
        out["metadata"]["annotations"][TEMPLATE] = json!(kept(&all).to_string());
    }
    out
}

pub fn before(configuration: &Value) -> EntriesBefore {
    let all = list(&configuration["webhooks"]);
    EntriesBefore {
        template: template_text(configuration).map(str::to_owned),
        webhooks: all
            .iter()
            .filter(|e| is_taken(e))
            .cloned()
            .map(without_authorities)
            .collect(),
        order: all.iter().map(|e| name(e).to_owned()).collect(),
    }
}

/// The configuration with what it had before; all else as it is now. Where the manager keeps a copy, only the copy:
/// the manager lists its entries itself, with the address and the authority it serves with today.
pub fn returned(configuration: &Value, before: &EntriesBefore) -> Value {
    let mut out = configuration.clone();
    match returned_template(configuration, before) {
        Some(text) => out["metadata"]["annotations"][TEMPLATE] = json!(text),
        None => out["webhooks"] = returned_webhooks(configuration, before),
    }
    out
}

pub fn are_returned(configuration: &Value, before: &EntriesBefore) -> bool {
    match (&before.template, template(configuration)) {
        (None, _) => are_listed(configuration, before),
        (Some(_), now) => now.is_some_and(|now| before.webhooks.iter().all(|e| is_in(&now, e))),
    }
}

/// Whether the API server finds them.
pub fn are_listed(configuration: &Value, before: &EntriesBefore) -> bool {
    let now = list(&configuration["webhooks"]);
    before.webhooks.iter().all(|e| is_in(now, e))
}

fn is_in(all: &[Value], entry: &Value) -> bool {
    all.iter().any(|e| name(e) == name(entry))
}

fn returned_webhooks(configuration: &Value, before: &EntriesBefore) -> Value {
    let mut webhooks = list(&configuration["webhooks"]).to_vec();
    // One manager, one certificate: its other entries name the authority of today.
    let authority = webhooks
        .iter()
        .find_map(|e| e["clientConfig"]["caBundle"].as_str().map(str::to_owned));
    for entry in &before.webhooks {
        if !is_in(&webhooks, entry) {
            let mut entry = entry.clone();
            if let Some(authority) = &authority {
                entry["clientConfig"]["caBundle"] = json!(authority);
            }
            webhooks.push(entry);
        }
    }
    sort(&mut webhooks, &before.order);
    Value::Array(webhooks)
}

/// The very text where nothing else changed, so that nobody sees a difference.
fn returned_template(configuration: &Value, before: &EntriesBefore) -> Option<String> {
    let whole = before.template.as_ref()?;
    let all: Value = serde_json::from_str(whole).ok()?;
    let mut now = template(configuration).unwrap_or_default();
    if Value::Array(now.clone()) == kept(&all) {
        return Some(whole.clone());
    }
    for entry in list(&all).iter().filter(|e| is_taken(e)) {
        if !now.iter().any(|e| name(e) == name(entry)) {
            now.push(entry.clone());
        }
    }
    sort(&mut now, &before.order);
    Some(Value::Array(now).to_string())
}

fn template_text(configuration: &Value) -> Option<&str> {
    configuration["metadata"]["annotations"][TEMPLATE]
        .as_str()
        .filter(|t| !t.is_empty())
}

fn template(configuration: &Value) -> Option<Vec<Value>> {
    serde_json::from_str(template_text(configuration)?).ok()
}

fn kept(all: &Value) -> Value {
    list(all).iter().filter(|e| !is_taken(e)).cloned().collect()
}

/// As they stood; entries nobody knew then go last.
fn sort(entries: &mut [Value], order: &[String]) {
    entries.sort_by_key(|e| order.iter().position(|n| n == name(e)).unwrap_or(usize::MAX));
}

fn is_taken(entry: &Value) -> bool {
    TAKEN.contains(&path(entry))
}

fn without_authorities(mut entry: Value) -> Value {
    if let Some(client) = entry["clientConfig"].as_object_mut() {
        client.remove("caBundle");
    }
    entry
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn name(entry: &Value) -> &str {
    entry["name"].as_str().unwrap_or_default()
}

/// Of a Service, or of a URL.
fn path(entry: &Value) -> &str {
    let client = &entry["clientConfig"];
    client["service"]["path"].as_str().unwrap_or_else(|| {
        let url = client["url"].as_str().unwrap_or_default();
        let host = url.split_once("://").map_or(url, |(_, rest)| rest);
        let path = host.find('/').map_or("", |at| &host[at..]);
        path.split('?').next().unwrap_or_default()
    })
}
