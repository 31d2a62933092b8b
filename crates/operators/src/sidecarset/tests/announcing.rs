//! Pods that are created right after their SidecarSet, whoever answers for it.
use super::world::{World, sidecar_set};
use cluster::PatchKind;
use cluster::resource::{MUTATING_WEBHOOK_CONFIGURATIONS, NAMESPACES, PODS, SIDECAR_SETS};
use serde_json::{Value, json};

impl World {
    async fn containers_of_a_new_pod(&self, name: &str, labels: Value) -> Vec<String> {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "apps", "labels": labels},
            "spec": {"automountServiceAccountToken": false, "containers": [{"name": "main", "image": "main:1"}]}});
        let made = self.door.create(&PODS, Some("apps"), &pod).await.unwrap();
        let containers = made["spec"]["containers"].as_array().unwrap();
        let name = |c: &Value| c["name"].as_str().unwrap().to_owned();
        containers.iter().map(name).collect()
    }

    async fn configuration(&self) -> Value {
        let name = &self.options.mutating_configuration;
        let found = self.door.get(&MUTATING_WEBHOOK_CONFIGURATIONS, None, name).await;
        found.unwrap()
    }

    async fn patch_configuration(&self, patch: Value) {
        let (name, kind) = (&self.options.mutating_configuration, PatchKind::Json);
        let resource = MUTATING_WEBHOOK_CONFIGURATIONS;
        let patched = self.door.patch(&resource, None, name, kind, &patch, None).await;
        patched.unwrap();
    }

    /// But the one that says which state of the configuration it is.
    async fn entries(&self) -> Vec<Value> {
        let found = self.configuration().await;
        let mut entries = found["webhooks"].as_array().cloned().unwrap_or_default();
        entries.retain(|e| e["name"] != "in-force.tidegate.dev");
        entries
    }

    async fn announced(&self) -> usize {
        let entries = self.entries().await;
        let is = |e: &&Value| e["name"].as_str().is_some_and(|n| n.starts_with("announced-"));
        entries.iter().filter(is).count()
    }
}

const BOTH: [&str; 2] = ["side", "main"];

