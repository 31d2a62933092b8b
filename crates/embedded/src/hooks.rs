//! What the world outside plugs in: in-process webhooks, and container logs.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::server::ApiServer;

/// Answers an admission or conversion request without a socket.
pub type WebhookHandler = Arc<dyn Fn(WebhookRequest) -> WebhookFuture + Send + Sync>;
pub type WebhookFuture = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send>>;

/// One call to an in-process webhook.
#[derive(Debug, Clone)]
pub struct WebhookRequest {
    /// The path of the URL, with its query.
    pub path: String,
    pub body: Bytes,
}

/// Which log lines are asked for.
#[derive(Debug, Clone)]
pub struct LogRequest {
    pub namespace: String,
    pub pod: String,
    pub container: String,
    pub previous: bool,
    pub tail_lines: Option<i64>,
    pub since_seconds: Option<i64>,
    pub timestamps: bool,
}

/// Gives what a container printed, or why it cannot.
pub type LogSource = Arc<dyn Fn(&LogRequest) -> Result<String, String> + Send + Sync>;

#[derive(Default)]
pub struct Hooks {
    webhooks: RwLock<BTreeMap<String, WebhookHandler>>,
    logs: RwLock<Option<LogSource>>,
}

impl Hooks {
    /// The handler registered for `SERVICE.NAMESPACE.svc` or a URL's host.
    pub fn webhook(&self, host: &str) -> Option<WebhookHandler> {
        self.webhooks
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(host)
            .cloned()
    }

    pub fn logs(&self) -> Option<LogSource> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ApiServer {
    /// Serves webhook calls to `host` (`SERVICE.NAMESPACE.svc`, or the host of a URL) in this process.
    pub fn register_webhook_service(&self, host: &str, handler: WebhookHandler) {
        let mut hooks = self
            .inner
            .hooks
            .webhooks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        hooks.insert(host.to_owned(), handler);
    }

    /// Where `pods/log` reads; without it the answer is 501.
    pub fn set_log_source(&self, source: LogSource) {
        *self
            .inner
            .hooks
            .logs
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(source);
    }

    pub fn hooks(&self) -> &Hooks {
        &self.inner.hooks
    }
}
