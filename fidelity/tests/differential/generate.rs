//! Random operations from a seed. What an operation needs of earlier answers (a resourceVersion, a uid, a continue
//! token) it names by the object, and the runner fills in each server's own.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Operation {
    pub method: &'static str,
    /// `{ns}` is the trace's namespace.
    pub path: String,
    pub content_type: &'static str,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    Json(Value),
    /// Read the object at the path, apply this merge patch to it, and send the whole (an update).
    ReadModify(Value),
    /// As `ReadModify`, with the resourceVersion of an older state of the object.
    StaleModify(Value),
}

#[derive(Clone, Copy)]
struct Kind {
    prefix: &'static str,
    plural: &'static str,
    make: fn(&mut StdRng, &str) -> Value,
    change: fn(&mut StdRng) -> Value,
    subresources: &'static [&'static str],
}

const KINDS: [Kind; 8] = [
    Kind {
        prefix: "/api/v1",
        plural: "configmaps",
        make: config_map,
        change: config_map_change,
        subresources: &[],
    },
    Kind {
        prefix: "/api/v1",
        plural: "pods",
        make: pod,
        change: pod_change,
        subresources: &["status", "ephemeralcontainers", "resize"],
    },
    Kind {
        prefix: "/api/v1",
        plural: "secrets",
        make: secret,
        change: config_map_change,
        subresources: &[],
    },
    Kind {
        prefix: "/apis/apps/v1",
        plural: "deployments",
        make: deployment,
        change: deployment_change,
        subresources: &["status", "scale"],
    },
    Kind {
        prefix: "/apis/coordination.k8s.io/v1",
        plural: "leases",
        make: lease,
        change: lease_change,
        subresources: &[],
    },
    Kind {
        prefix: "/apis/policy/v1",
        plural: "poddisruptionbudgets",
        make: budget,
        change: budget_change,
        subresources: &["status"],
    },
    Kind {
        prefix: "/apis/differential.example/v1",
        plural: "gadgets",
        make: gadget,
        change: gadget_change,
        subresources: &["status", "scale"],
    },
    Kind {
        prefix: "/apis/batch/v1",
        plural: "jobs",
        make: job,
        change: job_change,
        subresources: &["status"],
    },
];

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub fn trace(seed: u64, length: usize) -> Vec<Operation> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..length).map(|_| operation(&mut rng)).collect()
}

fn operation(rng: &mut StdRng) -> Operation {
    let kind = pick(rng, &KINDS);
    let name = pick(rng, &NAMES);
    let collection = format!("{}/namespaces/{{ns}}/{}", kind.prefix, kind.plural);
    let object = format!("{collection}/{name}");
    match rng.random_range(0..100) {
        0..=24 => create(rng, &kind, name, &collection),
        25..=31 => get(rng, &kind, &object),
        32..=39 => list(rng, &collection),
        40..=51 => update(rng, &kind, &object),
        52..=63 => merge_patch(rng, &kind, &object),
        64..=69 => strategic_patch(rng, &kind, &object),
        70..=75 => json_patch(rng, &object),
        76..=87 => apply(rng, &kind, name, &object),
        88..=93 => delete(rng, &object),
        94 => delete_collection(rng, &collection),
        _ => odd(rng, &kind, name, &collection),
    }
}

fn create(rng: &mut StdRng, kind: &Kind, name: &str, collection: &str) -> Operation {
    let mut body = (kind.make)(rng, name);
    if chance(rng, 10) {
        spoil(rng, &mut body);
    }
    if chance(rng, 8) {
        body["metadata"]["finalizers"] = json!(["differential.example/hold"]);
    }
    if chance(rng, 6) {
        body["metadata"].as_object_mut().unwrap().remove("name");
        body["metadata"]["generateName"] = json!("generated-");
    }
    let query = query(
        rng,
        &[
            "dryRun=All",
            "fieldValidation=Strict",
            "fieldValidation=Ignore",
            "fieldManager=creator",
        ],
        30,
    );
    Operation {
        method: "POST",
        path: format!("{collection}{query}"),
        content_type: JSON,
        body: Body::Json(body),
    }
}

fn get(rng: &mut StdRng, kind: &Kind, object: &str) -> Operation {
    let subresource = match kind.subresources {
        [] => String::new(),
        all if chance(rng, 30) => format!("/{}", pick(rng, all)),
        _ => String::new(),
    };
    plain("GET", format!("{object}{subresource}"))
}

