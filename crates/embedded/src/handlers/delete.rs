//! delete and deletecollection: preconditions, grace, finalizers, propagation.

use std::sync::Arc;

use model::field::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use super::marking::{self, Fate};
use super::{create, read};
use crate::admission;
use crate::answer::Answer;
use crate::attributes::Operation;
use crate::catalog::Resource;
use crate::dispatch::options_body;
use crate::negotiate::{self, Form};
use crate::query;
use crate::route::Target;
use crate::service::Call;
use crate::show::{self, ListMeta, Shown};
use crate::status::{Status, Warnings};
use crate::store::{Change, CommitError, Expect, Stored};
use crate::{fields, metadata, pipeline};

#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub grace_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub propagation: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub dry_run: bool,
    raw: Value,
}

/// What became of the object.
pub(crate) enum Deletion {
    /// It is gone; this was its last state.
    Gone(Arc<Stored>),
    /// It stays until its grace or its finalizers are over.
    Pending(Shown),
    /// A dry run would have deleted it.
    Pretended(Value),
}

pub(crate) async fn handle(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = DeleteOptions::parse(call)?;
    options.warn_of_orphans(call, &target.resource);
    let (deletion, warnings) = delete(call, target, &options).await?;
    let resource = &target.resource;
    let answer = match deletion {
        Deletion::Pending(shown) => show::object(call, resource, 200, shown).await?,
        Deletion::Gone(last) if returns_object(resource) => {
            show::object(call, resource, 200, Shown::Stored(last)).await?
        }
        Deletion::Gone(last) => success(call, resource, last.name(), &last.uid)?,
        Deletion::Pretended(object) if returns_object(resource) => {
            show::object(call, resource, 200, Shown::Value(object)).await?
        }
        Deletion::Pretended(object) => success(
            call,
            resource,
            metadata::name(&object),
            metadata::text(&object, "uid"),
        )?,
    };
    Ok(answer.with_warnings(warnings))
}

pub(crate) async fn collection(call: &Call, target: &Target) -> Result<Answer, Status> {
    let options = DeleteOptions::parse(call)?;
    options.warn_of_orphans(call, &target.resource);
    let selection = read::selection(call, target)?;
    let (_, objects) = call.store().snapshot(&target.resource.storage, &selection.prefix);
    let matching: Vec<Arc<Stored>> = objects.into_iter().filter(|o| selection.matches(o)).collect();
    for object in &matching {
        let mut one = target.clone();
        one.name = Some(object.name().to_owned());
        one.namespace = object.namespace().map(str::to_owned);
        match delete(call, &one, &options).await {
            Ok(_) => {}
            Err(status) if status.code == 404 => {}
            Err(status) => return Err(status),
        }
    }
    let meta = ListMeta {
        revision: call.store().revision(),
        ..ListMeta::default()
    };
    show::list(call, &target.resource, &matching, &meta).await
}

/// Kinds whose deletion answers with the object instead of a Status.
fn returns_object(resource: &Resource) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        (
            "",
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
        ) | (
            "storage.k8s.io",
            "storageclasses"
                | "volumeattachments"
                | "csinodes"
                | "csidrivers"
                | "csistoragecapacities"
                | "volumeattributesclasses"
        ) | ("resource.k8s.io", _)
            | ("certificates.k8s.io", "clustertrustbundles")
    )
}

