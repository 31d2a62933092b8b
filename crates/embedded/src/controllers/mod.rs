//! The controllers that a cluster cannot be without: namespace life cycle and garbage collection.
//!
//! They are driven by the writes that concern them, one task for each server; an idle server does nothing.
mod garbage;
mod namespace;
mod protection;
mod quota;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::catalog::{Resource, StorageKey};
use crate::handlers::update::Edit;
use crate::query::{Query, WriteOptions};
use crate::route::Target;
use crate::server::{ApiServer, Inner};
use crate::service::Call;
use crate::status::Status;
use crate::store::Stored;
use crate::user::UserInfo;

pub(crate) use namespace::furnish as furnish_namespace;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    /// A namespace that is being deleted.
    Namespace(String),
    /// An owner that is gone.
    OwnerGone { uid: String },
    /// An owner that waits for its dependents: to be orphaned, or to be deleted first.
    OwnerWaits(StorageKey, String),
    /// An object whose owners may not exist.
    Dependent(StorageKey, String),
    /// A namespace whose quotas are to be counted.
    Quota(String),
    /// An object that waits until nothing uses it.
    Protected(StorageKey, String),
    /// A CustomResourceDefinition that is new, changed, or being deleted.
    Definition(String),
}

/// Work waiting, each piece once.
pub struct Queue {
    /// Off: only what an API server does alone is done (definitions).
    enabled: bool,
    waiting: Mutex<(VecDeque<Work>, BTreeSet<Work>)>,
    wake: mpsc::Sender<()>,
}

pub(crate) struct Inbox(mpsc::Receiver<()>);

impl Queue {
    pub(crate) fn new(enabled: bool) -> (Self, Inbox) {
        let (wake, inbox) = mpsc::channel(1);
        let queue = Self {
            enabled,
            waiting: Mutex::default(),
            wake,
        };
        (queue, Inbox(inbox))
    }

    fn push(&self, work: Work) {
        if !self.enabled && !matches!(work, Work::Definition(_)) {
            return;
        }
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.1.insert(work.clone()) {
                return;
            }
            waiting.0.push_back(work);
        }
        // Full means that a wake-up is on its way already.
        let _full = self.wake.try_send(());
    }

    fn pop(&self) -> Option<Work> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let work = waiting.0.pop_front()?;
        waiting.1.remove(&work);
        Some(work)
    }
}

/// Runs the controllers until the server is dropped.
pub(crate) fn spawn(server: &ApiServer, mut inbox: Inbox) {
    let weak: Weak<Inner> = Arc::downgrade(&server.inner);
    garbage::scan(server);
    namespace::scan(server);
    protection::scan(server);
    tokio::spawn(async move {
        while inbox.0.recv().await.is_some() {
            while let Some(inner) = weak.upgrade() {
                let server = ApiServer { inner };
                let Some(work) = server.inner.controllers.pop() else {
                    break;
                };
                perform(&server, work).await;
            }
        }
    });
}

async fn perform(server: &ApiServer, work: Work) {
    let result = match work.clone() {
        Work::Namespace(name) => namespace::sync(server, &name).await,
        Work::OwnerGone { uid } => garbage::owner_gone(server, &uid).await,
        Work::OwnerWaits(table, key) => garbage::owner_waits(server, &table, &key).await,
        Work::Dependent(table, key) => garbage::dependent(server, &table, &key).await,
        Work::Quota(namespace) => quota::recount(server, &namespace).await,
        Work::Protected(table, key) => protection::release(server, &table, &key).await,
        Work::Definition(name) => definition(server, &name).await,
    };
    if let Err(status) = result {
        tracing::warn!(?work, %status, "a built-in controller failed");
    }
}

/// Told of every object that was created.
pub(crate) fn created(server: &ApiServer, resource: &Resource, object: &Stored) {
    if resource.is("", "namespaces")
        && let Err(status) = furnish_namespace(server, object.name())
    {
        tracing::warn!(namespace = object.name(), %status, "the namespace lacks its default objects");
    }
    if !object.owners.is_empty() {
        push(
            server,
            Work::Dependent(resource.storage.clone(), object.key.to_string()),
        );
    }
    concerns_quota(server, resource, object);
    concerns_catalog(server, resource, object);
}

