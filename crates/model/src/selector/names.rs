//! What label keys and values may be (qualified names).

const NAME: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// Why `key` is no label key, if it is none.
pub fn label_key_problem(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if let Some(prefix) = prefix
        && !is_dns_subdomain(prefix)
    {
        return Some(format!(
            "{key:?}: prefix part must be a lowercase RFC 1123 subdomain"
        ));
    }
    if name.is_empty() {
        return Some(format!("{key:?}: name part must be non-empty"));
    }
    if name.len() > 63 {
        return Some(format!("{key:?}: name part must be no more than 63 bytes"));
    }
    (!is_name(name)).then(|| format!("{key:?}: name part {NAME}"))
}

/// Why `value` is no label value, if it is none; empty is one.
pub fn label_value_problem(value: &str) -> Option<String> {
    if value.len() > 63 {
        return Some(format!("{value:?}: must be no more than 63 bytes"));
    }
    (!value.is_empty() && !is_name(value))
        .then(|| format!("{value:?}: a valid label must be an empty string or {NAME}"))
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|b| b.is_some_and(|b| b.is_ascii_alphanumeric()))
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn is_dns_subdomain(text: &str) -> bool {
    let label = |part: &str| {
        let bytes = part.as_bytes();
        let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        bytes.first().is_some_and(alnum)
            && bytes.last().is_some_and(alnum)
            && bytes.iter().all(|b| alnum(b) || *b == b'-')
    };
    text.len() <= 253 && text.split('.').all(label)
}
