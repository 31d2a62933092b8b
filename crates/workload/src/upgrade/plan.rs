//! A SidecarSet, checked once and ready to be compared with many pods.
use super::{FAILURE_THRESHOLD, FAILURES_FORGIVEN, READY_DEADLINE, UNAVAILABLE_COUNTS};
use model::selector::{LabelSelector, Selector};
use model::sidecarset::{IntOrPercent, SidecarSet, keys};
use model::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

const DEFAULT_DEADLINE_SECONDS: i64 = 600;

/// Why a SidecarSet cannot be acted upon; `Display` names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sidecarset {name}: {problem}")]
pub struct PlanError {
    pub name: String,
    pub problem: String,
}

/// What deciding needs of a SidecarSet.
#[derive(Debug, Clone)]
pub struct Plan {
    pub name: String,
    pub uid: String,
    pub generation: i64,
    pub created: Option<Timestamp>,
    /// `None` until it is written for this content.
    pub hash: Option<String>,
    /// What keeps it from being written.
    pub hash_problem: Option<String>,
    pub hash_without_image: Option<String>,
    /// The current ControllerRevision's name, once there is one.
    pub revision: String,
    pub(super) selector: Selector,
    pub(super) namespaces: Option<Selector>,
    pub(super) containers: Vec<Sidecar>,
    /// Native sidecars among the init containers.
    pub(super) natives: Vec<Sidecar>,
    pub(super) rolling: bool,
    pub(super) paused: bool,
    pub(super) injection_paused: bool,
    pub(super) update_selector: Option<Selector>,
    pub(super) partition: IntOrPercent,
    pub(super) max_unavailable: IntOrPercent,
    pub(super) weights: Vec<(i64, Selector)>,
    pub(super) order_keys: Vec<String>,
    pub(super) scatter: Vec<(String, String)>,
    pub(super) ready_deadline_seconds: i64,
    pub(super) failure_threshold: Option<IntOrPercent>,
    pub(super) failures_forgiven: Option<Timestamp>,
    pub(super) counts_all_unavailable: bool,
    pub(super) metadata: Arc<[model::sidecarset::PatchPodMetadata]>,
}

/// A container that pods got from the SidecarSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sidecar {
    pub name: String,
    pub image: String,
    pub hot: bool,
}

