//! NamespaceLifecycle.

use serde_json::json;

use super::{Lookup, Operation, Refusal, Request};
use crate::read::Read;

pub(super) fn lifecycle(request: &Request<'_>, lookup: &dyn Lookup) -> Result<(), Refusal> {
    if request.group.is_empty() && request.resource == "namespaces" {
        let immortal = ["default", "kube-system", "kube-public"].contains(&request.name);
        if request.operation == Operation::Delete && immortal {
            return Err(Refusal::forbidden(request, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    let Some(namespace) = request.namespace else {
        return Ok(());
    };
    if request.operation == Operation::Delete || request.resource == "localsubjectaccessreviews" {
        return Ok(());
    }
    let Some(found) = lookup.get("", "namespaces", None, namespace) else {
        return Err(Refusal::not_found("namespaces", namespace));
    };
    let ending =
        found.at("status").text("phase") == "Terminating" || found.at("metadata").has("deletionTimestamp");
    if request.operation != Operation::Create || !ending {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut refusal = Refusal::forbidden(request, &why);
    refusal.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(refusal)
}
