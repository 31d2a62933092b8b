//! One request, from its route to its handler: authorization, then the verb.

use http::Method;
use serde_json::Value;

use crate::answer::Answer;
use crate::attributes::Access;
use crate::handlers::{create, delete, patch, read, review, subresource, update, watch};
use crate::impersonate;
use crate::route::{Route, Target};
use crate::service::Call;
use crate::status::{Status, qualified};
use crate::{discovery, health};

pub(crate) async fn dispatch(call: &mut Call) -> Result<Answer, Status> {
    impersonate::apply(call)?;
    let call = &*call;
    match call.server.route(&call.path) {
        Route::Resource(target) => resource(call, target).await,
        Route::UnknownResource {
            group,
            version,
            resource,
            namespace,
            name,
        } => {
            let access = Access {
                verb: request_verb(call, !name.is_empty(), false),
                group,
                version,
                resource,
                namespace,
                name,
                ..Access::default()
            };
            authorize(call, &access)?;
            match crate::catalog::builtin()
                .of_version(&access.group, &access.version)
                .next()
            {
                Some(_) => Err(Status::no_such_path()),
                None => Ok(Answer::text(404, "404 page not found\n")),
            }
        }
        Route::Other => other(call),
    }
}

fn other(call: &Call) -> Result<Answer, Status> {
    let verb = call.method.as_str().to_ascii_lowercase();
    let path = call.path.clone();
    let access = Access {
        verb,
        path,
        ..Access::default()
    };
    authorize(call, &access)?;
    if let Some(answer) = health::answer(call) {
        return Ok(answer);
    }
    if let Some(answer) = discovery::answer(call)? {
        return Ok(answer);
    }
    let parts: Vec<&str> = call.path.split('/').filter(|p| !p.is_empty()).collect();
    if let ["apis", group, _] = parts.as_slice()
        && crate::catalog::builtin()
            .groups
            .iter()
            .any(|(known, _)| known == group)
    {
        return Err(Status::no_such_path());
    }
    Ok(Answer::text(404, "404 page not found\n"))
}

fn request_verb(call: &Call, named: bool, watch_path: bool) -> String {
    let watching = watch_path || call.query.flag("watch");
    let verb = match (&call.method, named) {
        (&Method::GET | &Method::HEAD, true) if watch_path => "watch",
        (&Method::GET | &Method::HEAD, true) => "get",
        (&Method::GET | &Method::HEAD, false) if watching => "watch",
        (&Method::GET | &Method::HEAD, false) => "list",
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        _ => "",
    };
    verb.to_owned()
}

/// The name a request is about: a collection request that selects one name is about that object.
fn named(call: &Call, target: &Target, verb: &str) -> String {
    let selected = call
        .query
        .get("fieldSelector")
        .and_then(|text| text.strip_prefix("metadata.name="))
        .filter(|name| !name.contains([',', '=']));
    match selected {
        Some(name) if matches!(verb, "list" | "watch") => name.to_owned(),
        _ => target.name().to_owned(),
    }
}

