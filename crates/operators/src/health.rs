//! Metrics and health over plain HTTP.
use crate::{Metrics, OperatorError};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

const CONNECTIONS: usize = 64;

/// Why the process is not ready; `None` when it is.
pub(crate) type Readiness = Arc<dyn Fn() -> Option<String> + Send + Sync>;

pub(crate) async fn listen(address: SocketAddr) -> Result<TcpListener, OperatorError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| OperatorError::Listen { address, source })
}

/// Serves for ever: `/metrics`, `/healthz`, `/readyz`.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Readiness) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, readiness) = (metrics.clone(), readiness.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&request, &metrics, &readiness);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "a metrics connection ended");
            }
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, readiness: &Readiness) -> Response<Full<Bytes>> {
    let (status, body) = match request.uri().path() {
        "/metrics" => {
            // Looking also takes the caches' ages, which are to be those of now.
            readiness();
            (StatusCode::OK, metrics.text())
        }
        "/healthz" | "/livez" => (StatusCode::OK, "ok".to_owned()),
        "/readyz" => match readiness() {
            None => (StatusCode::OK, "ok".to_owned()),
            Some(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
        },
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    // Prometheus 3 refuses a scrape that does not say what it is.
    let content_type = match request.uri().path() {
        "/metrics" => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
