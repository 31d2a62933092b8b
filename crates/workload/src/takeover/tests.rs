#![allow(clippy::unwrap_used)]
mod wire;

use super::entries::{before, returned, serves_sidecarsets, without};
use super::fence::Fence;
use super::kinds::{Fate, InUse, Usage, needs_pod_webhook};
use super::revisions::Kept;
use super::*;
use serde_json::json;

fn entry(name: &str, path: &str) -> Value {
    json!({"name": name, "failurePolicy": "Fail", "clientConfig": {"caBundle": "b2xk",
        "service": {"namespace": "kruise-system", "name": "kruise-webhook-service", "path": path}}})
}

/// As Kruise's manager leaves it: its own copy of all entries in an annotation.
fn configuration(entries: &[Value]) -> Value {
    let mut bare = entries.to_vec();
    for entry in &mut bare {
        entry["clientConfig"].as_object_mut().unwrap().remove("caBundle");
    }
    json!({"metadata": {"name": entries::MUTATING, "resourceVersion": "7",
        "annotations": {"template": serde_json::to_string(&bare).unwrap()}}, "webhooks": entries})
}

fn kruise() -> Value {
    configuration(&[
        entry("mpod.kb.io", "/mutate-pod"),
        entry("mcloneset.kb.io", "/mutate-apps-kruise-io-v1alpha1-cloneset"),
        entry("msidecarset.kb.io", "/mutate-apps-kruise-io-sidecarset"),
    ])
}

