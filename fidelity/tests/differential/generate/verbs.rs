//! The verbs every kind has.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::pods::image;
use super::{
    Body, JSON, METADATA, METADATA_LIST, NAMES, Operation, TABLE, Target, chance, pick, plain, query,
    with_body,
};
use crate::mutate::mutate;

pub(super) fn create(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let mut body = target.make(rng);
    match rng.random_range(0..10) {
        0 => spoil(rng, &mut body),
        1 | 2 if target.kind.validated => mutate(rng, target.kind.gvk, &mut body),
        _ => {}
    }
    // A change may have made anything of it.
    let has_metadata = body["metadata"].is_object();
    if chance(rng, 8) && has_metadata {
        body["metadata"]["finalizers"] = json!(["differential.example/hold"]);
    }
    if chance(rng, 6)
        && target.kind.namespaced
        && let Some(metadata) = body["metadata"].as_object_mut()
    {
        metadata.remove("name");
        // Lists sort by the random ends of names: no two begin alike.
        body["metadata"]["generateName"] = json!(format!("generated-{}-", rng.random_range(0..100_000)));
    }
    let query = query(
        rng,
        &[
            "dryRun=All",
            "fieldValidation=Strict",
            "fieldValidation=Ignore",
            "fieldManager=creator",
            "dryRun=Some",
            "fieldValidation=Maybe",
        ],
        30,
    );
    with_body(
        "POST",
        format!("{}{query}", target.collection),
        JSON,
        Body::Json(body),
    )
}

pub(super) fn get(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let subresource = match target.kind.subresources {
        [] => String::new(),
        all if chance(rng, 30) => format!("/{}", pick(rng, all)),
        _ => String::new(),
    };
    let mut operation = plain("GET", format!("{}{subresource}", target.object));
    operation.accept = pick(rng, &[JSON, JSON, JSON, TABLE, METADATA]);
    operation
}

pub(super) fn list(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    // All of a cluster-scoped kind would be other traces' objects too.
    if !target.kind.namespaced {
        return get(rng, target);
    }
    let query = query(
        rng,
        &[
            "labelSelector=tier%3Dgold",
            "labelSelector=tier+in+(gold,silver),!absent",
            "labelSelector=bad%3D%3D%3Dselector",
            "fieldSelector=metadata.name%3Da",
            "fieldSelector=metadata.name!%3Da",
            "fieldSelector=spec.nothing%3Dx",
            "limit=1",
            "limit=2",
            "limit=2&labelSelector=tier",
            "resourceVersion=0",
            "resourceVersionMatch=Exact",
            "resourceVersion={seen}&resourceVersionMatch=Exact",
            "resourceVersion={seen}&resourceVersionMatch=NotOlderThan",
            "resourceVersion={seen}&resourceVersionMatch=Sometimes",
            "resourceVersion=banana",
            "timeoutSeconds=5",
            "limit=1&continue=nonsense",
            "limit=-1",
            "limit=many",
        ],
        70,
    );
    let mut operation = plain("GET", format!("{}{query}", target.collection));
    operation.follow = query.contains("?limit=") && !query.contains("continue");
    operation.accept = pick(rng, &[JSON, JSON, JSON, TABLE, METADATA_LIST]);
    operation
}

pub(super) fn update(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let mut change = (target.kind.change)(rng);
    if chance(rng, 10) {
        spoil(rng, &mut change);
    }
    let query = query(
        rng,
        &["dryRun=All", "fieldManager=updater", "fieldValidation=Strict"],
        25,
    );
    let body = if chance(rng, 10) {
        Body::StaleModify(change)
    } else {
        Body::ReadModify(change)
    };
    let subresource = subresource(rng, target);
    with_body(
        "PUT",
        format!("{}{subresource}{query}", target.object),
        JSON,
        body,
    )
}

/// Any one field another.
pub(super) fn mutated(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    if !target.kind.validated {
        return update(rng, target);
    }
    let subresource = match target.kind.subresources {
        [] => String::new(),
        all if chance(rng, 25) => match pick(rng, all) {
            // Its body is of another kind.
            "scale" => String::new(),
            other => format!("/{other}"),
        },
        _ => String::new(),
    };
    let query = if chance(rng, 70) { "?dryRun=All" } else { "" };
    let body = Body::Mutated {
        seed: rng.random(),
        kind: target.kind.gvk,
    };
    with_body(
        "PUT",
        format!("{}{subresource}{query}", target.object),
        JSON,
        body,
    )
}

