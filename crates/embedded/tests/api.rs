//! The API as a client sees it, in process.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::{BodyExt, BodyStream, Full};
use serde_json::{Value, json};
use tidegate_embedded::{ApiServer, ApiService, Config, ResponseBody, Storage, UserInfo};
use tower::ServiceExt;

struct Api(ApiService);

impl Api {
    async fn start() -> (ApiServer, Self) {
        let config = Config {
            seed: Some(7),
            ..Config::default()
        };
        Self::over(config).await
    }

    async fn over(config: Config) -> (ApiServer, Self) {
        let server = ApiServer::start(config).await.unwrap();
        let service = server.service(UserInfo::admin());
        (server, Self(service))
    }

    async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &Value,
    ) -> Response<ResponseBody> {
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type);
        let request = request
            .header("user-agent", "test/1")
            .body(Full::new(bytes))
            .unwrap();
        self.0.clone().oneshot(request).await.unwrap()
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let content_type = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let response = self.send(method, path, content_type, &body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn ok(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, value) = self.call(method, path, body).await;
        assert!(status < 300, "{method} {path}: {status} {value}");
        value
    }

    async fn watch(&self, path: &str) -> Watch {
        let response = self.send("GET", path, "application/json", &Value::Null).await;
        assert_eq!(response.status(), 200);
        Watch(BodyStream::new(response.into_body()))
    }
}

struct Watch(BodyStream<ResponseBody>);

impl Watch {
    async fn next(&mut self) -> Option<Value> {
        let frame = self.0.next().await?.unwrap();
        Some(serde_json::from_slice(&frame.into_data().unwrap()).unwrap())
    }

    /// Type and name of the next event.
    async fn seen(&mut self) -> (String, String) {
        let event = self.next().await.unwrap();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str, label: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"l": label}}, "data": {"k": "v"}})
}

fn pod(name: &str, node: &str) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    if !node.is_empty() {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

#[tokio::test]
async fn what_is_created_is_read_listed_and_deleted() {
    let (_server, api) = Api::start().await;
    let made = api.ok("POST", MAPS, config_map("a", "x")).await;
    assert_eq!(made["apiVersion"], "v1");
    let read = api.ok("GET", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(read, made);
    let list = api
        .ok("GET", &format!("{MAPS}?labelSelector=l%3Dx"), Value::Null)
        .await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert!(
        list["items"][0].get("kind").is_none(),
        "items of built-in kinds carry no kind"
    );
    let gone = api.ok("DELETE", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(gone["details"]["uid"], made["metadata"]["uid"]);
    let (status, answer) = api.call("GET", &format!("{MAPS}/a"), Value::Null).await;
    assert_eq!(
        (status, &answer["message"]),
        (404, &json!("configmaps \"a\" not found"))
    );
}

#[tokio::test]
async fn an_update_that_changes_nothing_keeps_the_resource_version() {
    let (_server, api) = Api::start().await;
    let made = api.ok("POST", MAPS, config_map("a", "x")).await;
    let same = api.ok("PUT", &format!("{MAPS}/a"), made.clone()).await;
    assert_eq!(
        same["metadata"]["resourceVersion"],
        made["metadata"]["resourceVersion"]
    );
    let applied =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}, "data": {"k": "v"}});
    let path = format!("{MAPS}/b?fieldManager=f");
    let mut versions = Vec::new();
    for _ in 0..2 {
        let answer = api
            .send("PATCH", &path, "application/apply-patch+yaml", &applied)
            .await;
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        versions.push(value["metadata"]["resourceVersion"].clone());
    }
    assert!(versions[0].is_string());
    assert_eq!(versions[0], versions[1]);
}

#[tokio::test]
async fn a_stale_update_conflicts() {
    let (_server, api) = Api::start().await;
    let made = api.ok("POST", MAPS, config_map("a", "x")).await;
    api.ok("PATCH", &format!("{MAPS}/a"), json!({"data": {"k": "w"}}))
        .await;
    let (status, answer) = api.call("PUT", &format!("{MAPS}/a"), made).await;
    assert_eq!((status, &answer["reason"]), (409, &json!("Conflict")));
}