async fn resource(call: &Call, target: Target) -> Result<Answer, Status> {
    let verb = match &target.subresource {
        Some(_) if call.method == Method::GET => "get".to_owned(),
        _ => request_verb(call, target.name.is_some(), target.watch),
    };
    let access = Access {
        verb: verb.clone(),
        group: target.resource.group.clone(),
        version: target.resource.version.clone(),
        resource: target.resource.plural.clone(),
        subresource: target.subresource.clone().unwrap_or_default(),
        namespace: match target.resource.is("", "namespaces") {
            true => target.name.clone(),
            false => target.namespace.clone(),
        },
        name: named(call, &target, &verb),
        path: String::new(),
    };
    authorize(call, &access)?;
    call.warn(Vec::from_iter(target.resource.deprecation()));
    if target.subresource.is_some() {
        return subresource::handle(call, &target, &verb).await;
    }
    if target.resource.custom.is_some() && is_out_of_scope(&target, &verb) {
        return Ok(Answer::text(404, "404 page not found\n"));
    }
    check_scope(&target, &verb)?;
    if review::is_review(&target.resource) && verb == "create" {
        return review::handle(call, &target);
    }
    if target.resource.plural == "componentstatuses" {
        return Err(Status::not_implemented("componentstatuses"));
    }
    if target.resource.is("", "bindings") && verb == "create" {
        return subresource::binding(call, &target).await;
    }
    if !target
        .resource
        .allows(if verb == "watch" { "list" } else { &verb })
    {
        return Err(Status::method_not_allowed());
    }
    match verb.as_str() {
        "get" => read::get(call, &target).await,
        "list" => read::list(call, &target).await,
        "watch" => watch::watch(call, &target).await,
        "create" => create::handle(call, &target).await,
        "update" => update::handle(call, &target).await,
        "patch" => patch::handle(call, &target).await,
        "delete" => delete::handle(call, &target).await,
        "deletecollection" => delete::collection(call, &target).await,
        _ => Err(Status::method_not_allowed()),
    }
}

/// A namespace where the kind has none, or none where it has them.
fn is_out_of_scope(target: &Target, verb: &str) -> bool {
    let across_all = matches!(verb, "list" | "watch");
    match (target.resource.namespaced, target.namespace.is_some()) {
        (true, false) => !across_all,
        (namespaced, given) => given && !namespaced,
    }
}

/// Objects of namespaced kinds are reached through their namespace only.
fn check_scope(target: &Target, verb: &str) -> Result<(), Status> {
    match (target.resource.namespaced, target.namespace.is_some()) {
        (true, false) if target.name.is_some() && verb != "watch" => Err(Status::no_such_path()),
        (true, false) if verb == "create" || verb == "deletecollection" => Err(Status::method_not_allowed()),
        (false, true) => Err(Status::no_such_path()),
        // The name of a custom object's path is not looked at when one is created.
        _ if verb == "create" && target.name.is_some() && target.resource.custom.is_none() => {
            Err(Status::method_not_allowed())
        }
        _ if matches!(verb, "update" | "patch") && target.name.is_none() => {
            match target.resource.custom.is_some() {
                true => Err(Status::bad_request("name must be provided")),
                false => Err(Status::method_not_allowed()),
            }
        }
        _ => Ok(()),
    }
}

pub(crate) fn authorize(call: &Call, access: &Access) -> Result<(), Status> {
    let decision = call.server.inner.rbac.authorize(&call.user, access);
    if decision.allowed {
        return Ok(());
    }
    let reason = match decision.reason.is_empty() {
        true => String::new(),
        false => format!(": {}", decision.reason),
    };
    let user = &call.user.name;
    if !access.path.is_empty() {
        let why = format!(
            "User {user:?} cannot {} path {:?}{reason}",
            access.verb, access.path
        );
        return Err(Status::unauthorized_action("", "", "", &why));
    }
    let resource = match access.subresource.as_str() {
        "" => access.resource.clone(),
        sub => format!("{}/{sub}", access.resource),
    };
    let place = match &access.namespace {
        Some(namespace) if !namespace.is_empty() => format!("in the namespace {namespace:?}"),
        _ => "at the cluster scope".to_owned(),
    };
    let why = format!(
        "User {user:?} cannot {} resource {resource:?} in API group {:?} {place}{reason}",
        access.verb, access.group
    );
    tracing::debug!(user, what = qualified(&access.group, &resource), "denied");
    Err(Status::unauthorized_action(
        &access.group,
        &access.resource,
        &access.name,
        &why,
    ))
}

/// The body's options object (`DeleteOptions`), or the query's.
pub(crate) fn options_body(call: &Call) -> Result<Option<Value>, Status> {
    if call.body.is_empty() {
        return Ok(None);
    }
    crate::decode::body(call).map(Some)
}
