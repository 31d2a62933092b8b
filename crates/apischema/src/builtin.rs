//! The built-in kinds: one table, unpacked once per process.

use std::io::Read;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::defaults::DefaultTree;
use crate::types::{GoType, GroupVersionKind, ListTopology, TypeDef, TypeTable};

/// Everything a server knows about its built-in kinds, except their OpenAPI documents.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Builtin {
    pub table: TypeTable,
    /// In the order in which a real server lists them: groups by priority, resources by name.
    pub resources: Vec<ResourceInfo>,
    pub defaults: DefaultTree,
}

/// One resource as discovery describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceInfo {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub storage_version_hash: String,
    pub subresources: Vec<SubresourceInfo>,
}

/// A subresource; its kind may be of another group (`apps/v1` deployments/scale is `autoscaling/v1` Scale).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubresourceInfo {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

/// The table of the built-in kinds.
pub fn builtin() -> &'static Builtin {
    static BUILTIN: OnceLock<Builtin> = OnceLock::new();
    BUILTIN.get_or_init(|| {
        // The file is made by `cargo xtask schema`, and a test decodes it: an error cannot reach a user.
        let packed = inflate(include_bytes!("../data/builtin.bin"));
        let mut builtin: Builtin = postcard::from_bytes(&packed).unwrap_or_default();
        builtin.table.settle();
        builtin
    })
}

impl TypeTable {
    /// Two marks of fields that the recorded table, which knows types, does not tell.
    fn settle(&mut self) {
        // A reference that may be empty is known by its empty name.
        let is_reference = |table: &Self, id| {
            table
                .go(id)
                .is_some_and(|go| go.name == "v1.LocalObjectReference")
        };
        for index in 0..self.types.len() {
            let TypeDef::List { item, .. } = &self.types[index] else {
                continue;
            };
            if !is_reference(self, *item) {
                continue;
            }
            if let TypeDef::List {
                topology: ListTopology::Map { keys },
                ..
            } = &mut self.types[index]
            {
                keys.iter_mut().for_each(|key| key.default = Some(String::new()));
            }
        }
        // Of a volume's claim the parts are owned, of other references the whole.
        let volume = GroupVersionKind {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "PersistentVolume".to_owned(),
        };
        let spec = self.kind(&volume).and_then(|kind| self.get(kind).field("spec"));
        let Some(spec) = spec.map(|field| field.ty) else {
            return;
        };
        let Some(claim) = self.get(spec).field("claimRef").map(|field| field.ty) else {
            return;
        };
        let mut def = self.get(claim).clone();
        if let TypeDef::Struct { atomic, .. } = &mut def {
            *atomic = false;
        }
        let go = self.go.get(claim.0 as usize).cloned().unwrap_or_default();
        self.go.resize(self.types.len(), GoType::default());
        self.go.push(go);
        let granular = self.push(def);
        if let Some(TypeDef::Struct { fields, .. }) = self.types.get_mut(spec.0 as usize) {
            let reference = fields.iter_mut().find(|f| f.name == "claimRef");
            reference.into_iter().for_each(|field| field.ty = granular);
        }
    }
}

/// Group and version in which a real server stores a built-in resource.
pub fn storage_version(group: &str, resource: &str) -> Option<(&'static str, &'static str)> {
    match (group, resource) {
        ("autoscaling", "horizontalpodautoscalers") => Some(("autoscaling", "v2")),
        ("events.k8s.io" | "", "events") => Some(("", "v1")),
        _ => builtin()
            .resources
            .iter()
            .find(|r| r.group == group && r.plural == resource)
            .map(|r| (r.group.as_str(), r.version.as_str())),
    }
}

impl Builtin {
    /// The resource of a URL's group, version and plural name.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&ResourceInfo> {
        self.resources
            .iter()
            .find(|r| r.group == group && r.version == version && r.plural == plural)
    }
}

pub(crate) fn inflate(packed: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(packed.len() * 8);
    match flate2::read::DeflateDecoder::new(packed).read_to_end(&mut out) {
        Ok(_) => out,
        Err(_) => Vec::new(),
    }
}
