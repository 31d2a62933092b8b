//! Simulated nodes and workload controllers: clients of any API server, through `cluster`.
pub mod clock;
pub mod controllers;
mod image;
pub mod kubelet;
mod labels;
pub mod nodes;
pub mod pod;
mod quantity;
mod run;
pub mod scheduler;
pub mod script;

pub use nodes::{Heartbeats, Logs, Nodes, NodesOptions};
pub use pod::Pod;
pub use run::{Options, run};
pub use script::{ContainerScript, ImageScript, Script, Timing};
