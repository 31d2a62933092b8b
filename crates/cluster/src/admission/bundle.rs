//! The authorities named in webhook configurations and CRDs: their caBundle fields, and nothing else of them.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::resource::{
    CUSTOM_RESOURCE_DEFINITIONS, MUTATING_WEBHOOK_CONFIGURATIONS, VALIDATING_WEBHOOK_CONFIGURATIONS,
};
use crate::{ApiError, Door, PatchKind, Resource};

/// An object whose webhooks are served by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleTarget {
    pub resource: Resource,
    pub name: String,
    /// Of a CRD's conversion: the clientConfig that is ours, without authorities. Another's is left alone.
    pub client: Option<Value>,
}

impl BundleTarget {
    pub fn mutating(name: impl Into<String>) -> Self {
        Self {
            resource: MUTATING_WEBHOOK_CONFIGURATIONS,
            name: name.into(),
            client: None,
        }
    }

    pub fn validating(name: impl Into<String>) -> Self {
        Self {
            resource: VALIDATING_WEBHOOK_CONFIGURATIONS,
            name: name.into(),
            client: None,
        }
    }

    /// A CRD whose versions we convert, as long as it names us (a Service, or a URL) for that.
    pub fn conversion(name: impl Into<String>, client: Value) -> Self {
        Self {
            resource: CUSTOM_RESOURCE_DEFINITIONS,
            name: name.into(),
            client: Some(client),
        }
    }

    /// Makes the object name exactly these authorities. An object that is not there has nothing to be named in.
    pub(super) async fn publish(&self, door: &Door, bundle: &str) -> Result<(), ApiError> {
        let found = match door.get(&self.resource, None, &self.name).await {
            Ok(found) => found,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let operations = operations(&found, &STANDARD.encode(bundle), self.client.as_ref());
        if operations.is_empty() {
            return Ok(());
        }
        tracing::info!(target = %self.resource, name = %self.name, "publishing the authorities of our certificates");
        door.patch(
            &self.resource,
            None,
            &self.name,
            PatchKind::Json,
            &Value::Array(operations),
            None,
        )
        .await
        .map(drop)
    }
}

/// What changes an object's caBundles to this one; each is bound to the webhook it was made for.
fn operations(found: &Value, encoded: &str, ours: Option<&Value>) -> Vec<Value> {
    let mut operations = Vec::new();
    let mut set = |path: String| operations.push(json!({"op": "add", "path": path, "value": encoded}));
    let conversion = &found["spec"]["conversion"];
    if conversion["strategy"] == "Webhook" && conversion["webhook"]["clientConfig"].is_object() {
        let client = &conversion["webhook"]["clientConfig"];
        if client["caBundle"] != encoded && ours.is_none_or(|ours| is_called_by(client, ours)) {
            set("/spec/conversion/webhook/clientConfig/caBundle".to_owned());
        }
        return operations;
    }
    let webhooks = found["webhooks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    for (index, webhook) in webhooks.iter().enumerate() {
        if webhook["clientConfig"]["caBundle"] != encoded {
            operations.push(
                json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": webhook["name"]}),
            );
            let path = format!("/webhooks/{index}/clientConfig/caBundle");
            operations.push(json!({"op": "add", "path": path, "value": encoded}));
        }
    }
    operations
}

/// Whether a clientConfig leads to the same Service or URL as ours.
fn is_called_by(client: &Value, ours: &Value) -> bool {
    let place = |c: &Value| {
        (
            c["url"].clone(),
            c["service"]["namespace"].clone(),
            c["service"]["name"].clone(),
        )
    };
    place(client) == place(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversion_that_another_serves_keeps_its_authorities() {
        let crd = |namespace: &str| {
            json!({"spec": {"conversion": {"strategy": "Webhook", "webhook": {"clientConfig":
                {"caBundle": "b2xk", "service": {"namespace": namespace, "name": "hooks", "path": "/convert"}}}}}})
        };
        let ours = json!({"service": {"namespace": "ours", "name": "hooks"}});
        assert_eq!(
            operations(&crd("theirs"), "bmV3", Some(&ours)),
            Vec::<Value>::new()
        );
        assert_eq!(operations(&crd("ours"), "bmV3", Some(&ours)).len(), 1);
        assert_eq!(operations(&crd("ours"), "b2xk", Some(&ours)), Vec::<Value>::new());
    }
}
