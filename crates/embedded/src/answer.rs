//! An answer before it becomes an HTTP response.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use serde_json::Value;

use crate::body::ResponseBody;
use crate::status::{Status, Warnings};

/// What a handler answers.
pub struct Answer {
    pub code: u16,
    pub content_type: &'static str,
    pub body: ResponseBody,
    pub warnings: Warnings,
    pub headers: Vec<(HeaderName, String)>,
}

impl Answer {
    pub fn json(code: u16, value: &Value) -> Result<Self, Status> {
        let mut bytes = serde_json::to_vec(value).map_err(Status::internal)?;
        bytes.push(b'\n');
        Ok(Self::bytes(code, "application/json", Bytes::from(bytes)))
    }

    pub fn bytes(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self {
            code,
            content_type,
            body: ResponseBody::Whole(Some(bytes.into())),
            warnings: Vec::new(),
            headers: Vec::new(),
        }
    }

    pub fn text(code: u16, text: impl Into<String>) -> Self {
        Self::bytes(code, "text/plain; charset=utf-8", text.into().into_bytes())
    }

    pub fn with_warnings(mut self, warnings: Warnings) -> Self {
        self.warnings.extend(warnings);
        self
    }

    pub fn with_etag(mut self, etag: &str) -> Self {
        self.headers.push((ETAG, format!("\"{etag}\"")));
        self
    }

    pub fn into_response(self) -> Response<ResponseBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        for warning in &self.warnings {
            if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", quoted(warning))) {
                headers.append(WARNING, value);
            }
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<Status> for Answer {
    fn from(status: Status) -> Self {
        let retry = status.retry_after_seconds();
        let body = serde_json::to_vec(&status.to_value()).unwrap_or_default();
        let mut out = Self::bytes(status.code, "application/json", body);
        if let Some(seconds) = retry {
            out.headers.push((RETRY_AFTER, seconds.to_string()));
        }
        out
    }
}

/// A warning as the text of a header: control characters would break it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
