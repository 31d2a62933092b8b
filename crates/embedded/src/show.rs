//! From stored objects to answers: the served version, and the form the client asked for.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::catalog::Resource;
use crate::negotiate::{self, Form};
use crate::pipeline;
use crate::printing;
use crate::server::ApiServer;
use crate::service::Call;
use crate::status::Status;
use crate::store::Stored;
use crate::table;

/// What a write or a read has to show.
pub enum Shown {
    Stored(Arc<Stored>),
    /// Not stored as it is: dry runs, deleted objects, other versions.
    Value(Value),
}

impl Shown {
    /// The object in the served version.
    pub async fn into_value(self, server: &ApiServer, resource: &Resource) -> Result<Value, Status> {
        match self {
            Self::Stored(stored) => served_value(server, resource, &stored).await,
            Self::Value(value) => Ok(value),
        }
    }
}

/// `{"apiVersion":"v1","kind":"Pod",`: what goes before a stored body's first field.
pub fn head(resource: &Resource) -> String {
    format!(
        r#"{{"apiVersion":{:?},"kind":{:?},"#,
        resource.api_version(),
        resource.kind
    )
}

/// The stored object in the version it is served in.
pub async fn served_value(server: &ApiServer, resource: &Resource, stored: &Stored) -> Result<Value, Status> {
    let mut values = pipeline::from_storage(server, resource, vec![stored.value(resource)]).await?;
    values
        .pop()
        .ok_or_else(|| Status::internal("a conversion lost its object"))
}

async fn served_values(
    server: &ApiServer,
    resource: &Resource,
    items: &[Arc<Stored>],
) -> Result<Vec<Value>, Status> {
    let stored = items.iter().map(|item| item.value(resource)).collect();
    pipeline::from_storage(server, resource, stored).await
}

/// Answers with one object.
pub async fn object(call: &Call, resource: &Resource, code: u16, shown: Shown) -> Result<Answer, Status> {
    let form = negotiate::form(call.header("accept"))?;
    if let (Form::Json, Shown::Stored(stored), false) = (form, &shown, !resource.is_served_as_stored()) {
        let mut out = BytesMut::with_capacity(stored.body.len() + 64);
        out.put_slice(head(resource).as_bytes());
        out.put_slice(stored.body.get(1..).unwrap_or_default());
        out.put_u8(b'\n');
        return Ok(Answer::bytes(code, "application/json", out.freeze()));
    }
    let value = shown.into_value(&call.server, resource).await?;
    value_as(call, Some(resource), code, &value, form)
}

/// Answers with a value that may be of another kind than the resource's (Scale, Status, reviews).
pub fn value_as(
    call: &Call,
    resource: Option<&Resource>,
    code: u16,
    value: &Value,
    form: Form,
) -> Result<Answer, Status> {
    match form {
        Form::Json => Answer::json(code, value),
        Form::Yaml => yaml(code, value),
        Form::Metadata => Answer::json(code, &partial(value)),
        Form::Table => match resource {
            Some(resource) => {
                let rows = std::slice::from_ref(value);
                let mut out = printing::of(&call.server, resource, rows, include_object(call)?, true);
                out["metadata"] = json!({"resourceVersion": value.pointer("/metadata/resourceVersion")});
                Answer::json(code, &out)
            }
            None => Answer::json(code, value),
        },
    }
}

/// The metadata of a list.
#[derive(Debug, Default)]
pub struct ListMeta {
    pub revision: u64,
    pub continue_token: Option<String>,
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn to_value(&self, resource: &Resource) -> Value {
        let mut out = self.of_built_in();
        if resource.custom.is_some() && self.continue_token.is_none() {
            // Go's unstructured lists write it always.
            out["continue"] = "".into();
        }
        out
    }

    /// As lists of Go types write it.
    fn of_built_in(&self) -> Value {
        let mut out = json!({"resourceVersion": self.revision.to_string()});
        if let Some(token) = &self.continue_token {
            out["continue"] = token.clone().into();
        }
        if let Some(remaining) = self.remaining {
            out["remainingItemCount"] = remaining.into();
        }
        out
    }
}

