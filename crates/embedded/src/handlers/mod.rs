//! One room per verb.
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod eviction;
mod marking;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod review;
pub(crate) mod scale;
pub(crate) mod subresource;
pub(crate) mod token;
pub(crate) mod update;
pub(crate) mod watch;
