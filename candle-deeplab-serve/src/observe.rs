//! What is logged and counted of each request.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, Method, Response as HttpResponse, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::Body as _;
use tracing::Instrument;

use crate::meter;
use crate::problem::Problem;

/// Names a request, in logs and in its answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name that a client may give a request.
const MAX_ID: usize = 64;

/// Gives a request a name, counts it and logs its end. Errors that come from elsewhere are answered as JSON, too.
pub(crate) async fn observe(request: Request, next: Next) -> Response {
    let start = Instant::now();
    let id = given_id(&request).unwrap_or_else(new_id);
    let method = request.method().clone();
    // The route, and not the path: clients invent paths.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = span(&id, known(&method), &route);
    #[cfg(feature = "otlp")]
    crate::otlp::adopt(&span, request.headers());
    let gone = Gone { route: &route, method: known(&method), start, span: &span };
    let response = next.run(request).instrument(span.clone()).await;
    std::mem::forget(gone);
    let mut response = as_json(response);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    let (status, time) = (response.status().as_u16(), start.elapsed());
    let bytes = response.body().size_hint().exact().unwrap_or_default();
    meter::request(&route, known(&method), status, time);
    meter::sent(bytes as usize);
    #[cfg(feature = "otlp")]
    crate::otlp::answered(&span, status);
    span.in_scope(|| tracing::info!(status, seconds = time.as_secs_f64(), bytes, "answered"));
    response
}

/// The span of a request. Traces want to know that it is a server's.
fn span(id: &str, method: &str, route: &str) -> tracing::Span {
    #[cfg(feature = "otlp")]
    return tracing::info_span!("request", id, method, route, otel.kind = "server");
    #[cfg(not(feature = "otlp"))]
    tracing::info_span!("request", id, method, route)
}

/// Counts and logs a request whose client goes before it is answered: then the future that would answer it is dropped, and
/// this with it.
struct Gone<'a> {
    route: &'a str,
    method: &'static str,
    start: Instant,
    span: &'a tracing::Span,
}

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        /// What nginx logs for it; HTTP has no status that nobody gets.
        const STATUS: u16 = 499;
        let time = self.start.elapsed();
        meter::request(self.route, self.method, STATUS, time);
        self.span.in_scope(|| tracing::info!(status = STATUS, seconds = time.as_secs_f64(), "the client has gone"));
    }
}

/// The name of a method, for metrics. Clients can invent methods.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Answers a panic of a handler. The panic itself has been written to standard error by then.
pub(crate) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> HttpResponse<axum::body::Body> {
    Problem::internal(&"a handler panicked").into_response()
}

fn as_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == "application/json");
    if !(status.is_client_error() || status.is_server_error()) || is_json {
        return response;
    }
    let message = match status {
        StatusCode::NOT_FOUND => "there is nothing at this address: `/openapi.json` lists what there is",
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take this method: `/openapi.json` says which it takes",
        status => status.canonical_reason().unwrap_or("the request cannot be served"),
    };
    let mut json = Problem::new(status, message).into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        json.headers_mut().insert(header::ALLOW, allow.clone());
    }
    json
}

/// The name that a client gives a request, if it can stand in a log.
fn given_id(request: &Request) -> Option<String> {
    let id = request.headers().get(REQUEST_ID)?.to_str().ok()?;
    let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (!id.is_empty() && id.len() <= MAX_ID && is_plain).then(|| id.to_owned())
}

/// A name that no other request of this process has, and hardly any of another.
fn new_id() -> String {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    format!("{process:016x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed))
}