/// Pods that have ended and quotas that have changed are counted anew.
fn concerns_quota(server: &ApiServer, resource: &Resource, object: &Stored) {
    if resource.is("", "resourcequotas") || is_ended_pod(resource, object) {
        quota::concern(server, object.namespace());
    }
}

fn is_ended_pod(resource: &Resource, object: &Stored) -> bool {
    let ended = |(name, phase): &(&str, Box<str>)| {
        *name == "status.phase" && matches!(&**phase, "Succeeded" | "Failed")
    };
    resource.is("", "pods") && object.fields.iter().any(ended)
}

/// Told of every object that was changed.
pub(crate) fn updated(server: &ApiServer, resource: &Resource, object: &Stored) {
    if object.deleting {
        match resource.is("", "namespaces") {
            true => push(server, Work::Namespace(object.name().to_owned())),
            false => push(
                server,
                Work::OwnerWaits(resource.storage.clone(), object.key.to_string()),
            ),
        }
    } else if !object.owners.is_empty() {
        push(
            server,
            Work::Dependent(resource.storage.clone(), object.key.to_string()),
        );
    }
    if is_ended_pod(resource, object) {
        protection::user_gone(server, object);
    }
    protection::concern(server, resource, object);
    concerns_quota(server, resource, object);
    concerns_catalog(server, resource, object);
}

/// Told of every object that is gone.
pub(crate) fn deleted(server: &ApiServer, resource: &Resource, object: &Stored) {
    let store = &server.inner.store;
    if !store.dependents_of(&object.uid).is_empty() {
        push(
            server,
            Work::OwnerGone {
                uid: object.uid.to_string(),
            },
        );
    }
    garbage::tell_owners(server, object);
    if let Some(namespace) = object.namespace()
        && let Some(found) = store.get(&StorageKey::new("", "namespaces"), namespace)
        && found.deleting
    {
        push(server, Work::Namespace(namespace.to_owned()));
    }
    if resource.is("", "pods") {
        protection::user_gone(server, object);
    }
    quota::concern(server, object.namespace());
    concerns_catalog(server, resource, object);
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") {
        judge_definitions_anew(server);
    }
    if resource.custom.is_some() {
        let (_, definitions) = store.snapshot(&crate::custom::definitions(), "");
        let name = format!("{}.{}", resource.plural, resource.group);
        if definitions.iter().any(|d| d.deleting && d.name() == name) {
            push(server, Work::Definition(name));
        }
    }
}

fn concerns_catalog(server: &ApiServer, resource: &Resource, object: &Stored) {
    if resource.is("apiextensions.k8s.io", "customresourcedefinitions") {
        crate::custom::reload(server);
        push(server, Work::Definition(object.name().to_owned()));
    }
}

/// Names that a definition had are free for others.
fn judge_definitions_anew(server: &ApiServer) {
    for other in server.inner.store.snapshot(&crate::custom::definitions(), "").1 {
        push(server, Work::Definition(other.name().to_owned()));
    }
}

async fn definition(server: &ApiServer, name: &str) -> Result<(), crate::status::Status> {
    crate::custom::establish(server, name).await?;
    crate::custom::clean_up(server, name).await
}

fn push(server: &ApiServer, work: Work) {
    server.inner.controllers.push(work);
}

/// A request of the server to itself.
pub(crate) fn internal_call(server: &ApiServer, component: &str) -> Call {
    Call {
        server: server.clone(),
        user: UserInfo::system(component),
        method: Method::POST,
        path: String::new(),
        query: Query::default(),
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        warnings: Mutex::default(),
    }
}

/// Changes an object as this component does; one that is gone needs no change.
async fn change(
    server: &ApiServer,
    component: &str,
    target: &Target,
    change: impl Fn(&Value) -> Value + Send + Sync,
) -> Result<(), Status> {
    let (call, options) = (internal_call(server, component), WriteOptions::internal(false));
    let edit = Edit {
        call: &call,
        target,
        options: &options,
        options_kind: "UpdateOptions",
        track: false,
        wants_version: false,
    };
    match edit.run(|old| Ok((change(old), Vec::new()))).await {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}

/// The target of an object in a table.
pub(crate) fn target(resource: &Arc<Resource>, key: &str) -> Target {
    let (namespace, name) = match key.split_once('/') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, key),
    };
    Target {
        resource: resource.clone(),
        namespace,
        name: Some(name.to_owned()),
        subresource: None,
        watch: false,
    }
}
