//! What a deletion does to an object: marks, grace, finalizers.

use model::time::rfc3339_seconds;
use serde_json::Value;

use super::delete::DeleteOptions;
use crate::catalog::Resource;
use crate::service::Call;
use crate::{metadata, pipeline};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    /// It is marked first, which watchers see, and deleted at once.
    Doomed,
    Gone,
}

/// The object after the request, and what becomes of it.
pub(super) fn mark(call: &Call, resource: &Resource, options: &DeleteOptions, old: &Value) -> (Value, Fate) {
    let mut next = old.clone();
    let finalizers = options.finalizers(resource, &metadata::finalizers(old));
    let finalizers = pipeline::finalizers_of_deletion(resource, old, finalizers);
    metadata::set_finalizers(&mut next, &finalizers);
    let held = !finalizers.is_empty() || !pipeline::may_vanish(resource, &next);
    if resource.is("", "pods") {
        return mark_pod(call, options, old, next, held);
    }
    if !held {
        return (next, Fate::Gone);
    }
    if !metadata::is_deleting(old) && pipeline::is_definition(resource) {
        let now = rfc3339_seconds(call.server.now());
        crate::custom::doom(&mut next, &now);
        metadata::set(&mut next, "deletionTimestamp", now);
    } else if !metadata::is_deleting(old) {
        begin(call, &mut next, 0);
        if resource.is("", "namespaces") {
            metadata::remove(&mut next, "deletionGracePeriodSeconds");
            next["status"]["phase"] = "Terminating".into();
        }
    }
    (next, Fate::Stays)
}

fn mark_pod(call: &Call, options: &DeleteOptions, old: &Value, mut next: Value, held: bool) -> (Value, Fate) {
    let doom = |grace: i64| {
        if grace == 0 && !held {
            Fate::Doomed
        } else {
            Fate::Stays
        }
    };
    if !metadata::is_deleting(old) {
        let grace = pod_grace(options, old);
        begin(call, &mut next, grace);
        return (next, doom(grace));
    }
    let before = metadata::grace_seconds(old).unwrap_or(0);
    if before == 0 {
        return (next, if held { Fate::Stays } else { Fate::Gone });
    }
    // A later request may only shorten the grace.
    match options.grace_seconds.map(at_least_one) {
        Some(grace) if grace < before => {
            shorten(call, &mut next, old, before, grace);
            (next, doom(grace))
        }
        _ => (next, Fate::Stays),
    }
}

fn begin(call: &Call, object: &mut Value, grace: i64) {
    let at = call.server.now() + jiff::SignedDuration::from_secs(grace);
    metadata::set(object, "deletionTimestamp", rfc3339_seconds(at));
    metadata::set(object, "deletionGracePeriodSeconds", grace);
    metadata::bump_generation(object);
}

fn shorten(call: &Call, next: &mut Value, old: &Value, before: i64, grace: i64) {
    let marked = metadata::text(old, "deletionTimestamp").parse::<jiff::Timestamp>();
    let since = marked.unwrap_or_else(|_| call.server.now()) - jiff::SignedDuration::from_secs(before);
    let at = since + jiff::SignedDuration::from_secs(grace);
    metadata::set(next, "deletionTimestamp", rfc3339_seconds(at));
    metadata::set(next, "deletionGracePeriodSeconds", grace);
}

/// Seconds a pod gets: none where no kubelet runs it or it has ended.
fn pod_grace(options: &DeleteOptions, pod: &Value) -> i64 {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let own = pod
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64);
    let idle = text("/spec/nodeName").is_empty() || matches!(text("/status/phase"), "Succeeded" | "Failed");
    if idle {
        0
    } else {
        at_least_one(options.grace_seconds.or(own).unwrap_or(30))
    }
}

/// A negative grace means one second.
fn at_least_one(grace: i64) -> i64 {
    if grace < 0 { 1 } else { grace }
}
