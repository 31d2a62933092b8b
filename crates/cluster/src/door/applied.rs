//! Whether a write whose reply was lost has happened: does the object hold what was sent?
//!
//! Wrong answers are safe in one direction: "no" makes the caller look again. So whatever is not understood is "no".
use serde_json::Value;

use super::PatchKind;

/// Whether `found` holds all of `sent` (an object, a merge patch, a strategic patch without directives, an applied
/// configuration). What the server adds, or webhooks append to lists of named things, does not matter.
pub(super) fn holds(sent: &Value, found: &Value) -> bool {
    match sent {
        Value::Object(sent) => sent
            .iter()
            .all(|(key, sent)| match (key.as_str(), found.get(key)) {
                (directive, _) if directive.starts_with('$') => false,
                // The server's own: they differ by the very write.
                ("resourceVersion" | "managedFields" | "creationTimestamp" | "generation", _) => true,
                (_, None) => is_nothing(sent),
                (_, Some(found)) => holds(sent, found),
            }),
        Value::Array(sent) => found.as_array().is_some_and(|found| list_holds(sent, found)),
        Value::Null => found.is_null(),
        scalar => scalar == found,
    }
}

/// Whether every operation of a JSON patch shows in `found`.
pub(super) fn operations_hold(patch: &Value, found: &Value) -> bool {
    let Some(operations) = patch.as_array() else {
        return false;
    };
    operations.iter().all(|operation| {
        let path = operation["path"].as_str().unwrap_or_default();
        match operation["op"].as_str().unwrap_or_default() {
            "test" => true,
            "add" | "replace" => match path.strip_suffix("/-") {
                Some(list) => found
                    .pointer(list)
                    .and_then(Value::as_array)
                    .is_some_and(|list| list.iter().any(|there| holds(&operation["value"], there))),
                None => found
                    .pointer(path)
                    .is_some_and(|there| holds(&operation["value"], there)),
            },
            "remove" => found.pointer(path).is_none(),
            // Onto itself: that it is there, which `test` cannot say without knowing the value.
            "copy" if operation["from"] == operation["path"] => found.pointer(path).is_some(),
            _ => false,
        }
    })
}

/// Whether sending a patch twice does what sending it once does, or is refused the second time.
pub(super) fn may_repeat(kind: &PatchKind, body: &[u8]) -> bool {
    if !matches!(kind, PatchKind::Json) {
        return true;
    }
    let Ok(Value::Array(operations)) = serde_json::from_slice(body) else {
        return false;
    };
    let pinned =
        |operation: &Value| operation["op"] == "test" && operation["path"] == "/metadata/resourceVersion";
    operations.iter().any(pinned)
        || operations
            .iter()
            .all(|operation| match operation["op"].as_str().unwrap_or_default() {
                "test" | "replace" => true,
                "copy" => operation["from"] == operation["path"],
                // At a place in a list these shift the rest each time.
                "add" | "remove" => {
                    let last = operation["path"]
                        .as_str()
                        .unwrap_or_default()
                        .rsplit('/')
                        .next()
                        .unwrap_or_default();
                    last != "-" && last.parse::<u64>().is_err()
                }
                _ => false,
            })
}

fn list_holds(sent: &[Value], found: &[Value]) -> bool {
    let named = sent
        .iter()
        .all(|item| item.get("name").is_some_and(Value::is_string));
    if named && !sent.is_empty() {
        return sent.iter().all(|item| {
            found
                .iter()
                .any(|there| there.get("name") == item.get("name") && holds(item, there))
        });
    }
    sent.len() == found.len() && sent.iter().zip(found).all(|(sent, found)| holds(sent, found))
}

/// Empty things may be dropped on the way into storage.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_nothing),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}
