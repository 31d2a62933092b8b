//! HorizontalPodAutoscalers: what depends on the version and on the behaviour being said at all.

use serde_json::json;

use super::{Object, at, set_default};

const DEFAULT_CPU_PERCENT: i64 = 80;

pub(super) fn horizontal(version: &str, object: &mut Object) {
    let Some(spec) = at(object, &["spec"]) else {
        return;
    };
    if version == "v1" {
        set_default(spec, "targetCPUUtilizationPercentage", json!(DEFAULT_CPU_PERCENT));
    }
}