#[tokio::test]
async fn a_watch_sees_label_changes_as_additions_and_deletions() {
    let (_server, api) = Api::start().await;
    let from = api.ok("GET", MAPS, Value::Null).await["metadata"]["resourceVersion"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("{MAPS}?watch=1&labelSelector=l%3Dx&resourceVersion={from}");
    let mut watch = api.watch(&path).await;
    api.ok("POST", MAPS, config_map("a", "y")).await;
    api.ok(
        "PATCH",
        &format!("{MAPS}/a"),
        json!({"metadata": {"labels": {"l": "x"}}}),
    )
    .await;
    api.ok("PATCH", &format!("{MAPS}/a"), json!({"data": {"k": "w"}}))
        .await;
    let last = api
        .ok(
            "PATCH",
            &format!("{MAPS}/a"),
            json!({"metadata": {"labels": {"l": "y"}}}),
        )
        .await;
    assert_eq!(watch.seen().await, ("ADDED".into(), "a".into()));
    assert_eq!(watch.seen().await, ("MODIFIED".into(), "a".into()));
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "DELETED");
    assert_eq!(
        event["object"]["metadata"]["labels"]["l"], "x",
        "the last matching state"
    );
    assert_eq!(
        event["object"]["metadata"]["resourceVersion"],
        last["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_watch_from_forgotten_history_ends_with_410() {
    let config = Config {
        history: 2,
        ..Config::default()
    };
    let (_server, api) = Api::over(config).await;
    for name in ["a", "b", "c", "d"] {
        api.ok("POST", MAPS, config_map(name, "x")).await;
    }
    let mut watch = api.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await;
    let event = watch.next().await.unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert!(watch.next().await.is_none(), "the stream ends");
}

#[tokio::test]
async fn initial_events_end_with_an_annotated_bookmark() {
    let (_server, api) = Api::start().await;
    api.ok("POST", MAPS, config_map("a", "x")).await;
    let options = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut watch = api.watch(&format!("{MAPS}?{options}&labelSelector=l%3Dx")).await;
    assert_eq!(watch.seen().await, ("ADDED".into(), "a".into()));
    let event = watch.next().await.unwrap();
    assert_eq!(event["type"], "BOOKMARK");
    assert_eq!(
        event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

#[tokio::test]
async fn pages_are_of_one_state_while_objects_change() {
    let (_server, api) = Api::start().await;
    for name in ["a", "b", "c"] {
        api.ok("POST", MAPS, config_map(name, "x")).await;
    }
    let first = api
        .ok("GET", &format!("{MAPS}?limit=2&labelSelector=l%3Dx"), Value::Null)
        .await;
    api.ok("DELETE", &format!("{MAPS}/c"), Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api
        .ok(
            "GET",
            &format!("{MAPS}?limit=2&labelSelector=l%3Dx&continue={token}"),
            Value::Null,
        )
        .await;
    assert_eq!(second["items"][0]["metadata"]["name"], "c");
    assert_eq!(
        second["metadata"]["resourceVersion"],
        first["metadata"]["resourceVersion"]
    );
}

#[tokio::test]
async fn a_list_of_the_future_times_out_and_a_watch_of_it_is_silent() {
    let (_server, api) = Api::start().await;
    let (status, answer) = api
        .call("GET", &format!("{MAPS}?resourceVersion=999999"), Value::Null)
        .await;
    assert_eq!(
        (status, &answer["details"]["causes"][0]["reason"]),
        (504, &json!("ResourceVersionTooLarge"))
    );
    tokio::time::pause();
    let mut watch = api
        .watch(&format!("{MAPS}?watch=1&resourceVersion=999999&timeoutSeconds=5"))
        .await;
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_removed() {
    let (_server, api) = Api::start().await;
    let mut map = config_map("a", "x");
    map["metadata"]["finalizers"] = json!(["x.dev/y"]);
    api.ok("POST", MAPS, map).await;
    let held = api.ok("DELETE", &format!("{MAPS}/a"), Value::Null).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    api.ok(
        "PATCH",
        &format!("{MAPS}/a"),
        json!({"metadata": {"finalizers": null}}),
    )
    .await;
    assert_eq!(api.call("GET", &format!("{MAPS}/a"), Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_pod_on_a_node_gets_its_grace_and_one_without_goes_at_once() {
    let (_server, api) = Api::start().await;
    api.ok("POST", PODS, pod("placed", "n")).await;
    api.ok("POST", PODS, pod("loose", "")).await;
    let placed = api.ok("DELETE", &format!("{PODS}/placed"), Value::Null).await;
    assert_eq!(placed["metadata"]["deletionGracePeriodSeconds"], 30);
    api.ok("DELETE", &format!("{PODS}/loose"), Value::Null).await;
    assert_eq!(
        api.call("GET", &format!("{PODS}/loose"), Value::Null).await.0,
        404
    );
    api.ok(
        "DELETE",
        &format!("{PODS}/placed"),
        json!({"gracePeriodSeconds": 0}),
    )
    .await;
    assert_eq!(
        api.call("GET", &format!("{PODS}/placed"), Value::Null).await.0,
        404
    );
}

/// Waits for the deletion of an object by watching it.
async fn gone(api: &Api, collection: &str, name: &str) {
    let list = api.ok("GET", collection, Value::Null).await;
    let names: Vec<&str> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|i| i["metadata"]["name"].as_str())
        .collect();
    if !names.contains(&name) {
        return;
    }
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = api
        .watch(&format!("{collection}?watch=1&resourceVersion={from}"))
        .await;
    loop {
        let (kind, seen) = watch.seen().await;
        if kind == "DELETED" && seen == name {
            return;
        }
    }
}

#[tokio::test]
async fn dependents_follow_their_owner_by_the_policy_of_its_deletion() {
    let (_server, api) = Api::start().await;
    for (policy, stays) in [("Background", false), ("Foreground", false), ("Orphan", true)] {
        let owner = api.ok("POST", MAPS, config_map("owner", "x")).await;
        let mut map = config_map("owned", "x");
        map["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": true, "controller": true,
        }]);
        api.ok("POST", MAPS, map).await;
        api.ok(
            "DELETE",
            &format!("{MAPS}/owner"),
            json!({"propagationPolicy": policy}),
        )
        .await;
        gone(&api, MAPS, "owner").await;
        if stays {
            let owned = api.ok("GET", &format!("{MAPS}/owned"), Value::Null).await;
            assert!(owned["metadata"].get("ownerReferences").is_none());
        } else {
            gone(&api, MAPS, "owned").await;
        }
    }
}

#[tokio::test]
async fn a_deleted_namespace_empties_itself_and_goes() {
    let (_server, api) = Api::start().await;
    api.ok("POST", "/api/v1/namespaces", json!({"metadata": {"name": "n"}}))
        .await;
    api.ok("GET", "/api/v1/namespaces/n/serviceaccounts/default", Value::Null)
        .await;
    api.ok("POST", "/api/v1/namespaces/n/configmaps", config_map("a", "x"))
        .await;
    let going = api.ok("DELETE", "/api/v1/namespaces/n", Value::Null).await;
    assert_eq!(going["status"]["phase"], "Terminating");
    gone(&api, "/api/v1/namespaces", "n").await;
    let left = api.ok("GET", "/api/v1/configmaps", Value::Null).await;
    assert!(
        left["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|m| m["metadata"]["namespace"] != "n")
    );
}

#[tokio::test]
async fn unknown_fields_warn_or_are_refused() {
    let (_server, api) = Api::start().await;
    let body = json!({"metadata": {"name": "a"}, "nope": 1});
    let answer = api.send("POST", MAPS, "application/json", &body).await;
    assert_eq!(answer.headers()["warning"], r#"299 - "unknown field \"nope\"""#);
    let (status, _) = api
        .call(
            "POST",
            &format!("{MAPS}?fieldValidation=Strict"),
            json!({"metadata": {"name": "b"}, "nope": 1}),
        )
        .await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn a_body_over_three_mebibytes_is_refused() {
    let (_server, api) = Api::start().await;
    let (status, _) = api
        .call("POST", MAPS, json!({"data": {"k": "x".repeat(3 << 20)}}))
        .await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn an_eviction_respects_the_budget() {
    let (_server, api) = Api::start().await;
    let mut guarded = pod("p", "n");
    guarded["metadata"]["labels"] = json!({"app": "a"});
    api.ok("POST", PODS, guarded).await;
    let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    api.ok("PATCH", &format!("{PODS}/p/status"), ready).await;
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let spec = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}});
    api.ok("POST", budgets, json!({"metadata": {"name": "b"}, "spec": spec}))
        .await;
    let status = json!({"status": {"observedGeneration": 1, "disruptionsAllowed": 0, "currentHealthy": 1,
                                    "desiredHealthy": 1, "expectedPods": 1}});
    api.ok("PATCH", &format!("{budgets}/b/status"), status).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}});
    let (status, answer) = api
        .call("POST", &format!("{PODS}/p/eviction"), eviction.clone())
        .await;
    assert_eq!(
        (status, &answer["details"]["causes"][0]["reason"]),
        (429, &json!("DisruptionBudget"))
    );
    let allowed = json!({"status": {"disruptionsAllowed": 1}});
    api.ok("PATCH", &format!("{budgets}/b/status"), allowed).await;
    api.ok("POST", &format!("{PODS}/p/eviction"), eviction).await;
    let budget = api.ok("GET", &format!("{budgets}/b"), Value::Null).await;
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
}

#[tokio::test]
async fn a_seeded_server_makes_the_same_answers() {
    let mut answers = Vec::new();
    for _ in 0..2 {
        let (server, api) = Api::start().await;
        let made = api.ok("POST", PODS, pod("p", "")).await;
        let generated = api
            .ok("POST", MAPS, json!({"metadata": {"generateName": "g-"}}))
            .await;
        let text = server.kubeconfig("https://x", "u", &["g"]);
        answers.push((
            made["metadata"]["uid"].clone(),
            generated["metadata"]["name"].clone(),
            text,
        ));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_same_objects_and_later_versions() {
    let directory = std::env::temp_dir().join(format!("tidegate-embedded-restart-{}", std::process::id()));
    let config = || Config {
        storage: Storage::Durable(directory.clone()),
        ..Config::default()
    };
    let (server, api) = Api::over(config()).await;
    let made = api.ok("POST", MAPS, config_map("a", "x")).await;
    let certificate = server.ca_certificate().to_owned();
    drop((server, api));
    let (server, api) = Api::over(config()).await;
    assert_eq!(server.ca_certificate(), certificate);
    assert_eq!(api.ok("GET", &format!("{MAPS}/a"), Value::Null).await, made);
    let next = api.ok("POST", MAPS, config_map("b", "x")).await;
    let number = |v: &Value| {
        v["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert!(number(&next) > number(&made));
    drop((server, api));
    std::fs::remove_dir_all(&directory).unwrap();
}
