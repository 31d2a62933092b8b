//! Endpoints: addresses that can be reached, and ports.

use std::net::IpAddr;

use serde_json::Value;

use super::names::{dns_label, dns_subdomain, port_number, qualified_name};
use super::pod::validate_ip;
use crate::path::{Errors, Path};
use crate::read::Read;

/// Subsets that an update leaves as they were are not looked at.
pub(super) fn validate(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    if old.is_some_and(|old| old.at("subsets") == new.at("subsets")) {
        return;
    }
    for (i, subset) in new.list("subsets").iter().enumerate() {
        let path = Path::new("subsets").index(i);
        if subset.list("addresses").is_empty() && subset.list("notReadyAddresses").is_empty() {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in ["addresses", "notReadyAddresses"] {
            for (i, one) in subset.list(list).iter().enumerate() {
                address(one, &path.child(list).index(i), errors);
            }
        }
        let ports = subset.list("ports");
        for (i, one) in ports.iter().enumerate() {
            port(one, ports.len() > 1, &path.child("ports").index(i), errors);
        }
    }
}

fn address(address: &Value, path: &Path, errors: &mut Errors) {
    let (text, at) = (address.text("ip"), path.child("ip"));
    validate_ip(text, &at, errors);
    let hostname = address.text("hostname");
    if !hostname.is_empty() {
        errors.invalid_each(&path.child("hostname"), hostname, dns_label(hostname));
    }
    if let Some(node) = address.at("nodeName").as_str() {
        errors.invalid_each(&path.child("nodeName"), node, dns_subdomain(node));
    }
    let Ok(ip) = text.parse::<IpAddr>() else {
        return errors.invalid(&at, text, "must be a valid IP address");
    };
    let (link_local, link_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => {
            let multicast = ip.segments()[0] & 0xff0f == 0xff02;
            (ip.is_unicast_link_local(), multicast)
        }
    };
    let loopback = "may not be in the loopback range (127.0.0.0/8, ::1/128)";
    let link = "may not be in the link-local range (169.254.0.0/16, fe80::/10)";
    let multicast = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)";
    if ip.is_unspecified() {
        errors.invalid(&at, text, format!("may not be unspecified ({text})"));
    }
    for (found, why) in [
        (ip.is_loopback(), loopback),
        (link_local, link),
        (link_multicast, multicast),
    ] {
        if found {
            errors.invalid(&at, text, why);
        }
    }
}

fn port(port: &Value, named: bool, path: &Path, errors: &mut Errors) {
    let (name, number) = (port.text("name"), port.int("port").unwrap_or(0));
    match name {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => errors.invalid_each(&path.child("name"), name, dns_label(name)),
    }
    for message in port_number(number) {
        errors.invalid(&path.child("port"), number, message);
    }
    match port.text("protocol") {
        "" => errors.required(&path.child("protocol"), ""),
        "TCP" | "UDP" | "SCTP" => {}
        other => errors.not_supported(&path.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
    }
    if let Some(protocol) = port.at("appProtocol").as_str() {
        errors.invalid_each(&path.child("appProtocol"), protocol, qualified_name(protocol));
    }
}
