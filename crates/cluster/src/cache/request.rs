//! What a cache asks of the server.
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::WatchScope;
use crate::door::ListOptions;
use crate::door::ask::{Again, Ask, push_query, title};
use crate::{Door, Resource};

/// A watch from a version; without one, it begins with everything there is. Also how long it is to last.
pub(super) fn watch<'a>(
    door: &Door,
    resource: &'a Resource,
    scope: &WatchScope,
    version: Option<&str>,
) -> (Ask<'a>, Duration) {
    let mut path = resource.path(scope.namespace.as_deref(), None, None);
    push_query(&mut path, "watch", "true");
    push_query(&mut path, "allowWatchBookmarks", "true");
    match version {
        Some(version) => push_query(&mut path, "resourceVersion", version),
        None => {
            push_query(&mut path, "sendInitialEvents", "true");
            push_query(&mut path, "resourceVersionMatch", "NotOlderThan");
        }
    }
    // Between once and twice, so that not all watches end together.
    let seconds = door.jittered(door.options().watch_timeout * 2).as_secs().max(1);
    push_query(&mut path, "timeoutSeconds", &seconds.to_string());
    for (name, value) in [
        ("labelSelector", &scope.label_selector),
        ("fieldSelector", &scope.field_selector),
    ] {
        if let Some(value) = value {
            push_query(&mut path, name, value);
        }
    }
    let ask = Ask {
        verb: "watch",
        method: Method::GET,
        resource,
        subresource: None,
        title: title("watch", resource, scope.namespace.as_deref(), None),
        path,
        content_type: "application/json",
        body: Bytes::new(),
        again: Again::Never,
        deadline: Duration::ZERO,
        queued: false,
    };
    (ask, Duration::from_secs(seconds))
}

pub(super) fn list(scope: &WatchScope, limit: Option<u32>) -> ListOptions {
    ListOptions {
        label_selector: scope.label_selector.clone(),
        field_selector: scope.field_selector.clone(),
        resource_version: None,
        limit,
    }
}