impl Plan {
    pub fn new(set: &SidecarSet) -> Result<Self, PlanError> {
        let name = set.metadata.name.clone();
        let fail = |problem: String| PlanError {
            name: name.clone(),
            problem,
        };
        let spec = &set.spec;
        let strategy = &spec.update_strategy;
        let selected = spec.selector.as_ref().filter(|s| !s.is_empty());
        let selected =
            selected.ok_or_else(|| fail("spec.selector is empty: it selects nothing".to_owned()))?;
        let annotation = |key: &str| annotation(set, key);
        let parse =
            |s: &LabelSelector, at: &str| Selector::try_from(s).map_err(|e| fail(format!("spec.{at}: {e}")));
        let priority = strategy.priority_strategy.clone().unwrap_or_default();
        let mut weights = Vec::new();
        for (i, term) in priority.weight_priority.iter().enumerate() {
            let at = format!("updateStrategy.priorityStrategy.weightPriority[{i}].matchSelector");
            weights.push((term.weight, parse(&term.match_selector, &at)?));
        }
        let number = |value: &Option<IntOrPercent>, default: i64, at: &str| {
            let value = value.clone().unwrap_or(IntOrPercent::Int(default));
            value
                .of_rounded_up(100)
                .map_err(|e| fail(format!("spec.updateStrategy.{at}: {e}")))?;
            Ok::<_, PlanError>(value)
        };
        Ok(Self {
            uid: set.metadata.uid.clone(),
            generation: set.metadata.generation,
            created: set.metadata.creation_timestamp,
            hash: annotation(keys::HASH),
            hash_problem: None,
            hash_without_image: annotation(keys::HASH_WITHOUT_IMAGE),
            revision: set.status.latest_revision.clone(),
            selector: parse(selected, "selector")?,
            namespaces: match &spec.namespace_selector {
                Some(s) => Some(parse(s, "namespaceSelector")?),
                None => None,
            },
            containers: spec.containers.iter().map(Sidecar::of).collect(),
            natives: spec
                .init_containers
                .iter()
                .filter(|c| c.is_native())
                .map(Sidecar::of)
                .collect(),
            rolling: strategy.is_rolling(),
            paused: strategy.paused,
            injection_paused: spec.injection_strategy.paused,
            update_selector: match strategy.selector.as_ref().filter(|s| !s.is_empty()) {
                Some(s) => Some(parse(s, "updateStrategy.selector")?),
                None => None,
            },
            partition: number(&strategy.partition, 0, "partition")?,
            max_unavailable: number(&strategy.max_unavailable, 1, "maxUnavailable")?,
            weights,
            order_keys: priority
                .order_priority
                .into_iter()
                .map(|t| t.ordered_key)
                .collect(),
            scatter: strategy
                .scatter_strategy
                .iter()
                .map(|t| (t.key.clone(), t.value.clone()))
                .collect(),
            ready_deadline_seconds: annotation(READY_DEADLINE)
                .and_then(|t| duration_seconds(&t))
                .unwrap_or(DEFAULT_DEADLINE_SECONDS),
            failure_threshold: annotation(FAILURE_THRESHOLD)
                .map(|t| t.parse().map_or(IntOrPercent::Text(t), IntOrPercent::Int))
                .filter(|v| v.of_rounded_up(100).is_ok_and(|n| n > 0)),
            failures_forgiven: annotation(FAILURES_FORGIVEN).and_then(|t| t.parse().ok()),
            counts_all_unavailable: annotation(UNAVAILABLE_COUNTS)
                .is_some_and(|v| v.eq_ignore_ascii_case("all")),
            metadata: spec.patch_pod_metadata.clone().into(),
            name: name.clone(),
        })
    }

    /// Whether pods with these labels, in a namespace with those, are this SidecarSet's.
    pub fn selects<'a>(
        &self,
        pod: impl Fn(&str) -> Option<&'a str>,
        namespace: Option<&BTreeMap<String, String>>,
    ) -> bool {
        if !self.selector.matches(pod) {
            return false;
        }
        match (&self.namespaces, namespace) {
            (None, _) => true,
            (Some(selector), Some(labels)) => selector.matches_map(labels),
            // A namespace that cannot be read matches nothing.
            (Some(_), None) => false,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused || !self.rolling
    }

    /// Names of everything the pods carry, sorted: `sidecarList` of the hash annotation.
    pub(super) fn sidecar_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .containers
            .iter()
            .chain(&self.natives)
            .map(|c| c.name.as_str())
            .collect();
        names.sort_unstable();
        names
    }
}

impl Sidecar {
    fn of(container: &model::sidecarset::SidecarContainer) -> Self {
        Self {
            name: container.name().to_owned(),
            image: container.image().to_owned(),
            hot: container.is_hot(),
        }
    }

    pub(super) fn slots(&self) -> [String; 2] {
        [format!("{}-1", self.name), format!("{}-2", self.name)]
    }
}

fn annotation(set: &SidecarSet, key: &str) -> Option<String> {
    let value = set.metadata.annotations.get(key);
    value.filter(|v| !v.is_empty()).cloned()
}

/// `600`, `600s`, `10m`, `1h30m`.
fn duration_seconds(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return (seconds > 0).then_some(seconds);
    }
    let mut total: i64 = 0;
    let mut digits = String::new();
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return None,
        };
        total = total.checked_add(digits.parse::<i64>().ok()?.checked_mul(unit)?)?;
        digits.clear();
    }
    (digits.is_empty() && total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_seconds_or_durations() {
        assert_eq!(duration_seconds("90"), Some(90));
        assert_eq!(duration_seconds("10m"), Some(600));
        assert_eq!(duration_seconds("1h30m5s"), Some(5405));
        for bad in ["", "0", "-5", "10x", "m", "5m5", "99999999999999999999h"] {
            assert_eq!(duration_seconds(bad), None, "{bad}");
        }
    }
}
