//! Who wants to know what changed: a queue per reader, each key in it at most once.
use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;

use crate::ObjectKey;

/// Keys of objects that changed, in the order of their first change since they were last read. Also a `Stream`.
pub struct Changes {
    queue: Arc<Queue>,
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    order: VecDeque<ObjectKey>,
    queued: BTreeSet<ObjectKey>,
    waker: Option<Waker>,
    closed: bool,
}

impl Changes {
    pub(super) fn over(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next key; `None` once the cache has stopped.
    pub async fn next(&mut self) -> Option<ObjectKey> {
        std::future::poll_fn(|context| self.queue.poll(context)).await
    }

    /// The next key if there is one now.
    pub fn try_next(&mut self) -> Option<ObjectKey> {
        self.queue.state().take()
    }

    /// All keys there are now.
    pub fn drain(&mut self) -> Vec<ObjectKey> {
        let mut state = self.queue.state();
        state.queued.clear();
        state.order.drain(..).collect()
    }
}

impl Stream for Changes {
    type Item = ObjectKey;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ObjectKey>> {
        self.queue.poll(context)
    }
}

impl Queue {
    pub(super) fn push(&self, key: &ObjectKey) {
        let waker = {
            let mut state = self.state();
            if !state.queued.insert(key.clone()) {
                return;
            }
            state.order.push_back(key.clone());
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(super) fn close(&self) {
        let waker = {
            let mut state = self.state();
            state.closed = true;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<ObjectKey>> {
        let mut state = self.state();
        if let Some(key) = state.take() {
            return Poll::Ready(Some(key));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<ObjectKey> {
        let key = self.order.pop_front()?;
        self.queued.remove(&key);
        Some(key)
    }
}
