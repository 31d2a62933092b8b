//! Deciders for workloads, pure: state, time and randomness are arguments.
pub mod sidecarset;
pub mod takeover;
pub mod upgrade;
