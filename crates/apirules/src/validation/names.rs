//! What names may look like. Each function gives one message per violated rule.

use std::sync::LazyLock;

use regex::Regex;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const CONFIG_KEY: &str = "[-._a-zA-Z0-9]+";
const HEADER: &str = "[-A-Za-z0-9]+";
const UNDERSCORED: &str = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";

macro_rules! pattern {
    ($name:ident, $text:expr) => {
        static $name: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(&format!("^(?:{})$", $text)).ok());
    };
}
pattern!(LABEL_RE, LABEL);
pattern!(SUBDOMAIN_RE, SUBDOMAIN);
pattern!(QUALIFIED_RE, QUALIFIED);
pattern!(CONFIG_KEY_RE, CONFIG_KEY);
pattern!(HEADER_RE, HEADER);
pattern!(UNDERSCORED_RE, UNDERSCORED);

fn fits(pattern: &LazyLock<Option<Regex>>, text: &str) -> bool {
    pattern.as_ref().is_some_and(|p| p.is_match(text))
}

fn explained(rule: &str, pattern: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|e| format!("'{e}', ")).collect();
    format!(
        "{rule} (e.g. {}regex used for validation is '{pattern}')",
        examples.join(" or ")
    )
}

fn at_most(text: &str, max: usize, out: &mut Vec<String>) {
    if text.len() > max {
        out.push(format!("must be no more than {max} characters"));
    }
}

pub(crate) fn dns_label(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    at_most(text, 63, &mut out);
    if !fits(&LABEL_RE, text) {
        if fits(&SUBDOMAIN_RE, text) {
            out.push("must not contain dots".to_owned());
        } else {
            let rule = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character";
            out.push(explained(rule, LABEL, &["my-name", "123-abc"]));
        }
    }
    out
}

pub(crate) fn dns_subdomain(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    at_most(text, 253, &mut out);
    if !fits(&SUBDOMAIN_RE, text) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character";
        out.push(explained(rule, SUBDOMAIN, &["example.com"]));
    }
    out
}

/// DNS search paths may carry underscores.
pub(crate) fn dns_search(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    at_most(text, 253, &mut out);
    if !fits(&UNDERSCORED_RE, text) {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character";
        out.push(explained(rule, UNDERSCORED, &["example.com"]));
    }
    out
}

const QUALIFIED_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character";

/// `name` or `prefix.example/name`: label keys, finalizers, condition types.
pub(crate) fn qualified_name(text: &str) -> Vec<String> {
    let examples = ["MyName", "my.name", "123-abc"];
    let parts: Vec<&str> = text.split('/').collect();
    let mut out = Vec::new();
    let name = match parts.as_slice() {
        [name] => name,
        [prefix, name] => {
            if prefix.is_empty() {
                out.push("prefix part must be non-empty".to_owned());
            } else {
                let problems = dns_subdomain(prefix).into_iter();
                // Inside label keys lengths are in bytes.
                out.extend(
                    problems.map(|m| format!("prefix part {}", m.replace("253 characters", "253 bytes"))),
                );
            }
            name
        }
        _ => {
            let shape = explained(QUALIFIED_RULE, QUALIFIED, &examples);
            out.push(format!(
                "a valid label key {shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            ));
            return out;
        }
    };
    if name.is_empty() {
        out.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        out.push("name part must be no more than 63 bytes".to_owned());
    }
    if !fits(&QUALIFIED_RE, name) {
        out.push(format!(
            "name part {}",
            explained(QUALIFIED_RULE, QUALIFIED, &examples)
        ));
    }
    out
}

pub(crate) fn label_value(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text.len() > 63 {
        out.push("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !fits(&QUALIFIED_RE, text) {
        let rule = format!(
            "a valid label must be an empty string or {}",
            &QUALIFIED_RULE["must ".len()..]
        );
        out.push(explained(
            &rule,
            &format!("({QUALIFIED})?"),
            &["MyValue", "my_value", "12345"],
        ));
    }
    out
}

pub(crate) fn config_key(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    at_most(text, 253, &mut out);
    if !fits(&CONFIG_KEY_RE, text) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        out.push(explained(rule, CONFIG_KEY, &["key.name", "KEY_NAME", "key-name"]));
    }
    match text {
        "." => out.push("must not be '.'".to_owned()),
        ".." => out.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => out.push("must not start with '..'".to_owned()),
        _ => {}
    }
    out
}

pub(crate) fn env_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        let rule = "a valid environment variable name must consist only of printable ASCII characters other than '='";
        return vec![rule.to_owned()];
    }
    Vec::new()
}

pub(crate) fn header_name(text: &str) -> Vec<String> {
    if fits(&HEADER_RE, text) {
        return Vec::new();
    }
    let rule = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![explained(rule, HEADER, &["X-Header-Name"])]
}

pub(crate) fn port_name(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    at_most(text, 15, &mut out);
    let charset = |c: char| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() || !text.chars().all(charset) {
        out.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.chars().any(|c| c.is_ascii_lowercase()) {
        out.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        out.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        out.push("must not begin or end with a hyphen".to_owned());
    }
    out
}

pub(crate) fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

pub(crate) fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) {
        return Vec::new();
    }
    vec![format!("must be between {low} and {high}, inclusive")]
}

/// For every object, whatever its kind: what a URL path can carry.
pub(crate) fn path_segment(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    if text == "." || text == ".." {
        out.push(format!("may not be '{text}'"));
        return out;
    }
    for bad in ["/", "%"] {
        if text.contains(bad) {
            out.push(format!("may not contain '{bad}'"));
        }
    }
    out
}

/// The name rule of a kind, on a whole name or on a generateName prefix.
pub(crate) fn for_prefix(rule: fn(&str) -> Vec<String>, prefix: &str) -> Vec<String> {
    // A trailing dash is fine: random characters follow.
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => rule(&format!("{stem}a")),
        _ => rule(prefix),
    }
}
