#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The decider on small fleets, and against a slow and obvious model of the budget.
mod doubt;
mod fleet;
mod model_check;

use super::*;
use fleet::{Fleet, at};
use model::decision::WaitingOn;
use model::pod::{ConditionStatus, PodPhase, PodView};
use serde_json::json;

#[test]
fn ready_pods_go_one_at_a_time_by_default() {
    let mut fleet = Fleet::of(5);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    assert_eq!(fleet.step().len(), 1);
    assert_eq!(fleet.step().len(), 0, "the first is not ready yet");
    assert!(matches!(
        fleet.waiting()[0],
        WaitingOn::Unavailable {
            in_use: 1,
            allowed: 1,
            ..
        }
    ));
    fleet.kubelet_all();
    assert_eq!(fleet.step().len(), 1);
}

#[test]
fn a_pod_whose_write_is_not_visible_yet_does_not_wait_since_the_update_before() {
    let mut fleet = Fleet::of(2);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    let decision = fleet.decide_in(Some(&|unit| unit == "ns/pod-0"));
    let WaitingOn::Unavailable { pods, .. } = &decision.report.waiting[0] else {
        panic!("{:?}", decision.report.waiting);
    };
    assert_eq!((&*pods[0].why, pods[0].since), ("being updated", None));
}

#[test]
fn everything_ends_updated_ready_and_silent() {
    let mut fleet = Fleet::of(7);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": "30%"}}));
    for _ in 0..20 {
        fleet.step();
        fleet.kubelet_all();
    }
    let decision = fleet.decide();
    assert_eq!(decision.actions, []);
    assert_eq!(decision.report.counts.updated_ready, 7);
    assert_eq!(decision.report.waiting, []);
    assert_eq!(decision.report.conditions[0].status, "True");
    assert_eq!(decision.wake_at, None);
}

#[test]
fn pods_that_cannot_follow_are_marked_and_do_not_hold_the_others() {
    let mut fleet = Fleet::of(10);
    fleet.outdate_otherwise(3);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": "100%", "partition": 5}}));
    // Three of the five that stay are those that cannot follow.
    assert_eq!(fleet.step().len(), 5);
    let report = fleet.decide().report;
    assert!(
        report
            .waiting
            .iter()
            .any(|w| matches!(w, WaitingOn::Recreation { pods: 3, .. })),
        "{report:?}"
    );
    assert!(
        report
            .waiting
            .iter()
            .any(|w| matches!(w, WaitingOn::Partition { held: 2, .. })),
        "{report:?}"
    );
}

#[test]
fn a_condition_that_is_wrong_is_put_right() {
    let mut fleet = Fleet::of(1);
    fleet.mark(0, false);
    let marks = fleet.marks();
    assert_eq!(marks.len(), 1);
    assert!(marks[0].upgradable);
    fleet.mark(0, true);
    assert_eq!(fleet.marks().len(), 0);
}

#[test]
fn no_more_conditions_are_written_than_there_is_room_for() {
    let mut fleet = Fleet::of(9);
    (0..9).for_each(|i| fleet.mark(i, false));
    assert_eq!(fleet.marks().len(), 9);
    fleet.room = 4;
    assert_eq!(fleet.marks().len(), 4);
    let mut rounds = 0;
    while !fleet.marks().is_empty() {
        fleet.step();
        rounds += 1;
    }
    assert_eq!(rounds, 3);
}

#[test]
fn paused_and_not_update_move_nothing_and_say_so() {
    for (strategy, line) in [
        (json!({"paused": true}), "paused: 3 pods not updated"),
        (
            json!({"type": "NotUpdate"}),
            "updateStrategy.type is NotUpdate: 3 pods not updated",
        ),
    ] {
        let mut fleet = Fleet::of(3);
        fleet
            .change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}], "updateStrategy": strategy}));
        assert_eq!(fleet.decide().actions, []);
        assert_eq!(fleet.waiting()[0].to_string(), line);
    }
}

#[test]
fn an_image_that_fails_can_be_taken_back() {
    let mut fleet = Fleet::of(3);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:bad"}]}));
    let taken = fleet.step();
    fleet.kubelet_fails(&taken[0]);
    assert_eq!(fleet.step().len(), 0);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:1"}]}));
    // The broken one is the only one outdated now, and takes over its own place.
    assert_eq!(fleet.step(), taken);
    fleet.kubelet_all();
    assert_eq!(fleet.decide().report.counts.updated_ready, 3);
}

#[test]
fn a_new_image_in_mid_upgrade_does_not_disturb_a_second_pod() {
    let mut fleet = Fleet::of(3);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    let taken = fleet.step();
    // Its kubelet has not even noticed: the pod is still Ready, and yet about to go down.
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:3"}]}));
    assert_eq!(fleet.step(), taken);
    assert_eq!(fleet.step().len(), 0);
}

