//! What is counted and measured, for Prometheus.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::header;
use axum::response::IntoResponse;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const REQUESTS: &str = "candle_deeplab_requests_total";
const REQUEST_SECONDS: &str = "candle_deeplab_request_seconds";
const QUEUE_LENGTH: &str = "candle_deeplab_queue_length";
const STAGE_SECONDS: &str = "candle_deeplab_stage_seconds";
const BATCH_SIZE: &str = "candle_deeplab_batch_size";
const RECEIVED: &str = "candle_deeplab_received_bytes_total";
const SENT: &str = "candle_deeplab_sent_bytes_total";
const IMAGE_MEMORY: &str = "candle_deeplab_image_memory_bytes";
const CONNECTIONS: &str = "candle_deeplab_connections";

/// A part of the work on an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Reading the file, and turning the picture upright.
    Decode,
    /// Waiting for the network.
    Queue,
    /// Resizing, the network, and finding the classes.
    Compute,
    /// Writing the answer.
    Encode,
}

impl Stage {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Compute => "compute",
            Self::Encode => "encode",
        }
    }
}

/// What renders all of these. They are the process's: several servers in one process share them.
pub(crate) fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = recorder().unwrap_or_else(|error| {
            tracing::error!(%error, "histograms have no buckets");
            PrometheusBuilder::new().build_recorder()
        });
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("another recorder of metrics is installed: `/metrics` stays empty");
        }
        describe();
        handle
    })
}

/// What is counted and measured, as Prometheus reads it
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics() -> impl IntoResponse {
    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT)], handle().render())
}

fn recorder() -> Result<PrometheusRecorder, BuildError> {
    /// Seconds, from a millisecond to the longest time limit that makes sense.
    const SECONDS: [f64; 15] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];
    const IMAGES: [f64; 6] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(STAGE_SECONDS.into()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_SIZE.into()), &IMAGES)?;
    Ok(builder.build_recorder())
}

fn describe() {
    describe_counter!(REQUESTS, "Requests by route, method and status");
    describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time from a request's head to the head of its answer");
    describe_gauge!(QUEUE_LENGTH, "Requests of a model that are decoded or wait for the network");
    describe_histogram!(STAGE_SECONDS, Unit::Seconds, "Time of the parts of the work on an image");
    describe_histogram!(BATCH_SIZE, "Images that went through the network together");
    describe_counter!(RECEIVED, Unit::Bytes, "Bytes of requests' bodies");
    describe_counter!(SENT, Unit::Bytes, "Bytes of answers' bodies");
    describe_gauge!(IMAGE_MEMORY, Unit::Bytes, "Memory of images on their way");
    describe_gauge!(CONNECTIONS, "Open connections");
}

pub(crate) fn request(route: &str, method: &str, status: u16, time: Duration) {
    let labels = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.to_string())];
    counter!(REQUESTS, &labels).increment(1);
    histogram!(REQUEST_SECONDS, "route" => route.to_owned()).record(time.as_secs_f64());
}

pub(crate) fn queue_length(model: &str, length: usize) {
    gauge!(QUEUE_LENGTH, "model" => model.to_owned()).set(length as f64);
}

pub(crate) fn stage(stage: Stage, time: Duration) {
    histogram!(STAGE_SECONDS, "stage" => stage.name()).record(time.as_secs_f64());
}

pub(crate) fn batch(model: &str, images: usize) {
    histogram!(BATCH_SIZE, "model" => model.to_owned()).record(images as f64);
}

pub(crate) fn received(bytes: usize) {
    counter!(RECEIVED).increment(bytes as u64);
}

pub(crate) fn sent(bytes: usize) {
    counter!(SENT).increment(bytes as u64);
}

pub(crate) fn image_memory(bytes: u64) {
    gauge!(IMAGE_MEMORY).set(bytes as f64);
}

pub(crate) fn connections(open: usize) {
    gauge!(CONNECTIONS).set(open as f64);
}
