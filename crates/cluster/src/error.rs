//! What can go wrong at the door, always with the object's identity, never with its content.
use std::time::Duration;

use serde::Deserialize;

use crate::Resource;

/// A door could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error("kubeconfig {path}: {reason}")]
    Kubeconfig { path: String, reason: String },
    #[error("no cluster: {0}")]
    NoCluster(String),
    #[error("client for {url}: {reason}")]
    Client { url: String, reason: String },
}

/// Whether the server may have done what was asked although we have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered no, or nothing was sent: nothing changed.
    Refused,
    /// No answer, or one that does not say: the write may have been committed, now or a little later.
    Unknown,
}

/// A request that failed: the fields of a Kubernetes `Status`, plus who was asked what.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{request}: {message} ({reason}, {code})")]
pub struct ApiError {
    /// `patch pods ns/name`.
    pub request: String,
    /// HTTP status; 0 where no answer came.
    pub code: u16,
    /// `NotFound`, `Conflict`, ... or our own: `Transport`, `Timeout`, `Undecodable`, `Fenced`, `NoPrecondition`.
    pub reason: String,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// Field paths and reasons of an Invalid answer.
    pub causes: Vec<Cause>,
    pub outcome: Outcome,
}

/// One cause of an Invalid answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Cause {
    pub reason: String,
    pub field: String,
    pub message: String,
}

impl ApiError {
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason != "AlreadyExists"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The resourceVersion asked for is gone, or is not there yet: only a fresh list helps.
    pub fn is_stale_version(&self) -> bool {
        self.code == 410
            || matches!(
                self.reason.as_str(),
                "Expired" | "Gone" | "ResourceVersionTooLarge"
            )
    }

    /// Too busy, or not there for the moment: worth another try later.
    pub fn is_transient(&self) -> bool {
        let busy = matches!(self.code, 0 | 429 | 500 | 502 | 503 | 504) && self.reason != "Fenced";
        busy && !self.is_denial()
    }

    /// A webhook's own no, whatever code it gave: the same question gets the same answer.
    pub fn is_denial(&self) -> bool {
        self.message.starts_with("admission webhook ") && self.message.contains(" denied the request")
    }

    /// Admission comes before anything is stored: where it said no, or could not be asked, nothing was.
    pub(crate) fn is_of_admission(&self) -> bool {
        self.is_denial() || self.message.contains("failed calling webhook")
    }

    /// The write may have happened; what is there must be read before anything is decided.
    pub fn is_unknown(&self) -> bool {
        self.outcome == Outcome::Unknown
    }

    /// Built here, not by the server.
    pub(crate) fn local(request: &str, reason: &str, message: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            request: request.to_owned(),
            code: 0,
            reason: reason.to_owned(),
            message: message.into(),
            retry_after: None,
            causes: Vec::new(),
            outcome,
        }
    }

    /// From an answer other than 2xx. A Status is taken at its word; another body is named, not repeated.
    pub(crate) fn from_answer(
        request: &str,
        resource: &Resource,
        code: u16,
        retry_after: Option<Duration>,
        body: &[u8],
    ) -> Self {
        let status: StatusBody = serde_json::from_slice(body).unwrap_or_default();
        let secret = resource.group.is_empty() && resource.plural == "secrets";
        let known = !status.message.is_empty();
        let mut causes = status.details.causes;
        if secret {
            causes.iter_mut().for_each(|cause| cause.message.clear());
        }
        Self {
            request: request.to_owned(),
            code,
            reason: if status.reason.is_empty() {
                reason_of(code).to_owned()
            } else {
                status.reason
            },
            message: match (secret, known) {
                // A validation message may quote the value it dislikes.
                (true, _) => "message withheld: it may quote a Secret".to_owned(),
                (false, true) => status.message,
                (false, false) => format!("an answer of {} bytes without a Status", body.len()),
            },
            retry_after: retry_after.or(status.details.retry_after_seconds.map(Duration::from_secs)),
            causes,
            outcome: Outcome::Refused,
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StatusBody {
    pub message: String,
    pub reason: String,
    pub code: u16,
    pub details: StatusDetails,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct StatusDetails {
    pub retry_after_seconds: Option<u64>,
    pub causes: Vec<Cause>,
}

fn reason_of(code: u16) -> &'static str {
    match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        415 => "UnsupportedMediaType",
        422 => "Invalid",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::PODS;

    #[test]
    fn what_admission_refused_is_not_asked_again_and_was_not_stored() {
        let answer = |message: &str| {
            let body = serde_json::json!({"kind": "Status", "message": message, "code": 500}).to_string();
            ApiError::from_answer("create pods", &PODS, 500, None, body.as_bytes())
        };
        let denied = answer("admission webhook \"a.b\" denied the request: spec.x: Invalid value");
        assert!(denied.is_of_admission() && !denied.is_transient());
        let unasked = answer("Internal error occurred: failed calling webhook \"a.b\": no route");
        assert!(unasked.is_of_admission() && unasked.is_transient());
        let other = answer("etcdserver: request timed out");
        assert!(!other.is_of_admission() && other.is_transient());
    }
}
