//! One life of a process: after its crash it neither sends nor hears anything.
use super::body::WatchFault;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Watches that are answered 410 after [`WatchFault::Gone`].
const GONE: usize = 8;

#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    dead: AtomicBool,
    told: CancellationToken,
    watches: watch::Sender<Option<WatchFault>>,
    gone: AtomicUsize,
}

impl Default for Process {
    fn default() -> Self {
        Self(Arc::new(Inner {
            dead: AtomicBool::new(false),
            told: CancellationToken::new(),
            watches: watch::Sender::new(None),
            gone: AtomicUsize::new(0),
        }))
    }
}

impl Process {
    pub async fn crashed(&self) {
        self.0.told.cancelled().await;
    }

    pub(super) fn crash(&self) {
        self.0.dead.store(true, Ordering::Relaxed);
        self.0.told.cancel();
    }

    pub(super) fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::Relaxed)
    }

    /// Befalls every watch there is.
    pub fn spoil_watches(&self, fault: WatchFault) {
        if fault == WatchFault::Gone {
            self.0.gone.store(GONE, Ordering::Relaxed);
        }
        self.0.watches.send_replace(Some(fault));
    }

    pub(super) fn watches(&self) -> watch::Receiver<Option<WatchFault>> {
        self.0.watches.subscribe()
    }

    /// Whether a watch that begins now is answered 410.
    pub(super) fn is_gone(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.0
            .gone
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}
