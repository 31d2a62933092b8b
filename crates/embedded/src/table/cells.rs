//! Kinds of the core group other than pods and events.

use serde_json::{Value, json};

use super::{NONE, Row, UNKNOWN, containers_and_images, format_labels};

pub fn core(plural: &str, row: &Row<'_>) -> Option<Vec<Value>> {
    Some(match plural {
        "configmaps" => {
            vec![
                row.name(),
                json!(row.len("/data") + row.len("/binaryData")),
                row.age(),
            ]
        }
        "endpoints" => vec![row.name(), json!(endpoints(row)), row.age()],
        "namespaces" => vec![row.name(), json!(row.text("/status/phase")), row.age()],
        "nodes" => node(row),
        "persistentvolumeclaims" => volume_claim(row),
        "persistentvolumes" => volume(row),
        "podtemplates" => {
            let (names, images) = containers_and_images(row.at("/template/spec"));
            let labels = format_labels(row.at("/template/metadata/labels"));
            vec![row.name(), json!(names), json!(images), json!(labels)]
        }
        "replicationcontrollers" => {
            let (names, images) = containers_and_images(row.at("/spec/template/spec"));
            let counts = ["/spec/replicas", "/status/replicas", "/status/readyReplicas"];
            let mut cells = vec![row.name()];
            cells.extend(counts.map(|pointer| json!(row.int(pointer))));
            cells.extend([row.age(), json!(names), json!(images)]);
            cells.push(json!(format_labels(row.at("/spec/selector"))));
            cells
        }
        "resourcequotas" => {
            vec![
                row.name(),
                json!(quota(row, false)),
                json!(quota(row, true)),
                row.age(),
            ]
        }
        "secrets" => vec![
            row.name(),
            json!(row.text("/type")),
            json!(row.len("/data")),
            row.age(),
        ],
        "serviceaccounts" => vec![row.name(), row.age()],
        "services" => service(row),
        _ => return None,
    })
}

fn endpoints(row: &Row<'_>) -> String {
    let mut all = Vec::new();
    for subset in row.list("/subsets") {
        let addresses = subset["addresses"].as_array().into_iter().flatten();
        let ports: Vec<&Value> = subset["ports"].as_array().into_iter().flatten().collect();
        for address in addresses {
            let ip = address["ip"].as_str().unwrap_or_default();
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{ip}:{}", port["port"])));
        }
    }
    more(&all)
}

/// The first three, and how many more.
pub(super) fn more(all: &[String]) -> String {
    match all.len() {
        0 => NONE.to_owned(),
        1..=3 => all.join(","),
        count => format!("{} + {} more...", all[..3].join(","), count - 3),
    }
}

