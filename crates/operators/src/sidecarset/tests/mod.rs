#![allow(clippy::unwrap_used, clippy::expect_used)]
mod announcing;
mod events;
mod former_leader;
mod missed;
mod panics;
mod requests;
mod world;
