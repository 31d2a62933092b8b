//! update, and the engine below update, patch and every other change of an existing object.

use std::sync::Arc;

use model::field::FieldError;
use serde_json::Value;

use super::create::{self, DUPLICATE_OWNERS, Outcome};
use crate::admission;
use crate::answer::Answer;
use crate::attributes::Operation;
use crate::pipeline::{self, Writer};
use crate::query::WriteOptions;
use crate::route::Target;
use crate::service::Call;
use crate::show::{self, Shown};
use crate::status::{Status, Warnings};
use crate::store::{Change, CommitError, Expect, Stored, object_key};
use crate::{decode, fields, metadata};

/// A change of one object: made again on the latest state when somebody else was faster.
pub(crate) struct Edit<'a> {
    pub call: &'a Call,
    pub target: &'a Target,
    pub options: &'a WriteOptions,
    /// `UpdateOptions` or `PatchOptions`.
    pub options_kind: &'static str,
    /// managedFields are recorded here; server-side apply has done it itself.
    pub track: bool,
    /// The caller names the version it has seen (update); otherwise the latest is meant.
    pub wants_version: bool,
}

/// The object as the client wants it, and warnings.
pub(crate) type Edited = Result<(Value, Warnings), Status>;

/// Rounds after which an object that changes all the time is given up.
const ROUNDS: usize = 64;

pub(crate) async fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let mut decoded = decode::object(call, &target.resource, options.field_validation)?;
    call.warn(std::mem::take(&mut decoded.warnings));
    if metadata::name(&decoded.value).is_empty() {
        let name = target.name();
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    create::check_name(target, &mut decoded.value)?;
    create::place(target, &mut decoded.value)?;
    let key = object_key(target.namespace.as_deref(), target.name());
    let absent = call.store().get(&target.resource.storage, &key).is_none();
    let outcome = if absent && pipeline::creates_on_update(target) {
        metadata::remove(&mut decoded.value, "resourceVersion");
        create::create(call, target, &options, "CreateOptions", decoded.value, true).await?
    } else {
        pipeline::default(&target.resource, &mut decoded.value);
        let edit = Edit {
            call,
            target,
            options: &options,
            options_kind: "UpdateOptions",
            track: true,
            wants_version: true,
        };
        edit.run(|_| Ok((decoded.value.clone(), Vec::new()))).await?
    };
    let answer = show::object(call, &target.resource, outcome.code, outcome.shown).await?;
    Ok(answer.with_warnings(outcome.warnings))
}

