//! How a request leaves the process: through kube's client, or straight into a service in this process.
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tower::{Service, ServiceExt};

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, SendError>> + Send>>;

/// No answer came.
#[derive(Debug)]
pub(crate) struct SendError {
    /// Nothing of the request can have reached the server.
    pub unsent: bool,
    pub message: String,
}

/// Anything that answers HTTP requests.
pub(crate) trait Transport: Send + Sync {
    fn send(&self, request: Request<Bytes>) -> Answer;
}

/// kube's client: kubeconfig, TLS and credentials are its.
pub(crate) struct ThroughKube(pub kube::Client);

impl Transport for ThroughKube {
    fn send(&self, request: Request<Bytes>) -> Answer {
        let client = self.0.clone();
        Box::pin(async move {
            match client.send(request.map(kube::client::Body::from)).await {
                Ok(answer) => Ok(answer.map(|body| body.map_err(BoxError::from).boxed_unsync())),
                Err(error) => Err(SendError {
                    unsent: never_left(&error),
                    message: chain(&error),
                }),
            }
        })
    }
}

/// A service in this process, cloned for each request.
pub(crate) struct InProcess<S>(pub Mutex<S>);

impl<S, B> Transport for InProcess<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn send(&self, request: Request<Bytes>) -> Answer {
        let service = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            match service.oneshot(request.map(Full::new)).await {
                Ok(answer) => Ok(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
                Err(error) => Err(SendError {
                    unsent: false,
                    message: error.into().to_string(),
                }),
            }
        })
    }
}

pub(crate) type SharedTransport = Arc<dyn Transport>;

/// A connection that could not be made carried nothing.
fn never_left(error: &kube::Error) -> bool {
    if matches!(error, kube::Error::Auth(_)) {
        return true;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(legacy) = current.downcast_ref::<hyper_util::client::legacy::Error>() {
            return legacy.is_connect();
        }
        cause = current.source();
    }
    false
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let said = current.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = current.source();
    }
    text
}
