//! The loop that keeps a cache true: list, watch, and whatever ends a watch.
//!
//! Every way to end is one of [`End`], and every one of them leads back into the loop: after a pause, and with a
//! fresh list unless the server can show that going on from where we were loses nothing.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::event::{End, decode, warn_bad};
use super::{Shared, WatchScope, Watched, request};
use crate::error::StatusBody;
use crate::frame::{Lines, Named, Piece, WatchLine};
use crate::key::compare_versions;
use crate::observe::WatchTurn;
use crate::transport::AnswerBody;
use crate::{Door, ObjectKey, Resource};

/// A write of ours that does not show within this time makes us list.
pub(super) const WRITE_SHOWS_WITHIN: Duration = Duration::from_secs(30);
/// After a cut all is listed within this time, or when somebody has to be sure.
const DOUBTED_FOR: Duration = Duration::from_secs(20);
/// A watch that lived this long was healthy: the next pause is short again.
const HEALTHY: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Short enough to be back within 30 s of any cut.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// A server that streams its initial events says something within this time, or does not know how to.
const INITIAL_PATIENCE: Duration = Duration::from_secs(30);
/// So many failures to go on, and we list instead.
const FAILURES_UNTIL_RELIST: u32 = 3;
/// By how much a server may end a watch before its time.
const A_MOMENT: Duration = Duration::from_secs(1);
/// Why a list was made that somebody asked for.
const WANTED: &str = "asked for";

struct Watching<T: Watched> {
    door: Door,
    resource: Resource,
    scope: WatchScope,
    shared: Arc<Shared<T>>,
    initial_events: bool,
}