fn success(call: &Call, resource: &Resource, name: &str, uid: &str) -> Result<Answer, Status> {
    let mut details = json!({"name": name, "kind": resource.plural, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = resource.group.clone().into();
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    let form = negotiate::form(call.header("accept"))?;
    show::value_as(
        call,
        None,
        200,
        &status,
        if form == Form::Yaml { form } else { Form::Json },
    )
}

impl DeleteOptions {
    pub fn parse(call: &Call) -> Result<Self, Status> {
        let body = options_body(call)?.unwrap_or(Value::Null);
        if let Some(kind) = body["kind"]
            .as_str()
            .filter(|k| !["", "DeleteOptions"].contains(k))
        {
            let version = &body["apiVersion"];
            return Err(Status::bad_request(format!(
                "no kind {kind:?} is registered for version {version} in scheme \"pkg/runtime/scheme.go:111\""
            )));
        }
        let mut out = match body.is_object() {
            true => Self::from_object(&body),
            false => Self::of_query(call)?,
        };
        let dry: Vec<&str> = match body.get("dryRun").and_then(Value::as_array) {
            Some(list) => list.iter().filter_map(Value::as_str).collect(),
            None => call.query.all("dryRun").filter(|v| !v.is_empty()).collect(),
        };
        out.dry_run = !dry.is_empty();
        let mut errors: Vec<FieldError> = query::dry_run_errors(&dry).into_iter().collect();
        out.check(&mut errors);
        out.raw = match body.is_object() {
            true => body,
            false => json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}),
        };
        match errors.is_empty() {
            true => Ok(out),
            false => Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors)),
        }
    }

    /// The options in a DeleteOptions object.
    pub fn from_object(body: &Value) -> Self {
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        Self {
            grace_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(body.pointer("/preconditions/uid")),
            resource_version: text(body.pointer("/preconditions/resourceVersion")),
            propagation: text(body.get("propagationPolicy")),
            orphan_dependents: body.get("orphanDependents").and_then(Value::as_bool),
            raw: json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}),
            ..Self::default()
        }
    }

    fn of_query(call: &Call) -> Result<Self, Status> {
        Ok(Self {
            grace_seconds: call.query.integer("gracePeriodSeconds")?,
            propagation: call.query.get("propagationPolicy").map(str::to_owned),
            orphan_dependents: call.query.optional_flag("orphanDependents"),
            ..Self::default()
        })
    }

    /// Jobs alone leave their pods behind unless told otherwise.
    fn warn_of_orphans(&self, call: &Call, resource: &Resource) {
        if resource.is("batch", "jobs") && self.propagation.is_none() && self.orphan_dependents.is_none() {
            let said = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to \
                        remove them or set propagationPolicy=Orphan to suppress this warning";
            call.warn(vec![said.to_owned()]);
        }
    }

    fn check(&self, errors: &mut Vec<FieldError>) {
        let Some(policy) = &self.propagation else { return };
        if self.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            errors.push(FieldError::invalid(
                "propagationPolicy",
                format!("{policy:?}"),
                why,
            ));
        }
        if !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan") {
            let supported = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            let kind = FieldErrorKind::NotSupported;
            errors.push(FieldError::new(
                "propagationPolicy",
                kind,
                format!("{policy:?}"),
                supported,
            ));
        }
    }

    /// The finalizer that carries out the propagation, given the ones there are.
    pub(super) fn finalizers(&self, resource: &Resource, now: &[String]) -> Vec<String> {
        if resource.plural == "events" && resource.custom.is_none() {
            // Nothing is collected after events.
            return now.to_vec();
        }
        let default = match (resource.group.as_str(), resource.plural.as_str()) {
            ("batch", "jobs") | ("", "replicationcontrollers") => "Orphan",
            _ => "",
        };
        let policy = match (&self.propagation, self.orphan_dependents) {
            (Some(policy), _) => policy.as_str(),
            (None, Some(true)) => "Orphan",
            (None, Some(false)) => "Background",
            // Nothing said: what the finalizers of the object say already, else the kind's default.
            (None, None) if now.iter().any(|f| f == "orphan" || f == "foregroundDeletion") => {
                return now.to_vec();
            }
            (None, None) => default,
        };
        let mut out: Vec<String> = now
            .iter()
            .filter(|f| *f != "orphan" && *f != "foregroundDeletion")
            .cloned()
            .collect();
        match policy {
            "Orphan" => out.push("orphan".to_owned()),
            "Foreground" => out.push("foregroundDeletion".to_owned()),
            _ => {}
        }
        out
    }
}

/// Deletes one object, or marks it for deletion.
pub(crate) async fn delete(
    call: &Call,
    target: &Target,
    options: &DeleteOptions,
) -> Result<(Deletion, Warnings), Status> {
    let resource = &target.resource;
    let mut attributes = create::attributes(call, target, Operation::Delete, options.raw.clone());
    attributes.dry_run = options.dry_run;
    let mut warnings = Vec::new();
    let mut doomed = false;
    loop {
        let stored = read::find(call, target)?;
        let old = show::served_value(&call.server, resource, &stored).await?;
        if !doomed {
            check_preconditions(resource, options, &stored)?;
            let mut none = Value::Null;
            warnings.extend(admission::mutate(&call.server, &attributes, &mut none, Some(&old)).await?);
            warnings.extend(admission::validate(&call.server, &attributes, None, Some(&old)).await?);
        }
        let (next, fate) = marking::mark(call, resource, options, &old);
        if options.dry_run {
            let shown = match fate {
                Fate::Stays => Deletion::Pending(Shown::Value(next)),
                Fate::Gone | Fate::Doomed => Deletion::Pretended(next),
            };
            return Ok((shown, warnings));
        }
        if fate == Fate::Stays && next == old {
            read::settled(call, stored.revision).await?;
            return Ok((Deletion::Pending(Shown::Stored(stored)), warnings));
        }
        let value = pipeline::to_storage(&call.server, resource, next).await?;
        let change = if fate == Fate::Gone {
            Change::Delete(value)
        } else {
            Change::Put(value)
        };
        let extract = fields::extractor(&resource.storage);
        let expect = Expect::Version(stored.revision);
        match call
            .store()
            .commit(&resource.storage, &stored.key, expect, change, extract)
        {
            Ok(_) if fate == Fate::Doomed => doomed = true,
            Ok(committed) => {
                read::settled(call, committed.revision).await?;
                if fate == Fate::Gone {
                    crate::controllers::deleted(&call.server, resource, &committed);
                    return Ok((Deletion::Gone(committed), warnings));
                }
                crate::controllers::updated(&call.server, resource, &committed);
                return Ok((Deletion::Pending(Shown::Stored(committed)), warnings));
            }
            Err(CommitError::Modified) => {}
            Err(CommitError::Missing) => {
                return Err(Status::not_found(
                    &resource.group,
                    &resource.plural,
                    target.name(),
                ));
            }
            Err(other) => return Err(Status::internal(other)),
        }
    }
}

fn check_preconditions(resource: &Resource, options: &DeleteOptions, stored: &Stored) -> Result<(), Status> {
    let conflict = |what: &str, wanted: &str, found: &str| {
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object \
             might have been {}",
            if what == "UID" {
                "deleted and then recreated"
            } else {
                "modified"
            }
        );
        Status::conflict(&resource.group, &resource.kind, stored.name(), &why)
    };
    if let Some(uid) = options.uid.as_deref().filter(|u| *u != &*stored.uid) {
        return Err(conflict("UID", uid, &stored.uid));
    }
    let found = stored.revision.to_string();
    if let Some(version) = options.resource_version.as_deref().filter(|v| *v != found) {
        return Err(conflict("ResourceVersion", version, &found));
    }
    Ok(())
}
