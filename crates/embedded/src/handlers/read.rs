//! get and list.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::field::{FieldError, FieldErrorKind};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::negotiate;
use crate::route::Target;
use crate::selector::{self, Selection};
use crate::service::Call;
use crate::show::{self, ListMeta, Shown};
use crate::status::Status;
use crate::store::{Stored, object_key};

pub(crate) async fn get(call: &Call, target: &Target) -> Result<Answer, Status> {
    acceptable(call, target)?;
    if let Some(text) = call
        .query
        .get("resourceVersion")
        .filter(|t| !t.is_empty() && *t != "0")
    {
        let wanted = revision(text)?;
        reached(call, wanted)?;
    }
    let stored = find(call, target)?;
    settled(call, stored.revision).await?;
    show::object(call, &target.resource, 200, Shown::Stored(stored)).await
}

/// Custom kinds refuse all that they do not know in the same words.
fn acceptable(call: &Call, target: &Target) -> Result<(), Status> {
    let refused = negotiate::form(call.header("accept")).err();
    match refused {
        None => Ok(()),
        Some(_) if target.resource.custom.is_some() => Err(negotiate::unknown_form()),
        Some(status) => Err(status),
    }
}

/// The object of a target, or 404.
pub(crate) fn find(call: &Call, target: &Target) -> Result<Arc<Stored>, Status> {
    let key = object_key(target.namespace.as_deref(), target.name());
    let found = call.store().get(&target.resource.storage, &key);
    found.ok_or_else(|| Status::not_found(&target.resource.group, &target.resource.plural, target.name()))
}

/// Waits until a crash cannot take back what is about to be shown.
pub(crate) async fn settled(call: &Call, revision: u64) -> Result<(), Status> {
    call.store().settled(revision).await.map_err(Status::internal)
}

pub(crate) async fn list(call: &Call, target: &Target) -> Result<Answer, Status> {
    acceptable(call, target)?;
    let request = ListRequest::parse(call)?;
    let selection = selection(call, target)?;
    let (revision, objects) = read(call, target, &request, &selection)?;
    settled(call, revision).await?;
    let (page, meta) = paginate(&request, &selection, revision, objects);
    show::list(call, &target.resource, &page, &meta).await
}

/// What a collection request covers: its namespace, selectors and, with `/name`, one name.
pub(crate) fn selection(call: &Call, target: &Target) -> Result<Selection, Status> {
    let fields = call.query.get("fieldSelector").unwrap_or_default();
    let labels = call.query.get("labelSelector").unwrap_or_default();
    Ok(Selection {
        prefix: target
            .namespace
            .as_ref()
            .map(|n| format!("{n}/"))
            .unwrap_or_default(),
        name: target.name.clone(),
        labels: selector::parse_labels(labels)?,
        fields: selector::parse_fields(&target.resource, fields)?,
    })
}

#[derive(Debug)]
struct ListRequest {
    revision: Option<u64>,
    exact: bool,
    limit: usize,
    from: Option<ContinueToken>,
}

#[derive(Debug)]
struct ContinueToken {
    /// `None`: continue on today's state (inconsistent).
    revision: Option<u64>,
    /// The key to start at, relative to the listed namespace.
    start: String,
}

impl ListRequest {
    fn parse(call: &Call) -> Result<Self, Status> {
        let query = &call.query;
        let limit = usize::try_from(query.integer("limit")?.unwrap_or(0)).unwrap_or(0);
        check_list_options(call, false)?;
        let text = query.get("resourceVersion").unwrap_or_default();
        let revision = match text {
            "" => None,
            text => Some(revision(text).map_err(|_| bad_list_revision(text))?),
        };
        let from = match query.get("continue") {
            None | Some("") => None,
            Some(token) => {
                if revision.is_some_and(|r| r != 0) {
                    let what = "specifying resource version is not allowed when using continue";
                    return Err(Status::bad_request(what));
                }
                Some(ContinueToken::decode(token)?)
            }
        };
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let exact = match matching {
            "Exact" => true,
            "" => limit > 0 && revision.is_some_and(|r| r > 0),
            _ => false,
        };
        // As from a real server's cache: everything, whatever the limit.
        let limit = if revision == Some(0) && matching.is_empty() {
            0
        } else {
            limit
        };
        Ok(Self {
            revision,
            exact,
            limit,
            from,
        })
    }
}

fn bad_list_revision(text: &str) -> Status {
    let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    Status::bad_request(format!(
        "invalid resource version: resourceVersion: Invalid value: {text:?}: {why}"
    ))
}

/// The rules between resourceVersion, resourceVersionMatch, continue and sendInitialEvents.
pub(crate) fn check_list_options(call: &Call, watch: bool) -> Result<(), Status> {
    let query = &call.query;
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let version = query.get("resourceVersion").unwrap_or_default();
    let initial = query.optional_flag("sendInitialEvents");
    let mut errors = Vec::new();
    if watch {
        let token = query.get("continue").unwrap_or_default();
        watch_errors(matching, initial, token, &mut errors);
    } else {
        if initial.is_some() {
            let why = "sendInitialEvents is forbidden for list";
            errors.push(FieldError::forbidden("sendInitialEvents", why));
        }
        list_errors(
            matching,
            version,
            query.get("continue").unwrap_or_default(),
            &mut errors,
        );
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors)),
    }
}

