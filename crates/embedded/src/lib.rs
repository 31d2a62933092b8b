//! A Kubernetes API server in this process: honest or loud.
//!
//! What it does, it does as a real kube-apiserver does; what it lacks answers 501 with its name.
pub mod attributes;
pub mod status;
pub mod table;
pub mod user;

/// Bodies over this size are answered 413.
pub const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;
