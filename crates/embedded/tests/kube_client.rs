//! A kube client over the in-process service, without sockets; and one over HTTPS by kubeconfig.
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, Config as ClientConfig};
use serde_json::json;
use tidegate_embedded::{ApiServer, Config, UserInfo};

async fn round_trip(client: Client) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let version = made.metadata.resource_version.unwrap();
    let mut events = maps
        .watch(&WatchParams::default(), &version)
        .await
        .unwrap()
        .boxed();
    let patch = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"other": "w"}});
    let applied = maps
        .patch("a", &PatchParams::apply("test"), &Patch::Apply(patch))
        .await
        .unwrap();
    assert_eq!(applied.data.unwrap().len(), 2);
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Modified(_))
    ));
    assert!(matches!(
        events.try_next().await.unwrap(),
        Some(WatchEvent::Deleted(_))
    ));
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_works_without_sockets() {
    let server = ApiServer::start(Config::default()).await.unwrap();
    round_trip(Client::new(server.service(UserInfo::admin()), "default")).await;
}

#[tokio::test]
async fn a_client_works_over_https_with_its_certificate_and_strangers_may_nothing() {
    let server = ApiServer::start(Config::default()).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let serving = server.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let until = async { stopped.await.unwrap_or_default() };
        serving.serve(listener, until).await
    });
    let connect = |user: &'static str, groups: &'static [&'static str]| {
        let text = server.kubeconfig(&url, user, groups);
        async move {
            let config = serde_yaml_ng::from_str(&text).unwrap();
            let config = ClientConfig::from_custom_kubeconfig(config, &Default::default())
                .await
                .unwrap();
            Client::try_from(config).unwrap()
        }
    };
    round_trip(connect("admin", &["system:masters"]).await).await;
    let strangers: Api<ConfigMap> = Api::default_namespaced(connect("nobody", &[]).await);
    let refused = strangers.get("a").await.unwrap_err();
    assert!(refused.to_string().contains("cannot get resource"), "{refused}");
    stop.send(()).unwrap();
    task.await.unwrap().unwrap();
}
