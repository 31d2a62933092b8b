//! `metadata.managedFields`: who owns what, since when, and in which version.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// The manager that takes over the oldest entries when there are too many.
const ANCIENT: &str = "ancient-changes";
/// More entries of operation Update than this are merged.
const MAX_UPDATERS: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// Who an entry belongs to. An applier keeps its entry when it changes version, an updater does not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ManagerId {
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

/// What a manager owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    pub fields: FieldSet,
    pub api_version: String,
    pub time: Option<Timestamp>,
}

/// All entries of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManagedFields {
    pub entries: BTreeMap<ManagerId, Owned>,
}

impl ManagerId {
    pub fn new(manager: &str, operation: Operation, api_version: &str, subresource: &str) -> ManagerId {
        ManagerId {
            manager: if manager.is_empty() { "unknown" } else { manager }.to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: subresource.to_owned(),
        }
    }
}

impl ManagedFields {
    /// Reads the list. The text of the error is what a real server says of it.
    pub fn decode(list: Option<&Value>) -> Result<ManagedFields, String> {
        let mut out = ManagedFields::default();
        let Some(Value::Array(items)) = list else {
            return Ok(out);
        };
        for (index, item) in items.iter().enumerate() {
            let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
            let operation = match text("operation") {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err("operation must be `Apply` or `Update`".to_owned()),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err("apiVersion must not be empty".to_owned());
            }
            match text("fieldsType") {
                "FieldsV1" => {}
                "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
                other => {
                    return Err(format!(
                        "invalid fieldsType {other:?} in managed fields entry {index}"
                    ));
                }
            }
            let empty = Value::Object(Map::new());
            let fields = FieldSet::from_fields_v1(item.get("fieldsV1").unwrap_or(&empty))
                .map_err(|error| format!("error decoding versioned set: error decoding set: {error}"))?;
            let id = ManagerId {
                manager: text("manager").to_owned(),
                ..ManagerId::new("", operation, api_version, text("subresource"))
            };
            let time = text("time").parse().ok();
            out.entries.insert(
                id,
                Owned {
                    fields,
                    api_version: api_version.to_owned(),
                    time,
                },
            );
        }
        Ok(out)
    }

    /// The list as an object carries it; `None` when nobody owns anything.
    pub fn encode(&self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        let mut entries: Vec<(&ManagerId, &Owned)> = self.entries.iter().collect();
        entries.sort_by_key(|(id, owned)| {
            let subresource = id.subresource.as_str();
            (
                id.operation,
                seconds(owned),
                id.manager.as_str(),
                owned.api_version.as_str(),
                subresource,
            )
        });
        Some(entries.into_iter().map(|(id, owned)| entry(id, owned)).collect())
    }

    /// Merges the oldest entries of operation Update once there are more than ten.
    pub(super) fn cap_updaters(&mut self) {
        let mut updaters: Vec<ManagerId> = self
            .entries
            .keys()
            .filter(|id| id.operation == Operation::Update)
            .cloned()
            .collect();
        updaters.sort_by_key(|id| (self.entries.get(id).map_or(0, seconds), id.clone()));
        let mut count = updaters.len();
        let mut first_of: BTreeMap<String, ManagerId> = BTreeMap::new();
        for id in updaters {
            if count <= MAX_UPDATERS {
                break;
            }
            let Some(version) = self.entries.get(&id).map(|owned| owned.api_version.clone()) else {
                continue;
            };
            let Some(first) = first_of.get(&version) else {
                first_of.insert(version, id);
                continue;
            };
            let bucket = ManagerId::new(ANCIENT, Operation::Update, &version, "");
            if !self.entries.contains_key(&bucket)
                && let Some(oldest) = self.entries.remove(first)
            {
                self.entries.insert(bucket.clone(), oldest);
            }
            if id == bucket {
                continue;
            }
            if let Some(moved) = self.entries.remove(&id)
                && let Some(old) = self.entries.get_mut(&bucket)
            {
                old.fields = old.fields.union(&moved.fields);
                old.time = moved.time;
                count -= 1;
            }
        }
    }
}

fn entry(id: &ManagerId, owned: &Owned) -> Value {
    let mut out = json!({
        "operation": id.operation.as_str(),
        "apiVersion": owned.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned.fields.to_fields_v1(),
    });
    let mut optional = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out[name] = Value::from(value);
        }
    };
    optional("manager", Some(id.manager.clone()));
    optional("subresource", Some(id.subresource.clone()));
    optional(
        "time",
        owned
            .time
            .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
    );
    out
}

fn seconds(owned: &Owned) -> i64 {
    owned.time.map_or(0, Timestamp::as_second)
}
