//! Who may do what.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::attributes::Access;
use crate::store::Store;
use crate::user::UserInfo;

/// The answer of authorization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
}

/// Decides over the roles and bindings in the store.
pub struct Authorizer {
    #[allow(dead_code)]
    store: Arc<Store>,
}

impl Authorizer {
    pub fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    pub fn authorize(&self, _user: &UserInfo, _access: &Access) -> Decision {
        Decision {
            allowed: true,
            reason: String::new(),
        }
    }

    /// `status` of a SelfSubjectRulesReview.
    pub fn rules(&self, _user: &UserInfo, _namespace: &str) -> Value {
        json!({"resourceRules": [], "nonResourceRules": [], "incomplete": true})
    }
}