/// Answers with a list.
pub async fn list(
    call: &Call,
    resource: &Resource,
    items: &[Arc<Stored>],
    meta: &ListMeta,
) -> Result<Answer, Status> {
    match negotiate::form(call.header("accept"))? {
        Form::Json if !resource.is_served_as_stored() => {
            let mut values = served_values(&call.server, resource, items).await?;
            if resource.custom.is_none() {
                for map in values.iter_mut().filter_map(Value::as_object_mut) {
                    map.remove("apiVersion");
                    map.remove("kind");
                }
            }
            let whole = json!({
                "kind": resource.list_kind(), "apiVersion": resource.api_version(),
                "metadata": meta.to_value(resource), "items": values,
            });
            Answer::json(200, &whole)
        }
        Form::Json => json_list(resource, items, meta),
        Form::Yaml => {
            let values = served_values(&call.server, resource, items).await?;
            let kind = resource.list_kind();
            let whole = json!({
                "kind": kind, "apiVersion": resource.api_version(), "metadata": meta.to_value(resource), "items": values,
            });
            yaml(200, &whole)
        }
        Form::Metadata => {
            let values = served_values(&call.server, resource, items).await?;
            let partials: Vec<Value> = values.iter().map(partial).collect();
            let mut whole = json!({
                "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                "metadata": meta.of_built_in(), "items": partials,
            });
            if items.is_empty() {
                whole["items"] = Value::Null;
            }
            Answer::json(200, &whole)
        }
        Form::Table => {
            let values = served_values(&call.server, resource, items).await?;
            let mut out = printing::of(&call.server, resource, &values, include_object(call)?, true);
            out["metadata"] = meta.of_built_in();
            if values.is_empty()
                && resource.custom.is_none()
                && !table::is_known(&resource.api_version(), &resource.plural)
            {
                out["rows"] = Value::Null;
            }
            Answer::json(200, &out)
        }
    }
}

/// Encodes a list by copying the stored bytes: items of built-in kinds carry no `apiVersion` and `kind`.
fn json_list(resource: &Resource, items: &[Arc<Stored>], meta: &ListMeta) -> Result<Answer, Status> {
    let size: usize = items.iter().map(|o| o.body.len() + 1).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    let meta = serde_json::to_string(&meta.to_value(resource)).map_err(Status::internal)?;
    let start = format!(
        r#"{{"kind":{:?},"apiVersion":{:?},"metadata":{meta},"items":["#,
        resource.list_kind(),
        resource.api_version()
    );
    out.put_slice(start.as_bytes());
    let head = head(resource);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        if resource.custom.is_some() {
            out.put_slice(head.as_bytes());
            out.put_slice(item.body.get(1..).unwrap_or_default());
        } else {
            out.put_slice(&item.body);
        }
    }
    out.put_slice(b"]}\n");
    Ok(Answer::bytes(200, "application/json", out.freeze()))
}

/// `PartialObjectMetadata` of an object.
pub fn partial(value: &Value) -> Value {
    let mut metadata = value.get("metadata").cloned().unwrap_or_else(|| json!({}));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        let before = annotations.len();
        annotations.retain(|key, _| !is_kept_in_fields(key, value));
        if annotations.is_empty()
            && before > 0
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("annotations");
        }
    }
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

/// Annotations that stand for fields of other versions: inside a real server they are those fields, and so its metadata
/// alone does not have them.
fn is_kept_in_fields(annotation: &str, object: &Value) -> bool {
    const OF_AUTOSCALERS: [&str; 4] = ["metrics", "current-metrics", "conditions", "behavior"];
    match annotation.strip_prefix("autoscaling.alpha.kubernetes.io/") {
        Some(name) => object["apiVersion"] == "autoscaling/v1" && OF_AUTOSCALERS.contains(&name),
        None => annotation == "deprecated.daemonset.template.generation",
    }
}

/// `includeObject` of table requests: `None`, `Metadata` (the default) or `Object`.
pub fn include_object(call: &Call) -> Result<&str, Status> {
    match call.query.get("includeObject").unwrap_or_default() {
        text @ ("None" | "Object" | "Metadata") => Ok(text),
        "" => Ok("Metadata"),
        other => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

fn yaml(code: u16, value: &Value) -> Result<Answer, Status> {
    let text = serde_yaml_ng::to_string(value).map_err(Status::internal)?;
    Ok(Answer::bytes(code, "application/yaml", Bytes::from(text)))
}
