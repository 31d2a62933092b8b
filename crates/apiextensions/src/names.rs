//! Names in a definition.

use model::field::{FieldError, FieldErrorKind};

const LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                     regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                         and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                         validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

pub(crate) fn label(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if !is_label(value) {
        errors.push(FieldError::invalid(path, format!("{value:?}"), LABEL));
    }
}

/// A kind: mixed case, otherwise a label.
pub(crate) fn kind(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if !is_label(&value.to_lowercase()) {
        let detail = format!("may have mixed case, but should otherwise match: {LABEL}");
        errors.push(FieldError::invalid(path, format!("{value:?}"), detail));
    }
}

pub(crate) fn group(value: &str, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !value.split('.').all(is_part) || value.len() > 253 {
        errors.push(FieldError::invalid(path, format!("{value:?}"), SUBDOMAIN));
    } else if !value.contains('.') {
        errors.push(FieldError::invalid(
            path,
            format!("{value:?}"),
            "should be a domain with at least one dot",
        ));
    }
}

pub(crate) fn supported(value: &str, options: &[&str], path: &str, errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !options.contains(&value) {
        let quoted: Vec<String> = options.iter().map(|option| format!("{option:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        errors.push(FieldError::new(
            path,
            FieldErrorKind::NotSupported,
            format!("{value:?}"),
            detail,
        ));
    }
}

fn is_label(value: &str) -> bool {
    is_part(value) && value.len() <= 63 && value.starts_with(|c: char| c.is_ascii_lowercase())
}

fn is_part(value: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !value.is_empty() && value.chars().all(fits) && !value.starts_with('-') && !value.ends_with('-')
}
