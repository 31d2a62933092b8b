//! The API as a `tower::Service`.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::BodyExt;

use crate::answer::Answer;
use crate::body::ResponseBody;
use crate::query::Query;
use crate::server::ApiServer;
use crate::status::{Status, Warnings};
use crate::user::UserInfo;

/// The API acting as one user; clones are cheap.
#[derive(Clone)]
pub struct ApiService {
    server: ApiServer,
    user: UserInfo,
}

/// One request, read completely.
pub(crate) struct Call {
    pub server: ApiServer,
    pub user: UserInfo,
    pub method: Method,
    pub path: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Said in `Warning` headers, whatever the answer.
    pub warnings: Mutex<Warnings>,
}

impl Call {
    pub fn warn(&self, warnings: Warnings) {
        let mut said = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings {
            if !said.contains(&warning) {
                said.push(warning);
            }
        }
    }

    pub fn take_warnings(&self) -> Warnings {
        std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    pub fn store(&self) -> &crate::store::Store {
        &self.server.inner.store
    }
}

impl ApiService {
    pub(crate) fn new(server: ApiServer, user: UserInfo) -> Self {
        Self { server, user }
    }

    /// Answers one request; a panic inside is a 500 for this request alone.
    pub async fn answer<B>(self, request: Request<B>) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Display,
    {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let work = async {
            let body = read_body(body, &parts.headers).await?;
            let mut call = Call {
                server: self.server,
                user: self.user,
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: Query::parse(parts.uri.query().unwrap_or_default()),
                headers: parts.headers,
                body,
                warnings: Mutex::default(),
            };
            let result = crate::dispatch::dispatch(&mut call).await;
            let warnings = call.take_warnings();
            Ok::<_, Status>(result.unwrap_or_else(Answer::from).with_warnings(warnings))
        };
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(Ok(answer)) => answer.into_response(),
            Ok(Err(status)) => Answer::from(status).into_response(),
            Err(_) => {
                tracing::error!(path, "a request panicked");
                let what = "This request caused apiserver to panic. Look in the logs for details.";
                Answer::from(Status::new(
                    http::StatusCode::INTERNAL_SERVER_ERROR,
                    "InternalError",
                    what,
                ))
                .into_response()
            }
        }
    }
}

impl<B> tower::Service<Request<B>> for ApiService
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

async fn read_body<B>(body: B, headers: &HeaderMap) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Display,
{
    if headers
        .get(http::header::CONTENT_ENCODING)
        .is_some_and(|v| v != "identity")
    {
        return Err(Status::unsupported_media_type(&["identity"]));
    }
    let mut body = Box::pin(body);
    let mut whole: Option<Bytes> = None;
    let mut joined = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Status::bad_request(format!("reading the body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if joined.len() + data.len() + whole.as_ref().map_or(0, Bytes::len) > crate::MAX_BODY_BYTES {
            return Err(Status::too_large_body());
        }
        match whole.take() {
            None if joined.is_empty() => whole = Some(data),
            first => {
                if let Some(first) = first {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
        }
    }
    Ok(whole.unwrap_or_else(|| joined.freeze()))
}
