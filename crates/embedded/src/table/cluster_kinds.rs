//! Events, and the kinds of the smaller groups.

use serde_json::{Value, json};

use super::cells::more;
use super::{NONE, Row, UNKNOWN, format_selector, since};

pub fn event(row: &Row<'_>, group: &str) -> Vec<Value> {
    // events.k8s.io renames what core calls firstTimestamp, lastTimestamp, involvedObject, source, message, count.
    let (object, message, first, last, count) = if group.is_empty() {
        (
            "/involvedObject",
            "/message",
            "/firstTimestamp",
            "/lastTimestamp",
            "/count",
        )
    } else {
        (
            "/regarding",
            "/note",
            "/deprecatedFirstTimestamp",
            "/deprecatedLastTimestamp",
            "/deprecatedCount",
        )
    };
    let or_event_time = |pointer: &str| match row.text(pointer) {
        "" => row.text("/eventTime"),
        time => time,
    };
    let first_seen = since(or_event_time(first), row.now);
    let last_seen = match row.text("/series/lastObservedTime") {
        "" => since(or_event_time(last), row.now),
        time => since(time, row.now),
    };
    let count = match row.int("/series/count") {
        0 => row.int(count),
        series => series,
    };
    let kind = row.text(&format!("{object}/kind")).to_ascii_lowercase();
    let name = row.text(&format!("{object}/name"));
    vec![
        json!(last_seen),
        json!(row.text("/type")),
        json!(row.text("/reason")),
        json!(if name.is_empty() {
            kind
        } else {
            format!("{kind}/{name}")
        }),
        json!(row.text(&format!("{object}/fieldPath"))),
        json!(event_source(row, group)),
        json!(row.text(message).trim()),
        json!(first_seen),
        json!(count.max(1)),
        row.name(),
    ]
}

