//! The checks of seccomp profiles.

use std::collections::BTreeSet;

use serde_json::Value;

use super::levels::{View, Violation, containers, found, plural, quoted, setters, sorted};
use crate::path::go_quote;
use crate::read::Read;

const SECCOMP: [&str; 2] = ["RuntimeDefault", "Localhost"];

fn seccomp_type(security: &Value) -> Option<&str> {
    security.at("seccompProfile").as_object()?;
    Some(security.at("seccompProfile").text("type"))
}

fn explicit_seccomp(view: &View<'_>, bad: impl Fn(&str) -> bool) -> Option<Violation> {
    let fails = |s: &Value| seccomp_type(s).is_some_and(&bad);
    let setters = setters(view, fails);
    if setters.is_empty() {
        return None;
    }
    let all = std::iter::once(view.security).chain(view.containers.iter().map(|c| c.at("securityContext")));
    let values = sorted(all.filter_map(seccomp_type).filter(|t| bad(t)));
    let detail = format!(
        "{} must not set securityContext.seccompProfile.type to {}",
        setters.join(" and "),
        quoted(&values)
    );
    found("seccompProfile", &detail)
}

pub(super) fn baseline(view: &View<'_>) -> Option<Violation> {
    match view.minor < 19 {
        true => annotated(view),
        false => explicit_seccomp(view, |kind| !SECCOMP.contains(&kind)),
    }
}

/// Profiles were annotations once.
fn annotated(view: &View<'_>) -> Option<Violation> {
    let fits = |v: &str| matches!(v, "runtime/default" | "docker/default") || v.starts_with("localhost/");
    let of_containers = view.containers.iter().map(|c| {
        format!(
            "container.seccomp.security.alpha.kubernetes.io/{}",
            c.text("name")
        )
    });
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(of_containers);
    let set = keys.filter(|key| view.annotations.has(key) && !fits(view.annotations.text(key)));
    let bad: BTreeSet<String> = set
        .map(|key| format!("{key}={}", go_quote(view.annotations.text(&key))))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let bad = Vec::from_iter(bad);
    let word = plural("annotation", "annotations", bad.len());
    found("seccompProfile", &format!("forbidden {word} {}", bad.join(", ")))
}

pub(super) fn restricted(view: &View<'_>) -> Option<Violation> {
    if view.is_windows() {
        return None;
    }
    if let Some(explicit) = explicit_seccomp(view, |kind| !SECCOMP.contains(&kind)) {
        return Some(explicit);
    }
    let implicit = view.bad(|s| seccomp_type(s).is_none());
    if seccomp_type(view.security).is_some() || implicit.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&implicit)
    );
    found("seccompProfile", &detail)
}
