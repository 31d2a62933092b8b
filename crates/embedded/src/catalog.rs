//! Which resources are served: the built-in ones (recorded from a real API server) and custom ones.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

/// Where objects of a resource live, whatever version they are served in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageKey {
    pub group: String,
    pub plural: String,
}

impl StorageKey {
    pub fn new(group: &str, plural: &str) -> Self {
        Self {
            group: group.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

/// One resource in one served version.
#[derive(Debug)]
pub struct Resource {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub singular: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub subresources: Vec<Subresource>,
    pub storage: StorageKey,
    /// The group and version objects are stored in.
    pub storage_group: String,
    pub storage_version: String,
    pub storage_version_hash: Option<String>,
    pub custom: Option<Arc<crate::custom::CustomVersion>>,
}

#[derive(Debug, Clone)]
pub struct Subresource {
    pub name: String,
    pub group: String,
    pub version: String,
    pub kind: String,
    pub verbs: Vec<String>,
}

impl Resource {
    /// `apps/v1`, `v1`.
    pub fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) => custom.list_kind.clone(),
            None => format!("{}List", self.kind),
        }
    }

    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    pub fn allows(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// Objects of it are kept in the store (reviews and bindings are not).
    pub fn is_stored(&self) -> bool {
        self.allows("list") && self.plural != "componentstatuses"
    }

    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.group == group && self.plural == plural
    }

    /// Said to everybody who uses a kind or version that is on its way out.
    pub fn deprecation(&self) -> Option<String> {
        match &self.custom {
            Some(custom) => custom.deprecation(),
            None if self.is("", "endpoints") => {
                Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned())
            }
            None => None,
        }
    }

    /// What is stored is in another version than what is served.
    pub fn converts(&self) -> bool {
        self.group != self.storage_group || self.version != self.storage_version
    }

    /// What is stored is what is served, to the byte.
    pub fn is_served_as_stored(&self) -> bool {
        !self.converts() && !self.custom.as_ref().is_some_and(|c| c.has_changed())
    }
}

pub fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// `apps/v1` to (`apps`, `v1`).
pub fn split_group_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// Resources by (group, version, plural), and the order groups are listed in.
#[derive(Debug, Default)]
pub struct Catalog {
    pub resources: BTreeMap<(String, String, String), Arc<Resource>>,
    /// Groups with their versions, both in discovery order.
    pub groups: Vec<(String, Vec<String>)>,
}

impl Catalog {
    pub fn get(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.resources.get(&key).cloned()
    }

    /// The resources of one group version, in the order of their names.
    pub fn of_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Resource>> {
        self.resources
            .range((group.to_owned(), version.to_owned(), String::new())..)
            .take_while(move |((g, v, _), _)| g == group && v == version)
            .map(|(_, resource)| resource)
    }

    pub fn insert(&mut self, resource: Resource) {
        let (group, version) = (resource.group.clone(), resource.version.clone());
        match self.groups.iter_mut().find(|(g, _)| *g == group) {
            Some((_, versions)) if versions.contains(&version) => {}
            Some((_, versions)) => versions.push(version.clone()),
            None => self.groups.push((group.clone(), vec![version.clone()])),
        }
        let key = (group, version, resource.plural.clone());
        self.resources.insert(key, Arc::new(resource));
    }
}

/// The built-in resources, shared by all servers of the process.
pub fn builtin() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(|| {
        let recorded: Vec<RecordedVersion> =
            serde_json::from_str(include_str!("../data/resources.json")).unwrap_or_default();
        let mut catalog = Catalog::default();
        for version in recorded {
            for resource in version.resources {
                catalog.insert(resource.into_resource(&version.group, &version.version));
            }
        }
        catalog
    })
}

#[derive(Deserialize)]
struct RecordedVersion {
    group: String,
    version: String,
    resources: Vec<RecordedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedResource {
    resource: String,
    response_kind: RecordedKind,
    scope: String,
    singular_resource: String,
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<RecordedSubresource>,
    storage_version_hash: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordedSubresource {
    subresource: String,
    response_kind: Option<RecordedKind>,
    verbs: Vec<String>,
}

#[derive(Deserialize, Clone)]
struct RecordedKind {
    group: String,
    version: String,
    kind: String,
}

impl RecordedResource {
    fn into_resource(self, group: &str, version: &str) -> Resource {
        let (storage_group, storage_version) = storage_of(group, version, &self.resource);
        let own = RecordedKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: String::new(),
        };
        let subresources = self
            .subresources
            .into_iter()
            .map(|s| {
                let kind = s.response_kind.unwrap_or_else(|| own.clone());
                let implied = kind.group.is_empty() && kind.version.is_empty();
                Subresource {
                    name: s.subresource,
                    group: if implied { group.to_owned() } else { kind.group },
                    version: if implied { version.to_owned() } else { kind.version },
                    kind: kind.kind,
                    verbs: s.verbs,
                }
            })
            .collect();
        Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: self.response_kind.kind,
            storage: StorageKey::new(&storage_group, &self.resource),
            plural: self.resource,
            singular: self.singular_resource,
            short_names: self.short_names,
            categories: self.categories,
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs,
            subresources,
            storage_group,
            storage_version,
            storage_version_hash: self.storage_version_hash,
            custom: None,
        }
    }
}

/// Kinds served in more than one group or version share one store.
fn storage_of(group: &str, version: &str, plural: &str) -> (String, String) {
    match (group, plural) {
        ("events.k8s.io", "events") => (String::new(), "v1".to_owned()),
        ("autoscaling", "horizontalpodautoscalers") => (group.to_owned(), "v2".to_owned()),
        _ => (group.to_owned(), version.to_owned()),
    }
}
