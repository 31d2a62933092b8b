//! The Go program's defaults.json as a `DefaultTree`; conditional defaults stay out, they are written by hand.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;

use apischema::defaults::{DefaultNode, DefaultTree};
use apischema::{GroupVersionKind, TypeDef, TypeId, TypeTable};
use serde::Deserialize;
use serde_json::Value;

/// Kind, path prefix: seen in recording, but dependent on other fields or on the time.
const BY_HAND: &[(&str, &str)] = &[
    ("", "imagePullPolicy"),
    ("Deployment", "spec.strategy.rollingUpdate"),
    ("DaemonSet", "spec.updateStrategy.rollingUpdate"),
    ("StatefulSet", "spec.updateStrategy.rollingUpdate"),
    ("Job", "spec.completions"),
    ("Job", "spec.parallelism"),
    ("Job", "spec.backoffLimit"),
    ("Job", "spec.podReplacementPolicy"),
    ("Service", "spec.internalTrafficPolicy"),
    ("NetworkPolicy", "spec.policyTypes"),
    ("PriorityLevelConfiguration", "spec.limited.limitResponse.queuing"),
    ("ResourceClaim", "count"),
    ("ResourceClaimTemplate", "count"),
    ("ResourceSlice", "timeAdded"),
    ("", "image.pullPolicy"),
];

#[derive(Deserialize)]
struct Kind {
    group: String,
    version: String,
    kind: String,
    defaults: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    path: Vec<String>,
    value: Value,
}

#[derive(Default)]
struct Draft {
    value: Option<String>,
    children: BTreeMap<String, Draft>,
}

pub fn tree(recorded: &Value, table: &TypeTable) -> Result<DefaultTree, Box<dyn Error>> {
    let mut builder = Builder {
        table,
        tree: DefaultTree::default(),
        known: HashMap::new(),
    };
    for kind in Vec::<Kind>::deserialize(recorded)? {
        let mut draft = Draft::default();
        for default in kind.defaults.iter().filter(|d| !is_by_hand(&kind.kind, &d.path)) {
            let mut at = &mut draft;
            for name in &default.path {
                at = at.children.entry(name.clone()).or_default();
            }
            at.value = Some(default.value.to_string());
        }
        let gvk = GroupVersionKind {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
        };
        let ty = table
            .kind(&gvk)
            .ok_or_else(|| format!("{gvk:?} has defaults but no type"))?;
        let root = builder.node(&draft, ty, false, true);
        builder.tree.kinds.insert(gvk, root);
    }
    Ok(builder.tree)
}

fn is_by_hand(kind: &str, path: &[String]) -> bool {
    let joined = path.join(".");
    BY_HAND.iter().any(|(of, prefix)| {
        let applies = of.is_empty() || *of == kind;
        applies && (joined.starts_with(prefix) || joined.ends_with(&format!(".{prefix}")))
    })
}

struct Builder<'a> {
    table: &'a TypeTable,
    tree: DefaultTree,
    known: HashMap<DefaultNode, u32>,
}

impl Builder<'_> {
    fn node(&mut self, draft: &Draft, ty: TypeId, pointer: bool, present: bool) -> u32 {
        let mut node = DefaultNode {
            value: draft.value.clone(),
            present,
            pointer,
            items: None,
            fields: Vec::new(),
        };
        for (name, child) in &draft.children {
            match self.table.get(ty) {
                TypeDef::List { item, .. } => node.items = Some(self.node(child, *item, false, true)),
                TypeDef::Struct { fields, .. } => {
                    let Some(index) = fields.iter().position(|f| f.name == *name) else {
                        continue;
                    };
                    let field = fields[index].ty;
                    let pointer = self.table.go(ty).is_some_and(|go| go.fields[index].pointer);
                    let present = !pointer && matches!(self.table.get(field), TypeDef::Struct { .. });
                    let id = self.node(child, field, pointer, present);
                    node.fields.push((name.clone(), id));
                }
                _ => {}
            }
        }
        let next = u32::try_from(self.tree.nodes.len()).unwrap_or(u32::MAX);
        *self.known.entry(node.clone()).or_insert_with(|| {
            self.tree.nodes.push(node);
            next
        })
    }
}
