//! Subresources with bodies of their own, definitions, reviews and discovery.

use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::{Body, JSON, NAMES, Operation, chance, pick, plain, with_body};

pub(super) fn subresource(rng: &mut StdRng) -> Operation {
    let name = pick(rng, &NAMES);
    match rng.random_range(0..10) {
        0..=3 => scale(rng, name),
        4 => {
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name},
                "deleteOptions": pick(rng, &[json!({}), json!({"dryRun": ["All"]}), json!({"gracePeriodSeconds": 3})])});
            with_body("POST", format!("{PODS}/{name}/eviction"), JSON, Body::Json(body))
        }
        5 | 6 => {
            let target = pick(
                rng,
                &[
                    json!({"kind": "Node", "name": "n1"}),
                    json!({"kind": "Pod", "name": "x"}),
                    json!({"name": ""}),
                ],
            );
            let body =
                json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target});
            with_body("POST", format!("{PODS}/{name}/binding"), JSON, Body::Json(body))
        }
        7 => {
            let container = pick(
                rng,
                &[
                    json!({"name": "debug", "image": "busybox"}),
                    json!({"name": "main", "image": "busybox"}),
                    json!({"name": "debug", "image": "busybox", "ports": [{"containerPort": 1}]}),
                    json!({"name": "other", "image": "busybox", "targetContainerName": "main"}),
                ],
            );
            let change = json!({"spec": {"ephemeralContainers": [container]}});
            let strategic = chance(rng, 50);
            match strategic {
                true => with_body(
                    "PATCH",
                    format!("{PODS}/{name}/ephemeralcontainers"),
                    "application/strategic-merge-patch+json",
                    Body::Json(change),
                ),
                false => with_body(
                    "PUT",
                    format!("{PODS}/{name}/ephemeralcontainers"),
                    JSON,
                    Body::ReadModify(change),
                ),
            }
        }
        8 => {
            let resources = pick(
                rng,
                &[
                    json!({"requests": {"cpu": "200m"}}),
                    json!({"requests": {"cpu": "200m", "memory": "64Mi"}, "limits": {"cpu": "300m"}}),
                    json!({"limits": {"memory": "1Mi"}}),
                    json!({"requests": {"example.com/gpu": "1"}}),
                ],
            );
            let change = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}});
            with_body(
                "PATCH",
                format!("{PODS}/{name}/resize"),
                "application/strategic-merge-patch+json",
                Body::Json(change),
            )
        }
        _ => {
            let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                "spec": {"expirationSeconds": pick(rng, &[5, 99]), "audiences": ["x"]}});
            let path = "/api/v1/namespaces/{ns}/serviceaccounts/default/token";
            with_body("POST", path.to_owned(), JSON, Body::Json(body))
        }
    }
}

const PODS: &str = "/api/v1/namespaces/{ns}/pods";

fn scale(rng: &mut StdRng, name: &str) -> Operation {
    let collection = pick(
        rng,
        &[
            "/apis/apps/v1/namespaces/{ns}/deployments",
            "/apis/apps/v1/namespaces/{ns}/replicasets",
            "/apis/apps/v1/namespaces/{ns}/statefulsets",
            "/apis/differential.example/v1/namespaces/{ns}/gadgets",
        ],
    );
    let path = format!("{collection}/{name}/scale");
    let replicas = pick(rng, &[json!(0), json!(3), json!(-2), json!("many")]);
    let change = json!({"spec": {"replicas": replicas}});
    match rng.random_range(0..6) {
        0 => plain("GET", path),
        1 => with_body("PUT", path, JSON, Body::ReadModify(change)),
        2 => with_body("PUT", path, JSON, Body::StaleModify(change)),
        3 => with_body(
            "PATCH",
            path,
            "application/json-patch+json",
            Body::Json(json!([{"op": "replace", "path": "/spec/replicas", "value": replicas}])),
        ),
        4 => {
            let body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name}, "spec": {"replicas": replicas}});
            let force = if chance(rng, 60) { "&force=true" } else { "" };
            with_body(
                "PATCH",
                format!("{path}?fieldManager=scaler{force}"),
                "application/apply-patch+yaml",
                Body::Json(body),
            )
        }
        _ => with_body("PATCH", path, "application/merge-patch+json", Body::Json(change)),
    }
}

