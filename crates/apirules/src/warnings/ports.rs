//! Ports of a pod that get in each other's way.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::path::go_quote;
use crate::read::Read as _;

/// `containers` with their paths, in the order in which they are looked at.
pub(super) fn of(containers: &[(String, &Value)], out: &mut Vec<String>) {
    numbers(containers, out);
    let mut first: BTreeMap<&str, String> = BTreeMap::new();
    for (at, port) in all(containers) {
        let name = port.text("name");
        if name.is_empty() {
            continue;
        }
        match first.get(name) {
            Some(other) => out.push(format!(
                "{at}: duplicate port name {} with {other}, services and probes that select ports by name will use \
                 {other}",
                go_quote(name)
            )),
            None => drop(first.insert(name, at)),
        }
    }
}

fn numbers(containers: &[(String, &Value)], out: &mut Vec<String>) {
    let mut seen: BTreeMap<(i64, &str), Vec<(String, &Value)>> = BTreeMap::new();
    for (at, port) in all(containers) {
        if !port.text("hostIP").is_empty() && host_port(port) == 0 {
            out.push(format!(
                "{at}: hostIP set without hostPort: {}",
                as_go_prints(port)
            ));
        }
        let key = (port.int("containerPort").unwrap_or(0), port.text("protocol"));
        let others = seen.entry(key).or_default();
        for (other_at, other) in others.iter() {
            if let Some(how) = conflict(port, other) {
                out.push(format!("{at}: {how} port definition with {other_at}"));
            }
        }
        others.push((at, port));
    }
}

/// How two ports of one number and protocol collide.
fn conflict(one: &Value, other: &Value) -> Option<&'static str> {
    let (a, b) = (one.text("hostIP"), other.text("hostIP"));
    let (m, n) = (host_port(one), host_port(other));
    if a == b && m == n {
        Some("duplicate")
    } else if m == 0 || n == 0 {
        Some("overlapping")
    } else if m == n && a.is_empty() != b.is_empty() {
        Some("dangerously ambiguous")
    } else {
        None
    }
}

fn all<'a>(containers: &'a [(String, &'a Value)]) -> impl Iterator<Item = (String, &'a Value)> {
    containers.iter().flat_map(|(at, container)| {
        let ports = container.list("ports").iter().enumerate();
        ports.map(move |(i, port)| (format!("{at}.ports[{i}]"), port))
    })
}

fn host_port(port: &Value) -> i64 {
    port.int("hostPort").unwrap_or(0)
}

fn as_go_prints(port: &Value) -> String {
    format!(
        "{{Name:{} HostPort:{} ContainerPort:{} Protocol:{} HostIP:{}}}",
        port.text("name"),
        host_port(port),
        port.int("containerPort").unwrap_or(0),
        port.text("protocol"),
        port.text("hostIP")
    )
}
