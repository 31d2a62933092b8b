#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Requests through the whole server: plugins, webhooks in this process, and roles.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::config::Config;
use crate::server::ApiServer;
use crate::user::UserInfo;

async fn server() -> ApiServer {
    ApiServer::start(Config {
        seed: Some(7),
        ..Config::default()
    })
    .await
    .unwrap()
}

async fn send(server: &ApiServer, user: UserInfo, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let answer = server.service(user).oneshot(request).await.unwrap();
    let code = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn post(server: &ApiServer, path: &str, body: &Value) -> (u16, Value) {
    send(server, UserInfo::admin(), "POST", path, body).await
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "a"}},
        "spec": {"containers": [{"name": "main", "image": "nginx"}]}})
}

fn configuration(kind: &str, hooks: Value) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": "test"}, "webhooks": hooks})
}

fn hook(name: &str, more: Value) -> Value {
    let mut out = json!({
        "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 5,
        "clientConfig": {"service": {"namespace": "default", "name": "hooks", "path": format!("/{name}"), "port": 443}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    });
    for (key, value) in more.as_object().unwrap() {
        out[key] = value.clone();
    }
    out
}

/// Serves `hooks.default.svc`: paths that contain `deny` refuse, others add a container.
fn serve_hooks(server: &ApiServer) -> Arc<AtomicUsize> {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let handler = move |request: crate::hooks::WebhookRequest| -> crate::hooks::WebhookFuture {
        counter.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            let review: Value = serde_json::from_slice(&request.body).map_err(|e| e.to_string())?;
            let uid = review["request"]["uid"].clone();
            let response = if request.path.contains("deny") {
                json!({"uid": uid, "allowed": false, "status": {"message": "not today", "code": 403}})
            } else {
                let containers = review["request"]["object"]["spec"]["containers"].as_array();
                let has = containers.is_some_and(|c| c.iter().any(|c| c["name"] == "side"));
                let add = json!([{"op": "add", "path": "/spec/containers/-",
                    "value": {"name": "side", "image": "side:1"}}]);
                let patch = if has { json!([]) } else { add };
                json!({"uid": uid, "allowed": true, "patchType": "JSONPatch",
                    "patch": STANDARD.encode(patch.to_string())})
            };
            let answer =
                json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
            Ok(Bytes::from(answer.to_string()))
        })
    };
    server.register_webhook_service("hooks.default.svc", Arc::new(handler));
    calls
}

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";
const PODS: &str = "/api/v1/namespaces/default/pods";

#[tokio::test]
async fn a_new_pod_gets_its_token_its_tolerations_and_its_priority() {
    let server = server().await;
    let (code, pod) = post(&server, PODS, &pod("a")).await;
    assert_eq!(code, 201, "{pod}");
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert!(
        spec["volumes"][0]["name"]
            .as_str()
            .unwrap()
            .starts_with("kube-api-access-")
    );
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    let (code, missing) = post(&server, "/api/v1/namespaces/none/pods", &pod_without_namespace()).await;
    assert_eq!(
        (code, missing["message"].as_str().unwrap()),
        (404, "namespaces \"none\" not found")
    );
}

fn pod_without_namespace() -> Value {
    pod("b")
}

