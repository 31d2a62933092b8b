//! `optionalOldSelf`: the evaluator knows `oldSelf` as null or a value, the rules as an optional of it.

use serde_json::Value;

use crate::schema::Rule;

const OPTIONAL: &str = "(oldSelf == null ? optional.none() : optional.of(oldSelf))";

/// A rule in the words of the evaluator.
pub(crate) fn text(rule: &Rule) -> String {
    match rule.optional_old_self {
        Some(true) => replaced(&rule.rule),
        _ => rule.rule.clone(),
    }
}

/// A schema as it was written, its rules in the words of the evaluator.
pub(crate) fn for_evaluator(schema: &Value) -> Value {
    let mut out = schema.clone();
    rewrite(&mut out);
    out
}

fn rewrite(schema: &mut Value) {
    let rules = schema
        .get_mut("x-kubernetes-validations")
        .and_then(Value::as_array_mut);
    let optional = rules
        .into_iter()
        .flatten()
        .filter(|r| r["optionalOldSelf"] == true);
    for rule in optional {
        let said = rule["rule"].as_str().unwrap_or_default().to_owned();
        rule["rule"] = replaced(&said).into();
        if rule["message"].as_str().unwrap_or_default().is_empty() {
            rule["message"] = format!("failed rule: {}", said.trim()).into();
        }
        if let Some(message) = rule["messageExpression"].as_str() {
            rule["messageExpression"] = replaced(message).into();
        }
    }
    for one in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(one).filter(|c| c.is_object()) {
            rewrite(child);
        }
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties
        .into_iter()
        .flat_map(|p| p.values_mut())
        .for_each(rewrite);
}

/// `oldSelf` wherever it is a name of its own: not in a string, not a field of something.
fn replaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut rest = text;
    let mut quote = None;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let starts = quote.is_none() && !is_name(before) && before != '.';
        let ends = |tail: &str| !tail.starts_with(is_name);
        if let Some(tail) = rest.strip_prefix("oldSelf").filter(|tail| starts && ends(tail)) {
            out.push_str(OPTIONAL);
            rest = tail;
            before = ')';
            continue;
        }
        let escaped = before == '\\';
        match quote {
            Some(open) if c == open && !escaped => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        out.push(c);
        // A backslash that is escaped escapes nothing.
        before = if c == '\\' && escaped { ' ' } else { c };
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_itself_is_replaced() {
        let kept = r#"self.oldSelf == 'oldSelf' && "\"oldSelf" != oldSelfish"#;
        assert_eq!(replaced(kept), kept);
        assert_eq!(
            replaced("oldSelf.hasValue()||!oldSelf.orValue(true)"),
            format!("{OPTIONAL}.hasValue()||!{OPTIONAL}.orValue(true)")
        );
    }
}