#[tokio::test(start_paused = true)]
async fn a_pod_created_right_after_its_sidecarset_has_its_sidecar() {
    let world = World::with_operator().await;
    for n in 0..5 {
        let set = format!("web{n}");
        world.create_set(&set, json!(1)).await;
        assert_eq!(
            world.containers_of_a_new_pod(&set, json!({"app": set})).await,
            BOTH,
            "{set}"
        );
    }
    world
        .until("nothing is announced any more", async |w| {
            (w.announced().await == 0).then_some(())
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_grows_covers_the_next_pod_and_so_does_an_end_of_a_pause() {
    let world = World::with_operator().await;
    world.create_set("web", json!(1)).await;
    let selector = json!({"matchLabels": null, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
    world
        .patch_set("web", json!({"spec": {"selector": selector}}))
        .await;
    assert_eq!(
        world.containers_of_a_new_pod("a", json!({"tier": "x"})).await,
        BOTH
    );
    for (paused, containers) in [(true, &["main"][..]), (false, &BOTH[..])] {
        let strategy = json!({"spec": {"injectionStrategy": {"paused": paused}}});
        world.patch_set("web", strategy).await;
        if paused {
            world
                .until_condition("web", "InjectionReady", "False", "InjectionPaused")
                .await;
        }
        let name = format!("paused-{paused}");
        let found = world.containers_of_a_new_pod(&name, json!({"tier": "x"})).await;
        assert_eq!(found, containers, "paused: {paused}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_the_same_name_made_again_is_not_taken_for_the_one_that_is_gone() {
    let mut world = World::with_leader().await;
    world.create_set("web", json!(1)).await;
    world
        .until_condition("web", "InjectionReady", "True", "InForce")
        .await;
    world.answer_by_one_who_hears_nothing_of("sidecarsets").await;
    world.delete_set("web").await;
    world.create_set("web", json!(1)).await;
    assert_eq!(
        world.containers_of_a_new_pod("a", json!({"app": "web"})).await,
        BOTH
    );
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_has_not_heard_of_a_sidecarset_reads_it_before_it_answers() {
    let mut world = World::with_leader().await;
    world.create_set("old", json!(1)).await;
    world.answer_by_one_who_hears_nothing_of("sidecarsets").await;
    for n in 0..3 {
        let set = format!("web{n}");
        world.create_set(&set, json!(1)).await;
        assert_eq!(
            world.containers_of_a_new_pod(&set, json!({"app": set})).await,
            BOTH,
            "{set}"
        );
        assert_eq!(
            world
                .containers_of_a_new_pod(&format!("old{n}"), json!({"app": "old"}))
                .await,
            BOTH
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_hears_nothing_does_not_undo_what_another_wrote() {
    let mut world = World::with_leader().await;
    world.answer_by_one_who_hears_nothing_of("sidecarsets").await;
    world.create_set("web", json!(1)).await;
    world
        .until_condition("web", "InjectionReady", "True", "InForce")
        .await;
    // What was announced is kept for a while.
    world.rest(120).await;
    let wanted = world.entries().await;
    world.rest(600).await;
    assert_eq!(world.entries().await, wanted);
    assert_eq!(world.announced().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_label_a_namespace_has_just_got_is_seen() {
    let mut world = World::with_leader().await;
    let mut set = sidecar_set("web");
    set["spec"]["namespaceSelector"] = json!({"matchLabels": {"injected": "yes"}});
    world.door.create(&SIDECAR_SETS, None, &set).await.unwrap();
    world.answer_by_one_who_hears_nothing_of("namespaces").await;
    let label = json!({"metadata": {"labels": {"injected": "yes"}}});
    let kind = PatchKind::Merge;
    let labelled = world
        .door
        .patch(&NAMESPACES, None, "apps", kind, &label, None)
        .await;
    labelled.unwrap();
    assert_eq!(
        world.containers_of_a_new_pod("a", json!({"app": "web"})).await,
        BOTH
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_by_another_after_us_is_forgotten() {
    let world = World::with_operator().await;
    let calm = world.entries().await;
    world.refuse_sidecarsets_after_us().await;
    let set = sidecar_set("web");
    let refused = world.door.create(&SIDECAR_SETS, None, &set).await.unwrap_err();
    assert!(refused.message.contains("not today"), "{refused}");
    assert_eq!(world.announced().await, 1);
    assert_eq!(
        world.containers_of_a_new_pod("a", json!({"app": "web"})).await,
        ["main"]
    );
    world.rest(120).await;
    assert_eq!(world.entries().await, calm);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_announces_nothing() {
    let world = World::with_operator().await;
    let calm = world.entries().await;
    let set = sidecar_set("web");
    let rehearsed = world.door.rehearse_create(&SIDECAR_SETS, None, &set).await;
    rehearsed.unwrap();
    assert_eq!(world.entries().await, calm);
}

#[tokio::test(start_paused = true)]
async fn replicas_of_which_one_has_not_heard_of_a_deletion_do_not_write_in_turns() {
    let mut world = World::with_leader().await;
    world.create_set("web", json!(1)).await;
    world.create_set("other", json!(1)).await;
    world
        .until_condition("other", "InjectionReady", "True", "InForce")
        .await;
    world.answer_by_one_who_hears_nothing_of("sidecarsets").await;
    world.delete_set("web").await;
    let version = async || world.configuration().await["metadata"]["resourceVersion"].clone();
    world.rest(120).await;
    let then = version().await;
    world.rest(600).await;
    assert_eq!(version().await, then);
    assert_eq!(
        world.containers_of_a_new_pod("a", json!({"app": "web"})).await,
        ["main"]
    );
    assert_eq!(
        world.containers_of_a_new_pod("b", json!({"app": "other"})).await,
        BOTH
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_and_its_reversal_cover_the_next_pod_at_once() {
    let world = World::with_operator().await;
    world.create_set("web", json!(1)).await;
    for n in 0..10 {
        for paused in [true, false] {
            let strategy = json!({"spec": {"injectionStrategy": {"paused": paused}}});
            world.patch_set("web", strategy).await;
        }
        let found = world
            .containers_of_a_new_pod(&format!("p{n}"), json!({"app": "web"}))
            .await;
        assert_eq!(found, BOTH, "turn {n}");
        world.rest(n).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_somebody_else_changes_at_once_is_not_written_all_the_time() {
    let world = World::with_operator().await;
    let mut meddled = 0;
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(600);
    while tokio::time::Instant::now() < until {
        if world.configuration().await["webhooks"][0]["timeoutSeconds"] != 7 {
            let patch = json!([{"op": "replace", "path": "/webhooks/0/timeoutSeconds", "value": 7}]);
            world.patch_configuration(patch).await;
            meddled += 1;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!((5..30).contains(&meddled), "{meddled} times in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn an_entry_goes_though_somebody_else_set_its_authorities() {
    let world = World::with_operator().await;
    let calm = world.entries().await;
    world.create_set("web", json!(1)).await;
    world
        .until_condition("web", "InjectionReady", "True", "InForce")
        .await;
    let found = world.configuration().await;
    let at = found["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .position(|e| e["name"].as_str().unwrap().starts_with("pods-"));
    let path = format!("/webhooks/{}/clientConfig/caBundle", at.unwrap());
    let authority = found["webhooks"][0]["clientConfig"]["caBundle"].clone();
    let authority = if authority.is_string() {
        authority
    } else {
        json!("")
    };
    let patch = json!([{"op": "add", "path": path, "value": authority}]);
    world.patch_configuration(patch).await;
    world.delete_set("web").await;
    world
        .until("the entry is gone", async |w| {
            (w.entries().await == calm).then_some(())
        })
        .await;
}