fn list(rng: &mut StdRng, collection: &str) -> Operation {
    let query = query(
        rng,
        &[
            "labelSelector=tier%3Dgold",
            "labelSelector=tier+in+(gold,silver),!absent",
            "labelSelector=bad%3D%3D%3Dselector",
            "fieldSelector=metadata.name%3Da",
            "fieldSelector=metadata.name!%3Da",
            "fieldSelector=spec.nothing%3Dx",
            "limit=2",
            "resourceVersion=0",
            "resourceVersionMatch=Exact",
            "resourceVersion=banana",
            "timeoutSeconds=5",
        ],
        70,
    );
    plain("GET", format!("{collection}{query}"))
}

fn update(rng: &mut StdRng, kind: &Kind, object: &str) -> Operation {
    let mut change = (kind.change)(rng);
    if chance(rng, 10) {
        spoil(rng, &mut change);
    }
    let subresource = subresource(rng, kind);
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
    Operation {
        method: "PUT",
        path: format!("{object}{subresource}{query}"),
        content_type: JSON,
        body,
    }
}

fn merge_patch(rng: &mut StdRng, kind: &Kind, object: &str) -> Operation {
    let mut change = (kind.change)(rng);
    if chance(rng, 10) {
        spoil(rng, &mut change);
    }
    let subresource = subresource(rng, kind);
    let query = query(
        rng,
        &["dryRun=All", "fieldManager=merger", "fieldValidation=Strict"],
        25,
    );
    Operation {
        method: "PATCH",
        path: format!("{object}{subresource}{query}"),
        content_type: "application/merge-patch+json",
        body: Body::Json(change),
    }
}

fn strategic_patch(rng: &mut StdRng, kind: &Kind, object: &str) -> Operation {
    let body = match rng.random_range(0..6) {
        0 => json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image(rng)}]}}}}),
        1 => json!({"spec": {"containers": [{"name": "main", "image": image(rng)}]}}),
        2 => json!({"spec": {"template": {"spec": {"containers": [{"name": "side", "$patch": "delete"}]}}}}),
        3 => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
        4 => json!({"spec": {"template": {"spec": {"containers": [{"name": "extra", "image": "x"}],
            "$setElementOrder/containers": [{"name": "extra"}, {"name": "main"}]}}}}),
        _ => (kind.change)(rng),
    };
    Operation {
        method: "PATCH",
        path: object.to_owned(),
        content_type: "application/strategic-merge-patch+json",
        body: Body::Json(body),
    }
}

fn json_patch(rng: &mut StdRng, object: &str) -> Operation {
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
    ];
    let count = rng.random_range(1..3);
    let body: Vec<Value> = (0..count).map(|_| pick(rng, &operations)).collect();
    Operation {
        method: "PATCH",
        path: object.to_owned(),
        content_type: "application/json-patch+json",
        body: Body::Json(Value::Array(body)),
    }
}

fn apply(rng: &mut StdRng, kind: &Kind, name: &str, object: &str) -> Operation {
    let mut body = (kind.make)(rng, name);
    if chance(rng, 30) {
        // Fewer fields than last time: what this manager alone owned goes.
        if let Some(labels) = body["metadata"].as_object_mut() {
            labels.remove("labels");
        }
    }
    let manager = pick(rng, &["one", "two"]);
    let force = if chance(rng, 40) { "&force=true" } else { "" };
    Operation {
        method: "PATCH",
        path: format!("{object}?fieldManager={manager}{force}"),
        content_type: "application/apply-patch+yaml",
        body: Body::Json(body),
    }
}

fn delete(rng: &mut StdRng, object: &str) -> Operation {
    let body = match rng.random_range(0..5) {
        0 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Orphan"}),
        1 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}),
        2 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "not-this"}}),
        3 => json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
        _ => json!({"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}),
    };
    if chance(rng, 40) {
        return plain("DELETE", object.to_owned());
    }
    Operation {
        method: "DELETE",
        path: object.to_owned(),
        content_type: JSON,
        body: Body::Json(body),
    }
}

fn delete_collection(rng: &mut StdRng, collection: &str) -> Operation {
    let query = query(
        rng,
        &["labelSelector=tier%3Dgold", "dryRun=All", "gracePeriodSeconds=0"],
        80,
    );
    plain("DELETE", format!("{collection}{query}"))
}

/// What clients do by mistake.
fn odd(rng: &mut StdRng, kind: &Kind, name: &str, collection: &str) -> Operation {
    match rng.random_range(0..7) {
        0 => plain("GET", format!("{collection}/{name}/nothing")),
        1 => plain("POST", format!("{collection}/{name}")),
        2 => plain("GET", collection.replace(kind.plural, "nonsenses")),
        3 => Operation {
            method: "POST",
            path: collection.to_owned(),
            content_type: JSON,
            body: Body::Json(json!([1, 2])),
        },
        4 => Operation {
            method: "POST",
            path: collection.to_owned(),
            content_type: "text/plain",
            body: Body::Json((kind.make)(rng, name)),
        },
        5 => {
            let mut body = (kind.make)(rng, name);
            body["kind"] = json!("Other");
            Operation {
                method: "POST",
                path: collection.to_owned(),
                content_type: JSON,
                body: Body::Json(body),
            }
        }
        _ => {
            let mut body = (kind.make)(rng, "other-name");
            body["metadata"]["namespace"] = json!("elsewhere");
            Operation {
                method: "POST",
                path: collection.to_owned(),
                content_type: JSON,
                body: Body::Json(body),
            }
        }
    }
}

