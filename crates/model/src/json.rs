//! Reading JSON as Go does: `null` is absent.
use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with)]`: `null` gives the default.
pub fn null_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}
