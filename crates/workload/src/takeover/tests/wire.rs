//! Kruise's own objects, changed and put back.
use super::super::entries::{
    are_listed, are_returned, are_there, before, returned, serves_sidecarsets, without,
};
use super::super::manager;
use super::super::revisions::{Copy, Kept, copies};
use super::{deployment, entry, kruise, listed, revision};
use serde_json::{Value, json};

#[test]
fn entries_go_from_the_list_and_from_the_copy_they_would_come_back_from() {
    let left = without(&kruise());
    assert!(are_there(&kruise()) && !are_there(&left));
    assert!(serves_sidecarsets(&kruise()) && !serves_sidecarsets(&left));
    assert_eq!(left["webhooks"].as_array().unwrap().len(), 1);
    let copy: Value =
        serde_json::from_str(left["metadata"]["annotations"]["template"].as_str().unwrap()).unwrap();
    assert_eq!(copy[0]["name"], "mcloneset.kb.io");
    assert_eq!(without(&left), left);
}

#[test]
fn what_was_taken_comes_back_to_the_byte_through_the_managers_copy() {
    let whole = kruise();
    let back = returned(&without(&whole), &before(&whole));
    assert!(are_returned(&back, &before(&whole)) && !are_returned(&without(&whole), &before(&whole)));
    assert!(!are_listed(&back, &before(&whole)));
    assert_eq!(listed(back), whole);
}

#[test]
fn without_a_copy_entries_come_back_with_the_authority_of_today_and_leave_new_ones_alone() {
    let mut whole = kruise();
    whole["metadata"] = json!({});
    let mut later = without(&whole);
    later["webhooks"][0]["clientConfig"]["caBundle"] = json!("bmV3");
    later["webhooks"]
        .as_array_mut()
        .unwrap()
        .push(entry("mnew.kb.io", "/mutate-new"));
    let back = returned(&later, &before(&whole));
    let names: Vec<&str> = back["webhooks"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["name"].as_str())
        .collect();
    assert_eq!(
        names,
        ["mpod.kb.io", "mcloneset.kb.io", "msidecarset.kb.io", "mnew.kb.io"]
    );
    assert_eq!(back["webhooks"][0]["clientConfig"]["caBundle"], "bmV3");
}

#[test]
fn entries_reached_by_url_are_known_by_its_path() {
    let url = json!({"name": "mpod.kb.io", "clientConfig": {"url": "https://10.0.0.1:9876/mutate-pod?timeout=10s"}});
    assert!(serves_sidecarsets(&json!({"webhooks": [url]})));
    assert!(!serves_sidecarsets(
        &json!({"webhooks": [{"clientConfig": {"url": "https://mutate-pod"}}]})
    ));
    assert!(!serves_sidecarsets(&Value::Null));
}

#[test]
fn the_manager_is_told_by_its_environment_and_put_back_as_it_was() {
    let whole = deployment(
        json!({"name": "manager", "args": ["--feature-gates=ImagePullJobGate=true"],
        "env": [{"name": "POD_NAMESPACE", "value": "x"}]}),
    );
    let told = manager::restricted(&whole, false);
    let container = &told["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"][1]["name"], "CUSTOM_RESOURCE_ENABLE");
    let kinds = container["env"][1]["value"].as_str().unwrap();
    assert!(kinds.contains("CloneSet") && !kinds.split(',').any(|k| k == "SidecarSet"));
    assert_eq!(
        container["args"],
        json!(["--feature-gates=ImagePullJobGate=true"])
    );
    assert_eq!(manager::restricted(&told, false), told);
    assert_eq!(manager::restored(&told, &manager::before(&whole).unwrap()), whole);
    let stopped = manager::restricted(&whole, true);
    assert_eq!(stopped["spec"]["replicas"], 0);
    assert_eq!(
        manager::restored(&stopped, &manager::before(&whole).unwrap()),
        whole
    );
}

#[test]
fn a_gate_that_would_win_over_the_environment_is_set_by_name() {
    for (args, wanted) in [
        (
            json!(["--feature-gates=AllBeta=true,X=true"]),
            json!(["--feature-gates=AllBeta=true,X=true,PodWebhook=false"]),
        ),
        (
            json!(["--feature-gates", "PodWebhook=true"]),
            json!(["--feature-gates", "PodWebhook=false"]),
        ),
        (
            json!(["--feature-gates=AllBeta=true,PodWebhook=false"]),
            json!(["--feature-gates=AllBeta=true,PodWebhook=false"]),
        ),
    ] {
        let told = manager::restricted(&deployment(json!({"name": "manager", "args": args})), false);
        assert_eq!(told["spec"]["template"]["spec"]["containers"][0]["args"], wanted);
        assert_eq!(manager::restricted(&told, false), told);
    }
}

#[test]
fn kinds_somebody_listed_already_are_kept() {
    let env = json!([{"name": "CUSTOM_RESOURCE_ENABLE", "value": "CloneSet, SidecarSet"}]);
    let told = manager::restricted(&deployment(json!({"name": "manager", "env": env})), false);
    assert_eq!(
        told["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"],
        "CloneSet"
    );
}

#[test]
fn revisions_keep_their_names_numbers_and_owners() {
    let kept = |revisions: Vec<Value>| Kept {
        revisions,
        whitelist: None,
    };
    let theirs = kept(vec![revision("log-a", 1), revision("log-b", 3)]);
    let ours = kept(vec![revision("log-b", 2)]);
    let all = copies(&theirs, &ours, "tidegate-system");
    let [Copy::Create(made), Copy::Patch(name, patch)] = all.as_slice() else {
        panic!("{all:?}");
    };
    assert_eq!(made["metadata"]["namespace"], "tidegate-system");
    assert_eq!(made["metadata"]["ownerReferences"], json!([{"name": "log"}]));
    assert_eq!(
        (&made["metadata"]["uid"], &made["revision"]),
        (&Value::Null, &json!(1))
    );
    assert_eq!((name.as_str(), &patch["revision"]), ("log-b", &json!(3)));
    assert!(copies(&theirs, &theirs, "").is_empty());
}
