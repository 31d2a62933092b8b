//! A few pods of one SidecarSet, with kubelets that do as they are told.
use super::super::*;
use model::decision::{Decision, WaitingOn};
use model::pod::*;
use model::sidecarset::{SidecarSet, keys};
use model::time::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub struct Fleet {
    pub set: SidecarSet,
    pub pods: Vec<PodView>,
    pub now: i64,
    pub room: usize,
    pub doubt: Option<Doubt>,
    refused: BTreeMap<String, i64>,
    hashes: BTreeMap<String, usize>,
}

impl Fleet {
    pub fn of(n: usize) -> Self {
        Self::with(n, &["mesh"])
    }

    pub fn hot(n: usize) -> Self {
        let mut fleet = Self::with(n, &["mesh-1", "mesh-2"]);
        for pod in &mut fleet.pods {
            set_annotation(pod, keys::WORKING_HOT_CONTAINER, "{\"mesh\":\"mesh-1\"}");
        }
        fleet
    }

    fn with(n: usize, sidecars: &[&str]) -> Self {
        let set = json!({"metadata": {"name": "set", "uid": "set-uid", "generation": 1,
                "annotations": {keys::HASH: "h-0", keys::HASH_WITHOUT_IMAGE: "w-0"}},
            "spec": {"selector": {"matchLabels": {"app": "web"}},
                "containers": [{"name": "mesh", "image": "mesh:1"}]}});
        let mut fleet = Self {
            set: serde_json::from_value(set).unwrap(),
            pods: Vec::new(),
            now: 100,
            room: usize::MAX,
            doubt: None,
            refused: BTreeMap::new(),
            hashes: BTreeMap::new(),
        };
        fleet.hash();
        for i in 0..n {
            fleet.pods.push(pod(i, sidecars));
        }
        fleet
    }

    /// A new content: the hash follows the images, as in the webhook.
    pub fn change(&mut self, spec: Value) {
        let mut whole = serde_json::to_value(&self.set.spec).unwrap();
        for (key, value) in spec.as_object().unwrap() {
            whole[key] = value.clone();
        }
        self.set.spec = serde_json::from_value(whole).unwrap();
        self.set.metadata.generation += 1;
        self.hash();
    }

    fn hash(&mut self) {
        let image = self.set.spec.containers[0].image().to_owned();
        let next = self.hashes.len();
        let n = *self.hashes.entry(image).or_insert(next);
        self.set
            .metadata
            .annotations
            .insert(keys::HASH.to_owned(), format!("h-{n}"));
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        self.set
            .metadata
            .annotations
            .insert(key.to_owned(), value.to_owned());
    }

    pub fn decide(&self) -> Decision<Action> {
        self.decide_in(None)
    }

    /// With pods whose writes are not visible yet.
    pub fn decide_in(&self, in_flight: Option<&dyn Fn(&str) -> bool>) -> Decision<Action> {
        let plan = Plan::new(&self.set).unwrap();
        let facts: Vec<PodFacts> = self
            .pods
            .iter()
            .filter_map(|pod| match PodFacts::read(&plan, &Arc::new(pod.clone()), None) {
                Membership::Member(facts) => Some(*facts),
                _ => None,
            })
            .map(|mut facts| {
                let unit = facts.unit();
                facts.in_flight = in_flight.is_some_and(|f| f(&unit));
                facts.refused = self.refused.get(&unit).map(|s| ("no".to_owned(), at(*s)));
                facts
            })
            .collect();
        let changes = BTreeMap::new();
        let snapshot = Snapshot {
            plan: &plan,
            pods: facts.iter().collect(),
            not_injected: vec![],
            changes: &changes,
            doubt: self.doubt,
            room: self.room,
        };
        decide(&snapshot, at(self.now))
    }

    pub fn waiting(&self) -> Vec<WaitingOn> {
        self.decide().report.waiting
    }

    pub fn marks(&self) -> Vec<StatusPatch> {
        let actions = self.decide().actions;
        actions
            .into_iter()
            .filter_map(|a| match a {
                Action::Mark(m) => Some(*m),
                Action::Upgrade(_) => None,
            })
            .collect()
    }

    /// Decides and writes; names of the pods upgraded, in order.
    pub fn step(&mut self) -> Vec<String> {
        let actions = self.decide().actions;
        let mut names = Vec::new();
        for action in actions {
            match action {
                Action::Upgrade(upgrade) => {
                    self.write(&upgrade);
                    names.push(format!("{}/{}", upgrade.namespace, upgrade.name));
                }
                Action::Mark(mark) => {
                    let n = self.pods.iter().position(|p| *p.name == *mark.name).unwrap();
                    self.mark(n, mark.upgradable);
                }
            }
        }
        names
    }

    pub fn write(&mut self, upgrade: &PodUpgrade) {
        let pod = self.pods.iter_mut().find(|p| *p.name == *upgrade.name).unwrap();
        for change in &upgrade.images {
            let container = Arc::make_mut(&mut pod.containers)
                .iter_mut()
                .find(|c| *c.name == *change.container)
                .unwrap();
            assert_eq!(*container.image, *change.from);
            container.image = change.to.as_str().into();
        }
        pod.generation += i64::from(!upgrade.images.is_empty());
        let operations: Vec<Value> = serde_json::from_str(&upgrade.patch).unwrap();
        for operation in operations {
            let path = operation["path"].as_str().unwrap();
            if let Some(key) = path
                .strip_prefix("/metadata/annotations/")
                .filter(|_| operation["op"] == "add")
            {
                set_annotation(pod, &key.replace("~1", "/"), operation["value"].as_str().unwrap());
            }
        }
    }

