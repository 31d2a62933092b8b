//! Between the version an object is stored in and the versions it is served in.

use std::time::Duration;

use apiextensions::Conversion;
use apischema::GroupVersionKind;
use serde_json::Value;

use crate::admission::transport;
use crate::catalog::{Resource, group_version};
use crate::server::ApiServer;
use crate::status::Status;

const WEBHOOK_SECONDS: u64 = 30;

/// From the stored version to the served one.
pub(crate) async fn from_storage(
    server: &ApiServer,
    resource: &Resource,
    values: Vec<Value>,
) -> Result<Vec<Value>, Status> {
    let mut values = values;
    if let Some(custom) = resource.custom.as_ref().filter(|c| c.has_changed()) {
        values.iter_mut().for_each(|value| custom.settle_as_stored(value));
    }
    match resource.converts() {
        true => convert(server, resource, values, &stored(resource), &super::gvk(resource)).await,
        false => Ok(values),
    }
}

/// From the served version to the stored one.
pub(crate) async fn to_storage(
    server: &ApiServer,
    resource: &Resource,
    value: Value,
) -> Result<Value, Status> {
    if !resource.converts() {
        return Ok(value);
    }
    let done = convert(
        server,
        resource,
        vec![value],
        &super::gvk(resource),
        &stored(resource),
    )
    .await?;
    let mut stored = done
        .into_iter()
        .next()
        .ok_or_else(|| Status::internal("a conversion lost its object"))?;
    if let Some(custom) = &resource.custom {
        custom.settle_in_storage(&mut stored);
    }
    Ok(stored)
}

/// What would be read of an object that a dry run does not store.
pub(crate) async fn as_if_stored(
    server: &ApiServer,
    resource: &Resource,
    value: Value,
) -> Result<Value, Status> {
    if resource.custom.is_none() || !resource.converts() {
        return Ok(value);
    }
    let stored = to_storage(server, resource, value).await?;
    let mut read = from_storage(server, resource, vec![stored]).await?;
    read.pop()
        .ok_or_else(|| Status::internal("a conversion lost its object"))
}

fn stored(resource: &Resource) -> GroupVersionKind {
    GroupVersionKind {
        group: resource.storage_group.clone(),
        version: resource.storage_version.clone(),
        kind: resource.kind.clone(),
    }
}

async fn convert(
    server: &ApiServer,
    resource: &Resource,
    values: Vec<Value>,
    from: &GroupVersionKind,
    to: &GroupVersionKind,
) -> Result<Vec<Value>, Status> {
    let Some(custom) = &resource.custom else {
        let each = values
            .into_iter()
            .map(|v| apischema::convert::convert(from, to, v));
        return each.collect::<Result<_, _>>().map_err(Status::internal);
    };
    let version = group_version(&to.group, &to.version);
    match custom.conversion() {
        Conversion::None => Ok(values
            .into_iter()
            .map(|mut value| {
                value["apiVersion"] = version.clone().into();
                value
            })
            .collect()),
        Conversion::Webhook { client_config, .. } if !values.is_empty() => {
            ask(server, client_config, &version, &values)
                .await
                .map_err(|why| {
                    let from = group_version(&from.group, &from.version);
                    Status::new(
                        http::StatusCode::INTERNAL_SERVER_ERROR,
                        "",
                        format!(
                            "conversion webhook for {from}, Kind={} failed: {why}",
                            resource.kind
                        ),
                    )
                })
        }
        Conversion::Webhook { .. } => Ok(values),
    }
}

async fn ask(
    server: &ApiServer,
    config: &Value,
    version: &str,
    values: &[Value],
) -> Result<Vec<Value>, String> {
    let uid = server.new_uid();
    let review = apiextensions::conversion_review(&uid, version, values);
    let body = serde_json::to_vec(&review).map_err(|e| e.to_string())?;
    let call = transport::post(server, config, WEBHOOK_SECONDS, body.into());
    let answer = tokio::time::timeout(Duration::from_secs(WEBHOOK_SECONDS), call)
        .await
        .map_err(|_| "context deadline exceeded".to_owned())??;
    let answer: Value = serde_json::from_slice(&answer).map_err(|e| e.to_string())?;
    apiextensions::check_review(&uid, version, values, &answer).map_err(|e| e.to_string())
}
