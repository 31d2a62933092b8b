//! How a server is set up.

use std::path::PathBuf;
use std::sync::Arc;

use model::time::Clock;

use crate::clock::SystemClock;

/// Where objects are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Gone with the process; a write is answered once it is in memory.
    Memory,
    /// In this directory; a write is answered once it is on disk.
    Durable(PathBuf),
}

/// How a server is set up; `Config::default()` is an in-memory one on the system's clock.
#[derive(Clone)]
pub struct Config {
    pub storage: Storage,
    pub clock: Arc<dyn Clock>,
    /// Makes uids, generated names and certificates reproducible.
    pub seed: Option<u64>,
    /// Watch history per resource; older watches get 410.
    pub history: usize,
    /// Namespace life cycle, garbage collection and the default objects of namespaces. Without them the server is
    /// as bare as a kube-apiserver without a kube-controller-manager.
    pub controllers: bool,
    /// Hosts and addresses the serving certificate is for, beside loopback.
    pub serving_names: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            storage: Storage::Memory,
            clock: Arc::new(SystemClock),
            seed: None,
            history: 4096,
            controllers: true,
            serving_names: Vec::new(),
        }
    }
}
