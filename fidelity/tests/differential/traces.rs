//! One trace on both servers.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::client::{Client, Reply, Request};
use crate::compare::{Masks, differences};
use crate::found::{Found, Parted, place_of, shape};
use crate::generate::{Body, Operation, in_dying_namespace, trace};
use crate::mutate::mutate;
use crate::side::{Setting, Side};
use crate::watches::{self, Watch};
use crate::written::Written;

pub async fn run(seed: u64, length: usize, left: &Side, right: &Side) -> Found {
    let namespace = format!("trace-{seed}");
    let setting = match seed % 8 {
        3 => Setting::Limited,
        5 => Setting::Secured,
        _ => Setting::Plain,
    };
    tokio::join!(
        left.create_namespace(&namespace, setting),
        right.create_namespace(&namespace, setting)
    );
    let mut pair = Pair::new(format!("seed {seed}"), namespace.clone(), left, right);
    let mut watched = Vec::new();
    for watch in watches::chosen(seed) {
        watched.push(Watched::start(watch, &namespace, left, right).await);
    }
    for (index, operation) in trace(seed, length).iter().enumerate() {
        pair.perform(&index.to_string(), operation).await;
    }
    tokio::join!(watches::end(left, &namespace), watches::end(right, &namespace));
    for watched in watched {
        pair.judge_watch(watched, left, right).await;
    }
    if seed % 4 == 1 {
        for (index, operation) in in_dying_namespace(seed).iter().enumerate() {
            pair.perform(&format!("{index} of the end"), operation).await;
        }
    }
    pair.found
}

/// A written trace, in a namespace of its own.
pub async fn run_written(written: &Written, left: &Side, right: &Side) -> Found {
    let namespace = format!("written-{}", written.name);
    tokio::join!(
        left.create_namespace(&namespace, Setting::Plain),
        right.create_namespace(&namespace, Setting::Plain)
    );
    let mut pair = Pair::new(written.name.clone(), namespace, left, right);
    for (index, step) in written.steps.iter().enumerate() {
        match &step.until {
            Some(words) => pair.repeat(&step.operation, words).await,
            None => pair.perform(&index.to_string(), &step.operation).await,
        }
    }
    pair.found
}

struct Watched {
    watch: Watch,
    from: [String; 2],
    streams: [tokio::task::JoinHandle<Vec<Value>>; 2],
}

impl Watched {
    async fn start(watch: Watch, namespace: &str, left: &Side, right: &Side) -> Self {
        let path = watch.collection.replace("{ns}", namespace);
        let (one, two) = tokio::join!(left.version(&path), right.version(&path));
        Self {
            watch,
            streams: [
                watches::follow(left, watch, namespace, &one),
                watches::follow(right, watch, namespace, &two),
            ],
            from: [one, two],
        }
    }
}

struct Pair {
    /// What to say where a difference is found: the seed, or what the trace was called.
    trace: String,
    namespace: String,
    runs: [Run; 2],
    parted: Parted,
    found: Found,
}

impl Pair {
    fn new(trace: String, namespace: String, left: &Side, right: &Side) -> Self {
        Self {
            trace,
            runs: [Run::new(left, &namespace), Run::new(right, &namespace)],
            namespace,
            parted: Parted::default(),
            found: Found::default(),
        }
    }

    /// Until both replies have the words.
    async fn repeat(&mut self, operation: &Operation, words: &str) {
        let [one, two] = &mut self.runs;
        let (real, embedded) = tokio::join!(one.repeat(operation, words), two.repeat(operation, words));
        for (server, last) in [("real", real), ("embedded", embedded)] {
            if let Some(last) = last {
                self.found.note(
                    format!("{} {}: never {words:?}", self.trace, operation.path),
                    format!("  on the {server} server, which says at last {last}"),
                );
            }
        }
    }

    async fn perform(&mut self, place: &str, operation: &Operation) {
        let [one, two] = &mut self.runs;
        let (real, embedded) = tokio::join!(one.perform(operation), two.perform(operation));
        let differing = differences(&real, &embedded);
        if std::env::var("DIFFERENTIAL_PRINT").is_ok() {
            let (sent, place) = (
                &self.runs[0].sent,
                format!("{} {}", operation.method, operation.path),
            );
            println!(
                "{place}\n    {sent}\n    {} / {}",
                real["status"], embedded["status"]
            );
        }
        if differing.is_empty() {
            return;
        }
        if self.parted.covers(operation) {
            self.found.echoes += 1;
            return;
        }
        let sent = &self.runs[0].sent;
        let sent = if sent.len() > 2500 {
            &sent[..sent.floor_char_boundary(2500)]
        } else {
            sent
        };
        let place = format!(
            "{} operation {place}: {} {}{} {} for {}\n    {sent}",
            self.trace,
            operation.method,
            operation.path,
            operation.user.map_or_else(String::new, |u| format!(" as {u}")),
            operation.content_type,
            operation.accept,
        );
        self.found.note(
            self.known_as(shape(operation, &real, &embedded, &differing[0])),
            format!("  {place}\n    {}", differing.join("\n    ")),
        );
        self.parted.note(operation, &real, &embedded);
    }

    /// What is known of a written trace excuses nothing elsewhere.
    fn known_as(&self, shape: String) -> String {
        match self.trace.starts_with("seed ") {
            true => shape,
            false => format!("{}: {shape}", self.trace),
        }
    }

    async fn judge_watch(&mut self, watched: Watched, left: &Side, right: &Side) {
        let Watched { watch, from, streams } = watched;
        let [one, two] = streams;
        let (real, embedded) = (one.await.unwrap(), two.await.unwrap());
        self.compare_watch(watch, "live", real, embedded);
        let (real, embedded) = tokio::join!(
            watches::replay(left, watch, &self.namespace, &from[0]),
            watches::replay(right, watch, &self.namespace, &from[1])
        );
        self.compare_watch(watch, "replayed", real, embedded);
    }

