//! `/api` and `/apis`: what is served, in the legacy form and aggregated.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::answer::Answer;
use crate::catalog::{self, Catalog, Resource, Subresource, group_version};
use crate::service::Call;
use crate::status::Status;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

pub(crate) fn answer(call: &Call) -> Result<Option<Answer>, Status> {
    let parts: Vec<&str> = call.path.split('/').filter(|p| !p.is_empty()).collect();
    let custom = call.server.custom();
    let answer = match parts.as_slice() {
        [] => Answer::json(200, &paths(&custom))?,
        ["api"] if wants_aggregated(call) => aggregated(call, &custom, true)?,
        ["apis"] if wants_aggregated(call) => aggregated(call, &custom, false)?,
        ["api"] => Answer::json(
            200,
            &json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
                {"clientCIDR": "0.0.0.0/0", "serverAddress": call.header("host")}]}),
        )?,
        ["apis"] => {
            let groups: Vec<Value> = groups(&custom).iter().map(|(g, v)| group(g, v)).collect();
            Answer::json(
                200,
                &json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}),
            )?
        }
        ["apis", name] => {
            let found = groups(&custom).into_iter().find(|(g, _)| g == name);
            let Some((name, versions)) = found else {
                return Ok(None);
            };
            let mut out = group(&name, &versions);
            out["kind"] = "APIGroup".into();
            out["apiVersion"] = "v1".into();
            Answer::json(200, &out)?
        }
        ["api", version] => return resources(call, &custom, "", version),
        ["apis", name, version] => return resources(call, &custom, name, version),
        ["openapi", rest @ ..] => return crate::openapi::answer(call, rest),
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

fn wants_aggregated(call: &Call) -> bool {
    call.header("accept").split(',').any(|clause| {
        let clause = clause.replace(' ', "");
        clause.contains("g=apidiscovery.k8s.io") && clause.contains("v=v2;") || clause.ends_with("v=v2")
    })
}

/// Groups but the core one, with their versions; those of custom kinds last, in the order of their APIServices' names.
fn groups(custom: &Catalog) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let mut added: Vec<&(String, Vec<String>)> = custom.groups.iter().collect();
    added.sort_by_key(|(name, versions)| versions.iter().map(|v| format!("{v}.{name}")).min());
    for (name, versions) in catalog::builtin().groups.iter().chain(added) {
        if name.is_empty() {
            continue;
        }
        match out.iter_mut().find(|(n, _)| n == name) {
            Some((_, known)) => known.extend(
                versions
                    .iter()
                    .filter(|v| !known.contains(v))
                    .cloned()
                    .collect::<Vec<_>>(),
            ),
            None => out.push((name.clone(), versions.clone())),
        }
    }
    out
}

fn group(name: &str, versions: &[String]) -> Value {
    let all: Vec<Value> = versions
        .iter()
        .map(|v| json!({"groupVersion": group_version(name, v), "version": v}))
        .collect();
    json!({"name": name, "preferredVersion": all.first(), "versions": all})
}

fn paths(custom: &Catalog) -> Value {
    let mut out = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (name, versions) in groups(custom) {
        out.push(format!("/apis/{name}"));
        out.extend(versions.iter().map(|v| format!("/apis/{name}/{v}")));
    }
    for path in [
        "/healthz",
        "/livez",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        out.push(path.to_owned());
    }
    out.sort();
    json!({"paths": out})
}

fn of_version<'a>(custom: &'a Catalog, group: &'a str, version: &'a str) -> Vec<&'a Resource> {
    let all = catalog::builtin()
        .of_version(group, version)
        .chain(custom.of_version(group, version));
    all.map(AsRef::as_ref).collect()
}

fn resources(call: &Call, custom: &Catalog, group: &str, version: &str) -> Result<Option<Answer>, Status> {
    if !call.server.serves(group, version) {
        return Ok(None);
    }
    let mut list = Vec::new();
    for resource in of_version(custom, group, version) {
        list.push(legacy(resource));
        list.extend(resource.subresources.iter().map(|s| legacy_sub(resource, s)));
    }
    let mut out = json!({
        "kind": "APIResourceList", "groupVersion": group_version(group, version), "resources": list,
    });
    if !group.is_empty() {
        out["apiVersion"] = "v1".into();
    }
    Answer::json(200, &out).map(Some)
}

fn legacy(resource: &Resource) -> Value {
    let mut out = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    if let Some(hash) = &resource.storage_version_hash {
        out["storageVersionHash"] = hash.clone().into();
    }
    out
}

fn legacy_sub(resource: &Resource, sub: &Subresource) -> Value {
    let mut out = json!({
        "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
        "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
    });
    if sub.group != resource.group || sub.version != resource.version {
        out["group"] = sub.group.clone().into();
        out["version"] = sub.version.clone().into();
    }
    out
}

fn aggregated(call: &Call, custom: &Catalog, core: bool) -> Result<Answer, Status> {
    let listed = match core {
        true => vec![(String::new(), vec!["v1".to_owned()])],
        false => groups(custom),
    };
    let items: Vec<Value> = listed
        .iter()
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = of_version(custom, group, version)
                        .into_iter()
                        .map(discovered)
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let document = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let mut out = Answer::json(200, &document)?;
    let etag = format!("{:X}", Sha256::digest(document.to_string().as_bytes()));
    if call.header("if-none-match").trim_matches('"') == etag {
        out = Answer::bytes(304, AGGREGATED, Vec::new());
    }
    out.content_type = AGGREGATED;
    Ok(out.with_etag(&etag))
}

fn discovered(resource: &Resource) -> Value {
    let own = |group: &str, version: &str, kind: &str| {
        let same = group == resource.group && version == resource.version;
        match same && resource.custom.is_none() {
            true => json!({"group": "", "version": "", "kind": kind}),
            false => json!({"group": group, "version": version, "kind": kind}),
        }
    };
    let mut out = json!({
        "resource": resource.plural,
        "responseKind": own(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        out["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        out["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subs: Vec<Value> = resource
            .subresources
            .iter()
            .map(|s| json!({
                "subresource": s.name, "responseKind": own(&s.group, &s.version, &s.kind), "verbs": s.verbs,
            }))
            .collect();
        out["subresources"] = Value::Array(subs);
    }
    out
}
