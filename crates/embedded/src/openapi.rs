//! `/openapi/v2` and `/openapi/v3`.

use crate::answer::Answer;
use crate::service::Call;
use crate::status::Status;

pub(crate) fn answer(_call: &Call, rest: &[&str]) -> Result<Option<Answer>, Status> {
    Err(Status::not_implemented(&format!("/openapi/{}", rest.join("/"))))
}
