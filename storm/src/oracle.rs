//! Judges a run by what the server stored, without asking the operator anything.
use crate::StormError;
use crate::history::{Entry, History};
use crate::story::NAMESPACE;
use model::time::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A pause binds so much later where writes may be on their way for long: one whose process is stopped as it is sent
/// arrives 40 s later (`Fault::Late`), and nothing in it can know of the pause.
const HEARING: u64 = 45;
/// A watch may hide what happened for so long: it skips for 10 s (`WatchFault::Skips`), or is 4 s late.
const HIDDEN: u64 = 15;
/// Moves of one pod in the whole story: to the second version, to the third, and back.
const MOVES: i64 = 3;

/// After every change: updated pods that are not ready stay within maxUnavailable; no pod is moved past the
/// partition, none while paused, none that the selector does not match, none more often than the story asks for.
///
/// Pods that come to be after the SidecarSet was changed have what it says now and are not ready as they start: nobody
/// moved them, so they break no budget. Nor does a pod that is moved while it is not ready, as by Kruise's rule. Both
/// fill it: meanwhile no pod that is ready may be moved. There are such pods where the storage was put back to before
/// pods were created, or had become ready.
///
/// Where it was put back, a pod that nobody touches since may turn out not to run what is stored: its node went on with
/// what was lost, and says so now. It breaks no budget either, and fills it once that can have been seen.
pub fn budgets(history: &History, strict: bool) -> Result<(), StormError> {
    for (base, entries) in history.eras() {
        let mut judge = Judge::new(strict);
        base.into_iter().for_each(|entry| judge.see(entry));
        judge.untouched = judge.pods.keys().cloned().collect();
        for entry in entries {
            judge.judge(entry)?;
        }
    }
    Ok(())
}

struct Judge {
    strict: bool,
    /// Moved while they were not ready, and not ready since.
    moved_unready: BTreeSet<Box<str>>,
    /// There when the storage was put back, and nobody moved them since.
    untouched: BTreeSet<Box<str>>,
    /// Those of them that were settled, and when their nodes told that they are not.
    lapsed: BTreeMap<Box<str>, Timestamp>,
    pods: BTreeMap<Box<str>, Value>,
    set: Value,
    paused_at: Option<Timestamp>,
    now: Timestamp,
}

