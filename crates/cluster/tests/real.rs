//! The door against a real kube-apiserver.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod server;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_cluster::resource::{CONFIG_MAPS, NAMESPACES, SECRETS};
use tidegate_cluster::{
    Cache, DeleteOptions, Door, DoorOptions, ListOptions, ObjectKey, PatchKind, Resource, WatchScope,
    Watched, WriteReceipt,
};

#[derive(Deserialize)]
struct Map {
    metadata: Meta,
    #[serde(default)]
    data: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
}

impl Watched for Map {
    fn key(&self) -> ObjectKey {
        ObjectKey::new(&self.metadata.namespace, &self.metadata.name)
    }
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
}

/// A namespace of the test's own, empty.
async fn namespace(door: &Door, name: &str) -> String {
    let name = format!("{name}-{}", std::process::id());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    door.create(&NAMESPACES, None, &body).await.unwrap();
    name
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"t": "1"}},
        "data": {"k": value}})
}

async fn until<T: Watched>(cache: &Cache<T>, mut holds: impl FnMut(&Cache<T>) -> bool) {
    let mut changes = cache.changes();
    tokio::time::timeout(Duration::from_secs(20), async {
        while !holds(cache) {
            changes.next().await.unwrap();
        }
    })
    .await
    .expect("it did not come to hold");
}

#[tokio::test]
async fn a_cache_follows_creates_patches_and_deletes() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let ns = namespace(&door, "follows").await;
    door.create(&CONFIG_MAPS, Some(&ns), &map("before", "1"))
        .await
        .unwrap();
    let scope = WatchScope {
        namespace: Some(ns.clone()),
        label_selector: Some("t=1".into()),
        field_selector: None,
    };
    let cache: Cache<Map> = Cache::start(&door, CONFIG_MAPS, scope);
    cache.synced().await;
    assert_eq!(cache.snapshot().len(), 1);

    let created = door
        .create(&CONFIG_MAPS, Some(&ns), &map("after", "1"))
        .await
        .unwrap();
    cache.observe_answer(&created);
    let key = ObjectKey::new(&ns, "after");
    until(&cache, |cache| cache.get(&key).is_some()).await;
    assert!(cache.is_current_for(&key));

    let patch = json!({"data": {"k": "2"}});
    let receipt: WriteReceipt = door
        .patch_as(&CONFIG_MAPS, Some(&ns), "after", PatchKind::Merge, &patch, None)
        .await
        .unwrap();
    cache.observe(&receipt);
    until(&cache, |cache| {
        cache.get(&key).is_some_and(|map| map.data["k"] == "2")
    })
    .await;
    assert!(cache.is_current_for(&key));

    let uid = cache.get(&key).unwrap().uid().to_owned();
    let deleted = door
        .delete(&CONFIG_MAPS, Some(&ns), "after", &DeleteOptions::of_uid(&uid))
        .await
        .unwrap();
    cache.observe_delete(&key, &uid, &deleted);
    until(&cache, |cache| cache.get(&key).is_none()).await;
    assert!(cache.is_current_for(&key));
}

#[tokio::test]
async fn an_object_that_leaves_the_selector_leaves_the_cache_and_is_waited_for_no_longer() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let ns = namespace(&door, "leaves").await;
    door.create(&CONFIG_MAPS, Some(&ns), &map("one", "1"))
        .await
        .unwrap();
    let scope = WatchScope {
        namespace: Some(ns.clone()),
        label_selector: Some("t=1".into()),
        field_selector: None,
    };
    let cache: Cache<Map> = Cache::start(&door, CONFIG_MAPS, scope);
    cache.synced().await;
    let patch = json!({"metadata": {"labels": {"t": "2"}}});
    let answer = door
        .patch(&CONFIG_MAPS, Some(&ns), "one", PatchKind::Merge, &patch, None)
        .await
        .unwrap();
    cache.observe_answer(&answer);
    let key = ObjectKey::new(&ns, "one");
    until(&cache, |cache| cache.get(&key).is_none()).await;
    assert!(cache.is_current());
}

