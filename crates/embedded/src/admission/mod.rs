//! Admission: built-in plugins and webhooks.

use serde_json::Value;

use crate::attributes::Attributes;
use crate::server::ApiServer;
use crate::status::{Status, Warnings};

/// Lets plugins and webhooks change an object. On deletion `object` is null.
pub(crate) async fn mutate(
    _server: &ApiServer,
    _attributes: &Attributes,
    _object: &mut Value,
    _old: Option<&Value>,
) -> Result<Warnings, Status> {
    Ok(Vec::new())
}

/// Lets plugins and webhooks refuse.
pub(crate) async fn validate(
    _server: &ApiServer,
    _attributes: &Attributes,
    _object: Option<&Value>,
    _old: Option<&Value>,
) -> Result<Warnings, Status> {
    Ok(Vec::new())
}
