//! The built-in plugins over this server's store.

use apirules::admission as rules;
use apirules::admission::{Lookup, Request};
use serde_json::Value;

use super::{Sight, refused};
use crate::attributes::{Attributes, Operation};
use crate::catalog::StorageKey;
use crate::pipeline;
use crate::server::ApiServer;
use crate::status::{Status, Warnings};
use crate::store::{Change, CommitError, Expect, object_key};

/// Writes of one quota race with each other; a real server gives up after as many tries.
const QUOTA_TRIES: usize = 30;

struct StoreLookup<'a>(&'a ApiServer);

impl Lookup for StoreLookup<'_> {
    fn get(&self, group: &str, resource: &str, namespace: Option<&str>, name: &str) -> Option<Value> {
        let key = StorageKey::new(group, resource);
        self.0
            .store()
            .get(&key, &object_key(namespace, name))
            .map(|o| o.bare())
    }

    fn list(&self, group: &str, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let prefix = namespace.map(|n| format!("{n}/")).unwrap_or_default();
        let found = self
            .0
            .store()
            .snapshot(&StorageKey::new(group, resource), &prefix)
            .1;
        found.iter().map(|o| o.bare()).collect()
    }
}

fn request(attributes: &Attributes) -> Request<'_> {
    Request {
        operation: match attributes.operation {
            Operation::Create => rules::Operation::Create,
            Operation::Update => rules::Operation::Update,
            Operation::Delete => rules::Operation::Delete,
            Operation::Connect => rules::Operation::Connect,
        },
        group: &attributes.group,
        resource: &attributes.resource,
        subresource: &attributes.subresource,
        namespace: attributes.namespace.as_deref(),
        name: &attributes.name,
    }
}

/// Whether the namespace takes anything new.
pub(crate) fn lifecycle(server: &ApiServer, attributes: &Attributes) -> Result<(), Status> {
    rules::lifecycle(&request(attributes), &StoreLookup(server)).map_err(refused)
}

pub(super) fn mutate(sight: &Sight<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), Status> {
    let mut suffix = || sight.server.name_suffix();
    let lookup = StoreLookup(sight.server);
    rules::mutate(&request(sight.attributes), object, old, &lookup, &mut suffix).map_err(refused)
}

pub(super) fn validate(
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<Warnings, Status> {
    let lookup = StoreLookup(sight.server);
    rules::validate(&request(sight.attributes), object, old, &lookup).map_err(refused)
}

/// Charges every quota that the request uses; usage is given back by whoever recomputes quota status.
pub(super) async fn charge_quota(
    sight: &Sight<'_>,
    object: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Status> {
    let lookup = StoreLookup(sight.server);
    for _ in 0..QUOTA_TRIES {
        let evaluation = rules::quota(&request(sight.attributes), object, old, &lookup).map_err(refused)?;
        if evaluation.charges.is_empty() || sight.attributes.dry_run {
            return Ok(());
        }
        let mut lost = false;
        for charge in &evaluation.charges {
            lost |= !write(sight.server, charge)?;
        }
        if !lost {
            return Ok(());
        }
    }
    Err(Status::internal("resource quota evaluation timed out"))
}

/// Whether the charge was written; false where the quota has changed meanwhile.
fn write(server: &ApiServer, charge: &rules::Charge) -> Result<bool, Status> {
    let table = StorageKey::new("", "resourcequotas");
    let key = object_key(Some(&charge.namespace), &charge.name);
    let Some(stored) = server.store().get(&table, &key) else {
        return Ok(true);
    };
    if stored.revision.to_string() != charge.resource_version {
        return Ok(false);
    }
    let Some(resource) = server.stored_resource(&table) else {
        return Ok(true);
    };
    let old = stored.value(&resource);
    let mut quota = old.clone();
    quota["status"]["used"] = Value::Object(charge.used.clone());
    let writer = pipeline::Writer {
        manager: "kube-apiserver",
        subresource: "status",
        now: server.now(),
    };
    pipeline::track_update(&resource, &old, &mut quota, &writer);
    let extract = crate::fields::extractor(&table);
    match server.store().commit(
        &table,
        &key,
        Expect::Version(stored.revision),
        Change::Put(quota),
        extract,
    ) {
        Ok(_) => Ok(true),
        Err(CommitError::Modified | CommitError::Missing) => Ok(false),
        Err(other) => Err(Status::internal(other)),
    }
}
