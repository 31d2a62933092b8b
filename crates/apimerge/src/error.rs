//! Why a patch was refused, and with which status.

/// A refused patch. The text is what a real API server puts in the message of its Status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch cannot be read (400, reason BadRequest).
    #[error("{0}")]
    BadRequest(String),
    /// The patch is well formed but does not apply to this object (422, no reason).
    #[error("{0}")]
    Unprocessable(String),
    /// The patch has too many operations (413, reason RequestEntityTooLarge).
    #[error("{0}")]
    TooLarge(String),
    /// Everything a real server reports without a reason of its own (500).
    #[error("{0}")]
    Internal(String),
}

impl PatchError {
    /// The HTTP status code of the answer.
    pub fn code(&self) -> u16 {
        match self {
            PatchError::BadRequest(_) => 400,
            PatchError::Unprocessable(_) => 422,
            PatchError::TooLarge(_) => 413,
            PatchError::Internal(_) => 500,
        }
    }

    /// The patch itself says that it is not for this object.
    pub fn is_failed_test(&self) -> bool {
        matches!(self, PatchError::Unprocessable(why) if why.ends_with(": test failed"))
    }

    /// The `reason` of the Status; empty where a real server gives none.
    pub fn reason(&self) -> &'static str {
        match self {
            PatchError::BadRequest(_) => "BadRequest",
            PatchError::TooLarge(_) => "RequestEntityTooLarge",
            PatchError::Unprocessable(_) | PatchError::Internal(_) => "",
        }
    }
}
