//! Revisions and the whitelist, which each of the two keeps in a namespace of its own.
use model::sidecarset::keys;
use serde_json::{Value, json};

/// What one of the two keeps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Kept {
    /// ControllerRevisions of SidecarSets.
    pub revisions: Vec<Value>,
    /// ConfigMap `kruise-configuration`'s entry about pod annotations.
    pub whitelist: Option<String>,
}

/// One write into the namespace of the other.
#[derive(Debug, Clone, PartialEq)]
pub enum Copy {
    Create(Value),
    /// A merge patch, bound to the resourceVersion in it.
    Patch(String, Value),
    Whitelist(String),
}

/// What must be written so that `to` has all that `from` has, under the same names.
pub fn copies(from: &Kept, to: &Kept, namespace: &str) -> Vec<Copy> {
    let mut out = Vec::new();
    for revision in &from.revisions {
        let name = &revision["metadata"]["name"];
        match to.revisions.iter().find(|r| r["metadata"]["name"] == *name) {
            None => out.push(Copy::Create(copy(revision, namespace))),
            Some(there) if place(there) != place(revision) => {
                let patch = json!({"revision": revision["revision"], "metadata": {
                    "resourceVersion": there["metadata"]["resourceVersion"],
                    "labels": revision["metadata"]["labels"]}});
                out.push(Copy::Patch(name.as_str().unwrap_or_default().to_owned(), patch));
            }
            Some(_) => {}
        }
    }
    if let Some(text) = &from.whitelist
        && to.whitelist.as_ref() != Some(text)
    {
        out.push(Copy::Whitelist(text.clone()));
    }
    out
}

/// Of equal names the content is equal; its number and its labels move.
fn place(revision: &Value) -> (i64, &Value) {
    (
        revision["revision"].as_i64().unwrap_or(0),
        &revision["metadata"]["labels"][keys::CUSTOM_VERSION],
    )
}

fn copy(revision: &Value, namespace: &str) -> Value {
    let from = &revision["metadata"];
    let mut metadata = json!({"name": from["name"], "namespace": namespace});
    for field in ["labels", "annotations", "ownerReferences"] {
        if !from[field].is_null() {
            metadata[field] = from[field].clone();
        }
    }
    json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "data": revision["data"],
        "revision": revision["revision"]})
}
