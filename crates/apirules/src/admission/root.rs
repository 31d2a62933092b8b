//! The checks of who a pod runs as.

use super::levels::{View, Violation, containers, found, setters};
use crate::read::Read;

pub(super) fn non_root(view: &View<'_>) -> Option<Violation> {
    if view.has_own_users() {
        return None;
    }
    let explicit = setters(view, |s| s.at("runAsNonRoot").as_bool() == Some(false));
    let pod = view.security.at("runAsNonRoot").as_bool();
    let reason = "runAsNonRoot != true";
    if !explicit.is_empty() {
        return found(
            reason,
            &format!(
                "{} must not set securityContext.runAsNonRoot=false",
                explicit.join(" and ")
            ),
        );
    }
    let implicit = view.bad(|s| s.at("runAsNonRoot").is_null());
    if pod == Some(true) || implicit.is_empty() {
        return None;
    }
    found(
        reason,
        &format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            containers(&implicit)
        ),
    )
}

pub(super) fn root_user(view: &View<'_>) -> Option<Violation> {
    if view.has_own_users() {
        return None;
    }
    let setters = setters(view, |s| s.int("runAsUser") == Some(0));
    if setters.is_empty() {
        return None;
    }
    found(
        "runAsUser=0",
        &format!("{} must not set runAsUser=0", setters.join(" and ")),
    )
}