impl Judge {
    fn new(strict: bool) -> Self {
        Self {
            strict,
            moved_unready: BTreeSet::new(),
            untouched: BTreeSet::new(),
            lapsed: BTreeMap::new(),
            pods: BTreeMap::new(),
            set: Value::Null,
            paused_at: None,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    /// Takes a change as it is.
    fn see(&mut self, (table, event): &Entry) {
        match table.plural.as_str() {
            "sidecarsets" => {
                let object = event.object.bare();
                self.now = latest_time(&object).max(self.now);
                let paused = object["spec"]["updateStrategy"]["paused"] == true;
                self.paused_at = paused.then(|| self.paused_at.unwrap_or(self.now));
                self.set = object;
            }
            "pods" if event.object.namespace() == Some(NAMESPACE) => {
                if event.kind.as_str() == "DELETED" {
                    self.pods.remove(&event.object.key);
                    return;
                }
                let object = event.object.bare();
                self.now = latest_time(&object).max(self.now);
                self.pods.insert(event.object.key.clone(), object);
            }
            _ => {}
        }
    }

    fn judge(&mut self, entry: &Entry) -> Result<(), StormError> {
        let (table, event) = entry;
        let key = &event.object.key;
        let before = match table.plural.as_str() {
            "pods" => self.pods.get(key).cloned(),
            _ => None,
        };
        self.see(entry);
        let Some(pod) = self.pods.get(key).filter(|_| table.plural == "pods") else {
            return Ok(());
        };
        if before.as_ref().is_some_and(is_settled) && !is_settled(pod) && self.untouched.contains(key) {
            self.lapsed.insert(key.clone(), self.now);
        }
        let before = before.filter(|before| side_image(before) != side_image(pod));
        if before.is_some() {
            self.untouched.remove(key);
        }
        if before.is_some() || is_settled(pod) {
            self.lapsed.remove(key);
        }
        let verdict = self.check_pod(key, pod, before.is_some());
        if before.as_ref().is_some_and(|before| !is_ready(before)) {
            self.moved_unready.insert(key.clone());
        } else if is_settled(pod) {
            self.moved_unready.remove(key);
        }
        let verdict = verdict.and_then(|()| self.check(before.as_ref()));
        verdict.map_err(|broken| StormError::Broken {
            revision: event.revision,
            broken,
        })
    }

    fn check_pod(&self, key: &str, pod: &Value, moved: bool) -> Result<(), String> {
        let generation = pod["metadata"]["generation"].as_i64().unwrap_or_default();
        if pod["metadata"]["labels"]["app"] != "web" {
            let touched = generation > 1 || side(&pod["spec"]["containers"]).is_some();
            return match touched {
                true => Err(format!("{key} is not selected and was written")),
                false => Ok(()),
            };
        }
        if generation > 1 + MOVES {
            return Err(format!("{key} was written for the {generation}th time"));
        }
        let heard =
            |at: Timestamp| self.strict || self.now.duration_since(at).as_secs().unsigned_abs() > HEARING;
        if moved && self.paused_at.is_some_and(heard) {
            return Err(format!("{key} was moved while paused"));
        }
        Ok(())
    }

    /// `moved`: what the pod was before it was moved just now.
    fn check(&self, moved: Option<&Value>) -> Result<(), String> {
        let generation = self.set["metadata"]["generation"].as_i64().unwrap_or_default();
        // While the first pods start there is no upgrade yet.
        if generation < 2 {
            return Ok(());
        }
        let strategy = &self.set["spec"]["updateStrategy"];
        let wanted = self.set["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap_or_default();
        let selected = || {
            let all = self.pods.iter();
            all.filter(|(_, pod)| pod["metadata"]["labels"]["app"] == "web")
        };
        let updated: Vec<_> = selected().filter(|(_, pod)| side_image(pod) == wanted).collect();
        let hidden = |at: &Timestamp| self.now.duration_since(*at).as_secs().unsigned_abs() <= HIDDEN;
        let took_a_place = |key: &str, pod: &Value| {
            was_moved(pod) && !self.moved_unready.contains(key) && !self.lapsed.contains_key(key)
        };
        let fills = |key: &str, pod: &Value| {
            let seen = !self.lapsed.get(key).is_some_and(hidden);
            moved.is_some_and(is_ready) && seen || took_a_place(key, pod)
        };
        let unready = updated
            .iter()
            .filter(|(key, pod)| !is_settled(pod) && fills(key, pod))
            .count() as u64;
        let most = strategy["maxUnavailable"].as_u64().unwrap_or(1);
        if unready > most {
            return Err(format!("{unready} updated pods are not ready"));
        }
        let partition = strategy["partition"].as_u64().unwrap_or_default();
        let allowed = (selected().count() as u64).saturating_sub(partition);
        if moved.is_some() && updated.len() as u64 > allowed {
            return Err(format!(
                "{} pods are updated, {allowed} are allowed",
                updated.len()
            ));
        }
        Ok(())
    }
}

/// When all is done nobody writes any more but those who say that they live.
pub fn quiet_after(history: &History, settled: u64) -> Result<(), StormError> {
    let loud = history.present().iter().find(|(table, event)| {
        event.revision > settled
            && match table.plural.as_str() {
                "leases" => false,
                // They expire.
                "events" => event.kind.as_str() != "DELETED",
                _ => true,
            }
    });
    match loud {
        None => Ok(()),
        Some((table, event)) => Err(StormError::Broken {
            revision: event.revision,
            broken: format!(
                "{} {} was written when all was done",
                table.plural, event.object.key
            ),
        }),
    }
}

pub(crate) fn side_image(pod: &Value) -> &str {
    side(&pod["spec"]["containers"])
        .and_then(|c| c["image"].as_str())
        .unwrap_or_default()
}

fn side(list: &Value) -> Option<&Value> {
    list.as_array()?.iter().find(|c| c["name"] == "side")
}

/// Its spec was written since it was created.
fn was_moved(pod: &Value) -> bool {
    pod["metadata"]["generation"]
        .as_i64()
        .is_some_and(|generation| generation > 1)
}

/// Ready, and what runs is what the spec says.
fn is_settled(pod: &Value) -> bool {
    let running = side(&pod["status"]["containerStatuses"]);
    let runs = running.and_then(|c| c["image"].as_str()).unwrap_or_default();
    runs.ends_with(side_image(pod)) && is_ready(pod)
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    conditions
        .iter()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The newest time in the managed fields: when this was written.
fn latest_time(object: &Value) -> Timestamp {
    let fields = object["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let times = fields.iter().filter_map(|f| f["time"].as_str()?.parse().ok());
    times.max().unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(version: u32, ready: bool) -> Value {
        let side = json!([{"name": "side", "image": format!("side:{version}")}]);
        let ready = if ready { "True" } else { "False" };
        json!({"metadata": {"generation": 2, "labels": {"app": "web"}}, "spec": {"containers": side},
            "status": {"containerStatuses": side, "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn judge(partition: u64, pods: &[Value]) -> Judge {
        let mut judge = Judge::new(true);
        judge.set = json!({"metadata": {"generation": 2},
            "spec": {"updateStrategy": {"partition": partition, "maxUnavailable": 2},
            "containers": [{"image": "side:2"}]}});
        let named = pods.iter().enumerate();
        judge.pods = named.map(|(i, p)| (i.to_string().into(), p.clone())).collect();
        judge
    }

    #[test]
    fn too_many_unready_updated_pods_are_seen() {
        let unready = [pod(2, false), pod(2, false), pod(2, false)];
        assert!(judge(0, &unready).check(Some(&pod(1, true))).is_err());
        assert!(judge(0, &unready[1..]).check(Some(&pod(1, true))).is_ok());
    }

    #[test]
    fn pods_that_start_break_no_budget_and_fill_it() {
        let mut starting = [pod(2, false), pod(2, false), pod(2, false)];
        starting
            .iter_mut()
            .for_each(|p| p["metadata"]["generation"] = json!(1));
        assert!(judge(0, &starting).check(None).is_ok());
        assert!(judge(0, &starting).check(Some(&pod(1, true))).is_err());
        assert!(
            judge(0, &[pod(2, false), pod(2, false), pod(2, false)])
                .check(None)
                .is_err()
        );
    }

    #[test]
    fn a_pod_that_is_moved_while_it_is_not_ready_breaks_no_budget_and_fills_it() {
        let mut judge = judge(0, &[pod(2, false), pod(2, false), pod(2, false)]);
        judge.moved_unready.insert("2".into());
        assert!(judge.check(Some(&pod(1, false))).is_ok());
        assert!(judge.check(Some(&pod(1, true))).is_err());
    }

    #[test]
    fn a_pod_that_lapses_breaks_no_budget_and_fills_it_once_that_is_seen() {
        let mut judge = judge(0, &[pod(2, false), pod(2, false), pod(2, false)]);
        judge.lapsed.insert("2".into(), Timestamp::UNIX_EPOCH);
        assert!(judge.check(None).is_ok());
        assert!(judge.check(Some(&pod(1, true))).is_ok());
        judge.now = Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(HIDDEN + 1);
        assert!(judge.check(None).is_ok());
        assert!(judge.check(Some(&pod(1, true))).is_err());
    }

    #[test]
    fn a_pod_moved_past_the_partition_is_seen() {
        let pods = [pod(2, true), pod(2, true), pod(1, true)];
        assert!(judge(2, &pods).check(Some(&pod(1, true))).is_err());
        assert!(judge(1, &pods).check(Some(&pod(1, true))).is_ok());
    }

    #[test]
    fn a_pod_that_is_moved_while_paused_is_seen() {
        let mut judge = judge(0, &[pod(2, true)]);
        assert!(judge.check_pod("0", &pod(2, true), true).is_ok());
        judge.paused_at = Some(Timestamp::UNIX_EPOCH);
        assert!(judge.check_pod("0", &pod(2, true), true).is_err());
        assert!(judge.check_pod("0", &pod(2, true), false).is_ok());
    }

    #[test]
    fn a_write_to_a_pod_that_is_not_selected_is_seen() {
        let mut stranger = pod(2, true);
        stranger["metadata"]["labels"]["app"] = json!("other");
        assert!(judge(0, &[]).check_pod("0", &stranger, false).is_err());
    }
}
