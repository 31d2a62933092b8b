//! Server-side apply: field ownership, conflicts, and the object that results.
//!
//! [`update`] accounts for an ordinary write, [`apply`] carries out an apply patch. Both are pure: the time, the
//! schemas of the kind's versions and the conversion between them are arguments.
mod compare;
mod conflict;
mod last_applied;
mod managed;
mod merge;
mod ownership;
mod path;
mod remove;
mod scale;
mod schema;
mod set;
mod walk;

use apischema::decode::decode;
use apischema::{TypeId, TypeTable};
use jiff::Timestamp;
use serde_json::Value;

pub use conflict::{Cause, Conflict, Conflicts};
pub use managed::{ManagedFields, ManagerId, Operation, Owned};
pub use ownership::FieldFilter;
use ownership::Ownership;
pub use path::{Path, PathElement};
pub use scale::{from_scale, to_scale};
pub use schema::Schema;
pub use set::FieldSet;

use compare::compare;
use walk::{validate, validate_object};

/// Owns what was there before the first apply, when nobody was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The versions in which a kind is served.
pub trait Versions {
    /// The schema at an `apiVersion`; `None` where it is not served (any more).
    fn schema(&self, api_version: &str) -> Option<Schema<'_>>;

    /// An object of the kind at another `apiVersion`.
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;
}

/// A kind that is served in one version only.
pub struct OneVersion<'t> {
    pub api_version: &'t str,
    pub schema: Schema<'t>,
}

impl Versions for OneVersion<'_> {
    fn schema(&self, api_version: &str) -> Option<Schema<'_>> {
        (api_version == self.api_version).then_some(self.schema)
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == self.api_version).then(|| object.clone())
    }
}

/// The live object with everything that the configuration says, whoever owns it.
///
/// # Errors
/// Lists whose items cannot be told apart.
pub fn lay_over(schema: Schema<'_>, live: &Value, configuration: &Value) -> Result<Value, String> {
    merge::merge(schema, live, configuration)
}

/// Who writes, through which resource, in which version, and when.
pub struct Writer<'a> {
    /// As the request names it (`fieldManager`, or the user agent up to its first slash).
    pub manager: &'a str,
    pub api_version: &'a str,
    pub kind: &'a str,
    /// Empty for the main resource.
    pub subresource: &'a str,
    pub now: Timestamp,
    pub versions: &'a dyn Versions,
    /// What this resource or subresource resets, and so can never own.
    pub filter: &'a FieldFilter,
    /// What an object of the kind is before anything is set: Go's zero value as JSON for built-in kinds (with
    /// its required lists null and its structs empty), apiVersion and kind for custom ones.
    pub zero: &'a Value,
}

/// What an apply leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object with its managedFields. Members that lost all their content may be null.
    pub object: Value,
    pub managed_fields: ManagedFields,
    /// Whether anything but managedFields changed.
    pub changed: bool,
}

/// Why an apply was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409, reason Conflict.
    #[error("{0}")]
    Conflicts(Conflicts),
    /// 400, reason BadRequest.
    #[error("{0}")]
    BadRequest(String),
    /// 500 without a reason: what a real server answers when the configuration does not fit the schema.
    #[error("{0}")]
    Internal(String),
}

/// The managedFields of `new` after a create (`live` is null), update or patch other than apply.
///
/// `new` may carry managedFields that the client sent; a list with one empty entry, or none, resets them. (Decoding
/// drops an empty list: for built-in kinds a caller that decodes first must put it back. For custom kinds a real
/// server takes an empty list for none.)
/// `None`: the object carries none, as one that does not fit its schema.
pub fn update(live: &Value, new: &Value, writer: &Writer<'_>) -> Option<Value> {
    let managed = starting_point(live, new, writer);
    let created = live.pointer("/metadata/uid").is_none();
    if managed.entries.is_empty() && !created {
        // Nobody was recorded so far (or the client cleared the record): recording starts with an apply.
        return None;
    }
    let live = if live.is_null() { writer.zero } else { live };
    let id = ManagerId::new(
        writer.manager,
        Operation::Update,
        writer.api_version,
        writer.subresource,
    );
    track(live, new, managed, id, writer).ok()?.encode()
}

