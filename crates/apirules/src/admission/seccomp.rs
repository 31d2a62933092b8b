//! The checks of seccomp profiles.

use serde_json::Value;

use super::levels::{View, containers, found, quoted, sorted};
use crate::read::Read;

const SECCOMP: [&str; 2] = ["RuntimeDefault", "Localhost"];

fn seccomp_type(security: &Value) -> Option<&str> {
    security.at("seccompProfile").as_object()?;
    Some(security.at("seccompProfile").text("type"))
}

fn explicit_seccomp(view: &View<'_>, bad: impl Fn(&str) -> bool) -> Option<String> {
    let fails = |s: &Value| seccomp_type(s).is_some_and(&bad);
    let names = view.bad(fails);
    let mut setters = Vec::new();
    if fails(view.security) {
        setters.push("pod".to_owned());
    }
    if !names.is_empty() {
        setters.push(containers(&names));
    }
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

pub(super) fn baseline(view: &View<'_>) -> Option<String> {
    explicit_seccomp(view, |kind| kind == "Unconfined")
}

pub(super) fn restricted(view: &View<'_>) -> Option<String> {
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
