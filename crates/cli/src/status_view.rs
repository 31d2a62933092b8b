//! What `tidegate status` prints of a SidecarSet: pure, from the API object and `now`.

use model::decision::WaitingOn;
use model::time::Timestamp;
use serde_json::Value;

/// The object reduced to what is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusView {
    pub name: String,
    pub matched: u64,
    pub updated: u64,
    pub ready: u64,
    pub updated_ready: u64,
    pub revision: String,
    pub strategy: String,
    /// One plain line for each thing that waits, most telling first.
    pub waits: Vec<String>,
    /// The operator has reported on the latest spec.
    pub current: bool,
    /// Nothing is left to do for what spec says.
    pub done: bool,
}

impl StatusView {
    pub fn of(object: &Value, now: Timestamp) -> Self {
        let status = &object["status"];
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let stale = status["observedGeneration"].as_i64() != object["metadata"]["generation"].as_i64();
        let mut waits = if stale {
            vec!["the operator has not seen the latest spec yet".to_owned()]
        } else {
            waits(status, now)
        };
        if status.is_null() {
            waits = vec!["no operator has reported on it yet: is `tidegate operator` running?".to_owned()];
        }
        let matched = count("matchedPods");
        let done = !stale && waits.is_empty() && count("updatedReadyPods") >= matched;
        Self {
            name: text(&object["metadata"]["name"]),
            matched,
            updated: count("updatedPods"),
            ready: count("readyPods"),
            updated_ready: count("updatedReadyPods"),
            revision: text(&status["latestRevision"]),
            strategy: strategy(&object["spec"]["updateStrategy"]),
            waits,
            current: !stale,
            done,
        }
    }

    /// Everything but the progress bar.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![
            format!(
                "pods {}   updated {}   ready {}   updated and ready {}",
                self.matched, self.updated, self.ready, self.updated_ready
            ),
            format!(
                "revision {}",
                if self.revision.is_empty() {
                    "-"
                } else {
                    &self.revision
                }
            ),
            format!("order    {}", self.strategy),
        ];
        lines.extend(self.waits.iter().map(|w| format!("waits    {w}")));
        if self.done {
            lines.push("done".to_owned());
        }
        lines
    }
}

/// The lines of what the decider reported. An entry of a newer operator that this binary does not know is shown as
/// it is rather than left out.
fn waits(status: &Value, now: Timestamp) -> Vec<String> {
    let listed = status["waiting"].as_array().into_iter().flatten();
    listed
        .map(|entry| match serde_json::from_value::<WaitingOn>(entry.clone()) {
            Ok(waiting) => waiting.line(now),
            Err(_) => entry.to_string(),
        })
        .collect()
}

fn strategy(strategy: &Value) -> String {
    let shown = |value: &Value, otherwise: &str| match value {
        Value::Null => otherwise.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if strategy["type"] == "NotUpdate" {
        return "NotUpdate: pods get the new revision when they are recreated".to_owned();
    }
    let mut parts = vec![
        format!("maxUnavailable {}", shown(&strategy["maxUnavailable"], "1")),
        format!("partition {}", shown(&strategy["partition"], "0")),
    ];
    if strategy["selector"].is_object() {
        parts.push(format!("only pods matching {}", strategy["selector"]));
    }
    if strategy["priorityStrategy"].is_object() {
        parts.push("by priority".to_owned());
    }
    if strategy["scatterStrategy"]
        .as_array()
        .is_some_and(|s| !s.is_empty())
    {
        parts.push("scattered".to_owned());
    }
    if strategy["paused"] == true {
        parts.push("paused".to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::decision::Waited;
    use serde_json::json;

    #[test]
    fn a_status_of_an_older_generation_is_not_taken_for_done() {
        let object = json!({"metadata": {"name": "a", "generation": 3},
            "status": {"observedGeneration": 2, "matchedPods": 4, "updatedReadyPods": 4}});
        let view = StatusView::of(&object, Timestamp::UNIX_EPOCH);
        assert!(!view.done);
        assert!(view.waits[0].contains("latest spec"));
    }

    #[test]
    fn everything_updated_and_ready_with_nothing_waiting_is_done() {
        let object = json!({"metadata": {"name": "a", "generation": 3},
            "status": {"observedGeneration": 3, "matchedPods": 4, "updatedPods": 4, "updatedReadyPods": 4}});
        assert!(StatusView::of(&object, Timestamp::UNIX_EPOCH).done);
    }

    #[test]
    fn what_waits_is_printed_with_how_long() {
        let since = Timestamp::UNIX_EPOCH;
        let waiting = [
            WaitingOn::Partition {
                held: 980,
                partition: "980".to_owned(),
            },
            WaitingOn::Unavailable {
                in_use: 2,
                allowed: 2,
                pods: vec![Waited {
                    unit: "ns/pod-a".to_owned(),
                    why: "not ready".to_owned(),
                    since: Some(since),
                }],
            },
        ];
        let object = json!({"metadata": {"name": "a", "generation": 1},
            "status": {"observedGeneration": 1, "matchedPods": 2, "waiting": waiting}});
        let view = StatusView::of(&object, Timestamp::from_second(41).unwrap());
        assert!(
            view.waits[0].contains("partition holds 980 pods back"),
            "{:?}",
            view.waits
        );
        assert!(
            view.waits[1].contains("ns/pod-a not ready for 41s"),
            "{:?}",
            view.waits
        );
    }
}