/// Applies a configuration to the live object, which is null where the object does not exist yet.
pub fn apply(live: &Value, applied: &Value, writer: &Writer<'_>, force: bool) -> Result<Applied, ApplyError> {
    check_identity(applied, writer)?;
    let live = if live.is_null() { writer.zero } else { live };
    let mut managed = ManagedFields::decode(live.pointer("/metadata/managedFields"))
        .map_err(|error| ApplyError::Internal(format!("failed to decode managed fields: {error}")))?;
    let live = without_managed_fields(live);
    if managed.entries.is_empty() {
        let id = ManagerId::new(
            BEFORE_FIRST_APPLY,
            Operation::Update,
            writer.api_version,
            writer.subresource,
        );
        managed = track(writer.zero, &live, managed, id, writer).map_err(|why| {
            ApplyError::Internal(format!("failed to create manager for existing fields: {why}"))
        })?;
    }
    let (object, managed) = match apply_once(&live, applied, &managed, writer, force) {
        Err(ApplyError::Conflicts(conflicts)) if writer.manager == last_applied::MANAGER => {
            last_applied::excuse(&live, conflicts, writer)?;
            apply_once(&live, applied, &managed, writer, true)?
        }
        other => other?,
    };
    let changed = object.is_some();
    let mut object = object.unwrap_or(live);
    if writer.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, applied);
    }
    set_managed_fields(&mut object, managed.encode());
    Ok(Applied {
        object,
        managed_fields: managed,
        changed,
    })
}

/// What a built-in kind is before anything is set, for [`Writer::zero`].
pub fn zero(table: &TypeTable, ty: TypeId, api_version: &str, kind: &str) -> Value {
    let mut object = serde_json::json!({ "apiVersion": api_version, "kind": kind });
    decode(table, ty, &mut object);
    object
}

/// Whether two states differ in nothing but the times of their managedFields. Then the old one is kept.
pub fn only_times_differ(old: &Value, new: &Value) -> bool {
    fn timeless(object: &Value) -> Value {
        let mut object = object.clone();
        if let Some(Value::Array(entries)) = object.pointer_mut("/metadata/managedFields") {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
        }
        object
    }
    timeless(old) == timeless(new)
}

/// Puts a list of managedFields into an object, or takes it out.
pub fn set_managed_fields(object: &mut Value, list: Option<Value>) {
    let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) else {
        return;
    };
    match list {
        Some(list) => metadata.insert("managedFields".to_owned(), list),
        None => metadata.remove("managedFields"),
    };
}

fn apply_once(
    live: &Value,
    applied: &Value,
    managed: &ManagedFields,
    writer: &Writer<'_>,
    force: bool,
) -> Result<(Option<Value>, ManagedFields), ApplyError> {
    let ownership = ownership(writer).ok_or_else(|| no_type(writer))?;
    validate(ownership.schema, applied).map_err(|error| {
        ApplyError::Internal(format!(
            "failed to create typed patch object ({}): {error}",
            identity(applied)
        ))
    })?;
    validate_object(ownership.schema, live).map_err(|error| {
        ApplyError::Internal(format!(
            "failed to create typed live object ({}): {error}",
            identity(live)
        ))
    })?;
    let id = ManagerId::new(
        writer.manager,
        Operation::Apply,
        writer.api_version,
        writer.subresource,
    );
    let (object, mut managed) = ownership.apply(live, applied, managed.clone(), &id, force)?;
    strip_metadata(&mut managed, &id);
    if object.is_some()
        && let Some(owned) = managed.entries.get_mut(&id)
    {
        owned.time = Some(writer.now);
    }
    Ok((object, managed))
}

