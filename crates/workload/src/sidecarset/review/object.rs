//! Objects of a review, as far as anybody here reads them.
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::fmt;

/// An object without `metadata.managedFields`: they name each of its fields once more, for nobody here.
#[derive(Default)]
pub(super) struct Whole(Value);

/// A pod at its creation: what injection looks at, which is less than half of one.
#[derive(Default)]
pub(super) struct Pod(Value);

/// How much is read of a value.
#[derive(Clone, Copy)]
enum Part {
    All,
    Nothing,
    /// Members by name; the last for those with other names.
    Object(&'static [(&'static str, Part)], &'static Part),
    Items(&'static Part),
}

const WHOLE: Part = Part::Object(&[("metadata", METADATA)], &Part::All);
const METADATA: Part = Part::Object(&[("managedFields", Part::Nothing)], &Part::All);

const POD: Part = Part::Object(
    &[("metadata", METADATA), ("spec", SPEC), ("status", Part::All)],
    &Part::Nothing,
);
const SPEC: Part = Part::Object(
    &[
        ("containers", Part::Items(&CONTAINER)),
        ("initContainers", Part::Items(&CONTAINER)),
        ("volumes", Part::Items(&NAME)),
        ("imagePullSecrets", Part::Items(&NAME)),
    ],
    &Part::Nothing,
);
const NAME: Part = Part::Object(&[("name", Part::All)], &Part::Nothing);
const CONTAINER: Part = Part::Object(
    &[
        ("name", Part::All),
        ("image", Part::All),
        ("env", Part::All),
        ("resources", Part::All),
        ("restartPolicy", Part::All),
        ("volumeMounts", Part::All),
        ("volumeDevices", Part::All),
    ],
    &Part::Nothing,
);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        WHOLE.deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        POD.deserialize(deserializer).map(Self)
    }
}

impl From<Whole> for Value {
    fn from(object: Whole) -> Self {
        object.0
    }
}

impl From<Pod> for Value {
    fn from(pod: Pod) -> Self {
        pod.0
    }
}

impl<'de> DeserializeSeed<'de> for Part {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            Self::All => Value::deserialize(deserializer),
            Self::Nothing => IgnoredAny::deserialize(deserializer).map(|_| Value::Null),
            Self::Object(members, others) => deserializer.deserialize_any(Members { members, others }),
            Self::Items(part) => deserializer.deserialize_any(Items(*part)),
        }
    }
}

struct Members {
    members: &'static [(&'static str, Part)],
    others: &'static Part,
}

impl<'de> Visitor<'de> for Members {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut read = Map::new();
        while let Some(Key(key)) = from.next_key()? {
            let named = self.members.iter().find(|(name, _)| key == *name);
            match named.map_or(*self.others, |(_, part)| *part) {
                Part::Nothing => {
                    from.next_value::<IgnoredAny>()?;
                }
                part => {
                    let value = from.next_value_seed(part)?;
                    read.insert(key.into_owned(), value);
                }
            }
        }
        Ok(Value::Object(read))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

struct Items(Part);

impl<'de> Visitor<'de> for Items {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self.0)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Not copied where nobody keeps it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn all_of_an_object_is_read_but_its_managed_fields() {
        let whole = json!({"metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
            "managedFields": 1, "spec": {"managedFields": [1], "metadata": {"managedFields": 2}}, "status": null});
        let mut expected = whole.clone();
        let metadata = expected["metadata"].as_object_mut().unwrap();
        metadata.remove("managedFields");
        let read = |object: Value| Value::from(Whole::deserialize(object).unwrap());
        assert_eq!(read(whole), expected);
        assert_eq!(read(json!({"metadata": null})), json!({"metadata": null}));
        assert_eq!(read(Value::Null), Value::Null);
    }

    #[test]
    fn of_a_pod_what_injection_does_not_look_at_is_left_out() {
        let pod = r#"{"metadata": {"name": "a", "labels": {"a\"b": "c"}, "managedFields": []}, "kind": "Pod",
            "spec": {"containers": [{"name": "a", "livenessProbe": {}, "env": [{"name": "A"}]}, null],
            "volumes": [{"name": "v", "emptyDir": {}}], "tolerations": [{}], "initContainers": null},
            "status": {"phase": "Failed"}}"#;
        let read: Pod = serde_json::from_str(pod).unwrap();
        let expected = json!({"metadata": {"name": "a", "labels": {"a\"b": "c"}},
            "spec": {"containers": [{"name": "a", "env": [{"name": "A"}]}, null],
            "volumes": [{"name": "v"}], "initContainers": null}, "status": {"phase": "Failed"}});
        assert_eq!(Value::from(read), expected);
    }

    #[test]
    fn what_is_no_object_is_an_error_with_its_place() {
        for other in ["[]", "\"pod\"", "7", "{\"metadata\": []}"] {
            for error in [
                serde_json::from_str::<Whole>(other).map(drop),
                serde_json::from_str::<Pod>(other).map(drop),
            ] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains("expected an object at line 1"), "{error}");
            }
        }
        let error = serde_json::from_str::<Pod>("{\"spec\": {\"volumes\": {}}}").map(drop);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("expected a list at line 1"), "{error}");
    }
}
