//! While what is known may be of a time that never was.
use super::*;

#[test]
fn what_is_in_doubt_moves_nothing_and_says_so_when_it_lasts() {
    let mut fleet = Fleet::of(3);
    fleet.change(
        json!({"containers": [{"name": "mesh", "image": "mesh:2"}], "updateStrategy": {"partition": 1}}),
    );
    let since = at(fleet.now);
    fleet.doubt = Some(Doubt { kind: "pods", since });
    let short = fleet.decide();
    assert_eq!(short.actions, []);
    assert_eq!(short.wake_at, Some(at(fleet.now + 1)));
    let silent = |w: &WaitingOn| w.reason() != "InDoubt";
    assert!(
        short.report.waiting.iter().all(silent),
        "{:?}",
        short.report.waiting
    );
    fleet.now += 41;
    let long = fleet.decide();
    assert_eq!(long.actions, []);
    assert_eq!(
        long.report.waiting[0].line(at(fleet.now)),
        "2 pods wait: the watch of pods was cut, and they are not listed yet for 41s"
    );
    let upgraded = &long.report.conditions[0];
    assert_eq!(
        (upgraded.status.as_str(), upgraded.reason.as_str()),
        ("False", "InDoubt")
    );
    fleet.doubt = None;
    assert_eq!(fleet.step().len(), 1);
}
