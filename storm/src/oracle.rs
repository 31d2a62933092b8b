//! Judges a run by the server's own history: what was stored, in the order it was stored.
use crate::StormError;
use crate::run::Outcome;
use crate::story::{MAX_UNAVAILABLE, NAMESPACE};
use embedded::store::Compacted;
use embedded::store::Event;
use embedded::{ApiServer, StorageKey};
use model::time::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pause that the operator has not heard of yet binds it so much later when its watches are bad.
const HEARING: u64 = 30;

/// Every event there was, of all kinds, in the order of storing.
pub struct History(Vec<(StorageKey, Arc<Event>)>);

pub fn history(server: &ApiServer) -> Result<History, StormError> {
    let store = server.store();
    let mut all = Vec::new();
    for table in store.populated() {
        let events = match store.events_after(&table, 0, usize::MAX) {
            Ok(events) => events,
            Err(Compacted { oldest }) if oldest <= 1 => {
                let events = store.events_after(&table, oldest, usize::MAX);
                events.map_err(|_| StormError::Forgotten)?
            }
            Err(_) => return Err(StormError::Forgotten),
        };
        all.extend(events.into_iter().map(|event| (table.clone(), event)));
    }
    all.sort_by_key(|(_, event)| event.revision);
    Ok(History(all))
}

/// After every change: updated pods that are not ready stay within maxUnavailable; no pod is moved past the
/// partition, and none while paused.
pub fn budgets(history: &History, strict: bool) -> Result<(), StormError> {
    let mut pods: BTreeMap<Box<str>, Value> = BTreeMap::new();
    let mut set = Value::Null;
    let mut paused_at: Option<Timestamp> = None;
    let mut now = Timestamp::UNIX_EPOCH;
    for (table, event) in &history.0 {
        let object = event.object.bare();
        if table.plural == "sidecarsets" {
            let paused = object["spec"]["updateStrategy"]["paused"] == true;
            let since = latest_time(&object).max(now);
            paused_at = paused.then(|| paused_at.unwrap_or(since));
            set = object;
            continue;
        }
        now = now.max(latest_time(&object));
        if table.plural != "pods" || event.object.namespace() != Some(NAMESPACE) {
            continue;
        }
        if event.kind.as_str() == "DELETED" {
            pods.remove(&event.object.key);
            continue;
        }
        let before = pods.insert(event.object.key.clone(), object);
        let moved = before.is_some_and(|b| side_image(&b) != side_image(&pods[&event.object.key]));
        let fail = |broken: String| StormError::Broken {
            revision: event.revision,
            broken,
        };
        check(&set, &pods, moved).map_err(fail)?;
        let heard = |at: Timestamp| strict || now.duration_since(at).as_secs().unsigned_abs() > HEARING;
        if moved && paused_at.is_some_and(heard) {
            return Err(fail(format!("{} was moved while paused", event.object.key)));
        }
    }
    Ok(())
}