pub(super) fn merge_patch(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let mut change = (target.kind.change)(rng);
    if chance(rng, 10) {
        spoil(rng, &mut change);
    }
    let query = query(
        rng,
        &["dryRun=All", "fieldManager=merger", "fieldValidation=Strict"],
        25,
    );
    let subresource = subresource(rng, target);
    with_body(
        "PATCH",
        format!("{}{subresource}{query}", target.object),
        "application/merge-patch+json",
        Body::Json(change),
    )
}

pub(super) fn strategic_patch(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let containers = |inner: Value| match target.kind.plural {
        "pods" => json!({"spec": inner}),
        "cronjobs" => json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": inner}}}}}),
        _ => json!({"spec": {"template": {"spec": inner}}}),
    };
    let body = match rng.random_range(0..8) {
        0 => containers(json!({"containers": [{"name": "main", "image": image(rng)}]})),
        1 => json!({"spec": {"containers": [{"name": "main", "image": image(rng)}]}}),
        2 => containers(json!({"containers": [{"name": "side", "$patch": "delete"}]})),
        3 => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
        4 => containers(json!({"containers": [{"name": "extra", "image": "x"}],
            "$setElementOrder/containers": [{"name": "extra"}, {"name": "main"}]})),
        5 => json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["differential.example/hold"]}}),
        6 => containers(json!({"volumes": [{"$patch": "replace"}, {"name": "only", "emptyDir": {}}]})),
        _ => (target.kind.change)(rng),
    };
    with_body(
        "PATCH",
        target.object.clone(),
        "application/strategic-merge-patch+json",
        Body::Json(body),
    )
}

pub(super) fn json_patch(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let operations = [
        json!({"op": "add", "path": "/metadata/labels", "value": {"tier": "gold"}}),
        json!({"op": "add", "path": "/metadata/annotations/note", "value": "x"}),
        json!({"op": "replace", "path": "/metadata/labels/tier", "value": "silver"}),
        json!({"op": "remove", "path": "/metadata/labels/tier"}),
        json!({"op": "test", "path": "/metadata/name", "value": pick(rng, &NAMES)}),
        json!({"op": "copy", "from": "/metadata/name", "path": "/metadata/labels/name"}),
        json!({"op": "replace", "path": "/spec/containers/0/image", "value": image(rng)}),
        json!({"op": "remove", "path": "/nowhere/at/all"}),
        json!({"op": "launch", "path": "/metadata"}),
        json!({"op": "remove", "path": "/metadata/finalizers"}),
    ];
    let count = rng.random_range(1..3);
    let body: Vec<Value> = (0..count).map(|_| pick(rng, &operations)).collect();
    with_body(
        "PATCH",
        target.object.clone(),
        "application/json-patch+json",
        Body::Json(Value::Array(body)),
    )
}

pub(super) fn apply(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let mut body = target.make(rng);
    if chance(rng, 30)
        && let Some(labels) = body["metadata"].as_object_mut()
    {
        // Fewer fields than last time: what this manager alone owned goes.
        labels.remove("labels");
    }
    if chance(rng, 10)
        && target.kind.validated
        && let Some(object) = body.as_object_mut()
    {
        object.retain(|key, _| matches!(key.as_str(), "apiVersion" | "kind" | "metadata"));
    }
    let subresource = subresource(rng, target);
    if !subresource.is_empty()
        && let (Some(object), Some(change)) = (body.as_object_mut(), status_change(rng, target))
    {
        object.remove("spec");
        object.insert("status".to_owned(), change);
    }
    let manager = pick(rng, &["one", "two", "three"]);
    let force = if chance(rng, 40) { "&force=true" } else { "" };
    let more = if chance(rng, 15) {
        pick(
            rng,
            &[
                "&dryRun=All",
                "&fieldValidation=Strict",
                "&fieldValidation=Ignore",
            ],
        )
    } else {
        ""
    };
    with_body(
        "PATCH",
        format!(
            "{}{subresource}?fieldManager={manager}{force}{more}",
            target.object
        ),
        "application/apply-patch+yaml",
        Body::Json(body),
    )
}

