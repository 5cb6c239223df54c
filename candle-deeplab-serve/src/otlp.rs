//! Traces for an OpenTelemetry collector, by OTLP over HTTP (feature `otlp`). The environment says where it is, and more, by
//! OpenTelemetry's own variables.

use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Request, Response};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::{Span, Subscriber};
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt};
use tracing_subscriber::registry::LookupSpan;
use ureq::Agent;

use crate::error::Error;

/// The variables that switch traces on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// What the service is called, unless this variable says otherwise.
const SERVICE_NAME: (&str, &str) = ("OTEL_SERVICE_NAME", "candle-deeplab");

/// Sends spans. The last ones are sent when this goes.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// What the environment asks for: nothing, unless it names a collector.
    ///
    /// # Errors
    /// [`Error::Setting`] where it says what cannot be used.
    pub(crate) fn from_env() -> Result<Option<Self>, Error> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.into_iter().any(is_set) {
            return Ok(None);
        }
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(Client::new())
            .build()
            .map_err(|error| Error::Setting(format!("traces cannot be sent as the environment says: {error}")))?;
        let resource = Resource::builder();
        let (variable, name) = SERVICE_NAME;
        let resource = if is_set(variable) { resource } else { resource.with_service_name(name) };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
        Ok(Some(Self(provider.build())))
    }

    /// What passes the spans of `tracing` on.
    pub(crate) fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> OpenTelemetryLayer<S, Tracer> {
        // Where in the source a span begins, and in which thread, is nothing to an operator.
        let layer = tracing_opentelemetry::layer().with_location(false).with_threads(false);
        layer.with_tracer(self.0.tracer(SERVICE_NAME.1))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Makes a request's span part of the trace that its headers name.
pub(crate) fn adopt(span: &Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // Where traces are off, there is nothing to be part of.
    let _ = span.set_parent(context);
}

/// Adds to a request's span what it was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    span.set_attribute("http.response.status_code", i64::from(status));
}

/// The HTTP client that sends spans. It is called in the exporter's own thread, and may block.
#[derive(Debug)]
struct Client(Agent);

impl Client {
    fn new() -> Self {
        /// A collector that takes longer loses what it was sent.
        const PATIENCE: Duration = Duration::from_secs(10);
        let config =
            Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).max_redirects(0);
        Self(config.build().into())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        /// The longest answer in bytes, which nobody reads.
        const MOST: u64 = 1 << 20;
        let (parts, body) = self.0.run(request.map(|body| body.to_vec()))?.into_parts();
        let body = body.into_with_config().limit(MOST).read_to_vec()?;
        Ok(Response::from_parts(parts, body.into()))
    }
}
