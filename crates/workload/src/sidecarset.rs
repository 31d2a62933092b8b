//! SidecarSet: what its webhooks answer, and the revisions it keeps. (How running pods change: `upgrade`.)
//!
//! Parse once, use often: [`prepare::PreparedSidecarSet`] is made when a SidecarSet changes, so that admitting a
//! pod compiles nothing.
pub mod default;
pub mod expression;
mod go_json;
pub mod hash;
pub mod inject;
mod layout;
pub mod prepare;
pub mod review;
pub mod revision;
pub mod standing;
pub mod validate;
pub mod webhooks;
