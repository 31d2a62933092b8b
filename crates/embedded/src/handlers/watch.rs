//! watch: a stream of events from a revision on, filtered and encoded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::read::{check_list_options, revision, selection};
use crate::answer::Answer;
use crate::body::ResponseBody;
use crate::catalog::Resource;
use crate::negotiate::{self, Form};
use crate::route::Target;
use crate::selector::Selection;
use crate::server::ApiServer;
use crate::service::Call;
use crate::status::Status;
use crate::store::{Event, EventKind, Stored};
use crate::{pipeline, printing, show};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Events taken from the store at a time.
const BATCH: usize = 256;

pub(crate) async fn watch(call: &Call, target: &Target) -> Result<Answer, Status> {
    let form = match negotiate::form(call.header("accept"))? {
        Form::Yaml => return Err(Status::not_acceptable(&["application/json"])),
        form => form,
    };
    check_list_options(call, true)?;
    let selection = selection(call, target)?;
    let timeout = match call
        .query
        .integer("timeoutSeconds")?
        .and_then(|s| u64::try_from(s).ok())
    {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        // As a real server: between 30 and 60 minutes, so that watches do not all end together.
        _ => Duration::from_secs(1800 + call.server.random_u64() % 1800),
    };
    let from = match call.query.get("resourceVersion").unwrap_or_default() {
        "" | "0" => None,
        // A real server forgets to say that this is a bad request.
        text => Some(revision(text).map_err(Status::unworded)?),
    };
    let initial = call.query.optional_flag("sendInitialEvents");
    let now = Instant::now();
    let bookmarks = call.query.flag("allowWatchBookmarks");
    let mut watcher = Watcher {
        server: call.server.clone(),
        resource: target.resource.clone(),
        selection,
        form,
        include: match form {
            Form::Table => show::include_object(call)?.to_owned(),
            _ => String::new(),
        },
        head_sent: false,
        cursor: 0,
        ready: VecDeque::new(),
        changed: None,
        deadline: now + timeout,
        bookmark_at: bookmarks.then(|| now + BOOKMARK_EVERY),
        ended: false,
    };
    watcher.begin(from, initial, bookmarks).await;
    let stream = futures::stream::unfold(watcher, |mut watcher| async move {
        let line = watcher.next().await?;
        Some((line, watcher))
    });
    let mut answer = Answer::bytes(200, "application/json", Bytes::new());
    answer.body = ResponseBody::Stream(Box::pin(stream));
    Ok(answer)
}

struct Watcher {
    server: ApiServer,
    resource: Arc<Resource>,
    selection: Selection,
    form: Form,
    include: String,
    /// The column definitions of a table are sent once.
    head_sent: bool,
    /// Everything up to here has been sent or skipped.
    cursor: u64,
    ready: VecDeque<Bytes>,
    changed: Option<tokio::sync::watch::Receiver<u64>>,
    deadline: Instant,
    bookmark_at: Option<Instant>,
    ended: bool,
}

impl Watcher {
    fn store(&self) -> &crate::store::Store {
        &self.server.inner.store
    }

    /// Queues the initial events and finds the place to go on from.
    async fn begin(&mut self, from: Option<u64>, initial: Option<bool>, bookmarks: bool) {
        let current = self.store().settled_revision();
        let wants_state = match initial {
            Some(wanted) => wanted,
            None => from.is_none(),
        };
        if wants_state {
            let at = current;
            let objects = self
                .store()
                .snapshot_at(&self.resource.storage, &self.selection.prefix, at);
            let Ok(objects) = objects else {
                return self.fail(&too_old(at, current));
            };
            self.cursor = at;
            for object in &objects {
                if !self.selection.matches(object) {
                    continue;
                }
                let line = self.encode(EventKind::Added, object, None).await;
                self.push(line);
            }
            if initial == Some(true) && bookmarks {
                let line = self.bookmark(at, true);
                self.push(line);
            }
        } else {
            self.cursor = from.unwrap_or(current);
        }
        match self.store().watch(&self.resource.storage, self.cursor) {
            Ok(receiver) => self.changed = Some(receiver),
            Err(_) => self.fail(&too_old(self.cursor, current)),
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.ended || Instant::now() >= self.deadline {
                return None;
            }
            if self.fill().await {
                continue;
            }
            self.wait().await;
        }
    }

    /// Takes events from the store; false when there are none.
    async fn fill(&mut self) -> bool {
        if let Some(changed) = &mut self.changed {
            changed.borrow_and_update();
        }
        let events = match self
            .store()
            .events_after(&self.resource.storage, self.cursor, BATCH)
        {
            Ok(events) => events,
            Err(_) => {
                self.fail(&too_old(self.cursor, self.store().settled_revision()));
                return true;
            }
        };
        for event in &events {
            self.cursor = event.revision;
            if let Some(line) = self.event(event).await {
                self.push(line);
            }
        }
        !events.is_empty()
    }