fn list_errors(matching: &str, version: &str, token: &str, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "resourceVersionMatch";
    if matching.is_empty() {
        return;
    }
    if version.is_empty() {
        let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        errors.push(FieldError::forbidden(FIELD, why));
    }
    if !token.is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        errors.push(FieldError::forbidden(FIELD, why));
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        let supported = "supported values: \"Exact\", \"NotOlderThan\", \"\"";
        errors.push(FieldError::new(
            FIELD,
            FieldErrorKind::NotSupported,
            format!("{matching:?}"),
            supported,
        ));
    }
    if matching == "Exact" && version == "0" {
        let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        errors.push(FieldError::forbidden(FIELD, why));
    }
}

fn watch_errors(matching: &str, initial: Option<bool>, token: &str, errors: &mut Vec<FieldError>) {
    const FIELD: &str = "resourceVersionMatch";
    let is_known = matching == "NotOlderThan";
    let mut forbid = |why: &str| errors.push(FieldError::forbidden(FIELD, why));
    if initial.is_some() && !is_known {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if matching.is_empty() {
        return;
    }
    if initial.is_none() {
        forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if !token.is_empty() {
        forbid("resourceVersionMatch is forbidden when continue is provided");
    }
    if !is_known {
        let supported = "supported values: \"NotOlderThan\"";
        let kind = FieldErrorKind::NotSupported;
        errors.push(FieldError::new(FIELD, kind, format!("{matching:?}"), supported));
    }
}

pub(crate) fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })
}

fn reached(call: &Call, wanted: u64) -> Result<(), Status> {
    let current = call.store().revision();
    match wanted > current {
        true => Err(Status::resource_version_too_large(wanted, current)),
        false => Ok(()),
    }
}

fn read(
    call: &Call,
    target: &Target,
    request: &ListRequest,
    selection: &Selection,
) -> Result<(u64, Vec<Arc<Stored>>), Status> {
    let (store, table) = (call.store(), &target.resource.storage);
    if let Some(ContinueToken {
        revision: Some(at),
        start,
    }) = &request.from
    {
        let found = store.snapshot_at(table, &selection.prefix, *at);
        return found
            .map(|objects| (*at, objects))
            .map_err(|_| continue_expired(start));
    }
    if let Some(wanted) = request.revision.filter(|r| *r > 0) {
        reached(call, wanted)?;
        if request.exact {
            let found = store.snapshot_at(table, &selection.prefix, wanted);
            let why = "The resourceVersion for the provided list is too old.";
            return found.map(|o| (wanted, o)).map_err(|_| Status::expired(why));
        }
    }
    Ok(store.snapshot(table, &selection.prefix))
}

fn paginate(
    request: &ListRequest,
    selection: &Selection,
    revision: u64,
    objects: Vec<Arc<Stored>>,
) -> (Vec<Arc<Stored>>, ListMeta) {
    let start = request.from.as_ref().map_or("", |t| t.start.as_str());
    let relative = |o: &Stored| o.key.get(selection.prefix.len()..).unwrap_or_default().to_owned();
    let mut rest = objects
        .into_iter()
        .filter(|o| start.is_empty() || relative(o).as_str() >= start);
    let mut meta = ListMeta {
        revision,
        ..ListMeta::default()
    };
    if request.limit == 0 {
        return (rest.filter(|o| selection.matches(o)).collect(), meta);
    }
    let page: Vec<Arc<Stored>> = rest
        .by_ref()
        .filter(|o| selection.matches(o))
        .take(request.limit)
        .collect();
    // Whether these match too shows when they are asked for.
    let remaining = rest.count();
    if remaining > 0
        && let Some(last) = page.last()
    {
        let token = ContinueToken {
            revision: Some(revision),
            start: format!("{}\0", relative(last)),
        };
        meta.continue_token = Some(token.encode());
        meta.remaining = selection.is_by_key_only().then_some(remaining);
    }
    (page, meta)
}

fn continue_expired(start: &str) -> Status {
    let mut out = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of \
         the results. Continuing with the provided token results in an inconsistent list - objects that were \
         created, modified, or deleted between the time the first chunk was returned and now may show up in the \
         list.",
    );
    let token = ContinueToken {
        revision: None,
        start: start.to_owned(),
    };
    out.continue_token = Some(token.encode());
    out
}

impl ContinueToken {
    fn encode(&self) -> String {
        let revision = self.revision.map_or(-1, |r| i64::try_from(r).unwrap_or(i64::MAX));
        let value = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("/{}", self.start)});
        URL_SAFE_NO_PAD.encode(value.to_string())
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: &str| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|e| bad(&e.to_string()))?;
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|e| bad(&apimerge::go_json_error(&bytes, &e)))?;
        if value["v"] != "meta.k8s.io/v1" {
            return Err(bad("server does not recognize this encoded version"));
        }
        let start = value["start"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches('/');
        if start.is_empty() {
            return Err(bad("encoded start key is empty"));
        }
        let revision = value["rv"].as_i64().unwrap_or(0);
        if revision == 0 {
            return Err(bad(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        Ok(Self {
            revision: u64::try_from(revision).ok(),
            start: start.to_owned(),
        })
    }
}
