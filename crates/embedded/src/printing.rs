//! Objects as a `meta.k8s.io/v1` Table.

use serde_json::{Value, json};

use crate::catalog::Resource;
use crate::server::ApiServer;
use crate::{show, table};

/// A table of objects; the caller sets its metadata.
pub fn of(
    server: &ApiServer,
    resource: &Resource,
    objects: &[Value],
    include: &str,
    with_columns: bool,
) -> Value {
    let version = resource.api_version();
    let now = server.now();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = match &resource.custom {
                Some(custom) => custom.cells(object, now),
                None if resource.is("autoscaling", "horizontalpodautoscalers")
                    && resource.version == "v1" =>
                {
                    table::cells("autoscaling/v2", &resource.plural, &as_v2(object), now)
                }
                None => table::cells(&version, &resource.plural, object, now),
            };
            let mut row = json!({"cells": cells});
            if resource.is("", "pods")
                && let Some(ended) = table::ended(object)
            {
                row["conditions"] = json!([ended]);
            }
            match include {
                "None" => row["object"] = Value::Null,
                "Object" => row["object"] = object.clone(),
                _ => row["object"] = show::partial(object),
            }
            row
        })
        .collect();
    let columns = match (&resource.custom, with_columns) {
        (_, false) => Value::Null,
        (Some(custom), true) => Value::Array(custom.columns()),
        (None, true) => Value::Array(table::columns(&version, &resource.plural)),
    };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
        "columnDefinitions": columns, "rows": rows,
    })
}

fn as_v2(autoscaler: &Value) -> Value {
    let gvk = |version: &str| apischema::GroupVersionKind {
        group: "autoscaling".to_owned(),
        version: version.to_owned(),
        kind: "HorizontalPodAutoscaler".to_owned(),
    };
    let mut out = apischema::convert::convert(&gvk("v1"), &gvk("v2"), autoscaler.clone()).unwrap_or_default();
    // Version 1 has cpu apart from the others, and no order between them: it comes first as a rule.
    if autoscaler
        .pointer("/spec/targetCPUUtilizationPercentage")
        .is_some()
        && let Some(metrics) = out.pointer_mut("/spec/metrics").and_then(Value::as_array_mut)
        && !metrics.is_empty()
    {
        metrics.rotate_right(1);
    }
    out
}
