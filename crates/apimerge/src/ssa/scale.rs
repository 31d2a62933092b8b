//! Ownership of an object's replicas through its scale subresource: the entries of the object that own them become
//! those of a Scale, and what a write makes of these goes back.

use serde_json::Value;

use super::managed::{ManagedFields, ManagerId, Operation, Owned};
use super::path::PathElement;
use super::set::FieldSet;

const SCALE: &str = "autoscaling/v1";

/// The managedFields of the Scale of an object whose replicas are at `replicas`.
pub fn to_scale(list: Option<&Value>, replicas: &[PathElement]) -> Option<Value> {
    let parent = ManagedFields::decode(list).ok()?;
    let mut scale = ManagedFields::default();
    for (id, owned) in parent.entries.iter().filter(|(_, o)| o.fields.contains(replicas)) {
        let owned = Owned {
            fields: FieldSet::of_fields(&[&["spec", "replicas"]]),
            api_version: SCALE.to_owned(),
            time: owned.time,
        };
        scale.entries.insert(as_decoded(id, &owned), owned);
    }
    scale.encode()
}

/// The managedFields of the object after its Scale got the entries `scale`.
///
/// As in a real server, whoever owns replicas by an update through the object loses them to an entry without a time:
/// updaters are known by their version, which is another in a Scale.
pub fn from_scale(
    list: Option<&Value>,
    scale: Option<&Value>,
    api_version: &str,
    replicas: &[PathElement],
) -> Option<Value> {
    let parent = ManagedFields::decode(list).ok()?;
    let mut scale = ManagedFields::decode(scale).ok()?.entries;
    let mut out = ManagedFields::default();
    let mut path = FieldSet::new();
    path.insert(replicas);
    for (id, owned) in &parent.entries {
        let mut owned = owned.clone();
        if owned.fields.contains(replicas) && scale.remove(id).is_none() {
            owned.fields = owned.fields.difference(&path);
            if owned.fields.is_empty() {
                continue;
            }
        }
        out.entries.insert(id.clone(), owned);
    }
    let in_scale = [PathElement::field("spec"), PathElement::field("replicas")];
    for (id, _) in scale.iter().filter(|(_, owned)| owned.fields.contains(&in_scale)) {
        let owned = Owned {
            fields: path.clone(),
            api_version: api_version.to_owned(),
            time: parent.entries.get(id).and_then(|owned| owned.time),
        };
        out.entries.insert(id.clone(), owned);
    }
    out.encode()
}

/// The id under which an entry is known once it has been written and read.
fn as_decoded(id: &ManagerId, owned: &Owned) -> ManagerId {
    ManagerId {
        api_version: match id.operation {
            Operation::Apply => String::new(),
            Operation::Update => owned.api_version.clone(),
        },
        ..id.clone()
    }
}