/// Keeps the cache true for ever.
pub(super) async fn run<T: Watched>(
    door: Door,
    resource: Resource,
    scope: WatchScope,
    shared: Arc<Shared<T>>,
) {
    let mut watching = Watching {
        door,
        resource,
        scope,
        shared,
        initial_events: true,
    };
    let mut fresh: Option<&'static str> = Some("start");
    let mut pause = FIRST_PAUSE;
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let end = match fresh {
            Some(reason) => watching.list_then_watch(reason).await,
            None => watching.go_on().await,
        };
        if began.elapsed() >= HEALTHY {
            (pause, failures) = (FIRST_PAUSE, 0);
        }
        watching.note(&end);
        if !matches!(end, End::Over | End::Stale(WANTED)) {
            watching.doubt();
        }
        let at_once = matches!(end, End::Stale(WANTED));
        fresh = match end {
            End::Stale(reason) => Some(reason),
            End::NoInitialEvents => {
                watching.initial_events = false;
                Some("no initial events")
            }
            End::Over | End::Closed | End::Stalled => fresh.filter(|_| !watching.is_complete()),
            End::Failed(_) => {
                failures += 1;
                // Not yet complete, or not getting anywhere.
                fresh
                    .filter(|_| !watching.is_complete())
                    .or((failures >= FAILURES_UNTIL_RELIST).then_some("failures"))
            }
        };
        // One that was asked for and failed is tried again after a pause.
        if at_once {
            continue;
        }
        // A list somebody asks for cuts the pause short: they wait for it.
        let asked = async {
            while !watching.shared.store().wants_list() {
                watching.shared.awaiting.notified().await;
            }
        };
        let rest = tokio::time::sleep(watching.door.jittered(pause));
        tokio::select! { biased; () = asked => fresh = Some(WANTED), () = rest => {} }
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

impl<T: Watched> Watching<T> {
    /// A fresh list, and the watch from there.
    async fn list_then_watch(&mut self, reason: &'static str) -> End {
        self.shared.store().begin_relist();
        // Initial events may take a second to end, by a bookmark: too long for one who waits.
        if self.initial_events && reason != WANTED {
            return self.stream(None, reason).await;
        }
        let shared = self.shared.clone();
        let resource = self.resource.clone();
        let observer = self.door.options().observer.clone();
        let listed = self
            .door
            .list_each(
                &self.resource,
                self.scope.namespace.as_deref(),
                &request::list(&self.scope, None),
                |piece| {
                    let mut store = shared.store();
                    store.heard();
                    match decode::<T>(&resource, piece) {
                        Ok(object) => drop(store.put(object)),
                        Err((key, version, reason)) => {
                            observer.watch(&resource, &WatchTurn::BadObject);
                            warn_bad(&resource, key.as_ref(), &reason);
                            if let Some(key) = key {
                                store.put_bad(key, &version, reason);
                            }
                        }
                    }
                },
            )
            .await;
        match listed {
            Ok(meta) => {
                self.complete(&meta.resource_version, reason);
                self.stream(Some(meta.resource_version), reason).await
            }
            Err(error) if error.is_stale_version() => End::Stale("list expired"),
            Err(error) => End::Failed(error.to_string()),
        }
    }

    /// The watch from where we were, if the server has not gone back behind it meanwhile.
    async fn go_on(&mut self) -> End {
        self.shared.store().reconnected();
        let version = self.shared.store().version().to_owned();
        // A watch from a version the server has not reached is answered by silence: ask where it is.
        let options = request::list(&self.scope, Some(1));
        let namespace = self.scope.namespace.as_deref();
        match self
            .door
            .list_each(&self.resource, namespace, &options, drop_piece)
            .await
        {
            Ok(meta)
                if compare_versions(&meta.resource_version, &version)
                    .is_some_and(std::cmp::Ordering::is_lt) =>
            {
                self.turn(WatchTurn::WentBack);
                End::Stale("resourceVersion went back")
            }
            Ok(_) => self.stream(Some(version), "").await,
            Err(error) if error.is_stale_version() => End::Stale("version refused"),
            Err(error) => End::Failed(error.to_string()),
        }
    }

    /// Reads one watch to its end. Without a version it begins with everything there is.
    async fn stream(&mut self, version: Option<String>, reason: &'static str) -> End {
        let (initial, began) = (version.is_none(), Instant::now());
        let (ask, lasts) = request::watch(&self.door, &self.resource, &self.scope, version.as_deref());
        let opened = tokio::time::timeout(self.door.options().attempt_timeout, self.door.open(&ask)).await;
        let mut body = match opened {
            Ok(Ok(answer)) => answer.into_body(),
            Ok(Err(error)) if error.is_stale_version() => return End::Stale("version refused"),
            Ok(Err(error)) if initial && matches!(error.code, 400 | 422) => return End::NoInitialEvents,
            Ok(Err(error)) => return End::Failed(error.to_string()),
            Err(_) => return End::Failed("the watch was not answered in time".to_owned()),
        };
        self.turn(WatchTurn::Connected);
        let mut lines = Lines::default();
        let mut filling = initial.then_some(reason);
        loop {
            let chunk = match self.next_chunk(&mut body, filling.is_some()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) if lines.is_cut() => {
                    return End::Failed("cut off in the middle of an event".to_owned());
                }
                Ok(None) if began.elapsed() + A_MOMENT >= lasts => return End::Over,
                Ok(None) => return End::Closed,
                Err(end) => return end,
            };
            self.shared.store().heard();
            let mut end = None;
            lines.feed(&chunk, |piece| {
                end = self.line(piece, &mut filling);
                end.is_none()
            });
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// The next bytes; or why we do not wait for them any longer.
    async fn next_chunk(&self, body: &mut AnswerBody, filling: bool) -> Result<Option<Bytes>, End> {
        let asleep_at = self
            .door
            .options()
            .stall_timeout
            .map(|patience| Instant::now() + patience);
        let empty_at = filling.then(|| Instant::now() + INITIAL_PATIENCE);
        loop {
            // A list that is under way is ended first: asked for more often than one takes, none would ever end.
            if !filling && self.shared.store().wants_list() {
                return Err(End::Stale(WANTED));
            }
            let suspicious_at = self.shared.suspicious_at();
            let wake = [asleep_at, empty_at, suspicious_at].into_iter().flatten().min();
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = self.shared.awaiting.notified() => continue,
                () = sleep => {
                    let now = Instant::now();
                    if empty_at.is_some_and(|at| at <= now) {
                        return Err(End::NoInitialEvents);
                    }
                    if asleep_at.is_some_and(|at| at <= now) {
                        return Err(End::Stalled);
                    }
                    if self.shared.suspicious_at().is_some_and(|at| at <= now) {
                        return Err(End::Stale("in doubt"));
                    }
                    continue;
                }
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(End::Failed(format!("cut off: {error}"))),
                Some(Ok(frame)) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
    }

    /// One event. `filling` is set until the initial events are over.
    fn line(&self, piece: Piece<'_>, filling: &mut Option<&'static str>) -> Option<End> {
        let Piece::Object(bytes) = piece else {
            self.turn(WatchTurn::BadObject);
            return Some(End::Stale("an event too large to read"));
        };
        let Ok(line) = serde_json::from_slice::<WatchLine<'_>>(bytes) else {
            self.turn(WatchTurn::BadObject);
            return Some(End::Stale("an event that is no JSON"));
        };
        let object = line.object.get().as_bytes();
        let in_order = match line.kind.as_ref() {
            "ADDED" | "MODIFIED" => self.changed(object),
            "DELETED" => match serde_json::from_slice::<Named>(object) {
                Ok(Named { metadata }) => {
                    let key = ObjectKey::new(&metadata.namespace, &metadata.name);
                    self.shared.store().delete(&key, &metadata.resource_version)
                }
                Err(_) => return Some(End::Stale("a deletion that names nothing")),
            },
            "BOOKMARK" => match serde_json::from_slice::<Named>(object) {
                Ok(Named { metadata }) => match filling.take() {
                    None => self.shared.store().bookmark(&metadata.resource_version),
                    Some(reason) if metadata.annotations.is_some_and(|a| a.end.is_some()) => {
                        self.complete(&metadata.resource_version, reason);
                        true
                    }
                    // Not the one that ends the initial events: this server does not send that.
                    Some(_) => return Some(End::NoInitialEvents),
                },
                Err(_) => true,
            },
            "ERROR" => return Some(self.error_event(object)),
            _ => true,
        };
        if in_order {
            return None;
        }
        self.turn(WatchTurn::WentBack);
        Some(End::Stale("resourceVersion went back"))
    }

    fn changed(&self, object: &[u8]) -> bool {
        match decode::<T>(&self.resource, Piece::Object(object)) {
            Ok(object) => self.shared.store().put(object),
            Err((key, version, reason)) => {
                self.turn(WatchTurn::BadObject);
                warn_bad(&self.resource, key.as_ref(), &reason);
                key.is_none_or(|key| self.shared.store().put_bad(key, &version, reason))
            }
        }
    }

    /// Whatever the error, where we were may be of no use: list.
    fn error_event(&self, object: &[u8]) -> End {
        let status: StatusBody = serde_json::from_slice(object).unwrap_or_default();
        tracing::debug!(resource = %self.resource, code = status.code, reason = %status.reason, "watch error event");
        match status.code {
            410 => End::Stale("version expired"),
            _ => End::Stale("error event"),
        }
    }

    /// The list is complete.
    fn complete(&self, version: &str, reason: &'static str) {
        let (objects, began) = self.shared.store().end_relist(version);
        self.shared.store().heard();
        self.shared.synced.send_replace(true);
        self.shared.sure.send_replace(true);
        self.shared.listed.send_replace(began);
        self.turn(WatchTurn::Relisted { objects, reason });
    }

    /// A server that is put back to an earlier state (a restored etcd) breaks all connections. Where it has written as
    /// much again by the time we are back, versions do not show it: only a list is sure.
    fn doubt(&self) {
        let patience = self.door.jittered(DOUBTED_FOR);
        self.shared.store().doubt(Instant::now() + patience);
        self.shared.sure.send_replace(false);
    }

    /// Whether the store is as the server last listed it (and not half of a list).
    fn is_complete(&self) -> bool {
        self.shared.store().is_complete()
    }

    fn note(&self, end: &End) {
        let (turn, trouble) = match end {
            End::Over | End::Closed => (WatchTurn::Closed, None),
            End::Failed(reason) => (
                WatchTurn::Failed {
                    reason: reason.clone(),
                },
                Some(reason.clone()),
            ),
            End::Stalled => (WatchTurn::Stalled, Some("nothing heard for too long".to_owned())),
            End::Stale(reason) => (
                WatchTurn::Failed {
                    reason: (*reason).to_owned(),
                },
                Some((*reason).to_owned()),
            ),
            End::NoInitialEvents => (WatchTurn::Closed, None),
        };
        tracing::debug!(resource = %self.resource, ?end, "watch ended");
        if let Some(trouble) = trouble {
            self.shared.store().in_trouble(trouble);
        }
        self.turn(turn);
    }

    fn turn(&self, turn: WatchTurn) {
        self.door.options().observer.watch(&self.resource, &turn);
    }
}

fn drop_piece(_: Piece<'_>) {}