#[tokio::test]
async fn a_list_comes_whole_over_many_pages() {
    let server = server::server().await;
    let options = DoorOptions {
        page_size: 3,
        ..DoorOptions::default()
    };
    let door = server::door(&server, options).await;
    let ns = namespace(&door, "pages").await;
    for n in 0..10 {
        door.create(&CONFIG_MAPS, Some(&ns), &map(&format!("m{n}"), "1"))
            .await
            .unwrap();
    }
    let listed = door
        .list(&CONFIG_MAPS, Some(&ns), &ListOptions::default())
        .await
        .unwrap();
    let names: Vec<_> = listed
        .items
        .iter()
        .map(|item| item["metadata"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["m0", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9"]
    );
    assert!(listed.resource_version.parse::<u64>().unwrap() > 0);
}

#[tokio::test]
async fn every_patch_type_and_verb_answers_as_the_server_does() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let ns = namespace(&door, "verbs").await;
    let ns = Some(ns.as_str());
    let created = door.create(&CONFIG_MAPS, ns, &map("m", "1")).await.unwrap();
    let again = door.create(&CONFIG_MAPS, ns, &map("m", "1")).await.unwrap_err();
    assert!(again.is_already_exists() && !again.is_unknown(), "{again}");

    let uid = &created["metadata"]["uid"];
    let patch = json!([{"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "replace", "path": "/data/k", "value": "2"}]);
    let patched = door
        .patch(&CONFIG_MAPS, ns, "m", PatchKind::Json, &patch, None)
        .await
        .unwrap();
    assert_eq!(patched["data"]["k"], "2");
    let wrong = json!([{"op": "test", "path": "/metadata/uid", "value": "other"}]);
    let refused = door
        .patch(&CONFIG_MAPS, ns, "m", PatchKind::Json, &wrong, None)
        .await
        .unwrap_err();
    assert_eq!(refused.code, 422);

    let strategic = json!({"data": {"k": "3"}});
    let patched = door
        .patch(&CONFIG_MAPS, ns, "m", PatchKind::Strategic, &strategic, None)
        .await
        .unwrap();
    assert_eq!(patched["data"]["k"], "3");

    let apply =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "4"}});
    let polite = PatchKind::Apply {
        manager: "second".into(),
        force: false,
    };
    let conflict = door
        .patch(&CONFIG_MAPS, ns, "m", polite, &apply, None)
        .await
        .unwrap_err();
    assert!(conflict.is_conflict(), "{conflict}");
    let forced = PatchKind::Apply {
        manager: "second".into(),
        force: true,
    };
    let applied = door
        .patch(&CONFIG_MAPS, ns, "m", forced.clone(), &apply, None)
        .await
        .unwrap();
    let same = door
        .patch(&CONFIG_MAPS, ns, "m", forced, &apply, None)
        .await
        .unwrap();
    assert_eq!(
        applied["metadata"]["resourceVersion"],
        same["metadata"]["resourceVersion"]
    );

    let mut blind = same.clone();
    blind["metadata"]["resourceVersion"] = Value::Null;
    assert_eq!(
        door.replace(&CONFIG_MAPS, ns, "m", &blind, None)
            .await
            .unwrap_err()
            .reason,
        "NoPrecondition"
    );
    let stale = door
        .replace(&CONFIG_MAPS, ns, "m", &created, None)
        .await
        .unwrap_err();
    assert!(stale.is_conflict(), "{stale}");

    let other = door
        .delete(&CONFIG_MAPS, ns, "m", &DeleteOptions::of_uid("other"))
        .await
        .unwrap_err();
    assert!(other.is_conflict(), "{other}");
    door.delete(
        &CONFIG_MAPS,
        ns,
        "m",
        &DeleteOptions::of_uid(uid.as_str().unwrap()),
    )
    .await
    .unwrap();
    assert!(door.get(&CONFIG_MAPS, ns, "m").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn an_error_about_a_secret_does_not_quote_it() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let ns = namespace(&door, "quote").await;
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": "swordfish", "bad key!": "swordfish"}});
    let error = door.create(&SECRETS, Some(&ns), &body).await.unwrap_err();
    assert_eq!(error.code, 422);
    assert!(!format!("{error} {error:?}").contains("swordfish"));
    assert!(!error.causes.is_empty());
}

#[tokio::test]
async fn a_kind_that_does_not_exist_is_a_trouble_with_a_name_and_no_sync() {
    let server = server::server().await;
    let door = server::door(&server, DoorOptions::default()).await;
    let nothing = Resource::namespaced("example.org", "v1", "nothings", "Nothing");
    let cache: Cache<Map> = Cache::start(&door, nothing, WatchScope::default());
    let troubled = async {
        while cache.health().trouble.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), troubled)
        .await
        .unwrap();
    assert!(!cache.is_synced());
    assert!(cache.health().trouble.unwrap().contains("404"));
}
