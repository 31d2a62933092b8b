//! Random operations from a seed. What an operation needs of earlier answers (a resourceVersion, a uid, a continue
//! token) it names by the object, and the runner fills in each server's own.

mod kinds;
mod others;
mod pods;
mod verbs;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use kinds::{KINDS, Kind};

#[derive(Debug, Clone)]
pub struct Operation {
    pub method: &'static str,
    /// `{ns}` is the trace's namespace, `{seen}` the version of the collection when it was last listed.
    pub path: String,
    pub content_type: &'static str,
    pub accept: &'static str,
    pub user: Option<&'static str>,
    /// Ask for the next page while there is one.
    pub follow: bool,
    pub body: Body,
}

#[derive(Debug, Clone)]
pub enum Body {
    None,
    Json(Value),
    Text(&'static str),
    /// Read the object at the path, apply this merge patch to it, and send the whole (an update).
    ReadModify(Value),
    /// As `ReadModify`, with the resourceVersion of an older state of the object.
    StaleModify(Value),
    /// Read the object at the path, change any one place of it, and send the whole.
    Mutated {
        seed: u64,
        kind: (&'static str, &'static str, &'static str),
    },
}

pub const JSON: &str = "application/json";
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
pub const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

pub fn trace(seed: u64, length: usize) -> Vec<Operation> {
    let mut rng = StdRng::seed_from_u64(seed);
    // A trace keeps to a few kinds, so that the objects it makes meet again.
    let kinds: Vec<&Kind> = KINDS.choose_multiple(&mut rng, 6).collect();
    (0..length).map(|_| operation(&mut rng, &kinds)).collect()
}

/// The namespace is deleted, and stays for as long as it holds something.
pub fn in_dying_namespace(seed: u64) -> Vec<Operation> {
    let mut rng = StdRng::seed_from_u64(seed);
    let kinds: Vec<&Kind> = KINDS.iter().filter(|k| k.namespaced).collect();
    let mut all = vec![
        plain("DELETE", "/api/v1/namespaces/{ns}".to_owned()),
        plain("GET", "/api/v1/namespaces/{ns}".to_owned()),
        plain("DELETE", "/api/v1/namespaces/{ns}".to_owned()),
    ];
    all.extend((0..8).map(|_| operation(&mut rng, &kinds)));
    all
}

fn operation(rng: &mut StdRng, kinds: &[&Kind]) -> Operation {
    let kind: &Kind = kinds.choose(rng).unwrap();
    let target = Target::new(rng, kind);
    let mut operation = match rng.random_range(0..100) {
        0..=21 => verbs::create(rng, &target),
        22..=27 => verbs::get(rng, &target),
        28..=35 => verbs::list(rng, &target),
        36..=43 => verbs::update(rng, &target),
        44..=51 => verbs::mutated(rng, &target),
        52..=59 => verbs::merge_patch(rng, &target),
        60..=65 => verbs::strategic_patch(rng, &target),
        66..=69 => verbs::json_patch(rng, &target),
        70..=80 => verbs::apply(rng, &target),
        81..=86 => verbs::delete(rng, &target),
        87 => verbs::delete_collection(rng, &target),
        88..=91 => others::subresource(rng),
        92..=93 => others::definition(rng),
        94 => others::review(rng),
        95 => others::discovery(rng),
        _ => verbs::odd(rng, &target),
    };
    if operation.user.is_none() && chance(rng, 4) {
        operation.user = Some(pick(
            rng,
            &["nobody", "reader", "system:serviceaccount:{ns}:default"],
        ))
        .filter(|u| !u.contains("{ns}"));
    }
    operation
}

/// A kind, a name of it, and its URLs.
struct Target<'a> {
    kind: &'a Kind,
    name: String,
    collection: String,
    object: String,
}

impl<'a> Target<'a> {
    fn new(rng: &mut StdRng, kind: &'a Kind) -> Self {
        let name = pick(rng, &NAMES);
        let (name, collection) = match kind.namespaced {
            true => (
                name.to_owned(),
                format!("{}/namespaces/{{ns}}/{}", kind.prefix, kind.plural),
            ),
            false => (
                format!("{{ns}}-{name}"),
                format!("{}/{}", kind.prefix, kind.plural),
            ),
        };
        Self {
            kind,
            object: format!("{collection}/{name}"),
            name,
            collection,
        }
    }

    fn make(&self, rng: &mut StdRng) -> Value {
        let mut made = (self.kind.make)(rng);
        let (group, version, kind) = self.kind.gvk;
        made["apiVersion"] = match group {
            "" => Value::from(version),
            _ => Value::from(format!("{group}/{version}")),
        };
        made["kind"] = Value::from(kind);
        made["metadata"] = metadata(rng, &self.name);
        made
    }
}

fn plain(method: &'static str, path: String) -> Operation {
    Operation {
        method,
        path,
        content_type: JSON,
        accept: JSON,
        user: None,
        follow: false,
        body: Body::None,
    }
}

fn with_body(method: &'static str, path: String, content_type: &'static str, body: Body) -> Operation {
    Operation {
        content_type,
        body,
        ..plain(method, path)
    }
}

fn query(rng: &mut StdRng, choices: &[&str], percent: u32) -> String {
    if chance(rng, percent) {
        format!("?{}", pick(rng, choices))
    } else {
        String::new()
    }
}

fn chance(rng: &mut StdRng, percent: u32) -> bool {
    rng.random_range(0..100) < percent
}

fn pick<T: Clone>(rng: &mut StdRng, from: &[T]) -> T {
    from.choose(rng).unwrap().clone()
}

fn metadata(rng: &mut StdRng, name: &str) -> Value {
    let mut metadata = json!({"name": name});
    if chance(rng, 50) {
        metadata["labels"] = json!({"tier": pick(rng, &["gold", "silver", "bronze"])});
    }
    if chance(rng, 20) {
        metadata["annotations"] = json!({"note": "some text"});
    }
    metadata
}
