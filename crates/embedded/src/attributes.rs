//! What a request wants to do, as authorization and admission see it.

use serde_json::Value;

use crate::user::UserInfo;

/// Attributes of one request on a resource, for authorization, admission and webhooks.
#[derive(Debug, Clone)]
pub struct Attributes {
    pub user: UserInfo,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: &'static str,
    pub operation: Operation,
    pub group: String,
    pub version: String,
    /// Plural, `pods`.
    pub resource: String,
    /// Empty for the resource itself.
    pub subresource: String,
    pub kind: Kind,
    pub namespace: Option<String>,
    /// Empty on create with generateName (until the name is made) and on collections.
    pub name: String,
    pub dry_run: bool,
    /// The CreateOptions / UpdateOptions / PatchOptions / DeleteOptions object sent to webhooks.
    pub options: Value,
    pub namespaced: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// `CREATE`, as AdmissionReview spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What authorization is asked: a resource, or a path where `path` is not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: Option<String>,
    pub name: String,
    pub path: String,
}
