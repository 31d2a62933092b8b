//! Field errors as Kubernetes words them (`apimachinery/pkg/util/validation/field`).

use std::fmt;

/// What is wrong with one field; `Display` prints it as a real API server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// `spec.containers[0].image`; `metadata.labels[app.kubernetes.io/name]` for map keys.
    pub path: String,
    pub kind: FieldErrorKind,
    /// The bad value as JSON (a string is quoted); empty where the kind shows none.
    pub bad_value: String,
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    Required,
    Invalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    TypeInvalid,
    NotFound,
    Internal,
}

impl FieldErrorKind {
    /// `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TypeInvalid => "Invalid value",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

impl FieldError {
    pub fn required(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Required, String::new(), detail)
    }

    pub fn forbidden(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Forbidden, String::new(), detail)
    }

    /// `bad_value` is JSON text (`"x"` quoted).
    pub fn invalid(path: impl Into<String>, bad_value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Invalid, bad_value.into(), detail)
    }

    pub fn duplicate(path: impl Into<String>, bad_value: impl Into<String>) -> Self {
        Self::new(path, FieldErrorKind::Duplicate, bad_value.into(), "")
    }

    pub fn new(
        path: impl Into<String>,
        kind: FieldErrorKind,
        bad_value: String,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            kind,
            bad_value,
            detail: detail.into(),
        }
    }

    /// The message without the path, as in `Status.details.causes[].message`.
    pub fn body(&self) -> String {
        let mut out = self.kind.text().to_owned();
        let shows_value = !matches!(
            self.kind,
            FieldErrorKind::Required
                | FieldErrorKind::Forbidden
                | FieldErrorKind::TooLong
                | FieldErrorKind::Internal
        );
        // Of some invalid values only the place is told.
        if shows_value && !self.bad_value.is_empty() {
            out.push_str(": ");
            out.push_str(&self.bad_value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// Longest text of one problem in what we answer or write into status.
const LONGEST: usize = 512;

/// A text somebody else may have made arbitrarily long, as far as it helps.
pub fn shortened(text: &str) -> String {
    cut(text, LONGEST)
}

/// At most about this many bytes of a text.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}...", &text[..text.floor_char_boundary(bytes)])
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(shortened("a"), "a");
        let long = shortened(&"ä".repeat(10_000));
        assert!(long.len() <= 520 && long.ends_with("ä..."), "{long}");
    }
}
