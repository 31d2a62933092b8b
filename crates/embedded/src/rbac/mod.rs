//! Who may do what: RBAC over the roles and bindings in the store.

use std::sync::{Arc, PoisonError, RwLock};

use apirules::rbac::{GrantCheck, Request, RuleSource, Subject, authorize, grant_check};
use serde_json::{Value, json};

use crate::attributes::Access;
use crate::catalog::StorageKey;
use crate::status::Status;
use crate::store::Store;
use crate::user::UserInfo;

const GROUP: &str = "rbac.authorization.k8s.io";
const TABLES: [&str; 4] = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"];

/// The answer of authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// Decides over the roles and bindings in the store; parses them once per change of them.
pub struct Authorizer {
    store: Arc<Store>,
    parsed: RwLock<Option<Parsed>>,
}

struct Parsed {
    /// Of the whole store: while it stands, nothing has changed.
    revision: u64,
    fingerprint: Fingerprint,
    rules: Arc<RuleSource>,
}

/// Number of objects and newest revision per table: no write leaves both as they were.
type Fingerprint = [(usize, u64); 4];

impl Authorizer {
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            parsed: RwLock::new(None),
        }
    }

    pub fn authorize(&self, user: &UserInfo, access: &Access) -> Decision {
        let request = Request {
            verb: &access.verb,
            namespace: access.namespace.as_deref().unwrap_or_default(),
            group: &access.group,
            resource: &access.resource,
            subresource: &access.subresource,
            name: &access.name,
            path: (!access.path.is_empty()).then_some(access.path.as_str()),
        };
        let decision = authorize(subject(user), &request, &self.rules_now());
        Decision {
            allowed: decision.allowed,
            reason: decision.reason,
        }
    }

    /// `status` of a SelfSubjectRulesReview.
    pub fn rules(&self, user: &UserInfo, namespace: &str) -> Value {
        let (rules, errors) = self.rules_now().rules_for(subject(user), namespace);
        let (paths, resources): (Vec<_>, Vec<_>) =
            rules.iter().partition(|r| !r.non_resource_urls.is_empty());
        let entries = |rules: Vec<&apirules::rbac::PolicyRule>| -> Vec<Value> {
            rules.into_iter().map(|r| r.review_entry()).collect()
        };
        let mut out = json!({
            "resourceRules": entries(resources),
            "nonResourceRules": entries(paths),
            "incomplete": !errors.is_empty(),
        });
        if !errors.is_empty() {
            out["evaluationError"] = errors.join(", ").into();
        }
        out
    }

    /// Refuses a role or binding that grants more than `user` holds.
    pub(crate) fn check_grant(
        &self,
        user: &UserInfo,
        resource: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        match grant_check(subject(user), resource, object, old, &self.rules_now()) {
            GrantCheck::Allowed => Ok(()),
            GrantCheck::Forbidden(why) => {
                let name = object
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                Err(Status::forbidden(GROUP, resource, name, &why))
            }
            GrantCheck::NoSuchKind(why) => Err(Status::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why)),
            GrantCheck::RoleMissing(kind, name) => Err(Status::not_found(GROUP, kind, &name)),
        }
    }

    fn rules_now(&self) -> Arc<RuleSource> {
        let revision = self.store.revision();
        let held = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = held.as_ref().filter(|p| p.revision == revision) {
            return parsed.rules.clone();
        }
        drop(held);
        self.refresh(revision)
    }

    fn refresh(&self, revision: u64) -> Arc<RuleSource> {
        let tables = TABLES.map(|table| self.store.snapshot(&StorageKey::new(GROUP, table), "").1);
        let fingerprint: Fingerprint = std::array::from_fn(|i| {
            let newest = tables[i].iter().map(|o| o.revision).max().unwrap_or(0);
            (tables[i].len(), newest)
        });
        let mut held = self.parsed.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = held.as_mut().filter(|p| p.fingerprint == fingerprint) {
            parsed.revision = parsed.revision.max(revision);
            return parsed.rules.clone();
        }
        let [cluster_roles, roles, cluster_bindings, bindings] =
            tables.map(|objects| objects.iter().map(|o| o.bare()).collect::<Vec<Value>>());
        let rules = Arc::new(RuleSource::build(
            &cluster_roles,
            &roles,
            &cluster_bindings,
            &bindings,
        ));
        *held = Some(Parsed {
            revision,
            fingerprint,
            rules: rules.clone(),
        });
        rules
    }
}

fn subject(user: &UserInfo) -> Subject<'_> {
    Subject {
        name: &user.name,
        groups: &user.groups,
    }
}
