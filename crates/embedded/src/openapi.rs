//! `/openapi/v2` and `/openapi/v3`.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::catalog::{Catalog, Resource, group_version};
use crate::service::Call;
use crate::status::Status;

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// Schemas that every custom kind's document refers to, taken from a built-in one.
const SHARED_PREFIX: &str = "io.k8s.apimachinery.pkg.";

pub(crate) fn answer(call: &Call, rest: &[&str]) -> Result<Option<Answer>, Status> {
    let answer = match rest {
        ["v2"] if !takes_json(call) && call.header("accept").contains("proto-openapi") => {
            Answer::bytes(200, V2_PROTOBUF, empty_v2())
        }
        ["v2"] => json_document(call, apischema::openapi::v2())?,
        ["v3"] => Answer::json(200, &index(call)?)?,
        ["v3", path @ ..] => {
            let path = path.join("/");
            let (mut answer, hash) = match apischema::openapi::v3(&path) {
                Some(document) => (json_document(call, document)?, hash_of(&path)),
                None => {
                    let Some(document) = custom_document(&call.server.custom(), &path) else {
                        return Ok(None);
                    };
                    let text = document.to_string();
                    let hash = digest(&text);
                    (Answer::bytes(200, "application/json", text), hash)
                }
            };
            if call.query.get("hash").is_some_and(|h| h == hash) {
                answer
                    .headers
                    .push((http::header::CACHE_CONTROL, "public, immutable".to_owned()));
            }
            answer.with_etag(&hash)
        }
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

fn takes_json(call: &Call) -> bool {
    let accept = call.header("accept");
    accept.is_empty()
        || accept.split(',').any(|c| {
            let media = c.split(';').next().unwrap_or_default().trim();
            matches!(media, "application/json" | "*/*" | "application/*")
        })
}

/// JSON is what there is; clients that insist on protobuf are told so.
fn json_document(call: &Call, document: &'static [u8]) -> Result<Answer, Status> {
    match takes_json(call) {
        true => Ok(Answer::bytes(200, "application/json", document)),
        false => Err(Status::not_acceptable(&["application/json"])),
    }
}

/// A document without paths. kubectl asks for the protobuf form only to see whether a kind that version 3 does not
/// know is known to version 2; none is.
fn empty_v2() -> Vec<u8> {
    let field = |number: u8, text: &[u8]| {
        let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
        [&[number << 3 | 2, length], text].concat()
    };
    let info = [field(1, b"Kubernetes"), field(2, b"v1.36.3")].concat();
    [field(1, b"2.0"), field(2, &info)].concat()
}

fn index(call: &Call) -> Result<Value, Status> {
    let mut paths = Map::new();
    let mut add = |path: &str, hash: &str| {
        paths.insert(
            path.to_owned(),
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
        );
    };
    for (path, hash) in apischema::openapi::v3_index() {
        add(path, hash);
    }
    let custom = call.server.custom();
    for (group, versions) in &custom.groups {
        for version in versions {
            let path = format!("apis/{}", group_version(group, version));
            if let Some(document) = custom_document(&custom, &path) {
                add(&path, &digest(&document.to_string()));
            }
        }
    }
    Ok(json!({"paths": paths}))
}

fn hash_of(path: &str) -> String {
    let found = apischema::openapi::v3_index().iter().find(|(p, _)| p == path);
    found.map(|(_, hash)| hash.clone()).unwrap_or_default()
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|b| format!("{b:02X}"))
        .collect()
}

/// The document of a group version that custom resources alone make up.
fn custom_document(custom: &Catalog, path: &str) -> Option<Value> {
    let (group, version) = path.strip_prefix("apis/")?.split_once('/')?;
    let mut schemas = shared_schemas();
    let mut paths = Map::new();
    for resource in custom.of_version(group, version) {
        let (crd, own) = resource.custom.as_ref()?.definition();
        let (name, schema) = apiextensions::openapi_v3_schema(crd, own?);
        schemas.insert(name.clone(), schema);
        paths.extend(paths_of(resource, &name));
    }
    if paths.is_empty() {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}

fn shared_schemas() -> Map<String, Value> {
    let document = apischema::openapi::v3("apis/coordination.k8s.io/v1").unwrap_or_default();
    let document: Value = serde_json::from_slice(document).unwrap_or_default();
    let all = document
        .pointer("/components/schemas")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    all.into_iter()
        .filter(|(name, _)| name.starts_with(SHARED_PREFIX))
        .collect()
}

fn paths_of(resource: &Resource, schema: &str) -> Vec<(String, Value)> {
    let base = format!("/apis/{}", resource.api_version());
    let collection = match resource.namespaced {
        true => format!("{base}/namespaces/{{namespace}}/{}", resource.plural),
        false => format!("{base}/{}", resource.plural),
    };
    let kind = json!({"group": resource.group, "kind": resource.kind, "version": resource.version});
    let operation = |action: &str, parameters: &[&str]| {
        let parameters: Vec<Value> = parameters
            .iter()
            .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}}))
            .collect();
        let content =
            json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
        json!({
            "parameters": parameters, "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind,
            "responses": {"200": {"description": "OK", "content": content}},
        })
    };
    let write = ["dryRun", "fieldManager", "fieldValidation"];
    let patch = ["dryRun", "fieldManager", "fieldValidation", "force"];
    let read = [
        "labelSelector",
        "fieldSelector",
        "limit",
        "continue",
        "resourceVersion",
    ];
    let delete = ["dryRun", "gracePeriodSeconds", "propagationPolicy"];
    vec![
        (
            format!("{collection}/{{name}}"),
            json!({
                "get": operation("get", &["resourceVersion"]), "put": operation("put", &write),
                "patch": operation("patch", &patch), "delete": operation("delete", &delete),
            }),
        ),
        (
            collection,
            json!({
                "get": operation("list", &read), "post": operation("post", &write),
                "delete": operation("deletecollection", &delete),
            }),
        ),
    ]
}
