//! How many bytes of bodies may be held at once, over all connections.
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

const UNIT: usize = 1024;
/// Bodies up to this size, as pods are, have a share of their own: large ones cannot hold them up.
const SMALL: usize = 64 << 10;

/// Shared by all connections of a server.
#[derive(Clone)]
pub(super) struct Budget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
    largest: usize,
    patience: Duration,
}

/// A whole body, and its share of the budget for as long as it is held.
pub(super) struct Held {
    pub body: Bytes,
    _share: Vec<OwnedSemaphorePermit>,
}

impl Budget {
    pub(super) fn new(total: usize, largest: usize, patience: Duration) -> Self {
        let pool = |bytes: usize| Arc::new(Semaphore::new((bytes / UNIT + 2).min(Semaphore::MAX_PERMITS)));
        Self {
            small: pool(total / 2),
            large: pool((total / 2).max(largest)),
            largest,
            patience,
        }
    }

    /// Reads a body to its end.
    pub(super) async fn read<B>(&self, mut body: B) -> Result<Held, StatusCode>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let give_up = Instant::now() + self.patience;
        let announced = body.size_hint().lower();
        if announced > self.largest as u64 {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // What is announced is taken at once; only a body that does not say grows step by step.
        let pool = if announced as usize <= SMALL {
            &self.small
        } else {
            &self.large
        };
        let mut share = vec![take(pool, announced as usize, give_up).await?];
        let mut room = (announced as usize / UNIT + 1) * UNIT;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new();
        loop {
            let frame = timeout_at(give_up, body.frame())
                .await
                .map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
            let Some(frame) = frame else { break };
            let Ok(chunk) = frame.map_err(|_| StatusCode::BAD_REQUEST)?.into_data() else {
                continue;
            };
            let length = first.len() + whole.len() + chunk.len();
            if length > self.largest {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            if length > room {
                let more = (length - room).max(64 * UNIT);
                share.push(take(&self.large, more, give_up).await?);
                room += (more / UNIT + 1) * UNIT;
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
            } else {
                if whole.is_empty() {
                    whole.reserve((announced as usize).max(length));
                    whole.extend_from_slice(&std::mem::take(&mut first));
                }
                whole.extend_from_slice(&chunk);
            }
        }
        let body = if whole.is_empty() { first } else { whole.freeze() };
        Ok(Held { body, _share: share })
    }
}

async fn take(
    pool: &Arc<Semaphore>,
    bytes: usize,
    give_up: Instant,
) -> Result<OwnedSemaphorePermit, StatusCode> {
    let units = u32::try_from(bytes / UNIT + 1).map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    match timeout_at(give_up, pool.clone().acquire_many_owned(units)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(StatusCode::SERVICE_UNAVAILABLE),
    }
}
