//! Label selectors: the JSON form of objects and the text form of queries, matched over any label map.
mod names;
mod parse;

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use names::{label_key_problem, label_value_problem};

/// A LabelSelector as objects carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    #[serde(
        deserialize_with = "crate::json::null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub match_labels: BTreeMap<String, String>,
    #[serde(
        deserialize_with = "crate::json::null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub match_expressions: Vec<LabelExpression>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelExpression {
    #[serde(deserialize_with = "crate::json::null_default")]
    pub key: String,
    #[serde(deserialize_with = "crate::json::null_default")]
    pub operator: String,
    #[serde(
        deserialize_with = "crate::json::null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub values: Vec<String>,
}

/// A checked selector. Without requirements it matches everything: whether that may be is the caller's rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    wants: Wants,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wants {
    In(BTreeSet<String>),
    /// Also matches where the key is absent.
    NotIn(BTreeSet<String>),
    Exists,
    DoesNotExist,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}{}{problem}", if .at.is_empty() { "" } else { ": " })]
pub struct SelectorError {
    /// Path below the selector, as `matchExpressions[0].values`; empty for the text form.
    pub at: String,
    pub problem: String,
}

impl LabelSelector {
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

impl Selector {
    /// A text selector: `a in (b,c),!d,x=y,z`. Empty text matches everything.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text)
    }

    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.wants.accepts(get(&r.key)))
    }

    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether some label map satisfies both selectors. Keys are independent of each other, so this is exact.
    pub fn overlaps(&self, other: &Selector) -> bool {
        let mut by_key: BTreeMap<&str, Vec<&Wants>> = BTreeMap::new();
        for r in self.requirements.iter().chain(&other.requirements) {
            by_key.entry(&r.key).or_default().push(&r.wants);
        }
        by_key.values().all(|wants| satisfiable(wants))
    }

    /// The values `key` is pinned to by `=` or `in`, if it is.
    pub fn pinned_values(&self, key: &str) -> Option<&BTreeSet<String>> {
        self.requirements.iter().find_map(|r| match &r.wants {
            Wants::In(values) if r.key == key => Some(values),
            _ => None,
        })
    }

    fn push(&mut self, key: &str, wants: Wants) {
        self.requirements.push(Requirement {
            key: key.to_owned(),
            wants,
        });
    }
}

impl Wants {
    fn accepts(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Wants::In(values), Some(v)) => values.contains(v),
            (Wants::NotIn(values), Some(v)) => !values.contains(v),
            (Wants::Exists, found) => found.is_some(),
            (Wants::DoesNotExist, found) => found.is_none(),
            (Wants::In(_), None) => false,
            (Wants::NotIn(_), None) => true,
        }
    }
}

/// Whether one key can be absent, or have a value, that all of `wants` accept.
fn satisfiable(wants: &[&Wants]) -> bool {
    if wants.iter().all(|w| w.accepts(None)) {
        return true;
    }
    let listed = wants.iter().find_map(|w| match w {
        Wants::In(values) => Some(values),
        _ => None,
    });
    match listed {
        Some(values) => values.iter().any(|v| wants.iter().all(|w| w.accepts(Some(v)))),
        // Finitely many values are excluded, so some value is left unless the key must be absent.
        None => !wants.iter().any(|w| matches!(w, Wants::DoesNotExist)),
    }
}

impl TryFrom<&LabelSelector> for Selector {
    type Error = SelectorError;

    fn try_from(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut out = Selector::default();
        for (key, value) in &selector.match_labels {
            check_key(key, "matchLabels")?;
            check_value(value, &format!("matchLabels[{key}]"))?;
            out.push(key, Wants::In(BTreeSet::from([value.clone()])));
        }
        for (i, e) in selector.match_expressions.iter().enumerate() {
            let at = format!("matchExpressions[{i}]");
            check_key(&e.key, &format!("{at}.key"))?;
            out.push(&e.key, wants(e, &at)?);
        }
        Ok(out)
    }
}

fn wants(e: &LabelExpression, at: &str) -> Result<Wants, SelectorError> {
    let values_at = format!("{at}.values");
    for value in &e.values {
        check_value(value, &values_at)?;
    }
    let values = || e.values.iter().cloned().collect();
    match (e.operator.as_str(), e.values.is_empty()) {
        ("In", false) => Ok(Wants::In(values())),
        ("NotIn", false) => Ok(Wants::NotIn(values())),
        ("Exists", true) => Ok(Wants::Exists),
        ("DoesNotExist", true) => Ok(Wants::DoesNotExist),
        ("In" | "NotIn", true) => Err(problem(
            &values_at,
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        ("Exists" | "DoesNotExist", false) => Err(problem(
            &values_at,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        (other, _) => Err(problem(
            &format!("{at}.operator"),
            &format!("{other:?} is not a valid label selector operator"),
        )),
    }
}

fn check_key(key: &str, at: &str) -> Result<(), SelectorError> {
    label_key_problem(key).map_or(Ok(()), |p| Err(problem(at, &p)))
}

fn check_value(value: &str, at: &str) -> Result<(), SelectorError> {
    label_value_problem(value).map_or(Ok(()), |p| Err(problem(at, &p)))
}

fn problem(at: &str, problem: &str) -> SelectorError {
    SelectorError {
        at: at.to_owned(),
        problem: problem.to_owned(),
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let list = |v: &BTreeSet<String>| v.iter().cloned().collect::<Vec<_>>().join(",");
            match &r.wants {
                Wants::In(v) if v.len() == 1 => write!(f, "{}={}", r.key, list(v))?,
                Wants::In(v) => write!(f, "{} in ({})", r.key, list(v))?,
                Wants::NotIn(v) => write!(f, "{} notin ({})", r.key, list(v))?,
                Wants::Exists => f.write_str(&r.key)?,
                Wants::DoesNotExist => write!(f, "!{}", r.key)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
