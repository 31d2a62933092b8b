//! `/openapi/v2` and `/openapi/v3`.

use serde_json::{Map, Value, json};

use crate::answer::Answer;
use crate::service::Call;
use crate::status::Status;

pub(crate) fn answer(call: &Call, rest: &[&str]) -> Result<Option<Answer>, Status> {
    let answer = match rest {
        ["v2"] => json_document(call, apischema::openapi::v2())?,
        ["v3"] => Answer::json(200, &index())?,
        ["v3", path @ ..] => {
            let path = path.join("/");
            let Some(document) = apischema::openapi::v3(&path) else {
                return Ok(None);
            };
            let mut answer = json_document(call, document)?;
            let hash = hash_of(&path);
            if call.query.get("hash").is_some_and(|h| h == hash) {
                answer
                    .headers
                    .push((http::header::CACHE_CONTROL, "public, immutable".to_owned()));
            }
            answer.with_etag(&hash)
        }
        _ => return Ok(None),
    };
    Ok(Some(answer))
}

/// JSON is what there is; clients that insist on protobuf are told so.
fn json_document(call: &Call, document: &'static [u8]) -> Result<Answer, Status> {
    let accept = call.header("accept");
    let takes_json = accept.is_empty()
        || accept.split(',').any(|c| {
            let media = c.split(';').next().unwrap_or_default().trim();
            matches!(media, "application/json" | "*/*" | "application/*")
        });
    match takes_json {
        true => Ok(Answer::bytes(200, "application/json", document)),
        false => Err(Status::not_acceptable(&["application/json"])),
    }
}

fn index() -> Value {
    let mut paths = Map::new();
    for (path, hash) in apischema::openapi::v3_index() {
        paths.insert(
            path.clone(),
            json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
        );
    }
    json!({"paths": paths})
}

fn hash_of(path: &str) -> String {
    let found = apischema::openapi::v3_index().iter().find(|(p, _)| p == path);
    found.map(|(_, hash)| hash.clone()).unwrap_or_default()
}