/// A definition is only tried (dry-run): a new kind costs a real server seconds.
pub(super) fn definition(rng: &mut StdRng) -> Operation {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "properties": {
            "size": {"type": "integer", "minimum": 1},
            "names": {"type": "array", "items": {"type": "string"}},
            "free": {"type": "object", "additionalProperties": {"type": "string"}}}}}});
    let spec = &mut schema["properties"]["spec"];
    match rng.random_range(0..26) {
        0 => spec["x-kubernetes-validations"] = json!([{"rule": "self.size > 0"}]),
        1 => spec["x-kubernetes-validations"] = json!([{"rule": "self.absent > 0"}]),
        2 => spec["x-kubernetes-validations"] = json!([{"rule": "self.size > 'x'"}]),
        3 => spec["x-kubernetes-validations"] = json!([{"rule": "self.size +"}]),
        4 => {
            spec["x-kubernetes-validations"] =
                json!([{"rule": "self.names.all(n, self.names.all(m, n != m || true))"}])
        }
        5 => spec["x-kubernetes-validations"] = json!([{"rule": "self.size"}]),
        6 => spec["x-kubernetes-validations"] = json!([{"rule": "true", "message": ""}, {"rule": ""}]),
        7 => {
            spec["x-kubernetes-validations"] = json!([{"rule": "self.size == oldSelf.size", "reason": "FieldValueForbidden", "fieldPath": ".size"}])
        }
        8 => spec["x-kubernetes-validations"] = json!([{"rule": "true", "reason": "Because"}]),
        9 => spec["properties"]["size"]["default"] = json!("text"),
        10 => spec["properties"]["size"]["default"] = json!(0),
        11 => spec["properties"]["names"]["x-kubernetes-list-type"] = json!("set"),
        12 => spec["properties"]["names"]["x-kubernetes-list-type"] = json!("map"),
        13 => spec["type"] = json!("thing"),
        14 => schema = json!({}),
        15 => spec["properties"]["size"]["pattern"] = json!("["),
        16 => spec["properties"]["bad"] = json!({"type": "object", "properties": {"x": {}}}),
        17 => spec["x-kubernetes-preserve-unknown-fields"] = json!(true),
        18 => spec["additionalProperties"] = json!({"type": "string"}),
        19 => spec["x-kubernetes-validations"] = json!([{"rule": "true", "messageExpression": "self.size"}]),
        20 => spec["required"] = json!(["size", "size"]),
        21 => spec["properties"]["size"]["enum"] = json!([]),
        22 => spec["properties"]["size"] = json!({"x-kubernetes-int-or-string": true}),
        23 => {
            spec["x-kubernetes-validations"] = json!([{"rule": "has(self.names) && self.names.exists(n, n.startsWith('a')) && quantity('1Gi').isGreaterThan(quantity('1'))"}])
        }
        24 => spec["$ref"] = json!("#/definitions/x"),
        _ => {}
    }
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let mut body = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.{ns}.example"},
        "spec": {"group": "{ns}.example", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [version.clone()]}});
    if chance(rng, 40) {
        spoil_definition(rng, &mut body, version);
    }
    if chance(rng, 25) {
        return change_definition(rng, path);
    }
    with_body("POST", format!("{path}?dryRun=All"), JSON, Body::Json(body))
}

