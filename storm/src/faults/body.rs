//! Watches that end badly, lag behind, or say things twice.
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use serde_json::json;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const LAG: Duration = Duration::from_secs(4);

/// What befalls a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchFault {
    End(Ending),
    /// It is cut, and the next ones are answered 410.
    Gone,
    /// From now on, events of pods come late, or all but those of pods: kinds overtake each other.
    LagOfPods,
    LagOfOthers,
    /// Each event comes twice.
    Twice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// Cleanly.
    Closed,
    /// In the middle of an event.
    Inside,
    /// By an error of the connection.
    Broken,
    /// By an event that says 410.
    Expired,
}

/// A watch of the server on its way to a process.
pub(super) struct Watching {
    frames: BoxStream<'static, Bytes>,
    told: watch::Receiver<Option<WatchFault>>,
    of_pods: bool,
    on_the_way: VecDeque<(Instant, Bytes)>,
    lag: Duration,
    twice: bool,
    /// It ends after so many more frames.
    ends: Option<(usize, Ending)>,
    source_ended: bool,
    over: bool,
}

impl Watching {
    pub(super) fn new(
        frames: BoxStream<'static, Bytes>,
        told: watch::Receiver<Option<WatchFault>>,
        of_pods: bool,
    ) -> Self {
        Self {
            frames,
            told,
            of_pods,
            on_the_way: VecDeque::new(),
            lag: Duration::ZERO,
            twice: false,
            ends: None,
            source_ended: false,
            over: false,
        }
    }

    /// Will be befallen by this after so many frames.
    pub(super) fn spoil(&mut self, fault: WatchFault, after: usize) {
        match fault {
            WatchFault::End(ending) => self.ends = Some((after, ending)),
            WatchFault::Gone => self.ends = Some((after, Ending::Closed)),
            WatchFault::LagOfPods if self.of_pods => self.lag = LAG,
            WatchFault::LagOfOthers if !self.of_pods => self.lag = LAG,
            WatchFault::LagOfPods | WatchFault::LagOfOthers => {}
            WatchFault::Twice => self.twice = true,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        futures::stream::unfold(self, |mut this| async move {
            let next = this.next().await?;
            Some((next, this))
        })
    }

    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            if self.over {
                return None;
            }
            if let Some((0, ending)) = self.ends {
                return self.end(ending);
            }
            let due = self.on_the_way.front().map(|(at, _)| *at);
            if due.is_some_and(|at| at <= Instant::now()) {
                let (_, frame) = self.on_the_way.pop_front()?;
                if let Some((left, _)) = &mut self.ends {
                    *left -= 1;
                }
                return Some(Ok(frame));
            }
            if self.source_ended && due.is_none() {
                return None;
            }
            tokio::select! {
                biased;
                Ok(()) = self.told.changed() => {
                    let fault = *self.told.borrow_and_update();
                    if let Some(fault) = fault {
                        self.spoil(fault, 0);
                    }
                }
                frame = self.frames.next(), if !self.source_ended => match frame {
                    Some(frame) => {
                        let at = Instant::now() + self.lag;
                        if self.twice {
                            self.on_the_way.push_back((at, frame.clone()));
                        }
                        self.on_the_way.push_back((at, frame));
                    }
                    None => self.source_ended = true,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn end(&mut self, ending: Ending) -> Option<io::Result<Bytes>> {
        self.over = true;
        match ending {
            Ending::Closed => None,
            Ending::Inside => Some(Ok(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"ki"))),
            Ending::Broken => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "broken off"))),
            Ending::Expired => {
                let expired = json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1",
                    "metadata": {}, "status": "Failure", "message": "too old resource version",
                    "reason": "Expired", "code": 410}});
                Some(Ok(Bytes::from(format!("{expired}\n"))))
            }
        }
    }
}