/// As Kruise's manager does about once a minute, and at every change: its list follows its copy.
fn listed(mut configuration: Value) -> Value {
    let copy = configuration["metadata"]["annotations"]["template"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut all: Vec<Value> = serde_json::from_str(&copy).unwrap();
    for entry in &mut all {
        entry["clientConfig"]["caBundle"] = json!("b2xk");
    }
    configuration["webhooks"] = Value::Array(all);
    configuration
}

fn deployment(container: Value) -> Value {
    json!({"metadata": {"generation": 2}, "spec": {"replicas": 2, "template": {"spec": {
        "serviceAccountName": "kruise-manager", "containers": [container]}}},
        "status": {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}})
}

fn revision(name: &str, number: i64) -> Value {
    json!({"metadata": {"name": name, "namespace": "kruise-system", "uid": "u", "resourceVersion": "9",
        "labels": {"kruise.io/sidecarset-name": "log"}, "ownerReferences": [{"name": "log"}]},
        "data": {"spec": {}}, "revision": number})
}

fn in_use(kind: &str, objects: usize, need_pod_webhook: &[&str]) -> InUse {
    InUse {
        group: "apps.kruise.io".to_owned(),
        kind: kind.to_owned(),
        objects,
        need_pod_webhook: need_pod_webhook.iter().map(|&n| n.to_owned()).collect(),
    }
}

#[test]
fn only_kinds_of_others_in_use_keep_kruise_running() {
    let usage = |kinds: &[InUse]| Usage {
        kinds: kinds.to_vec(),
        ..Usage::default()
    };
    let own = [
        in_use("SidecarSet", 3, &[]),
        in_use("CloneSet", 0, &[]),
        in_use("NodeImage", 9, &[]),
    ];
    assert!(!usage(&own).needs_kruise());
    assert!(usage(&[in_use("CloneSet", 1, &[])]).needs_kruise());
    let protected = Usage {
        protected: vec!["Namespace a".to_owned()],
        ..Usage::default()
    };
    assert!(protected.needs_kruise());
    assert_eq!(in_use("WorkloadSpread", 1, &["a/b"]).fate(), Fate::Refused);
}

#[test]
fn workloads_that_work_through_the_webhook_for_pods_are_told_apart() {
    let hooked = json!({"spec": {"lifecycle": {"preDelete": {"markPodNotReady": true}}}});
    assert!(needs_pod_webhook("CloneSet", &hooked));
    assert!(!needs_pod_webhook(
        "CloneSet",
        &json!({"spec": {"lifecycle": {"preDelete": {"markPodNotReady": false}}}})
    ));
    let ordered = json!({"spec": {"template": {"spec": {"containers": [
        {"name": "a", "env": [{"name": "KRUISE_CONTAINER_PRIORITY", "value": "1"}]}]}}}});
    assert!(needs_pod_webhook("StatefulSet", &ordered));
    assert!(needs_pod_webhook("PodUnavailableBudget", &json!({})));
}

/// Kruise in the middle of an upgrade, our operator beside it.
fn at_first() -> Observed {
    let crd = json!({"spec": {"versions": [{"name": "v1beta1"}], "conversion": {"strategy": "Webhook", "webhook":
        {"clientConfig": {"service": {"namespace": "kruise-system", "name": "kruise-webhook-service"}}}}}});
    Observed {
        record: None,
        mutating: kruise(),
        validating: configuration(&[entry("vsidecarset.kb.io", "/validate-apps-kruise-io-sidecarset")]),
        manager: deployment(json!({"name": "manager"})),
        manager_namespace: "kruise-system".to_owned(),
        manager_leads: true,
        manager_answers: true,
        fence: Fence::Absent,
        standing: Standing::StandingBy,
        entries_of_ours: false,
        operator_leads: false,
        theirs: Kept {
            revisions: vec![revision("log-a", 1)],
            whitelist: None,
        },
        ours: Kept::default(),
        crd,
        our_conversion: json!({"service": {"namespace": "tidegate-system", "name": "tidegate-webhook"}}),
        our_versions: json!([{"name": "v1beta1", "schema": {}}]),
    }
}

/// What the world makes of a step: the write, and what Kruise and our operator do about it.
fn world(seen: &mut Observed, step: Step, mode: Mode) {
    let before = Before {
        mode,
        manager: manager::before(&seen.manager),
        mutating: before(&seen.mutating),
        validating: before(&seen.validating),
        versions: seen.crd["spec"]["versions"].clone(),
        conversion: seen.crd["spec"]["conversion"].clone(),
    };
    let kept = seen.record.as_ref().and_then(|r| r.before.clone());
    let record = |actor, before| Some(Record { actor, before });
    match step {
        Step::Record => seen.record = record(Actor::Kruise, Some(before)),
        Step::Fence => seen.fence = Fence::Enforced,
        Step::CopyRevisions => seen.ours = seen.theirs.clone(),
        Step::WidenSchema => seen.crd["spec"]["versions"] = seen.our_versions.clone(),
        Step::Activate => {
            seen.record = record(Actor::Tidegate, kept);
            (seen.standing, seen.entries_of_ours, seen.operator_leads) = (Standing::Admitting, true, true);
        }
        Step::TakeEntries => {
            (seen.mutating, seen.validating) = (without(&seen.mutating), without(&seen.validating));
        }
        Step::RestrictManager => {
            seen.manager = manager::restricted(&seen.manager, mode == Mode::Stopped);
            let left = seen.manager["spec"]["replicas"].clone();
            for field in ["replicas", "updatedReplicas", "availableReplicas"] {
                seen.manager["status"][field] = left.clone();
            }
            seen.manager_leads = mode != Mode::Stopped;
        }
        Step::Convert => {
            seen.crd["spec"]["conversion"]["webhook"]["clientConfig"] = seen.our_conversion.clone()
        }
        Step::RestoreManager => {
            seen.manager = manager::restored(&seen.manager, kept.unwrap().manager.as_ref().unwrap());
            seen.manager["status"] = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2,
                "availableReplicas": 2});
            // It takes the conversion of its kinds as soon as it runs.
            seen.crd["spec"]["conversion"] = before.conversion.clone();
            seen.crd["spec"]["conversion"]["webhook"]["clientConfig"]["service"] =
                json!({"namespace": "kruise-system", "name": "kruise-webhook-service"});
        }
        Step::ReturnEntries => {
            let kept = kept.unwrap();
            seen.mutating = listed(returned(&seen.mutating, &kept.mutating));
            seen.validating = listed(returned(&seen.validating, &kept.validating));
        }
        Step::StandDown => {
            seen.record = record(Actor::Kruise, kept);
            (seen.standing, seen.entries_of_ours, seen.operator_leads) = (Standing::StandingBy, false, false);
        }
        Step::ReturnRevisions | Step::ReturnLastRevisions => seen.theirs = seen.ours.clone(),
        Step::RestoreSchema => seen.crd["spec"]["versions"] = kept.unwrap().versions,
        Step::Unfence => seen.fence = Fence::Absent,
        Step::Forget => seen.record = record(Actor::Kruise, None),
        other => panic!("{other:?} was waited for, and nobody did it"),
    }
}

/// What must hold whenever the command may be cut off.
fn holds(seen: &Observed) {
    let actor = seen.record.as_ref().map_or(Actor::Kruise, |r| r.actor);
    let kruise_acts = seen.fence == Fence::Absent;
    assert!(!(kruise_acts && seen.operator_leads), "two upgrade pods");
    assert!(
        serves_sidecarsets(&seen.mutating) || seen.standing == Standing::Admitting,
        "nobody admits pods"
    );
    let runs = seen.manager["status"]["availableReplicas"] != 0;
    assert!(
        runs || !serves_sidecarsets(&seen.mutating),
        "pods are refused: Kruise is asked, and stopped"
    );
    assert!(actor == Actor::Tidegate || seen.standing != Standing::Admitting);
    let converts = seen.crd["spec"]["conversion"]
        .to_string()
        .contains("kruise-system");
    let converted = runs || !converts || seen.record.as_ref().unwrap().actor == Actor::Tidegate;
    assert!(converted, "nobody converts");
}

