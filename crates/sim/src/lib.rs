//! Simulated nodes and workload controllers: clients of any API server, through `cluster`.
mod image;
pub mod kubelet;
pub mod pod;
pub mod script;

pub use pod::Pod;
pub use script::{ContainerScript, ImageScript, Script, Timing};
