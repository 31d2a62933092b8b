//! Random worlds against the rules as one would say them, slow and obvious.
use super::fleet::Fleet;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;

use super::super::*;

#[derive(Debug, Clone)]
enum Event {
    Decide,
    /// Some write of the last decisions becomes visible only later.
    DecideBlind,
    Kubelet(usize),
    Fails(usize),
    Image(u8),
    Limits(u8, u8),
    Pause(bool),
    Wait(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Decide),
        2 => Just(Event::DecideBlind),
        6 => (0..12usize).prop_map(Event::Kubelet),
        2 => (0..12usize).prop_map(Event::Fails),
        1 => (1..5u8).prop_map(Event::Image),
        1 => (0..12u8, 0..12u8).prop_map(|(m, p)| Event::Limits(m, p)),
        1 => any::<bool>().prop_map(Event::Pause),
        1 => (0..900i64).prop_map(Event::Wait),
    ]
}

/// Updated pods that are not ready, by the annotations alone.
fn unready_updated(fleet: &Fleet, hash: &str, invisible: &BTreeSet<String>) -> usize {
    let carries = |p: &model::pod::PodView| {
        p.annotations
            .get(model::sidecarset::keys::HASH)
            .unwrap()
            .contains(hash)
    };
    fleet
        .pods
        .iter()
        .filter(|p| {
            let unit = format!("ns/{}", p.name);
            let runs = p
                .containers
                .iter()
                .zip(p.container_statuses.iter())
                .all(|(c, s)| c.image == s.image && s.ready);
            (carries(p) && !(p.is_ready() && runs)) || invisible.contains(&unit)
        })
        .count()
}

fn check(fleet: &mut Fleet, invisible: &mut BTreeSet<String>, blind: bool) {
    let snapshot = |unit: &str| invisible.contains(unit);
    let decision = fleet.decide_in(Some(&snapshot));
    let plan = Plan::new(&fleet.set).unwrap();
    let hash = plan.hash.clone().unwrap();
    let total = u32::try_from(fleet.pods.len()).unwrap();
    let allowed = share_of(&plan.max_unavailable, total) as usize;
    let held = held_by_partition(&plan.partition, total) as usize;
    let mut written = Vec::new();
    for action in decision.actions {
        let Action::Upgrade(upgrade) = action else {
            continue;
        };
        assert!(!plan.is_paused());
        let unit = format!("{}/{}", upgrade.namespace, upgrade.name);
        assert!(!invisible.contains(&unit), "{unit} has a write under way");
        let was_ready = fleet.pod(&unit).is_ready();
        let mid_update = {
            let pod = fleet.pod(&unit);
            pod.containers
                .iter()
                .zip(pod.container_statuses.iter())
                .any(|(c, s)| c.image != s.image)
        };
        fleet.write(&upgrade);
        written.push(unit.clone());
        let invisible_now: BTreeSet<String> =
            invisible.iter().cloned().chain(written.iter().cloned()).collect();
        if was_ready && !mid_update {
            let unready = unready_updated(fleet, &hash, &invisible_now);
            assert!(unready <= allowed, "{unready} of {allowed}");
        }
    }
    let updated = fleet
        .pods
        .iter()
        .filter(|p| {
            p.annotations
                .get(model::sidecarset::keys::HASH)
                .unwrap()
                .contains(&hash)
        })
        .count();
    assert!(
        written.is_empty() || updated + held <= fleet.pods.len(),
        "{updated} updated, {held} held"
    );
    if blind {
        invisible.extend(written);
    } else {
        invisible.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn budgets_hold_in_any_order_of_kubelets_and_changes(
        n in 1..12usize,
        events in proptest::collection::vec(event(), 1..80),
    ) {
        let mut fleet = Fleet::of(n);
        let mut invisible = BTreeSet::new();
        for event in events {
            match event {
                Event::Decide => check(&mut fleet, &mut invisible, false),
                Event::DecideBlind => check(&mut fleet, &mut invisible, true),
                Event::Kubelet(i) => fleet.kubelet(&format!("ns/pod-{}", i % n)),
                Event::Fails(i) => fleet.kubelet_fails(&format!("ns/pod-{}", i % n)),
                Event::Image(i) => {
                    fleet.change(json!({"containers": [{"name": "mesh", "image": format!("mesh:{i}")}]}));
                }
                Event::Limits(m, p) => {
                    fleet.change(json!({"updateStrategy": {"maxUnavailable": m, "partition": p}}));
                }
                Event::Pause(paused) => fleet.change(json!({"updateStrategy": {"paused": paused}})),
                Event::Wait(seconds) => fleet.now += seconds,
            }
        }
        // With kubelets that work and nothing held back, everything ends up to date: nothing is wedged.
        fleet.change(json!({"updateStrategy": {"maxUnavailable": 1}}));
        invisible.clear();
        for _ in 0..3 * n + 3 {
            fleet.kubelet_all();
            fleet.now += SETTLE_SECONDS + 1;
            check(&mut fleet, &mut invisible, false);
        }
        fleet.kubelet_all();
        fleet.now += SETTLE_SECONDS + 1;
        let counts = fleet.decide().report.counts;
        prop_assert_eq!(counts.updated_ready, u32::try_from(n).unwrap());
    }
}