fn go(seen: &mut Observed, mode: Mode, direction: Direction) -> Vec<Step> {
    let mut done = Vec::new();
    while let Some(step) = remaining(seen, mode, direction).first().copied() {
        world(seen, step, mode);
        holds(seen);
        done.push(step);
        assert!(done.len() < 30, "it goes round: {done:?}");
    }
    done
}

#[test]
fn at_every_step_of_both_ways_one_upgrades_and_somebody_admits() {
    for mode in [Mode::Beside, Mode::Stopped] {
        let mut seen = at_first();
        let taken = go(&mut seen, mode, Direction::TakeOver);
        assert_eq!(taken[..2], [Step::Record, Step::Fence]);
        assert_eq!(taken.contains(&Step::Convert), mode == Mode::Stopped);
        assert!(remaining(&seen, mode, Direction::TakeOver).is_empty());
        let given = go(&mut seen, mode, Direction::GiveBack);
        assert_eq!(given[given.len() - 2..], [Step::Unfence, Step::Forget]);
        let first = at_first();
        assert_eq!(
            (seen.mutating, seen.validating, seen.manager),
            (first.mutating, first.validating, first.manager)
        );
        assert_eq!(seen.crd, first.crd);
    }
}

#[test]
fn a_take_over_cut_off_anywhere_can_be_given_back_or_gone_on_with() {
    for mode in [Mode::Beside, Mode::Stopped] {
        for cut in 0..12 {
            for direction in [Direction::TakeOver, Direction::GiveBack] {
                let mut seen = at_first();
                for _ in 0..cut {
                    if let Some(step) = remaining(&seen, mode, Direction::TakeOver).first().copied() {
                        world(&mut seen, step, mode);
                    }
                }
                go(&mut seen, mode, direction);
                let actor = seen.record.as_ref().map(|r| r.actor);
                let wanted = match direction {
                    Direction::TakeOver => Some(Actor::Tidegate),
                    Direction::GiveBack if cut == 0 => None,
                    Direction::GiveBack => Some(Actor::Kruise),
                };
                assert_eq!(actor, wanted, "cut after {cut} steps");
            }
        }
    }
}

#[test]
fn kruise_is_not_touched_before_our_webhook_was_heard_through_the_api_server() {
    let mut seen = at_first();
    world(&mut seen, Step::Record, Mode::Beside);
    seen.standing = Standing::Silent("connection refused".to_owned());
    assert_eq!(
        remaining(&seen, Mode::Beside, Direction::TakeOver)[0],
        Step::AwaitOperator
    );
}

#[test]
fn a_plan_names_what_is_in_the_way_and_every_kind() {
    let usage = Usage {
        kinds: vec![
            in_use("CloneSet", 2, &[]),
            in_use("WorkloadSpread", 1, &["shop/spread"]),
        ],
        pods: vec!["shop/ordered".to_owned()],
        ..Usage::default()
    };
    let hot = json!({"metadata": {"name": "mesh"}, "spec": {"containers": [
        {"name": "mesh", "image": "m:1", "upgradeStrategy": {"upgradeType": "HotUpgrade"}}]}});
    let plan = plan(&at_first(), &usage, &[hot], Direction::TakeOver);
    assert_eq!(plan.mode, Mode::Beside);
    for named in [
        "SidecarSet mesh",
        "WorkloadSpread shop/spread",
        "Pod shop/ordered",
    ] {
        assert!(
            plan.refusals.iter().any(|r| r.starts_with(named)),
            "{named}: {:?}",
            plan.refusals
        );
    }
    assert_eq!(plan.kinds.len(), 2);
}

#[test]
fn a_give_back_says_what_kruise_would_not_understand() {
    let set = json!({"metadata": {"name": "log", "annotations": {"kruise.io/sidecarset-hash": "earlier",
            "tidegate.dev/failure-policy": "Ignore"}},
        "spec": {"updateStrategy": {"type": "RollingUpdate"}, "containers": [{"name": "log", "image": "l:1"}],
            "initContainers": [{"name": "net", "image": "n:1", "restartPolicy": "Always"}]}});
    let told = plan(&at_first(), &Usage::default(), &[set], Direction::GiveBack).warnings;
    for part in [
        "count as outdated",
        "Kruise refuses every write",
        "tidegate.dev/failure-policy",
    ] {
        assert!(told.iter().any(|w| w.contains(part)), "{part}: {told:?}");
    }
}

#[test]
fn a_record_is_read_back_as_it_was_written() {
    let mut seen = at_first();
    world(&mut seen, Step::Record, Mode::Beside);
    let record = seen.record.unwrap();
    assert_eq!(Record::read(&json!({"data": record.data()})), Ok(record));
    assert!(Record::read(&json!({"data": {"sidecarsets": "who knows"}})).is_err());
}
