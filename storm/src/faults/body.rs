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
const SKIPS_FOR: Duration = Duration::from_secs(10);

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
    /// Events are dropped for a while, and then it ends by an event that says 410: the server's own cache fell
    /// behind.
    Skips,
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
    /// Nothing more is told, and then it ends.
    skips_until: Option<Instant>,
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
            skips_until: None,
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
            WatchFault::Skips => {
                self.skips_until.get_or_insert(Instant::now() + SKIPS_FOR);
            }
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
            if self.skips_until.is_some_and(|at| at <= Instant::now()) {
                return self.end(Ending::Expired);
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
            let wake = [due, self.skips_until].into_iter().flatten().min();
            tokio::select! {
                biased;
                Ok(()) = self.told.changed() => {
                    let fault = *self.told.borrow_and_update();
                    if let Some(fault) = fault {
                        self.spoil(fault, 0);
                    }
                }
                frame = self.frames.next(), if !self.source_ended => match frame {
                    Some(_) if self.skips_until.is_some() => {}
                    Some(frame) => {
                        let at = Instant::now() + self.lag;
                        if self.twice {
                            self.on_the_way.push_back((at, frame.clone()));
                        }
                        self.on_the_way.push_back((at, frame));
                    }
                    None => self.source_ended = true,
                },
                () = tokio::time::sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_skips_tells_nothing_more_and_ends_by_an_event_that_says_410() {
        let ticks = futures::stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Some((Bytes::from(format!("{n}\n")), n + 1))
        });
        let (_told, hears) = watch::channel(None);
        let mut watching = Watching::new(ticks.boxed(), hears, true);
        let began = Instant::now();
        assert_eq!(
            watching.next().await.and_then(Result::ok).as_deref(),
            Some(&b"0\n"[..])
        );
        watching.spoil(WatchFault::Skips, 0);
        let rest: Vec<Bytes> = watching
            .into_stream()
            .filter_map(async |f| f.ok())
            .collect()
            .await;
        assert_eq!(rest.len(), 1);
        assert!(String::from_utf8_lossy(&rest[0]).contains("410"));
        assert_eq!(began.elapsed(), Duration::from_secs(1) + SKIPS_FOR);
    }
}
