//! In which form an answer is wanted (`Accept`).

use crate::status::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Yaml,
    Table,
    /// `PartialObjectMetadata`, or its list for a collection.
    Metadata,
}

const ACCEPTED: &str = "application/json, application/vnd.kubernetes.protobuf, application/yaml";

/// The first acceptable form in the order of the header.
pub fn form(accept: &str) -> Result<Form, Status> {
    if accept.trim().is_empty() {
        return Ok(Form::Json);
    }
    let found = accept.split(',').find_map(one);
    found.ok_or_else(|| {
        // A form that this kind does not have is refused in other words than a media type nobody knows.
        let known = accept.split(',').any(|clause| {
            let media = clause
                .split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .to_ascii_lowercase();
            matches!(
                media.as_str(),
                "application/json" | "application/yaml" | "*/*" | "application/*"
            )
        });
        if !known {
            return Status::not_acceptable(&[
                "application/json",
                "application/yaml",
                "application/vnd.kubernetes.protobuf",
            ]);
        }
        unknown_form()
    })
}

/// A media type that is known, in a form that is not.
pub fn unknown_form() -> Status {
    let message = format!("only the following media types are accepted: {ACCEPTED}");
    Status::new(http::StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
}

fn one(clause: &str) -> Option<Form> {
    let mut parts = clause.split(';').map(str::trim);
    let media = parts.next()?.to_ascii_lowercase();
    let parameters: Vec<(&str, &str)> = parts.filter_map(|p| p.split_once('=')).collect();
    let parameter = |name: &str| parameters.iter().find(|(k, _)| *k == name).map(|(_, v)| *v);
    let json = matches!(media.as_str(), "application/json" | "*/*" | "application/*");
    match parameter("as") {
        None if json => Some(Form::Json),
        None if media == "application/yaml" => Some(Form::Yaml),
        None => None,
        Some(_) if !json => None,
        Some(_) if parameter("g") != Some("meta.k8s.io") => None,
        Some("Table") => Some(Form::Table),
        Some("PartialObjectMetadata" | "PartialObjectMetadataList") => Some(Form::Metadata),
        Some(_) => None,
    }
}
