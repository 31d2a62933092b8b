//! create.

use model::field::FieldError;
use model::time::rfc3339_seconds;
use serde_json::Value;

use crate::admission;
use crate::answer::Answer;
use crate::attributes::{Attributes, Kind, Operation};
use crate::decode;
use crate::pipeline::{self, Writer};
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::show::{self, Shown};
use crate::status::{Status, Warnings};
use crate::store::{Change, CommitError, Expect, object_key};
use crate::{fields, metadata};

/// What a write led to.
pub(crate) struct Outcome {
    pub shown: Shown,
    pub warnings: Warnings,
    /// 200 or 201.
    pub code: u16,
}

/// How often a generated name that is taken is replaced.
const NAME_ATTEMPTS: usize = 8;

pub(crate) async fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.query, "CreateOptions")?;
    let decoded = decode::object(call, &target.resource, options.field_validation)?;
    call.warn(decoded.warnings);
    let outcome = create(call, target, &options, "CreateOptions", decoded.value, true).await?;
    let answer = show::object(call, &target.resource, outcome.code, outcome.shown).await?;
    Ok(answer.with_warnings(outcome.warnings))
}

/// Creates an object that is already decoded. `track` records its fields for the writer (apply has done so).
pub(crate) async fn create(
    call: &Call,
    target: &Target,
    options: &WriteOptions,
    options_kind: &str,
    mut object: Value,
    track: bool,
) -> Result<Outcome, Status> {
    let resource = &target.resource;
    place(target, &mut object)?;
    let mut warnings = Vec::new();
    pipeline::default(resource, &mut object);
    if metadata::dedup_owners(&mut object) {
        warnings.push(DUPLICATE_OWNERS.to_owned());
    }
    wipe_system_fields(&mut object);
    if track {
        let manager = manager(call, options);
        let writer = Writer {
            manager: &manager,
            subresource: target.subresource.as_deref().unwrap_or_default(),
            now: call.server.now(),
        };
        pipeline::track_update(resource, &Value::Null, &mut object, &writer);
    }
    let mut attributes = attributes(call, target, Operation::Create, options.to_value(options_kind));
    attributes.dry_run = options.dry_run;
    attributes.name = metadata::name(&object).to_owned();
    let admitted = admission::mutate(&call.server, &attributes, &mut object, None).await;
    warnings.extend(admitted.map_err(|status| named_by_prefix(status, &object))?);
    fill_system_fields(call, &mut object)?;
    let generate = metadata::text(&object, "generateName").to_owned();
    let generated = metadata::name(&object).is_empty() && !generate.is_empty();
    let mut attempt = 0;
    loop {
        attempt += 1;
        let mut candidate = object.clone();
        if generated {
            let name = generated_name(&generate, &call.server.name_suffix());
            metadata::set(&mut candidate, "name", name);
        }
        attributes.name = metadata::name(&candidate).to_owned();
        match finish(call, target, &attributes, candidate, options.dry_run).await {
            Ok(shown) => {
                return Ok(Outcome {
                    shown,
                    warnings,
                    code: 201,
                });
            }
            Err(status) if status.reason != "AlreadyExists" => return Err(status),
            Err(_) if generated && attempt < NAME_ATTEMPTS => {}
            Err(status) if generate.is_empty() => return Err(status),
            Err(status) => return Err(status.could_not_generate()),
        }
    }
}

pub(crate) const DUPLICATE_OWNERS: &str = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
     reject such requests as early as 1.24; please fix your requests";

/// An object that has no name yet is called by the start of it.
fn named_by_prefix(mut status: Status, object: &Value) -> Status {
    let prefix = metadata::text(object, "generateName");
    if let Some(details) = status
        .details
        .as_mut()
        .filter(|d| d["name"] == "Unknown" && !prefix.is_empty())
    {
        details["name"] = prefix.into();
        status.message = status.message.replacen("\"Unknown\"", &format!("{prefix:?}"), 1);
    }
    status
}