#[tokio::test]
async fn a_webhook_adds_a_container_that_gets_its_token_too() {
    let server = server().await;
    let calls = serve_hooks(&server);
    let hooks = json!([hook(
        "inject.example.com",
        json!({"reinvocationPolicy": "IfNeeded"})
    )]);
    let path = format!("{HOOKS}/mutatingwebhookconfigurations");
    let (code, answer) = post(
        &server,
        &path,
        &configuration("MutatingWebhookConfiguration", hooks),
    )
    .await;
    assert_eq!(code, 201, "{answer}");
    let (code, pod) = post(&server, PODS, &pod("a")).await;
    assert_eq!(code, 201, "{pod}");
    let side = &pod["spec"]["containers"][1];
    assert_eq!(side["name"], "side");
    assert_eq!(side["imagePullPolicy"], "IfNotPresent");
    assert_eq!(
        side["volumeMounts"][0]["mountPath"],
        "/var/run/secrets/kubernetes.io/serviceaccount"
    );
    // The built-in plugins changed what the webhook had made, so it is asked again.
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_denial_and_an_unreachable_webhook_are_worded_as_a_real_server_words_them() {
    let server = server().await;
    serve_hooks(&server);
    let path = format!("{HOOKS}/validatingwebhookconfigurations");
    let unmatched = json!({"objectSelector": {"matchLabels": {"app": "other"}}});
    let conditional =
        json!({"matchConditions": [{"name": "n", "expression": "object.metadata.name == 'denied'"}]});
    let broken = json!({
        "clientConfig": {"service": {"namespace": "default", "name": "nobody", "port": 443}},
        "matchConditions": [{"name": "n", "expression": "object.metadata.name == 'broken'"}],
    });
    let hooks = json!([
        hook("deny.example.com", conditional),
        hook("deny-other.example.com", unmatched),
        hook("broken.example.com", broken)
    ]);
    let (code, answer) = post(
        &server,
        &path,
        &configuration("ValidatingWebhookConfiguration", hooks),
    )
    .await;
    assert_eq!(code, 201, "{answer}");
    let (code, denied) = post(&server, PODS, &pod("denied")).await;
    let words = "admission webhook \"deny.example.com\" denied the request: not today";
    assert_eq!((code, denied["message"].as_str().unwrap()), (403, words));
    let (code, broken) = post(&server, PODS, &pod("broken")).await;
    assert_eq!(code, 500);
    let words = "Internal error occurred: failed calling webhook \"broken.example.com\": failed to call webhook: Post \"https://nobody.default.svc:443/?timeout=5s\": service \"nobody\" not found";
    assert_eq!(broken["message"].as_str().unwrap(), words);
    assert_eq!(post(&server, PODS, &pod("fine")).await.0, 201);
}

#[tokio::test]
async fn a_role_opens_exactly_what_it_names() {
    let server = server().await;
    let jane = || UserInfo::new("jane", &[]);
    let (code, refused) = send(&server, jane(), "GET", PODS, &Value::Null).await;
    let words = "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"";
    assert_eq!((code, refused["message"].as_str().unwrap()), (403, words));
    let roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "r"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]});
    assert_eq!(post(&server, &format!("{roles}/roles"), &role).await.0, 201);
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}]});
    let (code, answer) = post(&server, &format!("{roles}/rolebindings"), &binding).await;
    assert_eq!(code, 201, "{answer}");
    assert_eq!(send(&server, jane(), "GET", PODS, &Value::Null).await.0, 200);
    assert_eq!(send(&server, jane(), "POST", PODS, &pod("x")).await.0, 403);
}

#[tokio::test]
async fn a_quota_is_charged_and_then_refuses() {
    let server = server().await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "1"}}});
    let path = "/api/v1/namespaces/default/resourcequotas";
    assert_eq!(post(&server, path, &quota).await.0, 201);
    let (_, mut stored) = send(
        &server,
        UserInfo::admin(),
        "GET",
        &format!("{path}/q"),
        &Value::Null,
    )
    .await;
    stored["status"] = json!({"hard": {"pods": "1"}, "used": {"pods": "0"}});
    let (code, answer) = send(
        &server,
        UserInfo::admin(),
        "PUT",
        &format!("{path}/q/status"),
        &stored,
    )
    .await;
    assert_eq!(code, 200, "{answer}");
    assert_eq!(post(&server, PODS, &pod("one")).await.0, 201);
    let (code, refused) = post(&server, PODS, &pod("two")).await;
    let words =
        "pods \"two\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1";
    assert_eq!((code, refused["message"].as_str().unwrap()), (403, words));
}

#[tokio::test]
async fn a_bound_admission_policy_refuses_what_its_expressions_refuse() {
    let server = server().await;
    let group = "/apis/admissionregistration.k8s.io/v1";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "images"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE"], "resources": ["pods"]}]},
            "variables": [{"name": "images", "expression": "object.spec.containers.map(c, c.image)"}],
            "validations": [{"expression": "variables.images.all(i, i != 'nginx')",
                "messageExpression": "'no nginx in ' + object.metadata.namespace"}]}});
    let path = format!("{group}/validatingadmissionpolicies");
    let (code, answer) = post(&server, &path, &policy).await;
    assert_eq!(code, 201, "{answer}");
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(post(&server, pods, &pod("unbound")).await.0, 201);
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "everywhere"}, "spec": {"policyName": "images", "validationActions": ["Deny"]}});
    let path = format!("{group}/validatingadmissionpolicybindings");
    let (code, answer) = post(&server, &path, &binding).await;
    assert_eq!(code, 201, "{answer}");
    let (code, answer) = post(&server, pods, &pod("bound")).await;
    assert_eq!(code, 422, "{answer}");
    assert_eq!(
        answer["message"],
        "pods \"bound\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'everywhere' denied request: \
         no nginx in default"
    );
    let mut other = pod("other");
    other["spec"]["containers"][0]["image"] = json!("busybox");
    assert_eq!(post(&server, pods, &other).await.0, 201);
}
