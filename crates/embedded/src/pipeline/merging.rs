//! Patches and field ownership.

use apimerge::PatchError;
use apimerge::ssa::{self, ApplyError, FieldFilter, FieldSet, OneVersion, Versions};
use apischema::GroupVersionKind;
use model::time::Timestamp;
use serde_json::{Value, json};

use super::{prune_kind, schema, zero};
use crate::catalog::{Resource, split_group_version};
use crate::route::Target;
use crate::status::Status;

/// Who writes, for managedFields.
#[derive(Debug, Clone)]
pub(crate) struct Writer<'a> {
    pub manager: &'a str,
    pub subresource: &'a str,
    pub now: Timestamp,
}

/// Records in managedFields what a create, update or patch changed; `live` is null on create.
pub(crate) fn track_update(resource: &Resource, live: &Value, new: &mut Value, writer: &Writer<'_>) {
    let tracked = with_writer(resource, writer, |w| ssa::update(live, new, w));
    if let Some(list) = tracked {
        ssa::set_managed_fields(new, list);
    }
}

/// Server-side apply; `live` is null where the object does not exist.
pub(crate) fn apply(
    resource: &Resource,
    live: &Value,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    let result = with_writer(resource, writer, |w| ssa::apply(live, applied, w, force));
    match result {
        Some(Ok(applied)) => Ok(applied.object),
        Some(Err(ApplyError::Conflicts(conflicts))) => Err(conflict(&conflicts)),
        Some(Err(ApplyError::BadRequest(why))) => Err(Status::bad_request(why)),
        Some(Err(ApplyError::Internal(why))) => Err(bare(500, "", why)),
        None => Err(Status::not_implemented(&format!(
            "server-side apply of {}",
            resource.plural
        ))),
    }
}

/// What an object becomes under a configuration that nobody comes to own.
pub(crate) fn lay_over(resource: &Resource, live: &Value, configuration: &Value) -> Result<Value, String> {
    let served = ServedVersions(resource);
    let schema = served.schema(&resource.api_version());
    let schema = schema.ok_or_else(|| format!("{} have no schema", resource.plural))?;
    ssa::lay_over(schema, live, configuration)
}

/// Records in a Scale's managedFields what an update or patch of it changed. Of custom kinds a real server loses them.
pub(crate) fn track_scale(target: &Target, live: &Value, new: &mut Value, writer: &Writer<'_>) {
    prune_kind("autoscaling", "v1", "Scale", new);
    let list = match target.resource.custom {
        Some(_) => None,
        None => with_scale_writer(writer, |w| ssa::update(live, new, w)).flatten(),
    };
    ssa::set_managed_fields(new, list);
}

/// Server-side apply to the Scale of an object.
pub(crate) fn apply_scale(
    target: &Target,
    live: &Value,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> Result<Value, Status> {
    match with_scale_writer(writer, |w| ssa::apply(live, applied, w, force)) {
        Some(Ok(done)) => Ok(done.object),
        Some(Err(ApplyError::Conflicts(conflicts))) => Err(conflict(&conflicts)),
        Some(Err(ApplyError::BadRequest(why))) => Err(Status::bad_request(why)),
        Some(Err(ApplyError::Internal(why))) => Err(bare(500, "", why)),
        None => Err(Status::not_implemented(&format!(
            "scale of {}",
            target.resource.plural
        ))),
    }
}

fn with_scale_writer<T>(writer: &Writer<'_>, run: impl FnOnce(&ssa::Writer<'_>) -> T) -> Option<T> {
    with_kind_writer("autoscaling/v1", "Scale", writer, run)
}

/// Records who sent an object of a built-in kind that is answered, not stored.
pub(crate) fn track_sent(api_version: &str, kind: &str, sent: &mut Value, writer: &Writer<'_>) {
    let list = with_kind_writer(api_version, kind, writer, |w| ssa::update(&Value::Null, sent, w));
    ssa::set_managed_fields(sent, list.flatten());
}

