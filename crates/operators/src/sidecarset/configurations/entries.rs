//! Entries of a webhook configuration: what they stand for, and whether they are as we want them.
use super::announcing;
use crate::Options;
use crate::options::Webhook;
use crate::sidecarset::views::Stored;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use workload::sidecarset::webhooks;

pub(super) fn entries_of(configuration: &Stored) -> impl Iterator<Item = &Value> {
    configuration.body["webhooks"].as_array().into_iter().flatten()
}

/// Of the SidecarSets that these entries stand for.
pub(super) fn ids<'a>(entries: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    let paths = entries.filter_map(announcing::path);
    let of = |path: String| -> Vec<String> {
        webhooks::ids(&path)
            .into_iter()
            .flatten()
            .map(str::to_owned)
            .collect()
    };
    paths.flat_map(of).collect()
}

/// Whether the entries there are say all we want, and no more; the API server adds defaults.
pub(super) fn same(wanted: &[Value], found: &Value) -> bool {
    let Some(found) = found.as_array() else {
        return wanted.is_empty();
    };
    wanted.len() == found.len()
        && wanted
            .iter()
            .all(|w| found.iter().any(|f| f["name"] == w["name"] && holds(w, f)))
        && found.iter().all(|f| {
            let wanted = wanted.iter().find(|w| w["name"] == f["name"]);
            // Fields we stopped setting must go.
            wanted.is_some_and(|w| w.get("matchConditions").is_some() == f.get("matchConditions").is_some())
        })
}

fn holds(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(w), Value::Object(f)) => {
            w.iter()
                .all(|(k, v)| f.get(k).is_some_and(|f| holds(v, f)) || v.is_null())
                && (!is_selector(w, f) || w.len() == f.len())
        }
        (Value::Array(w), Value::Array(f)) => w.len() == f.len() && w.iter().zip(f).all(|(w, f)| holds(w, f)),
        (w, f) => w == f,
    }
}

/// Nothing is defaulted in a selector or a client configuration: more than we want is different.
fn is_selector(w: &serde_json::Map<String, Value>, f: &serde_json::Map<String, Value>) -> bool {
    let marks = ["matchLabels", "matchExpressions", "caBundle"];
    marks.iter().any(|k| w.contains_key(*k) || f.contains_key(*k))
}

/// How the API server reaches a path of ours.
pub(super) fn client_config(options: &Options, bundle: &str, path: &str) -> Value {
    let mut config = match &options.webhook {
        Webhook::Url(url) => json!({"url": format!("{}{path}", url.trim_end_matches('/'))}),
        Webhook::Service { name, port } => json!({"service":
            {"namespace": options.namespace, "name": name, "path": path, "port": port}}),
    };
    if !bundle.is_empty() {
        use base64::Engine as _;
        config["caBundle"] = json!(base64::engine::general_purpose::STANDARD.encode(bundle));
    }
    config
}