    async fn wait(&mut self) {
        let wake = self.bookmark_at.map_or(self.deadline, |b| b.min(self.deadline));
        let Some(changed) = &mut self.changed else {
            self.ended = true;
            return;
        };
        tokio::select! {
            biased;
            result = changed.changed() => self.ended = result.is_err(),
            () = sleep_until(wake) => self.tick().await,
        }
    }

    /// The time of a bookmark, or the end, has come.
    async fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.deadline {
            self.ended = true;
        } else if self.bookmark_at.is_some_and(|at| now >= at) {
            self.bookmark_at = Some(now + BOOKMARK_EVERY);
            let at = self.store().settled_revision();
            if self.fill().await || at < self.cursor {
                return;
            }
            let line = self.bookmark(at, false);
            self.push(line);
        }
    }

    fn push(&mut self, line: Result<Bytes, Status>) {
        match line {
            Ok(line) => self.ready.push_back(line),
            Err(status) => self.fail(&status),
        }
    }

    fn fail(&mut self, status: &Status) {
        let event = json!({"type": "ERROR", "object": status.to_value()});
        self.ready.push_back(Bytes::from(format!("{event}\n")));
        self.ended = true;
    }

    /// What this watcher sees of an event: a change of labels may look like an addition or a deletion.
    async fn event(&mut self, event: &Arc<Event>) -> Option<Result<Bytes, Status>> {
        let now = event.kind != EventKind::Deleted && self.selection.matches(&event.object);
        let before = event.previous.as_ref().is_some_and(|p| self.selection.matches(p));
        let kind = match (before, now) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        let left = kind == EventKind::Deleted && event.kind != EventKind::Deleted;
        if left {
            // It no longer matches: its last matching state, with the revision of the change.
            let previous = event.previous.as_ref()?;
            return Some(self.encode(kind, previous, Some(event.revision)).await);
        }
        if self.form != Form::Json || !self.resource.is_served_as_stored() {
            return Some(self.encode(kind, &event.object, None).await);
        }
        let slot = &event.lines[kind as usize];
        Some(Ok(slot
            .get_or_init(|| plain_line(&self.resource, kind, &event.object))
            .clone()))
    }

    async fn encode(&mut self, kind: EventKind, object: &Stored, at: Option<u64>) -> Result<Bytes, Status> {
        if self.form == Form::Json && at.is_none() && self.resource.is_served_as_stored() {
            return Ok(plain_line(&self.resource, kind, object));
        }
        let mut value = show::served_value(&self.server, &self.resource, object).await?;
        if let (Some(at), Some(metadata)) = (at, value.get_mut("metadata")) {
            metadata["resourceVersion"] = at.to_string().into();
        }
        let shown = match self.form {
            Form::Metadata => show::partial(&value),
            Form::Table => self.table(&value),
            Form::Json | Form::Yaml => value,
        };
        let event = json!({"type": kind.as_str(), "object": shown});
        Ok(Bytes::from(format!("{event}\n")))
    }

    fn table(&mut self, value: &Value) -> Value {
        let rows = std::slice::from_ref(value);
        let with_columns = !std::mem::replace(&mut self.head_sent, true);
        let mut out = printing::of(&self.server, &self.resource, rows, &self.include, with_columns);
        out["metadata"] = json!({"resourceVersion": value.pointer("/metadata/resourceVersion")});
        out
    }

    fn bookmark(&mut self, at: u64, initial_end: bool) -> Result<Bytes, Status> {
        let mut metadata = json!({"resourceVersion": at.to_string()});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (version, kind) = match self.form {
            Form::Metadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata".to_owned()),
            _ => (self.resource.api_version(), self.resource.kind.clone()),
        };
        // A built-in kind's bookmark is an object of its Go type, with nothing set.
        let mut object = match self.form {
            Form::Metadata => json!({"kind": kind, "apiVersion": version}),
            _ if self.resource.custom.is_some() => json!({"kind": kind, "apiVersion": version}),
            _ => pipeline::bookmark(&self.resource),
        };
        object["metadata"] = metadata;
        if self.form == Form::Table {
            object = self.table(&object);
        }
        let event = json!({"type": "BOOKMARK", "object": object});
        Ok(Bytes::from(format!("{event}\n")))
    }
}

/// `{"type":"ADDED","object":{...}}` around the stored bytes.
fn plain_line(resource: &Resource, kind: EventKind, object: &Stored) -> Bytes {
    let start = format!(
        r#"{{"type":"{}","object":{}"#,
        kind.as_str(),
        show::head(resource)
    );
    let body = object.body.get(1..).unwrap_or_default();
    let mut line = BytesMut::with_capacity(start.len() + body.len() + 2);
    line.put_slice(start.as_bytes());
    line.put_slice(body);
    line.put_slice(b"}\n");
    line.freeze()
}

fn too_old(asked: u64, current: u64) -> Status {
    Status::expired(format!("too old resource version: {asked} ({current})"))
}