fn status_change(rng: &mut StdRng, target: &Target<'_>) -> Option<Value> {
    (0..20)
        .map(|_| (target.kind.change)(rng))
        .find_map(|change| change.get("status").cloned())
}

pub(super) fn delete(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let body = match rng.random_range(0..7) {
        0 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}),
        1 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}),
        2 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "not-this"}}),
        3 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
        4 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Sideways"}),
        5 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}}),
        _ => json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}),
    };
    if chance(rng, 40) {
        let query = query(
            rng,
            &[
                "propagationPolicy=Background",
                "dryRun=All",
                "gracePeriodSeconds=0",
            ],
            30,
        );
        return plain("DELETE", format!("{}{query}", target.object));
    }
    with_body("DELETE", target.object.clone(), JSON, Body::Json(body))
}

pub(super) fn delete_collection(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    if !target.kind.namespaced {
        return delete(rng, target);
    }
    let query = query(
        rng,
        &[
            "labelSelector=tier%3Dgold",
            "dryRun=All",
            "gracePeriodSeconds=0",
            "fieldSelector=metadata.name%3Db",
        ],
        80,
    );
    plain("DELETE", format!("{}{query}", target.collection))
}

/// What clients do by mistake.
pub(super) fn odd(rng: &mut StdRng, target: &Target<'_>) -> Operation {
    let Target {
        kind,
        collection,
        object,
        ..
    } = target;
    let post = |body| with_body("POST", collection.clone(), JSON, body);
    match rng.random_range(0..12) {
        0 => plain("GET", format!("{object}/nothing")),
        1 => plain("POST", object.clone()),
        2 => plain("GET", collection.replace(kind.plural, "nonsenses")),
        3 => post(Body::Json(json!([1, 2]))),
        4 => with_body(
            "POST",
            collection.clone(),
            "text/plain",
            Body::Json(target.make(rng)),
        ),
        5 => {
            let mut body = target.make(rng);
            body["kind"] = json!("Other");
            post(Body::Json(body))
        }
        6 if target.kind.validated => post(Body::Text(pick(
            rng,
            &["{", "", "null", "\"text\"", "{\"kind\": 5}"],
        ))),
        7 => with_body(
            "PATCH",
            object.clone(),
            pick(
                rng,
                &[
                    JSON,
                    "application/merge-patch+json",
                    "application/apply-patch+yaml",
                ],
            ),
            Body::Text(pick(rng, &["{", "[]", "", "metadata: {"])),
        ),
        8 => plain("PUT", collection.clone()),
        9 => with_body(
            "POST",
            collection.clone(),
            "application/yaml",
            Body::Json(target.make(rng)),
        ),
        10 => {
            let mut operation = plain("GET", object.clone());
            operation.accept = pick(
                rng,
                &[
                    "text/html",
                    "application/json;as=Nothing;v=v1;g=meta.k8s.io",
                    "*/*",
                ],
            );
            operation
        }
        _ => {
            let mut body = target.make(rng);
            body["metadata"]["namespace"] = json!("elsewhere");
            post(Body::Json(body))
        }
    }
}

fn subresource(rng: &mut StdRng, target: &Target<'_>) -> String {
    match target.kind.subresources.first() {
        // Only status takes the same body as the object.
        Some(&"status") if chance(rng, 25) => "/status".to_owned(),
        _ => String::new(),
    }
}

/// Something no server accepts, or prunes.
fn spoil(rng: &mut StdRng, body: &mut Value) {
    match rng.random_range(0..9) {
        0 => body["metadata"]["labels"] = json!({"bad key!": "x"}),
        1 => body["metadata"]["name"] = json!("Not_A_Name"),
        2 if body["spec"].is_object() => body["spec"]["unknownField"] = json!(1),
        3 => body["metadata"]["labels"] = json!({"tier": 5}),
        4 => body["spec"] = json!("text"),
        5 => body["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "x"}]),
        6 => {
            body["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "controller": true},
                       {"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": "w", "controller": true}]);
        }
        7 => body["metadata"]["finalizers"] = json!(["unqualified", "a/b/c"]),
        _ => body["metadata"]["annotations"] = json!({"": "empty"}),
    }
}