async fn finish(
    call: &Call,
    target: &Target,
    attributes: &Attributes,
    mut object: Value,
    dry_run: bool,
) -> Result<Shown, Status> {
    let resource = &target.resource;
    let subresource = target.subresource.as_deref().unwrap_or_default();
    call.warn(pipeline::early_warnings(resource, &object));
    pipeline::prepare_for_create(&call.server, resource, subresource, &mut object)?;
    if resource.custom.as_ref().is_some_and(|c| c.is_terminating()) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Status::forbidden(
            &resource.group,
            &resource.plural,
            &attributes.name,
            why,
        ));
    }
    let errors = pipeline::validate_create(resource, &object);
    if !errors.is_empty() {
        let kind = object["kind"].as_str().unwrap_or(&resource.kind);
        return Err(Status::invalid(&resource.group, kind, &attributes.name, &errors));
    }
    // Said even where the request fails in the end.
    call.warn(pipeline::create_warnings(resource, &object));
    call.warn(admission::validate(&call.server, attributes, Some(&object), None).await?);
    let key = object_key(target.namespace.as_deref(), &attributes.name);
    let exists = || {
        let mut out = Status::already_exists(&resource.group, &resource.plural, &attributes.name);
        if call
            .store()
            .get(&resource.storage, &key)
            .is_some_and(|o| o.deleting)
        {
            out.message = format!("object is being deleted: {}", out.message);
        }
        out
    };
    if dry_run {
        if call.store().get(&resource.storage, &key).is_some() {
            return Err(exists());
        }
        let object = pipeline::as_if_stored(&call.server, resource, object).await?;
        return Ok(Shown::Value(object));
    }
    let stored = pipeline::to_storage(&call.server, resource, object).await?;
    let extract = fields::extractor(&resource.storage);
    let committed = call.store().commit(
        &resource.storage,
        &key,
        Expect::Absent,
        Change::Put(stored),
        extract,
    );
    let committed = committed.map_err(|e| match e {
        CommitError::Exists => exists(),
        other => Status::internal(other),
    })?;
    super::read::settled(call, committed.revision).await?;
    crate::controllers::created(&call.server, resource, &committed);
    Ok(Shown::Stored(committed))
}

/// The object's namespace is the request's.
pub(crate) fn place(target: &Target, object: &mut Value) -> Result<(), Status> {
    let given = metadata::text(object, "namespace").to_owned();
    match (&target.namespace, target.resource.namespaced) {
        (Some(namespace), true) if given.is_empty() => metadata::set(object, "namespace", namespace.clone()),
        (Some(namespace), true) if given != *namespace => {
            let what =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Status::bad_request(what));
        }
        (_, false) if !given.is_empty() => {
            metadata::remove(object, "namespace");
        }
        _ => {}
    }
    Ok(())
}

/// Who is recorded in managedFields: the option, else the first word of the user agent.
pub(crate) fn manager(call: &Call, options: &WriteOptions) -> String {
    if !options.field_manager.is_empty() {
        return options.field_manager.clone();
    }
    let agent = call.header("user-agent");
    let first = agent.split('/').next().unwrap_or_default();
    let shown: String = first.chars().filter(|c| !c.is_control()).take(128).collect();
    match shown.is_empty() {
        true => "unknown".to_owned(),
        false => shown,
    }
}

pub(crate) fn attributes(call: &Call, target: &Target, operation: Operation, options: Value) -> Attributes {
    let resource = &target.resource;
    Attributes {
        user: call.user.clone(),
        verb: match operation {
            Operation::Create | Operation::Connect => "create",
            Operation::Update => "update",
            Operation::Delete => "delete",
        },
        operation,
        group: resource.group.clone(),
        version: resource.version.clone(),
        resource: resource.plural.clone(),
        subresource: target.subresource.clone().unwrap_or_default(),
        kind: Kind {
            group: resource.group.clone(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        },
        namespace: match resource.is("", "namespaces") {
            true => target.name.clone(),
            false => target.namespace.clone(),
        },
        name: target.name().to_owned(),
        dry_run: false,
        options,
        namespaced: resource.namespaced,
    }
}

fn fill_system_fields(call: &Call, object: &mut Value) -> Result<(), Status> {
    if metadata::get(object, "resourceVersion").is_some_and(|v| v != "" && v != "0") {
        let what = "resourceVersion should not be set on objects to be created";
        return Err(Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", what));
    }
    metadata::remove(object, "resourceVersion");
    // Admission may have put them back.
    wipe_system_fields(object);
    metadata::set(object, "uid", call.server.new_uid());
    metadata::set(object, "creationTimestamp", rfc3339_seconds(call.server.now()));
    Ok(())
}

/// What only the server sets; nobody comes to own it by having sent it.
fn wipe_system_fields(object: &mut Value) {
    for field in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "uid",
    ] {
        metadata::remove(object, field);
    }
}

fn generated_name(base: &str, suffix: &str) -> String {
    // A name has 63 characters at most, and five of them are ours.
    let kept: String = base.chars().take(58).collect();
    format!("{kept}{suffix}")
}

/// A name that the URL and the body disagree on.
pub(crate) fn check_name(target: &Target, object: &mut Value) -> Result<(), Status> {
    let given = metadata::name(object).to_owned();
    if given.is_empty() {
        metadata::set(object, "name", target.name());
        return Ok(());
    }
    match given == target.name() {
        true => Ok(()),
        false => Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            target.name()
        ))),
    }
}

/// 422 with one error.
pub(crate) fn invalid(target: &Target, error: FieldError) -> Status {
    let resource = &target.resource;
    Status::invalid(&resource.group, &resource.kind, target.name(), &[error])
}
