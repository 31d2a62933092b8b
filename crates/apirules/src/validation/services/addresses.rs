//! Addresses of services and their families.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use model::field::FieldError;
use serde_json::{Value, json};

use super::headless;
use crate::path::{Errors, Path};
use crate::read::{Read as _, texts};

pub(super) const NO_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
pub(super) const NO_NETWORK: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
const CHANGED: &str = "may not change once set";

/// An old client knows `clusterIP` alone, a new one `clusterIPs` too: the one follows the other where only one was
/// touched.
pub fn normalise_addresses(new: &mut Value, old: Option<&Value>) {
    let spec = new.at("spec");
    let one = spec.text("clusterIP").to_owned();
    let Some(old) = old else {
        if !one.is_empty() && spec.list("clusterIPs").is_empty() {
            new["spec"]["clusterIPs"] = json!([one]);
        }
        return;
    };
    let before = old.at("spec");
    if !before.list("clusterIPs").is_empty()
        && spec.list("clusterIPs").is_empty()
        && before.text("clusterIP") == one
    {
        new["spec"]["clusterIPs"] = before.at("clusterIPs").clone();
    }
    let same_list = before.list("clusterIPs") == new.at("spec").list("clusterIPs");
    if before.text("clusterIP") != one && same_list {
        match !before.text("clusterIP").is_empty() && one.is_empty() {
            true => remove(new, "clusterIPs"),
            false => new["spec"]["clusterIPs"] = json!([one]),
        }
    }
}

/// Takes a field of the spec away.
pub(super) fn remove(service: &mut Value, field: &str) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(field);
    }
}

/// What is wrong with the addresses alone: looked at before any is given out.
pub fn address_errors(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    validate(service.at("spec"), &Path::new("spec"), &mut errors);
    errors.0
}

pub(super) fn validate(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.text("type") == "ExternalName" {
        return;
    }
    let at = path.child("clusterIPs");
    let (one, all) = (spec.text("clusterIP"), texts(spec.list("clusterIPs")));
    match (one, all.first()) {
        ("", Some(_)) => {
            errors.invalid(&at, json!(all), "must be empty when `clusterIP` is not specified");
        }
        ("", None) => {}
        (_, None) => errors.required(&at, ""),
        (one, Some(first)) if one != *first => {
            errors.invalid(&at, json!(all), "first value must match `clusterIP`");
        }
        _ => {}
    }
    families(spec, path, errors);
    let mut bad = false;
    for (i, address) in all.iter().enumerate() {
        if i == 0 && *address == "None" {
            if all.len() > 1 {
                bad = true;
                errors.invalid(&at, json!(all), "'None' must be the first and only value");
            }
        } else if address.parse::<IpAddr>().is_err() {
            bad = true;
            errors.invalid(&at.index(i), *address, NO_ADDRESS);
        }
    }
    if all.len() > 2 {
        errors.invalid(&at, json!(all), "may only hold up to 2 values");
    }
    if bad {
        return;
    }
    let (four, six): (Vec<&str>, Vec<&str>) = all.iter().partition(|a| !is_six(a));
    if all.len() > 1 && (four.is_empty() || six.is_empty()) {
        let why = "may specify no more than one IP for each IP family";
        errors.invalid(&at, json!(all), why);
    }
    if headless(spec) {
        return;
    }
    for (i, (address, family)) in all.iter().zip(texts(spec.list("ipFamilies"))).enumerate() {
        let fits = if is_six(address) { "IPv6" } else { "IPv4" };
        if matches!(family, "IPv4" | "IPv6") && family != fits {
            let why = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.invalid(&at.index(i), *address, why);
        }
    }
}

fn families(spec: &Value, path: &Path, errors: &mut Errors) {
    let at = path.child("ipFamilies");
    let mut seen = BTreeSet::new();
    for (i, family) in texts(spec.list("ipFamilies")).into_iter().enumerate() {
        if !matches!(family, "IPv4" | "IPv6") {
            errors.not_supported(&at.index(i), family, &["IPv4", "IPv6"]);
        }
        if !seen.insert(family) {
            errors.duplicate(&at.index(i), family);
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if let Some(policy) = spec.at("ipFamilyPolicy").as_str()
        && !policies.contains(&policy)
    {
        errors.not_supported(&path.child("ipFamilyPolicy"), policy, &policies);
    }
}

/// An address and its family stay what they were, unless the service was or becomes something else.
pub(super) fn unchanged(before: &Value, after: &Value, errors: &mut Errors) {
    let path = Path::new("spec");
    if before.text("type") == "ExternalName" || after.text("type") == "ExternalName" {
        return;
    }
    let (was, is) = (headless(before), headless(after));
    if was && is {
        return;
    }
    held(
        before,
        after,
        "clusterIPs",
        "primary clusterIP can not be unset",
        &path,
        errors,
    );
    if was == is {
        held(
            before,
            after,
            "ipFamilies",
            "primary ipFamily can not be unset",
            &path,
            errors,
        );
    }
}

fn held(before: &Value, after: &Value, field: &str, unset: &str, path: &Path, errors: &mut Errors) {
    let (old, new) = (texts(before.list(field)), texts(after.list(field)));
    let at = path.child(field);
    if old.len() == new.len() {
        for (i, _) in old.iter().zip(&new).enumerate().filter(|(_, (a, b))| a != b) {
            let place = if field == "ipFamilies" { 0 } else { i };
            errors.invalid(&at.index(place), json!(new), CHANGED);
        }
        return;
    }
    if old.len() > new.len() && after.list("clusterIPs").is_empty() {
        errors.invalid(&at.index(0), json!(new), unset);
    }
    if let (Some(first), Some(now)) = (old.first(), new.first())
        && first != now
    {
        errors.invalid(&at.index(0), after.at("clusterIPs").clone(), CHANGED);
    }
    if old.len() > new.len() && new.len() == 1 && after.text("ipFamilyPolicy") != "SingleStack" {
        let what = if field == "ipFamilies" {
            "ipFamily"
        } else {
            "clusterIP"
        };
        let why = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        errors.invalid(
            &path.child("ipFamilyPolicy"),
            after.at("ipFamilyPolicy").clone(),
            why,
        );
    }
}

fn is_six(address: &str) -> bool {
    address.parse::<Ipv6Addr>().is_ok()
}

/// Why an address cannot be one that others reach a service at.
pub(super) fn special(ip: IpAddr, text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if ip.is_unspecified() {
        out.push(format!("may not be unspecified ({text})"));
    }
    if ip.is_loopback() {
        out.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    let (link, multicast) = match ip {
        IpAddr::V4(four) => (
            four.is_link_local(),
            four.octets()[..3] == Ipv4Addr::new(224, 0, 0, 0).octets()[..3],
        ),
        IpAddr::V6(six) => (six.is_unicast_link_local(), six.segments()[0] == 0xff02),
    };
    if link {
        out.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if multicast {
        out.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    out
}

pub(super) fn is_network(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else {
        return false;
    };
    let bits = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|length| length <= bits)
}