fn event_source(row: &Row<'_>, group: &str) -> String {
    let source = if group.is_empty() {
        "/source"
    } else {
        "/deprecatedSource"
    };
    let reporter = ["/reportingController", "/reportingComponent"][usize::from(group.is_empty())];
    let component = match row.text(&format!("{source}/component")) {
        "" => row.text(reporter),
        component => component,
    };
    let host = match row.text(&format!("{source}/host")) {
        "" if row.text(&format!("{source}/component")).is_empty() => row.text("/reportingInstance"),
        host => host,
    };
    match host {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

pub fn other(plural: &str, row: &Row<'_>) -> Option<Vec<Value>> {
    Some(match plural {
        "leases" => vec![row.name(), json!(row.text("/spec/holderIdentity")), row.age()],
        "priorityclasses" => vec![
            row.name(),
            json!(row.int("/value")),
            json!(row.at("/globalDefault").as_bool().unwrap_or_default()),
            row.age(),
            json!(row.text("/preemptionPolicy")),
        ],
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => {
            vec![row.name(), json!(row.len("/webhooks")), row.age()]
        }
        "rolebindings" | "clusterrolebindings" => role_binding(row),
        "endpointslices" => endpoint_slice(row),
        "runtimeclasses" => vec![row.name(), json!(row.text("/handler")), row.age()],
        "networkpolicies" => {
            vec![
                row.name(),
                json!(format_selector(row.at("/spec/podSelector"))),
                row.age(),
            ]
        }
        "ingressclasses" => ingress_class(row),
        "ingresses" => ingress(row),
        "storageclasses" => storage_class(row),
        "apiservices" => api_service(row),
        "validatingadmissionpolicies" => admission_policy(row, "/spec/validations"),
        "mutatingadmissionpolicies" => admission_policy(row, "/spec/mutations"),
        "validatingadmissionpolicybindings" | "mutatingadmissionpolicybindings" => vec![
            row.name(),
            json!(row.text("/spec/policyName")),
            json!(parameter_reference(row)),
            row.age(),
        ],
        "certificatesigningrequests" => signing_request(row),
        "csinodes" => vec![row.name(), json!(row.len("/spec/drivers")), row.age()],
        "csidrivers" => csi_driver(row),
        "volumeattachments" => vec![
            row.name(),
            json!(row.text("/spec/attacher")),
            json!(row.text("/spec/source/persistentVolumeName")),
            json!(row.text("/spec/nodeName")),
            json!(row.at("/status/attached").as_bool().unwrap_or_default()),
            row.age(),
        ],
        "volumeattributesclasses" => vec![row.name(), json!(row.text("/driverName")), row.age()],
        "ipaddresses" => vec![row.name(), json!(ip_parent(row))],
        "servicecidrs" => {
            let all: Vec<&str> = row.list("/spec/cidrs").iter().filter_map(Value::as_str).collect();
            vec![row.name(), json!(all.join(",")), row.age()]
        }
        "deviceclasses" | "resourceclaimtemplates" => vec![row.name(), row.age()],
        "resourceclaims" => vec![row.name(), json!(claim_state(row)), row.age()],
        "resourceslices" => vec![
            row.name(),
            json!(row.text("/spec/nodeName")),
            json!(row.text("/spec/driver")),
            json!(row.text("/spec/pool/name")),
            row.age(),
        ],
        "flowschemas" => flow_schema(row),
        "prioritylevelconfigurations" => priority_level(row),
        _ => return None,
    })
}

fn role_binding(row: &Row<'_>) -> Vec<Value> {
    let role = format!("{}/{}", row.text("/roleRef/kind"), row.text("/roleRef/name"));
    let subjects = |kind: &str| {
        row.list("/subjects")
            .iter()
            .filter(|s| s["kind"] == kind)
            .map(|s| {
                let text = |field: &str| s[field].as_str().unwrap_or_default();
                match kind {
                    "ServiceAccount" => format!("{}/{}", text("namespace"), text("name")),
                    _ => text("name").to_owned(),
                }
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    vec![
        row.name(),
        json!(role),
        row.age(),
        json!(subjects("User")),
        json!(subjects("Group")),
        json!(subjects("ServiceAccount")),
    ]
}

fn endpoint_slice(row: &Row<'_>) -> Vec<Value> {
    let ports: Vec<String> = row.list("/ports").iter().map(|p| p["port"].to_string()).collect();
    let endpoints: Vec<String> = row
        .list("/endpoints")
        .iter()
        .flat_map(|e| e["addresses"].as_array().into_iter().flatten())
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    let shown = |all: &[String]| {
        if all.is_empty() {
            "<unset>".to_owned()
        } else {
            more(all)
        }
    };
    vec![
        row.name(),
        json!(row.text("/addressType")),
        json!(shown(&ports)),
        json!(shown(&endpoints)),
        row.age(),
    ]
}

fn ingress_class(row: &Row<'_>) -> Vec<Value> {
    let parameters = match row.text("/spec/parameters/kind") {
        "" => NONE.to_owned(),
        kind => {
            let group = row.text("/spec/parameters/apiGroup");
            let kind = if group.is_empty() {
                kind.to_owned()
            } else {
                format!("{kind}.{group}")
            };
            format!("{kind}/{}", row.text("/spec/parameters/name"))
        }
    };
    vec![
        row.name(),
        json!(row.text("/spec/controller")),
        json!(parameters),
        row.age(),
    ]
}

fn ingress(row: &Row<'_>) -> Vec<Value> {
    let hosts: Vec<String> = row
        .list("/spec/rules")
        .iter()
        .filter_map(|r| r["host"].as_str().filter(|h| !h.is_empty()).map(str::to_owned))
        .collect();
    let addresses: Vec<&str> = row
        .list("/status/loadBalancer/ingress")
        .iter()
        .filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()))
        .collect();
    let ports = if row.len("/spec/tls") > 0 { "80, 443" } else { "80" };
    vec![
        row.name(),
        json!(row.text_or("/spec/ingressClassName", NONE)),
        json!(if hosts.is_empty() {
            "*".to_owned()
        } else {
            more(&hosts)
        }),
        json!(addresses.join(",")),
        json!(ports),
        row.age(),
    ]
}

fn storage_class(row: &Row<'_>) -> Vec<Value> {
    const DEFAULT: &str = "/metadata/annotations/storageclass.kubernetes.io~1is-default-class";
    let name = row.text("/metadata/name");
    vec![
        json!(if row.text(DEFAULT) == "true" {
            format!("{name} (default)")
        } else {
            name.to_owned()
        }),
        json!(row.text("/provisioner")),
        json!(row.text_or("/reclaimPolicy", "Delete")),
        json!(row.text_or("/volumeBindingMode", "Immediate")),
        json!(row.at("/allowVolumeExpansion").as_bool().unwrap_or_default()),
        row.age(),
    ]
}

fn api_service(row: &Row<'_>) -> Vec<Value> {
    let service = match row.text("/spec/service/name") {
        "" => "Local".to_owned(),
        name => format!("{}/{name}", row.text("/spec/service/namespace")),
    };
    let available = match row
        .list("/status/conditions")
        .iter()
        .find(|c| c["type"] == "Available")
    {
        None => "Unknown".to_owned(),
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => {
            let text = |field: &str| condition[field].as_str().unwrap_or_default();
            format!("{} ({})", text("status"), text("reason"))
        }
    };
    vec![row.name(), json!(service), json!(available), row.age()]
}

fn admission_policy(row: &Row<'_>, rules: &str) -> Vec<Value> {
    let kind = match row.text("/spec/paramKind/kind") {
        "" => "<unset>".to_owned(),
        kind => format!("{}/{kind}", row.text("/spec/paramKind/apiVersion")),
    };
    vec![row.name(), json!(row.len(rules)), json!(kind), row.age()]
}

fn parameter_reference(row: &Row<'_>) -> String {
    if !row.at("/spec/paramRef").is_object() {
        return "<unset>".to_owned();
    }
    let namespace = row.text_or("/spec/paramRef/namespace", "*");
    format!("{namespace}/{}", row.text("/spec/paramRef/name"))
}

fn signing_request(row: &Row<'_>) -> Vec<Value> {
    let duration = row
        .at("/spec/expirationSeconds")
        .as_i64()
        .map_or_else(|| NONE.to_owned(), super::human_duration);
    let mut condition: Vec<&str> = row
        .list("/status/conditions")
        .iter()
        .filter_map(|c| c["type"].as_str())
        .collect();
    if condition.is_empty() {
        condition.push("Pending");
    }
    if !row.text("/status/certificate").is_empty() {
        condition.push("Issued");
    }
    vec![
        row.name(),
        row.age(),
        json!(row.text_or("/spec/signerName", UNKNOWN)),
        json!(row.text("/spec/username")),
        json!(duration),
        json!(condition.join(",")),
    ]
}

fn csi_driver(row: &Row<'_>) -> Vec<Value> {
    let flag =
        |field: &str, otherwise: bool| row.at(&format!("/spec/{field}")).as_bool().unwrap_or(otherwise);
    let list = |field: &str, inner: Option<&str>| {
        let all: Vec<&str> = row
            .list(&format!("/spec/{field}"))
            .iter()
            .filter_map(|v| inner.map_or(v, |key| &v[key]).as_str())
            .collect();
        all.join(",")
    };
    let tokens = match list("tokenRequests", Some("audience")) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => text,
    };
    let modes = match list("volumeLifecycleModes", None) {
        text if text.is_empty() => "<unset>".to_owned(),
        text => text,
    };
    vec![
        row.name(),
        json!(flag("attachRequired", true)),
        json!(flag("podInfoOnMount", false)),
        json!(flag("storageCapacity", false)),
        json!(tokens),
        json!(flag("requiresRepublish", false)),
        json!(modes),
        row.age(),
    ]
}

fn ip_parent(row: &Row<'_>) -> String {
    let parts = ["group", "resource", "namespace", "name"].map(|f| row.text(&format!("/spec/parentRef/{f}")));
    let shown: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    shown.join("/")
}

fn claim_state(row: &Row<'_>) -> String {
    let mut states = Vec::new();
    if !row.text("/metadata/deletionTimestamp").is_empty() {
        states.push("deleted");
    }
    if !row.at("/status/allocation").is_object() {
        states.push("pending");
    } else {
        states.push("allocated");
        if row.len("/status/reservedFor") > 0 {
            states.push("reserved");
        }
    }
    states.join(",")
}

fn flow_schema(row: &Row<'_>) -> Vec<Value> {
    let dangling = row
        .list("/status/conditions")
        .iter()
        .find(|c| c["type"] == "Dangling");
    let missing = dangling.and_then(|c| c["status"].as_str()).unwrap_or("?");
    vec![
        row.name(),
        json!(row.text("/spec/priorityLevelConfiguration/name")),
        json!(row.int("/spec/matchingPrecedence")),
        json!(row.text_or("/spec/distinguisherMethod/type", NONE)),
        row.age(),
        json!(missing),
    ]
}

fn priority_level(row: &Row<'_>) -> Vec<Value> {
    const NOTHING: &str = "<none>";
    let queuing = "/spec/limited/limitResponse/queuing";
    let number = |pointer: String| match row.at(&pointer).as_i64() {
        Some(number) => json!(number),
        None => json!(NOTHING),
    };
    let shares = match row.text("/spec/type") {
        "Exempt" => number("/spec/exempt/nominalConcurrencyShares".to_owned()),
        _ => number("/spec/limited/nominalConcurrencyShares".to_owned()),
    };
    vec![
        row.name(),
        json!(row.text("/spec/type")),
        shares,
        number(format!("{queuing}/queues")),
        number(format!("{queuing}/handSize")),
        number(format!("{queuing}/queueLengthLimit")),
        row.age(),
    ]
}