fn with_kind_writer<T>(
    api_version: &str,
    kind: &str,
    writer: &Writer<'_>,
    run: impl FnOnce(&ssa::Writer<'_>) -> T,
) -> Option<T> {
    let table = &apischema::builtin().table;
    let (group, version) = split_group_version(api_version);
    let ty = table.kind(&GroupVersionKind {
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
    })?;
    let zero = ssa::zero(table, ty, api_version, kind);
    Some(run(&ssa::Writer {
        manager: writer.manager,
        api_version,
        kind,
        subresource: writer.subresource,
        now: writer.now,
        versions: &OneVersion {
            api_version,
            schema: ssa::Schema::builtin(table, ty),
        },
        filter: &FieldFilter::Everything,
        zero: &zero,
    }))
}

/// The old state, if only the times of managedFields differ: then nothing was written.
pub(crate) fn is_noop(old: &Value, new: &Value) -> bool {
    ssa::only_times_differ(old, new)
}

fn with_writer<T>(
    resource: &Resource,
    writer: &Writer<'_>,
    run: impl FnOnce(&ssa::Writer<'_>) -> T,
) -> Option<T> {
    let api_version = resource.api_version();
    schema(resource)?;
    let filter = filter(resource, writer.subresource);
    let zero = zero(resource);
    Some(run(&ssa::Writer {
        manager: writer.manager,
        api_version: &api_version,
        kind: &resource.kind,
        subresource: writer.subresource,
        now: writer.now,
        versions: &ServedVersions(resource),
        filter: &filter,
        zero: &zero,
    }))
}

/// A kind in all the versions it has: fields are owned in the version in which they were written.
struct ServedVersions<'a>(&'a Resource);

impl Versions for ServedVersions<'_> {
    fn schema(&self, api_version: &str) -> Option<ssa::Schema<'_>> {
        let resource = self.0;
        if let Some(custom) = &resource.custom {
            let (group, version) = split_group_version(api_version);
            let own = custom.schema_of(version).filter(|_| group == resource.group)?;
            return Some(ssa::Schema::custom(own.table, own.ty));
        }
        let table = &apischema::builtin().table;
        Some(ssa::Schema::builtin(table, table.kind(&self.gvk(api_version))?))
    }

    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let now = object["apiVersion"].as_str().unwrap_or_default();
        if now == api_version || now.is_empty() {
            return Some(object.clone());
        }
        if self.0.custom.is_some() {
            // Without a webhook's help: what it would rename is taken as it stands.
            let mut out = object.clone();
            out["apiVersion"] = api_version.into();
            return Some(out);
        }
        let out = apischema::convert::convert(&self.gvk(now), &self.gvk(api_version), object.clone());
        out.ok()
    }
}

impl ServedVersions<'_> {
    fn gvk(&self, api_version: &str) -> GroupVersionKind {
        let (group, version) = split_group_version(api_version);
        GroupVersionKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: self.0.kind.clone(),
        }
    }
}

/// What a (sub)resource resets, and so nobody can own through it. A real server has filters for resize and
/// ephemeralcontainers too, but does not use them.
fn filter(resource: &Resource, subresource: &str) -> FieldFilter {
    let except = |paths: &[&[&str]]| FieldFilter::Except(FieldSet::of_fields(paths));
    match (subresource, resource.plural.as_str()) {
        ("status", "pods") => except(&[
            &["spec"],
            &["metadata", "deletionTimestamp"],
            &["metadata", "ownerReferences"],
        ]),
        ("status", "deployments") => except(&[&["spec"], &["metadata", "labels"]]),
        ("finalize", "namespaces") => except(&[&["status"]]),
        ("status", _) if resource.custom.is_some() => except(&[&["metadata"], &["spec"]]),
        ("status", _) => except(&[&["spec"]]),
        ("", _) if resource.subresource("status").is_some() => except(&[&["status"]]),
        _ => FieldFilter::Everything,
    }
}

fn conflict(conflicts: &ssa::Conflicts) -> Status {
    let mut out = bare(409, "Conflict", conflicts.to_string());
    let causes: Vec<Value> = conflicts
        .causes()
        .into_iter()
        .map(|c| json!({"reason": ssa::Conflicts::CAUSE_REASON, "message": c.message, "field": c.field}))
        .collect();
    out.details = Some(json!({"causes": causes}));
    out
}

pub(crate) fn json_patch(live: &Value, patch: &[u8], target: &Target) -> Result<Value, Status> {
    apimerge::json_patch(live, patch).map_err(|e| patch_error(&e, target))
}

/// The body of a merge or strategic merge patch.
pub(crate) fn parse_merge_patch(body: &[u8], target: &Target) -> Result<Value, Status> {
    apimerge::parse_merge_patch(body).map_err(|e| patch_error(&e, target))
}

pub(crate) fn merge_patch(live: &Value, patch: &Value) -> Value {
    apimerge::merge_patch(live, patch)
}

pub(crate) fn strategic_patch(target: &Target, live: &Value, patch: &Value) -> Result<Value, Status> {
    let resource = &target.resource;
    let kind = schema(resource)
        .ok_or_else(|| Status::not_implemented(&format!("strategic merge of {}", resource.plural)))?;
    apimerge::strategic(live, patch, kind.table, kind.ty).map_err(|e| patch_error(&e, target))
}

pub(crate) fn patch_error(error: &PatchError, target: &Target) -> Status {
    if error.code() == 422 {
        // As a real server words every 422 that has no field errors.
        tracing::debug!(%error, name = target.name(), "patch refused");
        let what = "the server rejected our request due to an error in our request";
        let mut out = bare(422, "Invalid", what.to_owned());
        out.details = Some(json!({}));
        return out;
    }
    bare(error.code(), error.reason(), error.to_string())
}

fn bare(code: u16, reason: &'static str, message: String) -> Status {
    let code = http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    Status::new(code, reason, message)
}
