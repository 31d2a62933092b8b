//! HorizontalPodAutoscalers: what depends on the version and on the behaviour being said at all.

use serde_json::json;

use super::{Object, at, is_set, set_default};
use crate::convert::METRICS;

const DEFAULT_CPU_PERCENT: i64 = 80;

pub(super) fn horizontal(version: &str, object: &mut Object) {
    // Metrics that v1 has no fields for stand in an annotation, and are enough.
    let others = at(object, &["metadata", "annotations"]).is_some_and(|all| is_set(all, METRICS));
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    if version == "v1" && !others {
        set_default(spec, "targetCPUUtilizationPercentage", json!(DEFAULT_CPU_PERCENT));
    }
}