    fn compare_watch(&mut self, watch: Watch, how: &str, real: Vec<Value>, embedded: Vec<Value>) {
        let (real, embedded) = (watches::masked(real), watches::masked(embedded));
        let differing = differences(&real, &embedded);
        if differing.is_empty() {
            return;
        }
        if self.parted.covers_collection(watch.collection) {
            self.found.echoes += 1;
            return;
        }
        self.found.note(
            format!("watch {how} {} {}", watch.collection, place_of(&differing[0])),
            format!(
                "  {} {watch:?}\n    {}\n    real {}\n    embedded {}",
                self.trace,
                differing.join("\n    "),
                watches::outline(&real),
                watches::outline(&embedded)
            ),
        );
    }
}

/// One server's run of a trace.
struct Run {
    client: Client,
    namespace: String,
    masks: Masks,
    /// Old states by path, for stale updates.
    states: BTreeMap<String, Value>,
    /// Versions of collections as they were listed, for later reads at them.
    versions: BTreeMap<String, String>,
    /// The last body.
    sent: String,
}

impl Run {
    fn new(side: &Side, namespace: &str) -> Self {
        Self {
            client: side.client.clone(),
            namespace: namespace.to_owned(),
            masks: Masks::default(),
            states: BTreeMap::new(),
            versions: BTreeMap::new(),
            sent: String::new(),
        }
    }

    async fn perform(&mut self, operation: &Operation) -> Value {
        let mut path = operation.path.replace("{ns}", &self.namespace);
        let collection = path.split('?').next().unwrap_or_default().to_owned();
        if path.contains("{seen}") {
            let version = self.versions.get(&collection).map_or("0", String::as_str);
            path = path.replace("{seen}", version);
        }
        self.sent = match &operation.body {
            Body::None => String::new(),
            Body::Json(body) => body.to_string(),
            Body::Text(text) => (*text).to_owned(),
            Body::ReadModify(change) => self.modified(&path, change, false).await,
            Body::StaleModify(change) => self.modified(&path, change, true).await,
            Body::Mutated { seed, kind } => self.mutated(&path, *seed, *kind).await,
        }
        .replace("{ns}", &self.namespace);
        if path.contains("resourceVersion=0") && !path.contains("watch=true") {
            // It may be answered from a cache that lags. A consistent list waits until the cache has caught up.
            self.client.get(&collection).await;
        }
        let mut replies = vec![self.send(operation, &path).await];
        if let Some(version) = replies[0].value()["metadata"]["resourceVersion"].as_str()
            && operation.method == "GET"
        {
            self.versions.insert(collection, version.to_owned());
        }
        while operation.follow && replies.len() < 10 {
            let last = replies.last().map(Reply::value).unwrap_or_default();
            let Some(token) = last["metadata"]["continue"].as_str().filter(|t| !t.is_empty()) else {
                break;
            };
            let next = format!("{path}&continue={token}");
            replies.push(self.send(operation, &next).await);
        }
        match replies.len() {
            1 => self.masked(&replies[0]),
            _ => Value::from_iter(replies.iter().map(|r| self.masked(r))),
        }
    }

    /// The last reply, if it never had the words.
    async fn repeat(&mut self, operation: &Operation, words: &str) -> Option<Value> {
        let mut last = Value::Null;
        for _ in 0..80 {
            last = self.perform(operation).await;
            if last.to_string().contains(words) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(last)
    }

    async fn send(&self, operation: &Operation, path: &str) -> Reply {
        self.client
            .send(&Request {
                method: operation.method,
                path,
                content_type: operation.content_type,
                accept: operation.accept,
                user: operation.user,
                body: &self.sent,
            })
            .await
    }

    /// The object that a write to the path or to a subresource of it starts from.
    async fn current(&self, path: &str) -> Value {
        let mut object = path.split('?').next().unwrap_or_default();
        for subresource in ["/status", "/resize", "/ephemeralcontainers"] {
            object = object.strip_suffix(subresource).unwrap_or(object);
        }
        let current = self.client.get(object).await.value();
        match current["kind"] == "Status" {
            true => json!({"metadata": {"name": object.rsplit('/').next()}}),
            false => current,
        }
    }

    async fn modified(&mut self, path: &str, change: &Value, stale: bool) -> String {
        let mut body = self.current(path).await;
        let old = self.states.insert(path.to_owned(), body.clone());
        json_patch::merge(&mut body, change);
        if stale && let Some(version) = old.as_ref().and_then(|o| o["metadata"].get("resourceVersion")) {
            body["metadata"]["resourceVersion"] = version.clone();
        }
        body.to_string()
    }

    async fn mutated(&self, path: &str, seed: u64, kind: (&str, &str, &str)) -> String {
        let mut body = self.current(path).await;
        mutate(&mut StdRng::seed_from_u64(seed), kind, &mut body);
        body.to_string()
    }

    fn masked(&mut self, reply: &Reply) -> Value {
        let mut body: Value = serde_json::from_slice(&reply.body).unwrap_or_else(|_| lines(&reply.body));
        self.masks.mask(&mut body);
        let mut warnings = json!(reply.warnings);
        self.masks.mask(&mut warnings);
        json!({"status": reply.status, "body": body, "warnings": warnings})
    }
}

/// A watch that has ended is its events; what is not JSON is its text.
fn lines(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let events: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match events {
        Ok(mut events) => {
            events.retain(|event| !watches::is_timed_bookmark(event));
            Value::Array(events)
        }
        Err(_) => Value::from(text),
    }
}