const JSON: &str = "application/json";

fn plain(method: &'static str, path: String) -> Operation {
    Operation {
        method,
        path,
        content_type: JSON,
        body: Body::Json(Value::Null),
    }
}

fn subresource(rng: &mut StdRng, kind: &Kind) -> String {
    match kind.subresources.first() {
        // Only status takes the same body as the object.
        Some(&"status") if chance(rng, 25) => "/status".to_owned(),
        _ => String::new(),
    }
}

fn query(rng: &mut StdRng, choices: &[&str], percent: u32) -> String {
    if chance(rng, percent) {
        format!("?{}", pick(rng, choices))
    } else {
        String::new()
    }
}

fn chance(rng: &mut StdRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}

fn pick<T: Clone>(rng: &mut StdRng, from: &[T]) -> T {
    from.choose(rng).unwrap().clone()
}

fn image(rng: &mut StdRng) -> &'static str {
    pick(
        rng,
        &[
            "nginx:1.20",
            "nginx:1.21",
            "nginx",
            "nginx:latest",
            "registry.example:5000/a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        ],
    )
}

fn metadata(rng: &mut StdRng, name: &str) -> Value {
    let mut metadata = json!({"name": name});
    if chance(rng, 50) {
        metadata["labels"] = json!({"tier": pick(rng, &["gold", "silver", "bronze"])});
    }
    if chance(rng, 20) {
        metadata["annotations"] = json!({"note": "some text"});
    }
    metadata
}

/// Something no server accepts, or prunes.
fn spoil(rng: &mut StdRng, body: &mut Value) {
    match rng.random_range(0..7) {
        0 => body["metadata"]["labels"] = json!({"bad key!": "x"}),
        1 => body["metadata"]["name"] = json!("Not_A_Name"),
        2 => body["spec"]["unknownField"] = json!(1),
        3 => body["metadata"]["labels"] = json!({"tier": 5}),
        4 => body["spec"] = json!("text"),
        5 => body["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Pod", "name": "x"}]),
        _ => body["metadata"]["annotations"] = json!({"": "empty"}),
    }
}

fn config_map(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata,
        "data": {"k": pick(rng, &["1", "2"]), pick(rng, &["x", "y", "bad key/"]): "v"}})
}

fn config_map_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..4) {
        0 => json!({"data": {"k": pick(rng, &["1", "2", "3"])}}),
        1 => json!({"data": null}),
        2 => json!({"immutable": true}),
        _ => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
    }
}

fn secret(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata,
        "type": pick(rng, &["Opaque", "kubernetes.io/basic-auth", "kubernetes.io/tls"]),
        "data": {"password": pick(rng, &["cGFzcw==", "not base64!"])}})
}

fn container(rng: &mut StdRng, name: &str) -> Value {
    let mut container = json!({"name": name, "image": image(rng)});
    if chance(rng, 30) {
        container["ports"] = json!([{"containerPort": pick(rng, &[80, 443, 70000])}]);
    }
    if chance(rng, 30) {
        container["resources"] =
            json!({"requests": {"cpu": pick(rng, &["100m", "0.1", "1"]), "memory": "64Mi"}});
    }
    if chance(rng, 30) {
        container["env"] = json!([{"name": "A", "value": pick(rng, &["1", "2"])}]);
    }
    if chance(rng, 20) {
        container["readinessProbe"] = json!({"httpGet": {"port": 80}});
    }
    container
}

fn pod_spec(rng: &mut StdRng) -> Value {
    let mut containers = vec![container(rng, "main")];
    if chance(rng, 30) {
        containers.push(container(rng, "side"));
    }
    if chance(rng, 5) {
        containers.push(container(rng, "main"));
    }
    let mut spec = json!({"containers": containers});
    if chance(rng, 20) {
        spec["initContainers"] = json!([{"name": "init", "image": "busybox", "restartPolicy": pick(rng, &["Always", "Sometimes"])}]);
    }
    if chance(rng, 20) {
        spec["volumes"] = json!([{"name": "v", "emptyDir": {}}, {"name": pick(rng, &["w", "v"]), "configMap": {"name": "c"}}]);
    }
    spec
}

