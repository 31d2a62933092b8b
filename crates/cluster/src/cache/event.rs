//! What a watch tells: an object, one that cannot be read, or its own end.
use super::Watched;
use crate::door::ask::undecodable;
use crate::frame::{Named, Piece};
use crate::{ObjectKey, Resource};

/// How a watch ended.
#[derive(Debug)]
pub(super) enum End {
    /// By the server, at its time.
    Over,
    /// By the server, before its time.
    Closed,
    /// No answer, a refusal, or cut off.
    Failed(String),
    /// No bytes for too long.
    Stalled,
    /// Where we are is of no use any more.
    Stale(&'static str),
    /// The server cannot stream its initial events.
    NoInitialEvents,
}

/// Who it is (if that can be told), its version, and why it could not be read.
pub(super) type Bad = (Option<ObjectKey>, String, String);

/// An object, or who it is and why it could not be read.
pub(super) fn decode<T: Watched>(resource: &Resource, piece: Piece<'_>) -> Result<T, Bad> {
    let bytes = match piece {
        Piece::Object(bytes) => bytes,
        Piece::Oversized(size) => return Err((None, String::new(), format!("an object of {size} bytes"))),
    };
    serde_json::from_slice(bytes).map_err(|error| {
        let named: Option<Named> = serde_json::from_slice(bytes).ok();
        let metadata = named.unwrap_or_default().metadata;
        let key = (!metadata.name.is_empty()).then(|| ObjectKey::new(&metadata.namespace, &metadata.name));
        (key, metadata.resource_version, undecodable(resource, &error))
    })
}

pub(super) fn warn_bad(resource: &Resource, key: Option<&ObjectKey>, reason: &str) {
    let key = key.map_or("(unnamed)".to_owned(), ToString::to_string);
    tracing::warn!(%resource, %key, reason, "an object could not be decoded");
}
