//! Objects of a review, as far as anybody here reads them.
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// An object without `metadata.managedFields`: they name each of its fields once more, for nobody here.
pub(super) fn object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
    Without(&["metadata", "managedFields"]).deserialize(deserializer)
}

/// Reads all but what this path leads to.
#[derive(Clone, Copy)]
struct Without<'p>(&'p [&'p str]);

impl<'de> DeserializeSeed<'de> for Without<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Without<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            match self.0 {
                [left_out] if key == *left_out => {
                    from.next_value::<IgnoredAny>()?;
                }
                [first, rest @ ..] if key == *first => {
                    members.insert(key, from.next_value_seed(Without(rest))?);
                }
                _ => {
                    members.insert(key, from.next_value()?);
                }
            }
        }
        Ok(Value::Object(members))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_of_an_object_is_read_but_its_managed_fields() {
        let whole = json!({"metadata": {"name": "a", "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
            "managedFields": 1, "spec": {"managedFields": [1], "metadata": {"managedFields": 2}}, "status": null});
        let mut expected = whole.clone();
        expected["metadata"]
            .as_object_mut()
            .unwrap()
            .remove("managedFields");
        assert_eq!(object(&whole).unwrap(), expected);
        assert_eq!(
            object(&json!({"metadata": null})).unwrap(),
            json!({"metadata": null})
        );
        assert_eq!(object(&Value::Null).unwrap(), Value::Null);
    }

    #[test]
    fn what_is_no_object_is_an_error_with_its_place() {
        for other in ["[]", "\"pod\"", "7", "{\"metadata\": []}"] {
            let mut text = serde_json::Deserializer::from_str(other);
            let error = object(&mut text).unwrap_err().to_string();
            assert!(error.contains("expected an object at line 1"), "{error}");
        }
    }
}
