//! Role-based access control: who may do what, why, and what a role's author may grant.
mod authorize;
mod escalation;
mod rules;

pub use authorize::{Decision, Request, Subject, authorize};
pub use escalation::{GrantCheck, grant_check, missing_rights};
pub use rules::{Binding, PolicyRule, RoleRef, RuleSource};
