//! Whatever pods and users do, a simulated kubelet answers, comes to rest, and keeps its counts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tidegate_sim::kubelet::{NodeState, PodState, step};
use tidegate_sim::{Pod, Script};

#[derive(Clone, Debug)]
enum Action {
    Image(usize, &'static str),
    Delete,
    Wait(u64),
    Resize(usize),
}

fn image() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a:1",
        "a:2",
        "bad:1",
        "A/not valid",
        "",
        "r.io:5000/x@sha256:00",
    ])
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0..4usize, image()).prop_map(|(at, image)| Action::Image(at, image)),
        1 => Just(Action::Delete),
        4 => (0..90_000u64).prop_map(Action::Wait),
        1 => (0..4usize).prop_map(Action::Resize),
    ]
}

fn script() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({})),
        (0..4u32, 0..2i32).prop_map(|(after, code)| json!({"exitAfter": after, "exitCode": code})),
        Just(json!({"stopAfter": 1e9, "readyAfter": 1e15})),
        Just(json!({"exitAfter": -1.0, "stopAfter": 1e300, "readyAfter": 1e300})),
        Just(json!({"readyAfter": 2, "startedAfter": 1, "unliveAfter": 3})),
        Just(json!({"postStartTakes": 1, "postStartFails": true})),
        Just(json!({"unknown": 1})),
    ]
}

fn container(name: String, sidecar: bool) -> impl Strategy<Value = (Value, Value)> {
    (image(), any::<[bool; 4]>(), script()).prop_map(move |(image, [ready, live, startup, hook], script)| {
        let mut out = json!({"name": name, "image": image});
        for (wanted, probe) in [
            (ready, "readinessProbe"),
            (live, "livenessProbe"),
            (startup, "startupProbe"),
        ] {
            if wanted {
                out[probe] = json!({"periodSeconds": 1});
            }
        }
        if hook {
            out["lifecycle"] = json!({"postStart": {"exec": {}}});
        }
        if sidecar {
            out["restartPolicy"] = json!("Always");
        }
        (out, script)
    })
}

fn pod() -> impl Strategy<Value = Value> {
    let policy = prop::sample::select(vec!["Always", "OnFailure", "Never"]);
    (
        policy,
        container("main".into(), false),
        container("side".into(), false),
        container("init".into(), false),
        container("native".into(), true),
        0..3usize,
    )
        .prop_map(|(policy, main, side, init, native, inits)| {
            let mut annotations = json!({"sim.tidegate.dev/images": r#"{"bad:*": {"error": "no"}}"#});
            for (container, script) in [&main, &side, &init, &native] {
                let name = container["name"].as_str().unwrap();
                annotations[format!("sim.tidegate.dev/container-{name}")] = json!(script.to_string());
            }
            let inits: Vec<_> = [init.0, native.0].into_iter().take(inits).collect();
            json!({"metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1, "annotations": annotations},
                "spec": {"nodeName": "node", "restartPolicy": policy, "terminationGracePeriodSeconds": 2,
                    "containers": [main.0, side.0], "initContainers": inits}, "status": {"phase": "Pending"}})
        })
}

struct World {
    object: Value,
    state: PodState,
    node: NodeState,
    script: Script,
    rng: StdRng,
    now: Timestamp,
    restarts: BTreeMap<String, i64>,
    removed: bool,
}

impl World {
    /// Goes on until `until`, or until nothing is left to happen.
    fn go(&mut self, until: Timestamp) {
        for turn in 0.. {
            assert!(turn < 5_000, "no rest: {:#}", self.object["status"]);
            let pod: Pod = serde_json::from_value(self.object.clone()).unwrap();
            let out = step(
                &pod,
                &mut self.state,
                &mut self.node,
                self.now,
                &self.script,
                &mut self.rng,
            );
            for status in out.statuses {
                self.check(&status);
                self.object["status"] = status;
            }
            self.removed |= out.remove;
            match out.wake.filter(|wake| *wake <= until) {
                Some(wake) => self.now = self.now.max(wake),
                None => break,
            }
        }
        self.now = until;
    }

    fn check(&mut self, status: &Value) {
        let before = self.object["status"]["phase"].as_str().unwrap_or_default();
        if matches!(before, "Succeeded" | "Failed") {
            assert_eq!(status["phase"], before, "a final phase is final");
        }
        for list in ["containerStatuses", "initContainerStatuses"] {
            for container in status[list].as_array().into_iter().flatten() {
                let name = container["name"].as_str().unwrap().to_owned();
                let count = container["restartCount"].as_i64().unwrap();
                let known = self.restarts.entry(name).or_default();
                assert!(*known <= count, "a restart was forgotten");
                *known = count;
                assert_eq!(container["state"].as_object().unwrap().len(), 1);
                assert!(
                    container["ready"] == false
                        || list != "containerStatuses"
                        || container["state"]["running"].is_object(),
                    "ready, but not running"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_simulated_kubelet_comes_to_rest_whatever_happens(pod in pod(), actions in prop::collection::vec(action(), 0..12), seed: u64) {
        let mut world = World {
            object: pod,
            state: PodState::default(),
            node: NodeState::new("node", "10.0.0.1", "10.1"),
            script: Script::default(),
            rng: StdRng::seed_from_u64(seed),
            now: "2026-11-21T12:00:00Z".parse().unwrap(),
            restarts: BTreeMap::new(),
            removed: false,
        };
        let delete = |world: &mut World| {
            world.object["metadata"]["deletionTimestamp"] = json!(world.now.to_string());
            world.object["metadata"]["deletionGracePeriodSeconds"] = json!(2);
        };
        for action in actions {
            let names = ["main", "side", "init", "native"];
            let change = |object: &mut Value, at: usize, field: &str, value: Value| {
                for list in ["containers", "initContainers"] {
                    for container in object["spec"][list].as_array_mut().unwrap() {
                        if container["name"] == names[at] {
                            container[field] = value.clone();
                        }
                    }
                }
            };
            match action {
                Action::Image(at, image) => change(&mut world.object, at, "image", json!(image)),
                Action::Resize(at) => change(&mut world.object, at, "resources", json!({"limits": {"cpu": "1"}})),
                Action::Delete => delete(&mut world),
                Action::Wait(millis) => {
                    let until = world.now + Duration::from_millis(millis);
                    world.go(until);
                    continue;
                }
            }
            let generation = world.object["metadata"]["generation"].as_i64().unwrap();
            world.object["metadata"]["generation"] = json!(generation + 1);
            let now = world.now;
            world.go(now);
        }
        delete(&mut world);
        let end = world.now + Duration::from_secs(3600);
        world.go(end);
        prop_assert!(world.removed, "deleted, and still there: {:#}", world.object);
    }
}
