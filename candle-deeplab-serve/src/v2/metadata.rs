//! What the server and its models are, and whether they are ready.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{INPUT, LABEL_MAP, PROBABILITIES, VERSION, check_version};
use crate::app::App;
use crate::problem::{ErrorBody, Problem, Result};

/// The server's metadata.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: Vec<&'static str>,
}

/// A model's metadata.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelMetadata {
    name: String,
    versions: Vec<&'static str>,
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

/// A tensor's metadata. A size of −1 is any.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TensorMetadata {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<i64>,
}

/// Whether something is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
}

/// Whether the server runs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Liveness {
    live: bool,
}

/// What the server is
#[utoipa::path(get, path = "/v2", tag = "open inference protocol", responses((status = 200, body = ServerMetadata)))]
pub(crate) async fn server() -> Json<ServerMetadata> {
    let extensions = vec!["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"];
    Json(ServerMetadata { name: "candle-deeplab", version: env!("CARGO_PKG_VERSION"), extensions })
}

/// Whether the server runs
#[utoipa::path(get, path = "/v2/health/live", tag = "open inference protocol", responses((status = 200, body = Liveness)))]
pub(crate) async fn live() -> Json<Liveness> {
    Json(Liveness { live: true })
}

/// Whether all models can be used
#[utoipa::path(
    get, path = "/v2/health/ready", tag = "open inference protocol",
    responses((status = 200, body = Readiness), (status = 503, description = "Models are being loaded, or the server ends", body = Readiness)),
)]
pub(crate) async fn ready(State(app): State<App>) -> (StatusCode, Json<Readiness>) {
    let ready = !app.is_draining() && app.models.is_ready();
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(Readiness { ready }))
}

/// What a model takes and gives
#[utoipa::path(
    get, path = "/v2/models/{model}", tag = "open inference protocol", params(("model" = String, Path)),
    responses((status = 200, body = ModelMetadata), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn model(State(app): State<App>, Path(name): Path<String>) -> Result<Json<ModelMetadata>> {
    let ready = app.models.ready(Some(&name))?;
    let classes = ready.labels.names.len() as i64;
    let tensor = |name, datatype, shape: &[i64]| TensorMetadata { name, datatype, shape: shape.to_vec() };
    Ok(Json(ModelMetadata {
        name,
        versions: vec![VERSION],
        platform: "candle_deeplab",
        // Files of images are accepted, too: BYTES [N].
        inputs: vec![tensor(INPUT, "UINT8", &[-1, -1, -1, 3])],
        outputs: vec![tensor(LABEL_MAP, "UINT8", &[-1, -1, -1]), tensor(PROBABILITIES, "FP32", &[-1, -1, -1, classes])],
    }))
}

/// What a version of a model takes and gives
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = ModelMetadata), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn model_version(
    state: State<App>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<ModelMetadata>> {
    check_version(&version)?;
    model(state, Path(name)).await
}

/// Whether a model can be used
#[utoipa::path(
    get, path = "/v2/models/{model}/ready", tag = "open inference protocol", params(("model" = String, Path)),
    responses((status = 200, body = Readiness), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn model_ready(State(app): State<App>, Path(name): Path<String>) -> Result<Json<Readiness>> {
    if app.is_draining() {
        return Err(Problem::unavailable("the server is about to end"));
    }
    app.models.ready(Some(&name)).map(|_| Json(Readiness { ready: true }))
}

/// Whether a version of a model can be used
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}/ready", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)),
    responses((status = 200, body = Readiness), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn model_version_ready(
    state: State<App>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Json<Readiness>> {
    check_version(&version)?;
    model_ready(state, Path(name)).await
}
