//! The check of AppArmor profiles, in fields and in the annotations that came before them.

use serde_json::Value;

use super::levels::{View, Violation, found, plural, quoted, setters, sorted};
use crate::path::go_quote;
use crate::read::Read;
use crate::validation::APPARMOR_ANNOTATION;

pub(super) fn profiles(view: &View<'_>) -> Option<Violation> {
    let kind = |s: &Value| -> Option<String> {
        let profile = s.at("appArmorProfile");
        profile.is_object().then(|| profile.text("type").to_owned())
    };
    let bad = |s: &Value| kind(s).filter(|k| !["RuntimeDefault", "Localhost"].contains(&k.as_str()));
    let mut setters = setters(view, |s| bad(s).is_some());
    let all = std::iter::once(view.security).chain(view.containers.iter().map(|c| c.at("securityContext")));
    let values: Vec<String> = all.filter_map(bad).collect();
    let mut values: Vec<String> = sorted(values.iter().map(String::as_str))
        .into_iter()
        .map(str::to_owned)
        .collect();
    let annotations = view.annotations.as_object().into_iter().flatten();
    let mut annotated: Vec<String> = annotations
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(APPARMOR_ANNOTATION) && !is_allowed(value))
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    if !annotated.is_empty() {
        setters.push(plural("annotation", "annotations", annotated.len()).to_owned());
        annotated.sort_unstable();
        values.append(&mut annotated);
    }
    if setters.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let detail = format!(
        "{} must not set AppArmor profile type to {}",
        setters.join(" and "),
        quoted(&values)
    );
    found(reason, &detail)
}

fn is_allowed(annotation: &str) -> bool {
    annotation.is_empty() || annotation == "runtime/default" || annotation.starts_with("localhost/")
}
