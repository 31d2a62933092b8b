//! What a move would do, before anything is done.
use super::kinds::{Fate, InUse, Usage};
use super::{Direction, Mode, Observed, Step, manager, remaining, sets};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub direction: Direction,
    pub mode: Mode,
    pub kinds: Vec<(InUse, Fate)>,
    /// Why nothing is done; empty where it can be.
    pub refusals: Vec<String>,
    pub warnings: Vec<String>,
    pub steps: Vec<Step>,
}

pub fn plan(seen: &Observed, usage: &Usage, sidecar_sets: &[Value], direction: Direction) -> Plan {
    let recorded = seen
        .record
        .as_ref()
        .and_then(|r| r.before.as_ref())
        .map(|b| b.mode);
    let mode = recorded.unwrap_or(if usage.needs_kruise() {
        Mode::Beside
    } else {
        Mode::Stopped
    });
    let mut refusals = sets::refusals(sidecar_sets, direction);
    let mut warnings = sets::warnings(sidecar_sets, direction);
    if direction == Direction::TakeOver {
        if seen.record.as_ref().is_none_or(|r| r.before.is_none()) && seen.mutating.is_null() {
            refusals
                .push("there is no Kruise here: its webhook configuration is not in the cluster".to_owned());
        }
        refusals.extend(in_the_way(usage));
        warnings.extend(lost_gates(seen));
    }
    Plan {
        direction,
        mode,
        kinds: usage.kinds.iter().map(|k| (k.clone(), k.fate())).collect(),
        refusals,
        warnings,
        steps: remaining(seen, mode, direction),
    }
}

fn in_the_way(usage: &Usage) -> Vec<String> {
    let objects = usage.kinds.iter().filter(|k| k.fate() == Fate::Refused);
    let objects = objects.flat_map(|k| {
        k.need_pod_webhook
            .iter()
            .map(move |name| format!("{} {name}", k.kind))
    });
    let pods = usage.pods.iter().map(|name| format!("Pod {name}"));
    let why = "works through Kruise's webhook for pods, which cannot leave SidecarSets out: remove it, or stay \
               with Kruise";
    objects.chain(pods).map(|what| format!("{what}: {why}")).collect()
}

/// Gates whose work is done, in part, by the webhook that goes.
fn lost_gates(seen: &Observed) -> Vec<String> {
    let gates = manager::gates(&seen.manager);
    let alpha = gates.get("AllAlpha") == Some(&true);
    let on = |name: &str| gates.get(name).copied().unwrap_or(alpha);
    let lost = [
        (
            "KruisePodReadinessGate",
            "new pods no longer get the readiness gate KruisePodReady",
        ),
        (
            "EnhancedLivenessProbe",
            "new pods no longer get enhanced liveness probes",
        ),
        (
            "EnablePodProbeMarkerOnServerless",
            "new serverless pods no longer get probes of PodProbeMarkers",
        ),
        (
            "EnableSortSidecarContainerByName",
            "new pods get their sidecars in the order of the spec",
        ),
        (
            "SidecarSetPatchPodMetadataDefaultsAllowed",
            "patchPodMetadata needs the whitelist when it is changed",
        ),
    ];
    let lost = lost.into_iter().filter(|(name, _)| on(name));
    lost.map(|(name, what)| format!("gate {name}: {what}")).collect()
}