#[test]
fn a_pod_past_its_deadline_keeps_its_place_and_the_rest_goes_on_with_what_is_left() {
    let mut fleet = Fleet::of(4);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": 2}}));
    let taken = fleet.step();
    fleet.kubelet_fails(&taken[0]);
    fleet.kubelet(&taken[1]);
    fleet.now += 601;
    assert_eq!(fleet.step().len(), 1);
    let late = fleet
        .waiting()
        .into_iter()
        .find(|w| matches!(w, WaitingOn::PastDeadline { .. }))
        .unwrap();
    assert!(late.to_string().contains(&taken[0]), "{late}");
}

#[test]
fn failures_up_to_the_threshold_stop_the_upgrade() {
    let mut fleet = Fleet::of(10);
    fleet.annotate(FAILURE_THRESHOLD, "2");
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": 5}}));
    let taken = fleet.step();
    for name in &taken[..2] {
        fleet.kubelet_fails(name);
    }
    for name in &taken[2..] {
        fleet.kubelet(name);
    }
    fleet.now += 601;
    assert_eq!(fleet.step().len(), 0);
    assert_eq!(
        fleet.waiting()[0],
        WaitingOn::FailureThreshold {
            failed: 2,
            threshold: 2
        }
    );
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:3"}],
        "updateStrategy": {"maxUnavailable": 5}}));
    assert!(!fleet.step().is_empty(), "another image starts anew");
}

#[test]
fn failures_that_are_forgiven_stop_nothing_and_later_ones_do() {
    let mut fleet = Fleet::of(10);
    fleet.annotate(FAILURE_THRESHOLD, "1");
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": 2}}));
    let taken = fleet.step();
    fleet.kubelet_fails(&taken[0]);
    fleet.kubelet(&taken[1]);
    fleet.now += 601;
    assert_eq!(fleet.step().len(), 0);
    fleet.annotate(FAILURES_FORGIVEN, &at(fleet.now).to_string());
    let next = fleet.step();
    assert_eq!(next.len(), 1, "the failed pod keeps its place");
    fleet.kubelet_fails(&next[0]);
    fleet.now += 601;
    fleet.step();
    assert_eq!(
        fleet.waiting()[0],
        WaitingOn::FailureThreshold {
            failed: 1,
            threshold: 1
        }
    );
}

#[test]
fn unready_pods_go_first_and_free() {
    let mut fleet = Fleet::of(4);
    fleet.unready(2);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": 0}}));
    assert_eq!(fleet.step(), ["ns/pod-2"]);
    assert_eq!(fleet.step().len(), 0);
}

#[test]
fn what_disturbs_least_goes_first() {
    let mut fleet = Fleet::of(8);
    let pods = &mut fleet.pods;
    let ready_since = |pod: &mut PodView, seconds| {
        let ready = pod.ready.as_mut().unwrap();
        ready.last_transition_time = Some(at(seconds));
    };
    pods.iter_mut().for_each(|pod| ready_since(pod, 10));
    pods[6].node_name = None;
    pods[5].phase = PodPhase::Pending;
    pods[4].phase = PodPhase::Unknown;
    pods[3].ready.as_mut().unwrap().status = ConditionStatus::False;
    ready_since(&mut pods[2], 50);
    pods[1].container_statuses[0].restart_count = 3;
    pods[7].creation_timestamp = Some(at(60));
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": "100%"}}));
    let order: Vec<String> = [6, 5, 4, 3, 2, 1, 7, 0]
        .iter()
        .map(|n| format!("ns/pod-{n}"))
        .collect();
    assert_eq!(fleet.step(), order);
}

#[test]
fn counting_all_unavailable_pods_leaves_less_for_the_upgrade() {
    let change = json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": 1, "selector": {"matchLabels": {"n": "1"}}}});
    for (counts, moved) in [("", 1), ("All", 0)] {
        let mut fleet = Fleet::of(4);
        fleet.unready(2);
        fleet.annotate(UNAVAILABLE_COUNTS, counts);
        fleet.change(change.clone());
        assert_eq!(fleet.step().len(), moved, "{counts:?}");
    }
}

#[test]
fn a_hot_upgrade_container_moves_no_pod_and_says_so() {
    let mut fleet = Fleet::hot(2);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2",
        "upgradeStrategy": {"upgradeType": "HotUpgrade", "hotUpgradeEmptyImage": "empty"}}]}));
    assert_eq!(fleet.step().len(), 0);
    assert!(
        matches!(fleet.waiting()[0], WaitingOn::HotUpgrade { pods: 2, .. }),
        "{:?}",
        fleet.waiting()
    );
}

