//! The API server behind its name: what all connections go to, also when its storage was put back.
use crate::StormError;
use embedded::store::Store;
use embedded::{ApiServer, Config, WebhookHandler};
use model::time::Clock;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Writes that are lost when the storage is put back.
const LOST: u64 = 12;
/// How long nobody answers meanwhile. A real restore takes minutes, in which every watch is heard to have ended; in no
/// time at all, a write would reach the server that was put back before its sender can know of it.
const PUT_BACK_IN: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Backend(Arc<Mutex<Inner>>);

struct Inner {
    server: ApiServer,
    seed: u64,
    clock: Arc<dyn Clock>,
    webhook: Option<(String, WebhookHandler)>,
    /// Told when this server's storage is put back: its watches end.
    restored: CancellationToken,
    /// Whether it is being put back: nobody answers.
    down: watch::Sender<bool>,
    /// The servers that were, each with the revision that its storage was put back to.
    past: Vec<(ApiServer, u64)>,
}

impl Backend {
    pub async fn start(seed: u64, clock: Arc<dyn Clock>) -> Result<Self, StormError> {
        let store = Store::in_memory(usize::MAX);
        let server = start_on(store, seed, clock.clone()).await?;
        Ok(Self(Arc::new(Mutex::new(Inner {
            server,
            seed,
            clock,
            webhook: None,
            restored: CancellationToken::new(),
            down: watch::Sender::new(false),
            past: Vec::new(),
        }))))
    }

    pub fn server(&self) -> ApiServer {
        self.lock().server.clone()
    }

    /// The servers that were, each with the revision that its storage was put back to.
    pub(crate) fn past(&self) -> Vec<(ApiServer, u64)> {
        self.lock().past.clone()
    }

    pub(crate) fn is_down(&self) -> bool {
        *self.lock().down.borrow()
    }

    /// Waits until somebody answers.
    pub(crate) async fn up(&self) {
        let mut down = self.lock().down.subscribe();
        // The sender lives as long as we do.
        let _ = down.wait_for(|down| !*down).await;
    }

    pub(crate) fn restored(&self) -> CancellationToken {
        self.lock().restored.clone()
    }

    /// Puts the storage back by some writes, as from a backup of etcd; all connections break, and after a while
    /// somebody answers again.
    pub(crate) async fn restore(&self) -> Result<(), StormError> {
        let (server, seed, clock) = {
            let mut inner = self.lock();
            inner.down.send_replace(true);
            std::mem::take(&mut inner.restored).cancel();
            // Other objects get other uids.
            let seed = inner.seed.wrapping_add(1 + inner.past.len() as u64);
            (inner.server.clone(), seed, inner.clock.clone())
        };
        tokio::time::sleep(PUT_BACK_IN).await;
        let back_to = server.store().revision().saturating_sub(LOST);
        let store = server
            .store()
            .restored_to(back_to)
            .map_err(|_| StormError::Forgotten)?;
        let next = start_on(store, seed, clock).await?;
        let mut inner = self.lock();
        if let Some((host, handler)) = &inner.webhook {
            next.register_webhook_service(host, handler.clone());
        }
        inner.past.push((server, back_to));
        inner.server = next;
        inner.down.send_replace(false);
        Ok(())
    }

    pub(crate) fn webhook(&self, host: &str, handler: WebhookHandler) {
        let mut inner = self.lock();
        inner.server.register_webhook_service(host, handler.clone());
        inner.webhook = Some((host.to_owned(), handler));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn start_on(store: Arc<Store>, seed: u64, clock: Arc<dyn Clock>) -> Result<ApiServer, StormError> {
    let config = Config {
        clock,
        seed: Some(seed),
        history: usize::MAX,
        ..Config::default()
    };
    let started = ApiServer::start_on(store, config).await;
    started.map_err(|source| StormError::Server { seed, source })
}