impl Edit<'_> {
    /// Reads, edits, admits, validates and stores.
    pub async fn run(&self, edit: impl Fn(&Value) -> Edited + Send + Sync) -> Result<Outcome, Status> {
        let resource = &self.target.resource;
        let (group, plural, name) = (&resource.group, &resource.plural, self.target.name());
        for _ in 0..ROUNDS {
            let stored = super::read::find(self.call, self.target)?;
            let old = show::served_value(&self.call.server, resource, &stored).await?;
            let (mut new, mut warnings) = edit(&old)?;
            self.check_version(&mut new, &stored)?;
            self.check_uid(&new, &stored)?;
            warnings.extend(self.prepare(&mut new, &old).await?);
            if pipeline::is_noop(&old, &new) {
                super::read::settled(self.call, stored.revision).await?;
                return Ok(Outcome {
                    shown: Shown::Stored(stored),
                    warnings,
                    code: 200,
                });
            }
            if self.options.dry_run {
                new = pipeline::as_if_stored(&self.call.server, resource, new).await?;
                return Ok(Outcome {
                    shown: Shown::Value(new),
                    warnings,
                    code: 200,
                });
            }
            let mut gone = self.is_last(&old, &new).then(|| new.clone());
            match self.store(&stored, new, gone.is_some()).await {
                Ok(committed) => {
                    let shown = match gone.take() {
                        Some(mut last) => {
                            metadata::set(&mut last, "resourceVersion", committed.revision.to_string());
                            Shown::Value(last)
                        }
                        None => Shown::Stored(committed),
                    };
                    return Ok(Outcome {
                        shown,
                        warnings,
                        code: 200,
                    });
                }
                Err(CommitError::Modified) => {}
                Err(CommitError::Missing) => return Err(Status::not_found(group, plural, name)),
                Err(other) => return Err(Status::internal(other)),
            }
        }
        Err(Status::modified(group, plural, name))
    }

    fn check_version(&self, new: &mut Value, stored: &Stored) -> Result<(), Status> {
        let resource = &self.target.resource;
        let given = metadata::text(new, "resourceVersion").to_owned();
        if given.is_empty() || given == "0" {
            if self.wants_version && !pipeline::updates_unconditionally(resource) {
                let why = "must be specified for an update";
                let error = FieldError::invalid("metadata.resourceVersion", "0", why);
                // A real server calls the kind by its resource here.
                let (group, plural) = (&resource.group, &resource.plural);
                return Err(Status::invalid(group, plural, self.target.name(), &[error]));
            }
            metadata::set(new, "resourceVersion", stored.revision.to_string());
            return Ok(());
        }
        let wanted: u64 = given.parse().map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
            create::invalid(
                self.target,
                FieldError::invalid("metadata.resourceVersion", format!("{given:?}"), why),
            )
        })?;
        match wanted == stored.revision {
            true => Ok(()),
            false => Err(Status::modified(
                &resource.group,
                &resource.plural,
                self.target.name(),
            )),
        }
    }

    fn check_uid(&self, new: &Value, stored: &Stored) -> Result<(), Status> {
        let (resource, given) = (&self.target.resource, metadata::text(new, "uid"));
        // A patch has no precondition: the object it makes is invalid.
        let is_precondition = self.options_kind == "UpdateOptions";
        if given.is_empty() || given == &*stored.uid || !is_precondition {
            return Ok(());
        }
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {given}, UID in object meta: {}",
            pipeline::registry_key(resource, &stored.key),
            stored.uid
        );
        Err(Status::conflict(
            &resource.group,
            &resource.plural,
            self.target.name(),
            &why,
        ))
    }

    /// managedFields, admission, the registry's rules, validation.
    async fn prepare(&self, new: &mut Value, old: &Value) -> Result<Warnings, Status> {
        let (call, resource) = (self.call, &self.target.resource);
        let subresource = self.target.subresource.as_deref().unwrap_or_default();
        let mut warnings = Vec::new();
        if metadata::dedup_owners(new) {
            warnings.push(DUPLICATE_OWNERS.to_owned());
        }
        if self.track {
            let manager = create::manager(call, self.options);
            let now = call.server.now();
            pipeline::track_update(
                resource,
                old,
                new,
                &Writer {
                    manager: &manager,
                    subresource,
                    now,
                },
            );
        }
        let options = self.options.to_value(self.options_kind);
        let mut attributes = create::attributes(call, self.target, Operation::Update, options);
        attributes.dry_run = self.options.dry_run;
        warnings.extend(admission::mutate(&call.server, &attributes, new, Some(old)).await?);
        metadata::keep_system_fields(new, old);
        pipeline::prepare_for_update(&call.server, resource, subresource, new, old)?;
        let errors = pipeline::validate_update(resource, subresource, new, old);
        if !errors.is_empty() {
            return Err(Status::invalid(
                &resource.group,
                &resource.kind,
                self.target.name(),
                &errors,
            ));
        }
        call.warn(pipeline::update_warnings(resource, subresource, new, old));
        call.warn(admission::validate(&call.server, &attributes, Some(new), Some(old)).await?);
        Ok(warnings)
    }

    /// Nothing holds the object any more.
    fn is_last(&self, old: &Value, new: &Value) -> bool {
        metadata::is_deleting(old)
            && metadata::finalizers(new).is_empty()
            && metadata::grace_seconds(new).unwrap_or(0) == 0
            && pipeline::may_vanish(&self.target.resource, new)
    }

    async fn store(&self, stored: &Arc<Stored>, new: Value, gone: bool) -> Result<Arc<Stored>, CommitError> {
        let resource = &self.target.resource;
        let change = if gone {
            // What goes is what was stored: watchers see the finalizer that held it.
            Change::Delete(stored.bare())
        } else {
            let value = pipeline::to_storage(&self.call.server, resource, new).await;
            Change::Put(value.map_err(|s| bad_encoding(&s))?)
        };
        let extract = fields::extractor(&resource.storage);
        let expect = Expect::Version(stored.revision);
        let committed = self
            .call
            .store()
            .commit(&resource.storage, &stored.key, expect, change, extract)?;
        self.call.store().settled(committed.revision).await?;
        if gone {
            crate::controllers::deleted(&self.call.server, resource, &committed);
        } else {
            crate::controllers::updated(&self.call.server, resource, &committed);
        }
        Ok(committed)
    }
}

fn bad_encoding(status: &Status) -> CommitError {
    CommitError::Encode(serde::ser::Error::custom(&status.message))
}
