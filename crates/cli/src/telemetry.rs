//! Logs to standard error, and traces to an OpenTelemetry collector where one is named.
//!
//! The standard variables of OpenTelemetry decide: OTEL_EXPORTER_OTLP_ENDPOINT (or ..._TRACES_ENDPOINT) turns traces
//! on, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS and
//! OTEL_BSP_SCHEDULE_DELAY mean what the specification says. The protocol is OTLP over HTTP with protobuf.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::hyper::HyperClient;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::args::LogFormat;

/// An export that takes longer is given up, and says so in the log.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// What is left at the end may take this long to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("OpenTelemetry exporter: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("certificate authorities of this machine, for the OpenTelemetry collector: {0}")]
    Authorities(#[from] std::io::Error),
    #[error("TIDEGATE_LOG={wanted:?}: {source}")]
    Levels {
        wanted: String,
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("logging: {0}")]
    Subscriber(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends what is left of the traces when it ends.
#[must_use]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Must be called within the runtime. Without `logs` only traces are kept, where they have somewhere to go.
    pub fn start(logs: Option<LogFormat>) -> Result<Self, TelemetryError> {
        let traces = is_wanted().then(tracer_provider).transpose()?;
        let tracing_layer = traces.as_ref().map(|provider| {
            tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("tidegate"))
                .with_location(false)
                .with_threads(false)
                .with_filter(LevelFilter::INFO)
        });
        // Level and targets (`info`, `tidegate_cluster=debug,info`).
        let levels = match std::env::var("TIDEGATE_LOG") {
            Ok(wanted) => {
                EnvFilter::try_new(&wanted).map_err(|source| TelemetryError::Levels { wanted, source })?
            }
            Err(_) => EnvFilter::new("info"),
        };
        let lines = logs.map(|format| {
            let lines = tracing_subscriber::fmt::layer()
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal());
            match format {
                LogFormat::Json => lines.json().boxed(),
                LogFormat::Text => lines.boxed(),
            }
            // Spans are for traces: where nobody keeps those they cost nothing.
            .with_filter(levels.and(filter_fn(|metadata| metadata.is_event())))
        });
        tracing_subscriber::registry()
            .with(tracing_layer)
            .with(lines)
            .try_init()?;
        Ok(Self { traces })
    }

    pub async fn end(self) {
        let Some(traces) = self.traces else { return };
        // It waits for the exporter's thread, whose requests run on this runtime.
        let ended = tokio::task::spawn_blocking(move || traces.shutdown_with_timeout(FLUSH_TIMEOUT)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces were not sent"),
            Err(error) => tracing::warn!(%error, "the last traces were not sent"),
        }
    }
}

fn is_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty());
    let disabled = set("OTEL_SDK_DISABLED").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let endpoint = set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
    endpoint.is_some() && !disabled
}

fn tracer_provider() -> Result<SdkTracerProvider, TelemetryError> {
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::ring::default_provider())?
        .https_or_http()
        .enable_http1()
        .build();
    let client = OnRuntime {
        client: HyperClient::new(connector, EXPORT_TIMEOUT, None),
        runtime: tokio::runtime::Handle::current(),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(EXPORT_TIMEOUT)
        .build()?;
    let mut resource = Resource::builder();
    if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("tidegate");
    }
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        .with_batch_exporter(exporter)
        .build())
}

/// The exporter has a thread of its own, which is no place for this client's connections.
struct OnRuntime {
    client: HyperClient<hyper_rustls::HttpsConnector<HttpConnector>>,
    runtime: tokio::runtime::Handle,
}

impl fmt::Debug for OnRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRuntime")
    }
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime
            .spawn(async move { client.send_bytes(request).await })
            .await?
    }
}