fn spoil_definition(rng: &mut StdRng, body: &mut Value, mut version: Value) {
    let spec = &mut body["spec"];
    match rng.random_range(0..14) {
        0 => spec["scope"] = json!("Everywhere"),
        1 => body["metadata"]["name"] = json!("other.{ns}.example"),
        2 => spec["versions"] = json!([]),
        3 => spec["versions"] = json!([version.clone(), version]),
        4 => {
            version["name"] = json!("v2");
            spec["versions"].as_array_mut().unwrap().push(version);
        }
        5 => spec["versions"][0]["storage"] = json!(false),
        6 => spec["names"]["plural"] = json!("Things"),
        7 => spec["names"]["kind"] = json!("bad kind"),
        8 => spec["conversion"] = json!({"strategy": "Webhook"}),
        9 => {
            spec["versions"][0]["subresources"] =
                json!({"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": "x"}})
        }
        10 => {
            spec["versions"][0]["additionalPrinterColumns"] =
                json!([{"name": "A", "type": "thing", "jsonPath": "x"}])
        }
        11 => {
            spec["versions"][0]["selectableFields"] =
                json!([{"jsonPath": pick(rng, &[".spec.size", ".spec.absent", ".spec.names"])}])
        }
        12 => spec["group"] = json!("nodots"),
        _ => spec["preserveUnknownFields"] = json!(true),
    }
}

fn change_definition(rng: &mut StdRng, path: &str) -> Operation {
    let change = match rng.random_range(0..7) {
        0 => json!({"spec": {"scope": "Cluster"}}),
        1 => json!({"spec": {"names": {"kind": "Widget"}}}),
        2 => json!({"spec": {"versions": []}}),
        3 => json!({"metadata": {"labels": {"a": "b"}}}),
        4 => json!({"spec": {"group": "other.example"}}),
        5 => json!({"status": {"storedVersions": []}}),
        _ => json!({"spec": {"names": {"shortNames": ["gg"], "categories": ["all"]}}}),
    };
    let subresource = if change.get("status").is_some() {
        "/status"
    } else {
        ""
    };
    with_body(
        "PATCH",
        format!("{path}/gadgets.differential.example{subresource}?dryRun=All"),
        "application/merge-patch+json",
        Body::Json(change),
    )
}

pub(super) fn review(rng: &mut StdRng) -> Operation {
    let attributes = json!({"verb": pick(rng, &["get", "list", "delete"]), "resource": pick(rng, &["pods", "secrets", "nodes"]), "namespace": "{ns}"});
    match rng.random_range(0..4) {
        0 => with_body(
            "POST",
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
            JSON,
            Body::Json(json!({"spec": {"resourceAttributes": attributes}})),
        ),
        1 => with_body(
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned(),
            JSON,
            Body::Json(
                json!({"spec": {"user": pick(rng, &["reader", "nobody"]), "resourceAttributes": attributes}}),
            ),
        ),
        2 => with_body(
            "POST",
            "/apis/authorization.k8s.io/v1/subjectaccessreviews".to_owned(),
            JSON,
            Body::Json(json!({"spec": {"resourceAttributes": attributes}})),
        ),
        _ => with_body(
            "POST",
            "/apis/authorization.k8s.io/v1/namespaces/{ns}/localsubjectaccessreviews".to_owned(),
            JSON,
            Body::Json(
                json!({"metadata": {"namespace": "{ns}"}, "spec": {"user": "reader", "resourceAttributes": attributes}}),
            ),
        ),
    }
}

pub(super) fn discovery(rng: &mut StdRng) -> Operation {
    plain(
        "GET",
        pick(
            rng,
            &[
                "/api",
                "/apis",
                "/api/v1",
                "/apis/apps",
                "/apis/apps/v1",
                "/apis/batch/v1",
                "/apis/differential.example",
                "/apis/differential.example/v1",
                "/apis/nothing.example/v1",
                "/apis/apps/v9",
                "/nothing",
                "/readyz",
                "/apis/policy/v1",
            ],
        )
        .to_owned(),
    )
}
