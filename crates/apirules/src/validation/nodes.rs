//! Nodes: taints, pod ranges, provider.

use serde_json::Value;

use super::names::qualified_name;
use crate::path::{Errors, Path};
use crate::read::Read;

pub(super) fn node(new: &Value, old: Option<&Value>, errors: &mut Errors) {
    let path = Path::new("spec");
    validate_ranges(new.at("spec"), &path.child("podCIDRs"), errors);
    taints(new, errors);
    declared_features(new.at("status"), errors);
    let Some(old) = old else { return };
    // A real server looks at them twice.
    taints(new, errors);
    let (before, after) = (old.at("spec"), new.at("spec"));
    let ranges = pod_ranges(before);
    if !ranges.is_empty() && ranges != pod_ranges(after) {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.forbidden(&path.child("podCIDRs"), detail);
    }
    if before.text("externalID") != after.text("externalID") {
        errors.forbidden(&path.child("externalID"), "may not be updated");
    }
    let provider = before.text("providerID");
    if !provider.is_empty() && provider != after.text("providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.forbidden(&path.child("providerID"), detail);
    }
}

/// Sorted, each once, named as `MyFeature` or `MyFeature/mySubFeature`.
fn declared_features(status: &Value, errors: &mut Errors) {
    let path = Path::new("status").child("declaredFeatures");
    let all = crate::read::texts(status.list("declaredFeatures"));
    for (i, name) in all.iter().enumerate() {
        if name.len() > 253 {
            let why = format!("invalid feature name {name:?}: must be no more than 253 characters");
            errors.invalid(&path.index(i), *name, why);
        } else if !is_feature(name) {
            let why = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric \
                 characters and slashes"
            );
            errors.invalid(&path.index(i), *name, why);
        }
        match all.get(i + 1) {
            Some(next) if next == name => errors.duplicate(&path.index(i + 1), *next),
            Some(next) if next < name => {
                errors.invalid(&path.index(i + 1), *next, "list must be sorted alphabetically");
            }
            _ => {}
        }
    }
}

fn is_feature(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

fn taints(new: &Value, errors: &mut Errors) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, taint) in new.at("spec").list("taints").iter().enumerate() {
        // A real server names this path so.
        let at = Path::new("metadata").child("taints").index(i);
        let (key, effect) = (taint.text("key"), taint.text("effect"));
        errors.invalid_each(&at.child("key"), key, qualified_name(key));
        let problems = super::names::label_value(taint.text("value"));
        if !problems.is_empty() {
            errors.invalid(&at.child("value"), taint.text("value"), problems.join(";"));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if effect.is_empty() {
            errors.required(&at.child("effect"), "");
        } else if !effects.contains(&effect) {
            errors.not_supported(&at.child("effect"), effect, &effects);
        }
        if seen.contains(&(key, effect)) {
            let shown = format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":null}}",
                Value::from(key),
                Value::from(taint.text("value")),
                Value::from(effect)
            );
            errors.duplicate(&at, "");
            if let Some(last) = errors.0.last_mut() {
                last.bad_value = shown;
                last.detail = "taints must be unique by key and effect pair".to_owned();
            }
        }
        seen.push((key, effect));
    }
}

/// podCIDR is the first of podCIDRs, and wins where they differ.
fn pod_ranges(spec: &Value) -> Vec<&str> {
    let mut out = crate::read::texts(spec.list("podCIDRs"));
    let first = spec.text("podCIDR");
    if out.first().is_some_and(|f| *f != first) {
        out.clear();
    }
    if out.is_empty() && !first.is_empty() {
        out.push(first);
    }
    out
}

fn validate_ranges(spec: &Value, path: &Path, errors: &mut Errors) {
    let ranges = pod_ranges(spec);
    let is_range = |text: &str| {
        let parts = text
            .split_once('/')
            .and_then(|(ip, bits)| Some((ip.parse::<std::net::IpAddr>().ok()?, bits.parse::<u8>().ok()?)));
        parts.is_some_and(|(ip, bits)| bits <= if ip.is_ipv4() { 32 } else { 128 })
    };
    for (i, range) in ranges.iter().enumerate().filter(|(_, r)| !is_range(r)) {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.invalid(&path.index(i), *range, detail);
    }
    let sixes = ranges.iter().filter(|r| r.contains(':')).count();
    if ranges.len() > 2 || (ranges.len() == 2 && sixes != 1) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.invalid(path, Value::from(ranges), detail);
    }
}