fn check(set: &Value, pods: &BTreeMap<Box<str>, Value>, moved: bool) -> Result<(), String> {
    let generation = set["metadata"]["generation"].as_i64().unwrap_or_default();
    // While the first pods start there is no upgrade yet.
    if generation < 2 {
        return Ok(());
    }
    let wanted = set["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
    let updated: Vec<&Value> = pods.values().filter(|p| side_image(p) == wanted).collect();
    let unready = updated.iter().filter(|p| !is_settled(p)).count() as u64;
    if unready > MAX_UNAVAILABLE {
        return Err(format!("{unready} updated pods are not ready"));
    }
    let partition = set["spec"]["updateStrategy"]["partition"]
        .as_u64()
        .unwrap_or_default();
    let allowed = (pods.len() as u64).saturating_sub(partition);
    if moved && updated.len() as u64 > allowed {
        return Err(format!(
            "{} pods are updated, {allowed} are allowed",
            updated.len()
        ));
    }
    Ok(())
}

/// In the last `quiet` hour nobody writes but those who say that they live.
pub fn quiet_after(history: &History, settled: u64) -> Result<(), StormError> {
    let loud = history.0.iter().find(|(table, event)| {
        event.revision > settled && !matches!(table.plural.as_str(), "leases" | "nodes" | "events")
            || event.revision > settled && table.plural == "events" && event.kind.as_str() != "DELETED"
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

pub fn outcome(history: &History, faults: Vec<(String, usize)>) -> Outcome {
    let mut trace = Sha256::new();
    let mut last: BTreeMap<(String, Box<str>), &Arc<Event>> = BTreeMap::new();
    for (table, event) in &history.0 {
        trace.update(format!(
            "{} {} {} ",
            event.revision,
            table.plural,
            event.kind.as_str()
        ));
        trace.update(event.object.key.as_bytes());
        trace.update(&event.object.body);
        match event.kind.as_str() {
            "DELETED" => last.remove(&(table.plural.clone(), event.object.key.clone())),
            _ => last.insert((table.plural.clone(), event.object.key.clone()), event),
        };
    }
    let of = |plural: &'static str| {
        let found = last.iter().filter(move |((p, _), _)| p == plural);
        found.map(|(_, event)| event.object.bare())
    };
    let pods: Vec<Value> = of("pods")
        .filter(|p| p["metadata"]["namespace"] == NAMESPACE)
        .collect();
    let generation = |o: &Value| o["metadata"]["generation"].as_i64().unwrap_or_default();
    let mut pod_writes: Vec<i64> = pods.iter().map(generation).collect();
    pod_writes.sort_unstable();
    let mut images: Vec<String> = pods.iter().map(|p| side_image(p).to_owned()).collect();
    images.sort_unstable();
    let digest = trace.finalize();
    Outcome {
        trace: digest.iter().map(|b| format!("{b:02x}")).collect(),
        events: history.0.len(),
        pod_writes,
        images,
        revisions: of("controllerrevisions").count(),
        set_generation: of("sidecarsets").map(|s| generation(&s)).sum(),
        faults,
    }
}

/// One line for each event: where two traces part.
pub fn lines(history: &History) -> Vec<String> {
    let line = |(table, event): &(StorageKey, Arc<Event>)| {
        let body = String::from_utf8_lossy(&event.object.body).into_owned();
        format!(
            "{} {} {} {}",
            event.revision,
            table.plural,
            event.kind.as_str(),
            body
        )
    };
    history.0.iter().map(line).collect()
}

fn side_image(pod: &Value) -> &str {
    side(&pod["spec"]["containers"])
        .and_then(|c| c["image"].as_str())
        .unwrap_or_default()
}

fn side(list: &Value) -> Option<&Value> {
    list.as_array()?.iter().find(|c| c["name"] == "side")
}

/// Ready, and what runs is what the spec says.
fn is_settled(pod: &Value) -> bool {
    let running = side(&pod["status"]["containerStatuses"]);
    let runs = running.and_then(|c| c["image"].as_str()).unwrap_or_default();
    let conditions = pod["status"]["conditions"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    runs.ends_with(side_image(pod))
        && conditions
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
        json!({"spec": {"containers": side}, "status": {"containerStatuses": side,
            "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn judged(partition: u64, pods: &[Value]) -> Result<(), String> {
        let set = json!({"metadata": {"generation": 2}, "spec": {"updateStrategy": {"partition": partition},
            "containers": [{"image": "side:2"}]}});
        let named = pods.iter().enumerate();
        check(
            &set,
            &named.map(|(i, p)| (i.to_string().into(), p.clone())).collect(),
            true,
        )
    }

    #[test]
    fn too_many_unready_updated_pods_are_seen() {
        let unready = [pod(2, false), pod(2, false), pod(2, false)];
        assert!(judged(0, &unready).is_err());
        assert!(judged(0, &unready[1..]).is_ok());
    }

    #[test]
    fn a_pod_moved_past_the_partition_is_seen() {
        let pods = [pod(2, true), pod(2, true), pod(1, true)];
        assert!(judged(2, &pods).is_err());
        assert!(judged(1, &pods).is_ok());
    }
}