/// Records an update. The manager's time moves only if it changed something.
fn track(
    live: &Value,
    new: &Value,
    managed: ManagedFields,
    id: ManagerId,
    writer: &Writer<'_>,
) -> Result<ManagedFields, String> {
    let Some(ownership) = ownership(writer) else {
        return Ok(managed);
    };
    let (live, new) = (without_managed_fields(live), without_managed_fields(new));
    for (which, object) in [("new", &new), ("live", &live)] {
        validate_object(ownership.schema, object).map_err(|error| {
            format!(
                "failed to convert {which} object ({}) to smd typed: {error}",
                identity(object)
            )
        })?;
    }
    // The write is accounted for under a name of its own, so that what the manager owned before is compared too.
    let this_write = ManagerId {
        manager: "\u{0}current".to_owned(),
        ..id.clone()
    };
    let mut managed = ownership.update(&live, &new, managed, &this_write);
    strip_metadata(&mut managed, &this_write);
    if let Some(mut written) = managed.entries.remove(&this_write) {
        if let Some(before) = managed.entries.get(&id) {
            written.fields = written.fields.union(&before.fields);
        }
        written.time = Some(writer.now);
        managed.entries.insert(id, written);
    }
    managed.cap_updaters();
    Ok(managed)
}

fn ownership<'a>(writer: &'a Writer<'a>) -> Option<Ownership<'a>> {
    Some(Ownership {
        versions: writer.versions,
        schema: writer.versions.schema(writer.api_version)?,
        api_version: writer.api_version,
        filter: writer.filter,
    })
}

/// The entries to start from: those the client sent, else those of the live object.
fn starting_point(live: &Value, new: &Value, writer: &Writer<'_>) -> ManagedFields {
    let of_live = || ManagedFields::decode(live.pointer("/metadata/managedFields")).unwrap_or_default();
    if !writer.subresource.is_empty() {
        return of_live();
    }
    let sent = new.pointer("/metadata/managedFields");
    let is_reset = match sent.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only
            .as_object()
            .is_some_and(|entry| entry.values().all(Value::is_null)),
        _ => false,
    };
    if is_reset {
        return ManagedFields::default();
    }
    match ManagedFields::decode(sent) {
        Ok(managed) if !managed.entries.is_empty() => managed,
        _ => of_live(),
    }
}

/// What identifies an object, and what the server sets, belongs to nobody.
fn strip_metadata(managed: &mut ManagedFields, id: &ManagerId) {
    let nobodys = FieldSet::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ]);
    if let Some(owned) = managed.entries.get_mut(id) {
        owned.fields = owned.fields.difference(&nobodys);
        if owned.fields.is_empty() {
            managed.entries.remove(id);
        }
    }
}

fn without_managed_fields(object: &Value) -> Value {
    let mut object = object.clone();
    set_managed_fields(&mut object, None);
    object
}

fn check_identity(applied: &Value, writer: &Writer<'_>) -> Result<(), ApplyError> {
    let text = |name: &str| applied.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("apiVersion") != writer.api_version || text("kind") != writer.kind {
        let found = type_name(text("apiVersion"), text("kind"));
        return Err(ApplyError::BadRequest(format!("invalid object type: {found}")));
    }
    if applied
        .pointer("/metadata/managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(ApplyError::BadRequest(
            "metadata.managedFields must be nil".to_owned(),
        ));
    }
    Ok(())
}

/// `namespace/name; apps/v1, Kind=Deployment`.
fn identity(object: &Value) -> String {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let kind = type_name(text("/apiVersion"), text("/kind"));
    format!(
        "{}/{}; {kind}",
        text("/metadata/namespace"),
        text("/metadata/name")
    )
}

/// A kind as Go prints it; the core group's version has a slash before it.
fn type_name(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

fn no_type(writer: &Writer<'_>) -> ApplyError {
    let kind = type_name(writer.api_version, writer.kind);
    ApplyError::Internal(format!("no corresponding type for {kind}"))
}

#[cfg(test)]
mod tests;
