//! A count or a share: `3` or `"30%"`.
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// As written; what is no percentage is kept, so that an adopted object can always be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOrPercent {
    Int(i64),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid value for IntOrString: {0:?} is neither a whole number nor a percentage (digits and '%')")]
pub struct PercentError(pub String);

impl IntOrPercent {
    /// The percentage, if it is one: digits and `%`.
    pub fn percent(&self) -> Option<u32> {
        match self {
            Self::Int(_) => None,
            Self::Text(text) => {
                let digits = text.strip_suffix('%')?;
                let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                // Larger numbers mean the same as the largest.
                plain.then(|| digits.parse().unwrap_or(u32::MAX))
            }
        }
    }

    /// The count out of `total`, a share rounded up.
    pub fn of_rounded_up(&self, total: i64) -> Result<i64, PercentError> {
        self.of(total, 99)
    }

    /// The count out of `total`, a share rounded down.
    pub fn of_rounded_down(&self, total: i64) -> Result<i64, PercentError> {
        self.of(total, 0)
    }

    fn of(&self, total: i64, up: i128) -> Result<i64, PercentError> {
        match (self, self.percent()) {
            (Self::Int(n), _) => Ok(*n),
            (Self::Text(_), Some(p)) => {
                let share = (i128::from(total) * i128::from(p) + up).div_euclid(100);
                Ok(i64::try_from(share).unwrap_or(i64::MAX))
            }
            (Self::Text(text), None) => Err(PercentError(text.clone())),
        }
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(n) => out.serialize_i64(*n),
            Self::Text(text) => out.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;
        impl de::Visitor<'_> for Either {
            type Value = IntOrPercent;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number or a string")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<IntOrPercent, E> {
                Ok(IntOrPercent::Int(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<IntOrPercent, E> {
                i64::try_from(n).map(IntOrPercent::Int).map_err(E::custom)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<IntOrPercent, E> {
                Ok(IntOrPercent::Text(text.to_owned()))
            }
        }
        input.deserialize_any(Either)
    }
}
