//! The text form: comma-separated `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`.
use super::{Selector, SelectorError, Wants, check_key, check_value, problem};
use std::collections::BTreeSet;

pub(super) fn parse(text: &str) -> Result<Selector, SelectorError> {
    let mut out = Selector::default();
    for part in split(text)? {
        let part = part.trim();
        if part.is_empty() {
            if text.trim().is_empty() {
                break;
            }
            return Err(problem("", &format!("empty requirement in selector {text:?}")));
        }
        let (key, wants) = requirement(part)?;
        check_key(key, "")?;
        out.push(key, wants);
    }
    Ok(out)
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Result<Vec<&str>, SelectorError> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (i, c) in text.char_indices() {
        match c {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(problem("", &format!("unexpected {c:?} in selector {text:?}"))),
            ',' if !inside => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(problem("", &format!("missing ')' in selector {text:?}")));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<(&str, Wants), SelectorError> {
    if let Some(key) = part.strip_prefix('!') {
        return Ok((key.trim(), Wants::DoesNotExist));
    }
    if let Some((head, list)) = part.split_once('(') {
        let words: Vec<&str> = head.split_whitespace().collect();
        let values = list.trim_end().strip_suffix(')').map(value_set);
        return match (words.as_slice(), values) {
            ([key, "in"], Some(values)) => Ok((key, Wants::In(values?))),
            ([key, "notin"], Some(values)) => Ok((key, Wants::NotIn(values?))),
            _ => Err(problem("", &format!("unable to parse requirement {part:?}"))),
        };
    }
    let one = |value: &str| -> Result<BTreeSet<String>, SelectorError> {
        let value = value.trim();
        check_value(value, "")?;
        Ok(BTreeSet::from([value.to_owned()]))
    };
    if let Some((key, value)) = part.split_once("!=") {
        return Ok((key.trim(), Wants::NotIn(one(value)?)));
    }
    if let Some((key, value)) = part.split_once('=') {
        return Ok((
            key.trim(),
            Wants::In(one(value.strip_prefix('=').unwrap_or(value))?),
        ));
    }
    Ok((part, Wants::Exists))
}

fn value_set(list: &str) -> Result<BTreeSet<String>, SelectorError> {
    list.split(',')
        .map(|value| {
            let value = value.trim();
            check_value(value, "")?;
            Ok(value.to_owned())
        })
        .collect()
}
