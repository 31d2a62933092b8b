//! What a collector of OpenTelemetry receives (OTLP over HTTP).
use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::sync::mpsc;

use super::PATIENCE;

/// A collector: answers exports, and hands on what was in them.
pub async fn collect() -> (SocketAddr, mpsc::UnboundedReceiver<Span>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, spans) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let service = hyper::service::service_fn(move |request| receive(request, sender.clone()));
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (address, spans)
}

async fn receive(
    request: Request<Incoming>,
    sender: mpsc::UnboundedSender<Span>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let export = ExportTraceServiceRequest::decode(body).unwrap();
    for resource in export.resource_spans {
        let attributes = resource.resource.unwrap().attributes;
        assert!(
            attributes.iter().any(|a| a.key == "service.name"),
            "{attributes:?}"
        );
        for span in resource.scope_spans.into_iter().flat_map(|s| s.spans) {
            sender.send(span).ok();
        }
    }
    Ok(Response::new(Full::default()))
}

pub async fn next(spans: &mut mpsc::UnboundedReceiver<Span>, wanted: impl Fn(&Span) -> bool) -> Span {
    let found = async {
        loop {
            let span = spans.recv().await.expect("the collector runs");
            if wanted(&span) {
                return span;
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("such a span")
}

pub fn attribute(span: &Span, key: &str) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let found = span.attributes.iter().find(|a| a.key == key);
    match found.and_then(|a| a.value.clone()).and_then(|v| v.value) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
