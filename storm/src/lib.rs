//! The whole story in one thread, in virtual time: an embedded API server, simulated nodes and controllers, and the
//! SidecarSet operator with faults between each of them and the server.
//!
//! Everything that is random follows one seed, so that a run can be repeated to the byte; [`oracle`] judges by
//! the server's own history.
pub mod backend;
mod clocks;
pub mod counts;
pub mod faults;
pub mod history;
pub mod many;
pub mod matrix;
pub mod oracle;
mod replica;
pub mod run;
pub mod story;
pub mod world;

pub use run::{Outcome, run, run_traced};
pub use world::Setup;

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum StormError {
    #[error("seed {seed}: the embedded server did not start: {source}")]
    Server {
        seed: u64,
        #[source]
        source: embedded::StartError,
    },
    #[error("{what}: {source}")]
    Api {
        what: String,
        #[source]
        source: Box<cluster::ApiError>,
    },
    #[error("after {virtual_seconds} s of virtual time still not: {what}; last seen: {seen}")]
    Stuck {
        what: String,
        virtual_seconds: u64,
        seen: String,
    },
    #[error("revision {revision}: {broken}")]
    Broken { revision: u64, broken: String },
    #[error("the runtime was not built, or the trace not written: {0}")]
    Io(#[from] std::io::Error),
    #[error("the beginning of the history is gone")]
    Forgotten,
}