fn pod(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    let mut spec = pod_spec(rng);
    if chance(rng, 15) {
        spec["restartPolicy"] = json!(pick(rng, &["Never", "OnFailure", "Perhaps"]));
    }
    if chance(rng, 15) {
        spec["tolerations"] = json!([{"key": "k", "operator": pick(rng, &["Exists", "Equal"])}]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

fn pod_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..8) {
        0 => json!({"spec": {"nodeName": "n1"}}),
        1 => json!({"spec": {"activeDeadlineSeconds": pick(rng, &[10, 5, -1])}}),
        2 => json!({"spec": {"containers": [container(rng, "main")]}}),
        3 => json!({"spec": {"restartPolicy": "Never"}}),
        4 => json!({"spec": {"terminationGracePeriodSeconds": 3}}),
        5 => json!({"status": {"phase": pick(rng, &["Running", "Failed"]), "message": "m"}}),
        6 => json!({"spec": {"schedulerName": "other", "priority": 5}}),
        _ => json!({"metadata": {"labels": {"tier": pick(rng, &["gold", "silver"])}}}),
    }
}

fn deployment(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    let spec = pod_spec(rng);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {
        "replicas": pick(rng, &[0, 1, 3, -1]),
        "selector": {"matchLabels": {"app": pick(rng, &["x", "x", "x", "y"])}},
        "template": {"metadata": {"labels": {"app": "x"}}, "spec": spec}}})
}

fn deployment_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"spec": {"replicas": pick(rng, &[0, 2, 5])}}),
        1 => json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null}}}),
        2 => {
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": pick(rng, &["25%", "200%"])}}}})
        }
        3 => json!({"spec": {"selector": {"matchLabels": {"app": "z"}}}}),
        4 => json!({"spec": {"paused": true, "minReadySeconds": 3}}),
        _ => json!({"status": {"replicas": 2, "readyReplicas": pick(rng, &[1, 3])}}),
    }
}

fn lease(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": pick(rng, &[15, 0])}})
}

fn lease_change(rng: &mut StdRng) -> Value {
    json!({"spec": {"holderIdentity": pick(rng, &["me", "you"]), "renewTime": pick(rng, &["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00Z", "now"])}})
}

fn budget(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata,
        "spec": {"minAvailable": pick(rng, &[json!(1), json!("50%"), json!("x"), json!(-1)]), "selector": {"matchLabels": {"app": "x"}}}})
}

fn budget_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"spec": {"minAvailable": null, "maxUnavailable": pick(rng, &[json!(1), json!("10%")])}}),
        1 => json!({"spec": {"selector": {}}}),
        _ => {
            json!({"status": {"disruptionsAllowed": 1, "currentHealthy": 1, "desiredHealthy": 0, "expectedPods": 1}})
        }
    }
}

fn job(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    let mut spec = pod_spec(rng);
    spec["restartPolicy"] = json!(pick(rng, &["Never", "OnFailure", "Always"]));
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata,
        "spec": {"suspend": true, "completions": pick(rng, &[1, 3]), "template": {"spec": spec}}})
}

fn job_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..3) {
        0 => json!({"spec": {"parallelism": pick(rng, &[0, 2])}}),
        1 => json!({"spec": {"completions": 7}}),
        _ => json!({"spec": {"suspend": false}}),
    }
}

fn gadget(rng: &mut StdRng, name: &str) -> Value {
    let metadata = metadata(rng, name);
    let mut spec = json!({
        "size": pick(rng, &[json!(1), json!(5), json!(0), json!("large")]),
        "parts": [{"name": "p", "count": 1}, {"name": "q", "count": pick(rng, &[1, 2])}],
        "tags": pick(rng, &[json!(["a"]), json!(["a", "b"])])});
    // One mistake at a time: which of two a real server names first is chance.
    match rng.random_range(0..6) {
        0 => spec["parts"][0]["name"] = json!("q"),
        1 => spec["tags"] = json!(["a", "a"]),
        2 => {
            spec["extra"] = json!(1);
            spec["size"] = json!(1);
        }
        _ => {}
    }
    json!({"apiVersion": "differential.example/v1", "kind": "Gadget", "metadata": metadata, "spec": spec})
}

fn gadget_change(rng: &mut StdRng) -> Value {
    match rng.random_range(0..6) {
        0 => json!({"spec": {"size": pick(rng, &[1, 2, 9, 101])}}),
        1 => json!({"spec": {"colour": pick(rng, &["red", "blue", "loud"])}}),
        2 => json!({"spec": {"parts": [{"name": "p", "count": 3}]}}),
        3 => json!({"status": {"ready": true, "replicas": 1}}),
        4 => json!({"spec": {"replicas": pick(rng, &[1, 2])}}),
        _ => json!({"spec": {"free": {"any": ["thing", 1]}}}),
    }
}