#[test]
fn the_same_image_under_another_tag_completes_by_the_containers_id() {
    let mut fleet = Fleet::of(1);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:same"}]}));
    assert_eq!(fleet.step().len(), 1);
    // The runtime shows the new name before anything happened: the old container is still there.
    fleet.report("ns/pod-0", "mesh:same", "id-of-1", "c-0", true);
    assert_eq!(fleet.decide().report.counts.ready, 0);
    // Replaced, but shown by its old name.
    fleet.report("ns/pod-0", "mesh:1", "id-of-1", "c-1", true);
    let decision = fleet.decide();
    assert_eq!(decision.report.counts.ready, 0);
    assert_eq!(decision.wake_at, Some(at(fleet.now + SETTLE_SECONDS)));
    fleet.now += SETTLE_SECONDS;
    assert_eq!(fleet.decide().report.counts.ready, 1);
}

#[test]
fn nothing_is_complete_before_the_kubelet_has_read_the_spec() {
    let mut fleet = Fleet::of(1);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    fleet.step();
    // A crash at the moment of the patch: a new container of the old image.
    fleet.report("ns/pod-0", "mesh:1", "id-of-1", "c-9", true);
    fleet.observe("ns/pod-0", 1);
    fleet.now += 1000;
    assert_eq!(fleet.decide().report.counts.ready, 0);
}

#[test]
fn a_kubelet_on_its_way_back_to_the_spec_before_has_not_followed_the_next_one() {
    // Its server was put back to before the pod was upgraded: what runs is ahead of the spec, and taken back.
    let mut fleet = Fleet::of(1);
    fleet.report("ns/pod-0", "mesh:2", "id-of-2", "c-1", true);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    fleet.step();
    fleet.report("ns/pod-0", "mesh:1", "id-of-1", "c-2", true);
    assert_eq!(fleet.decide().report.counts.updated_ready, 0);
    fleet.report("ns/pod-0", "mesh:2", "id-of-2", "c-3", true);
    assert_eq!(fleet.decide().report.counts.updated_ready, 1);
}

#[test]
fn the_patch_is_bound_to_what_it_replaces() {
    let mut fleet = Fleet::of(1);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    let decision = fleet.decide();
    let Action::Upgrade(upgrade) = &decision.actions[0] else {
        panic!("{decision:?}")
    };
    let operations: Vec<serde_json::Value> = serde_json::from_str(&upgrade.patch).unwrap();
    let find = |op: &str, path: &str| {
        let found = operations.iter().find(|o| o["op"] == op && o["path"] == path);
        found.map(|o| o["value"].clone())
    };
    assert_eq!(find("test", "/metadata/uid"), Some(json!("uid-0")));
    assert_eq!(find("test", "/spec/containers/1/image"), Some(json!("mesh:1")));
    assert_eq!(find("replace", "/spec/containers/1/image"), Some(json!("mesh:2")));
    assert_eq!(
        find("test", "/status/containerStatuses/1/containerID"),
        Some(json!("c-0"))
    );
    assert!(find("test", "/metadata/annotations/kruise.io~1sidecarset-hash").is_some());
    let entry = find("add", "/metadata/annotations/kruise.io~1sidecarset-hash").unwrap();
    let entry: serde_json::Value = serde_json::from_str(entry.as_str().unwrap()).unwrap();
    assert_eq!(entry["other"], json!({"hash": "kept"}));
    assert_eq!(entry["set"]["sidecarList"], json!(["mesh"]));
}

#[test]
fn a_refused_pod_steps_aside() {
    let mut fleet = Fleet::of(3);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}]}));
    let first = fleet.decide();
    let Action::Upgrade(upgrade) = &first.actions[0] else {
        panic!("{first:?}")
    };
    let refused = format!("{}/{}", upgrade.namespace, upgrade.name);
    fleet.refuse(&refused, 100);
    assert_ne!(fleet.step()[0], refused);
    assert!(
        fleet
            .waiting()
            .iter()
            .any(|w| matches!(w, WaitingOn::Refused { total: 1, .. }))
    );
}

#[test]
fn priorities_rank_pods_and_those_without_come_last() {
    let mut fleet = Fleet::of(4);
    fleet.label(3, "stage", "s-7");
    fleet.label(1, "stage", "s-3");
    fleet.change(
        json!({"containers": [{"name": "mesh", "image": "mesh:2"}], "updateStrategy":
        {"maxUnavailable": 2, "priorityStrategy": {"orderPriority": [{"orderedKey": "stage"}]}}}),
    );
    assert_eq!(fleet.step(), ["ns/pod-3", "ns/pod-1"]);
}

#[test]
fn of_a_thousand_pods_a_partition_holds_nine_hundred_and_eighty_back() {
    let mut fleet = Fleet::of(1000);
    fleet.change(json!({"containers": [{"name": "mesh", "image": "mesh:2"}],
        "updateStrategy": {"maxUnavailable": "100%", "partition": 980}}));
    assert_eq!(fleet.step().len(), 20);
    assert_eq!(fleet.waiting()[0].to_string(), "partition holds 980 pods back");
    fleet.kubelet_all();
    assert_eq!(fleet.step().len(), 0);
    assert_eq!(fleet.waiting()[0].to_string(), "partition holds 980 pods back");
}
