//! Parts of a version of a definition: replicas, selectable fields, and how a real server quotes versions.

use model::field::FieldError;
use serde_json::Value;

use crate::crd::Scale;
use crate::schema::Schema;

/// Fields of versions that are said at their old place, once for all, where all versions agree on them.
pub(crate) const HOISTED: [&str; 3] = ["subresources", "additionalPrinterColumns", "selectableFields"];
const MAX_SELECTABLE: usize = 8;

pub(crate) fn selectable(
    value: &Value,
    schema: &Schema,
    at: &str,
    errors: &mut Vec<FieldError>,
) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for (i, field) in value.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}[{i}].jsonPath");
        let path = field["jsonPath"].as_str().unwrap_or_default().to_owned();
        if path.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let mut refuse = |detail: &str| errors.push(FieldError::invalid(&at, format!("{path:?}"), detail));
        let found = path
            .split('.')
            .skip(1)
            .try_fold(schema, |here, name| here.properties.get(name));
        match found {
            _ if !path.starts_with('.') => {
                refuse("is an invalid path: expected [ or . but got: ");
                continue;
            }
            None => {
                refuse("is an invalid path: does not refer to a valid field");
                continue;
            }
            Some(found) if !matches!(found.ty.as_str(), "string" | "boolean" | "integer") => refuse(
                "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.",
            ),
            Some(_) => {}
        }
        if path.starts_with(".metadata.") {
            refuse("must not point to fields in metadata");
        }
        match out.contains(&path) {
            true => errors.push(FieldError::duplicate(at, format!("{path:?}"))),
            false => out.push(path),
        }
    }
    if out.len() > MAX_SELECTABLE {
        let detail = format!("must have at most {MAX_SELECTABLE} items");
        let shown = out.len().to_string();
        errors.push(FieldError::new(
            at,
            model::field::FieldErrorKind::TooMany,
            shown,
            detail,
        ));
    }
    out
}

/// Versions as a real server quotes them: what they agree on stands elsewhere and is null here.
pub(crate) fn as_go_writes(versions: &[Value]) -> String {
    let one = |version: &Value| {
        format!(
            "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":null,\
             \"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
            version["name"],
            version["served"] == true,
            version["storage"] == true,
            version["deprecated"] == true,
            version["deprecationWarning"]
        )
    };
    let all: Vec<String> = versions.iter().map(one).collect();
    format!("[{}]", all.join(","))
}

pub(crate) fn all_same(versions: &[Value], field: &str) -> bool {
    versions.windows(2).all(|pair| pair[0][field] == pair[1][field])
}

pub(crate) fn scale(value: &Value, at: &str, errors: &mut Vec<FieldError>) -> Option<Scale> {
    let map = value.as_object()?;
    let mut path = |field: &str, under: &str| {
        let text = map
            .get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        if text.is_empty() {
            errors.push(FieldError::required(format!("{at}.{field}"), ""));
        } else if !text.starts_with('.') {
            errors.push(FieldError::invalid(
                format!("{at}.{field}"),
                format!("{text:?}"),
                "must be a simple json path starting with .",
            ));
        } else if !text.starts_with(under) {
            let detail = format!("should be a json path under {under}");
            errors.push(FieldError::invalid(
                format!("{at}.{field}"),
                format!("{text:?}"),
                detail,
            ));
        }
        text
    };
    Some(Scale {
        spec_replicas: path("specReplicasPath", ".spec"),
        status_replicas: path("statusReplicasPath", ".status"),
        label_selector: map
            .get("labelSelectorPath")
            .and_then(Value::as_str)
            .map(str::to_owned),
    })
}