    pub fn pod(&mut self, unit: &str) -> &mut PodView {
        self.pods
            .iter_mut()
            .find(|p| format!("{}/{}", p.namespace, p.name) == unit)
            .unwrap()
    }

    pub fn kubelet_all(&mut self) {
        for n in 0..self.pods.len() {
            let unit = format!("ns/{}", self.pods[n].name);
            self.kubelet(&unit);
        }
    }

    /// Runs what the spec says.
    pub fn kubelet(&mut self, unit: &str) {
        let now = self.now;
        let pod = self.pod(unit);
        pod.observed_generation = pod.generation;
        let mut restarted = false;
        for n in 0..pod.containers.len() {
            let image = pod.containers[n].image.clone();
            let status = &mut pod.container_statuses[n];
            if status.image != image || !status.ready {
                restarted = true;
                status.image_id = format!("id-of-{image}").into();
                status.container_id = format!("c-{}", pod.generation + 10).into();
                status.image = image;
            }
            status.ready = true;
            status.waiting = None;
        }
        if restarted || !pod.is_ready() {
            ready(pod, ConditionStatus::True, now);
        }
    }

    /// Kills the old container, and cannot pull the new image.
    pub fn kubelet_fails(&mut self, unit: &str) {
        let now = self.now;
        let pod = self.pod(unit);
        pod.observed_generation = pod.generation;
        let status = pod.container_statuses.iter_mut().last().unwrap();
        status.ready = false;
        status.waiting = Some(Box::new(Waiting {
            reason: "ErrImagePull".into(),
            message: "".into(),
        }));
        ready(pod, ConditionStatus::False, now);
    }

    pub fn report(&mut self, unit: &str, image: &str, id: &str, container: &str, is_ready: bool) {
        let now = self.now;
        let pod = self.pod(unit);
        pod.observed_generation = pod.generation;
        let status = pod.container_statuses.iter_mut().last().unwrap();
        (status.image, status.image_id, status.container_id) = (image.into(), id.into(), container.into());
        status.ready = is_ready;
        ready(pod, ConditionStatus::True, now);
    }

    pub fn observe(&mut self, unit: &str, generation: i64) {
        self.pod(unit).observed_generation = generation;
    }

    pub fn unready(&mut self, n: usize) {
        let now = self.now;
        ready(&mut self.pods[n], ConditionStatus::False, now);
    }

    pub fn refuse(&mut self, unit: &str, seconds: i64) {
        self.refused.insert(unit.to_owned(), self.now + seconds);
    }

    pub fn label(&mut self, n: usize, key: &str, value: &str) {
        let mut all: BTreeMap<String, String> = self.pods[n]
            .labels
            .iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        all.insert(key.to_owned(), value.to_owned());
        self.pods[n].labels = all.into_iter().collect();
    }

    /// Makes the first pods differ in more than images.
    pub fn outdate_otherwise(&mut self, n: usize) {
        for pod in &mut self.pods[..n] {
            set_annotation(pod, keys::HASH_WITHOUT_IMAGE, "{\"set\":{\"hash\":\"w-other\"}}");
        }
    }

    pub fn mark(&mut self, n: usize, upgradable: bool) {
        let status = if upgradable {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        };
        let message = format!("{{\"set\":{upgradable}}}").into();
        self.pods[n].upgradable = Some(UpgradableCondition { status, message });
    }
}

fn pod(i: usize, sidecars: &[&str]) -> PodView {
    let view = |name: &str, image: &str| {
        (
            ContainerView {
                name: name.into(),
                image: image.into(),
                restart_always: false,
            },
            ContainerStatusView {
                name: name.into(),
                image: image.into(),
                image_id: format!("id-of-{}", image.rsplit(':').next().unwrap()).into(),
                container_id: "c-0".into(),
                ready: true,
                started: true,
                restart_count: 0,
                waiting: None,
            },
        )
    };
    let (containers, statuses): (Vec<_>, Vec<_>) = std::iter::once(view("app", "app:1"))
        .chain(sidecars.iter().map(|s| view(s, "mesh:1")))
        .unzip();
    let hash = "{\"set\":{\"hash\":\"h-0\",\"updateTimestamp\":\"2027-01-15T08:00:00Z\"},\"other\":{\"hash\":\"kept\"}}";
    let mut pod = PodView {
        namespace: "ns".into(),
        name: format!("pod-{i}").into(),
        uid: format!("uid-{i}").into(),
        generation: 1,
        observed_generation: 1,
        labels: [
            ("app".to_owned(), "web".to_owned()),
            ("n".to_owned(), i.to_string()),
        ]
        .into_iter()
        .collect(),
        node_name: Some("node".into()),
        phase: PodPhase::Running,
        creation_timestamp: Some(at(0)),
        containers: containers.into(),
        container_statuses: statuses.into(),
        ..PodView::default()
    };
    set_annotation(&mut pod, keys::HASH, hash);
    set_annotation(&mut pod, keys::HASH_WITHOUT_IMAGE, "{\"set\":{\"hash\":\"w-0\"}}");
    set_annotation(&mut pod, keys::INJECTED_LIST, "set");
    ready(&mut pod, ConditionStatus::True, 0);
    pod
}

fn ready(pod: &mut PodView, status: ConditionStatus, now: i64) {
    pod.ready = Some(ReadyCondition {
        status,
        last_transition_time: Some(at(now)),
    });
}

fn set_annotation(pod: &mut PodView, key: &str, value: &str) {
    let mut all: BTreeMap<String, String> = pod
        .annotations
        .iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect();
    all.insert(key.to_owned(), value.to_owned());
    pod.annotations = all.into_iter().collect();
}