fn node(row: &Row<'_>) -> Vec<Value> {
    let ready = row
        .list("/status/conditions")
        .iter()
        .find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if row.at("/spec/unschedulable") == &Value::Bool(true) {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = row
        .at("/metadata/labels")
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(
            |(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
                Some(role) if !role.is_empty() => Some(role),
                _ if key == "kubernetes.io/role" => value.as_str().filter(|v| !v.is_empty()),
                _ => None,
            },
        )
        .collect();
    roles.sort_unstable();
    roles.dedup();
    let address = |kind: &str| {
        let found = row.list("/status/addresses").iter().find(|a| a["type"] == kind);
        found
            .and_then(|a| a["address"].as_str())
            .unwrap_or(NONE)
            .to_owned()
    };
    let info = |field: &str| row.text_or(&format!("/status/nodeInfo/{field}"), UNKNOWN);
    vec![
        row.name(),
        json!(status),
        json!(if roles.is_empty() {
            NONE.to_owned()
        } else {
            roles.join(",")
        }),
        row.age(),
        json!(row.text("/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(kernel(row)),
        json!(info("containerRuntimeVersion")),
    ]
}

fn kernel(row: &Row<'_>) -> String {
    let version = row.text_or("/status/nodeInfo/kernelVersion", UNKNOWN);
    match row.text("/status/nodeInfo/architecture") {
        "" => version,
        architecture => format!("{version} ({architecture})"),
    }
}

fn volume_claim(row: &Row<'_>) -> Vec<Value> {
    let bound = !row.text("/spec/volumeName").is_empty();
    let phase = if row.text("/metadata/deletionTimestamp").is_empty() {
        row.text("/status/phase")
    } else {
        "Terminating"
    };
    vec![
        row.name(),
        json!(phase),
        json!(row.text("/spec/volumeName")),
        json!(if bound {
            row.text("/status/capacity/storage")
        } else {
            ""
        }),
        json!(if bound {
            access_modes(row.list("/status/accessModes"))
        } else {
            String::new()
        }),
        json!(row.text("/spec/storageClassName")),
        json!(row.text_or("/spec/volumeAttributesClassName", "<unset>")),
        row.age(),
        json!(row.text_or("/spec/volumeMode", "<unset>")),
    ]
}

fn volume(row: &Row<'_>) -> Vec<Value> {
    let claim = match row.text("/spec/claimRef/name") {
        "" => String::new(),
        name => format!("{}/{name}", row.text("/spec/claimRef/namespace")),
    };
    let phase = if row.text("/metadata/deletionTimestamp").is_empty() {
        row.text("/status/phase")
    } else {
        "Terminating"
    };
    vec![
        row.name(),
        json!(row.text("/spec/capacity/storage")),
        json!(access_modes(row.list("/spec/accessModes"))),
        json!(row.text("/spec/persistentVolumeReclaimPolicy")),
        json!(phase),
        json!(claim),
        json!(row.text("/spec/storageClassName")),
        json!(row.text_or("/spec/volumeAttributesClassName", "<unset>")),
        json!(row.text("/status/reason")),
        row.age(),
        json!(row.text_or("/spec/volumeMode", "<unset>")),
    ]
}

fn access_modes(modes: &[Value]) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let present: Vec<&str> = SHORT
        .iter()
        .filter(|(long, _)| modes.iter().any(|m| m == long))
        .map(|(_, short)| *short)
        .collect();
    present.join(",")
}

/// `pods: 1/3, requests.cpu: 0/2`, the limits apart from the rest.
fn quota(row: &Row<'_>, limits: bool) -> String {
    let used = row.at("/status/used");
    let entries = row.at("/status/hard").as_object().into_iter().flatten();
    let shown: Vec<String> = entries
        .filter(|(name, _)| name.starts_with("limits") == limits)
        .map(|(name, hard)| {
            let used = used[name].as_str().unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        })
        .collect();
    shown.join(", ")
}

fn service(row: &Row<'_>) -> Vec<Value> {
    let kind = row.text("/spec/type");
    let cluster_ip = row
        .list("/spec/clusterIPs")
        .first()
        .and_then(Value::as_str)
        .unwrap_or(NONE);
    vec![
        row.name(),
        json!(kind),
        json!(cluster_ip),
        json!(external_address(row, kind)),
        json!(service_ports(row.list("/spec/ports"))),
        row.age(),
        json!(format_labels(row.at("/spec/selector"))),
    ]
}

fn external_address(row: &Row<'_>, kind: &str) -> String {
    let mut addresses: Vec<String> = row
        .list("/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    match kind {
        "ExternalName" => row.text("/spec/externalName").to_owned(),
        "LoadBalancer" => {
            let mut given: Vec<String> = row
                .list("/status/loadBalancer/ingress")
                .iter()
                .filter_map(|i| i["ip"].as_str().or_else(|| i["hostname"].as_str()))
                .map(str::to_owned)
                .collect();
            given.append(&mut addresses);
            if given.is_empty() {
                "<pending>".to_owned()
            } else {
                given.join(",")
            }
        }
        _ if addresses.is_empty() => NONE.to_owned(),
        _ => addresses.join(","),
    }
}

fn service_ports(ports: &[Value]) -> String {
    if ports.is_empty() {
        return NONE.to_owned();
    }
    let shown: Vec<String> = ports
        .iter()
        .map(|p| {
            let protocol = p["protocol"].as_str().unwrap_or("TCP");
            match p["nodePort"].as_i64() {
                Some(node_port) if node_port > 0 => format!("{}:{node_port}/{protocol}", p["port"]),
                _ => format!("{}/{protocol}", p["port"]),
            }
        })
        .collect();
    shown.join(",")
}
