//! Floor 1: the words everybody shares. API types, selectors, snapshots, decisions, budgets.
//!
//! No I/O, no clock, no async: state and `now` are arguments everywhere above.
pub mod budget;
pub mod decision;
pub mod field;
pub mod json;
pub mod pod;
pub mod quantity;
pub mod selector;
pub mod sidecarset;
pub mod time;
