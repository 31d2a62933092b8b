//! Traces that go through us: W3C Trace Context in and out, where the process keeps traces at all.
use http::HeaderMap;
use http::request::Parts;
use opentelemetry::global::get_text_map_propagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A review is part of the request that the API server asks us about.
pub(crate) fn of_review(head: &Parts) -> Span {
    let path = head.uri.path();
    let span = tracing::info_span!(
        "admission",
        otel.kind = "server",
        path,
        outcome = Empty,
        sidecarsets = Empty
    );
    if span.is_disabled() {
        return span;
    }
    let asked = get_text_map_propagator(|propagator| propagator.extract(&HeaderExtractor(&head.headers)));
    // Refused where nobody keeps traces: then there is nothing to be part of.
    let _ = span.set_parent(asked);
    span
}

/// Tells the API server what its work is part of.
pub(crate) fn pass_on(headers: &mut HeaderMap) {
    let span = Span::current();
    if span.is_disabled() {
        return;
    }
    let context = span.context();
    get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut HeaderInjector(headers)));
}
