//! What has to be done before an answer may be sent.
use super::*;

#[test]
fn a_pod_that_none_of_those_who_were_asked_for_selects_is_in_doubt() {
    let set = json!({"metadata": {"name": "log"}, "spec": {"selector": {"matchLabels": {"app": "a"}},
        "namespaceSelector": {"matchLabels": {"t": "x"}}, "containers": [{"name": "log", "image": "log:1"}]}});
    let sets = prepared(set);
    let mut pod = pod();
    pod["metadata"]["labels"] = json!({"app": "a"});
    let body = envelope("pods", "CREATE", &pod, &Value::Null);
    let review = |namespace_label: &str, asked_for: &[&str]| {
        let labels = Arc::new(BTreeMap::from([("t".to_owned(), namespace_label.to_owned())]));
        let world = PodWorld {
            sets: &sets,
            namespace_labels: &|_| Some(labels.clone()),
            excluded_namespaces: &BTreeSet::new(),
            asked_for,
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
            draw: 1,
        };
        review_pod(&body, &world).before_sending
    };
    let doubt = Some(BeforeSending::NamespaceInDoubt("ns".to_owned()));
    assert_eq!(review("old", &["log"]), doubt);
    assert_eq!(review("old", &[]), None);
    assert_eq!(review("x", &["log"]), None);
}

#[test]
fn a_sidecarset_that_may_be_stored_is_announced_and_a_dry_run_is_not() {
    let set = json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "SidecarSet",
        "metadata": {"name": "log", "uid": "u"}, "spec": {"selector": {"matchLabels": {"app": "a"}},
        "namespace": "ns", "containers": [{"name": "log", "image": "log:1"}]}});
    let mut mutated = set.clone();
    default::mutate(&mut mutated, None, &[]).unwrap();
    let body = envelope("sidecarsets", "CREATE", &mutated, &Value::Null);
    let Some(BeforeSending::Announce(announced)) = validated(&body).before_sending else {
        panic!("nothing is announced: {:?}", validated(&body));
    };
    assert_eq!(announced.metadata.uid, "u");
    assert!(
        announced.spec.namespace_selector.is_some(),
        "as it will be stored"
    );
    let mut dry: Value = serde_json::from_slice(&body).unwrap();
    dry["request"]["dryRun"] = json!(true);
    assert_eq!(validated(dry.to_string().as_bytes()).before_sending, None);
    let mut image = mutated.clone();
    image["spec"]["containers"][0]["image"] = json!("log:2");
    let body = envelope("sidecarsets", "UPDATE", &image, &mutated);
    assert_eq!(validated(&body).before_sending, None, "the same pods as before");
}

#[test]
fn a_warning_joins_those_there_are() {
    let body = envelope("sidecarsets", "DELETE", &Value::Null, &Value::Null);
    let reviewed = validated(&body).warned("first").warned("second");
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    assert_eq!(answer["response"]["warnings"], json!(["second", "first"]));
    assert_eq!(answer["response"]["allowed"], true);
}
