//! The model repository extension: which models there are, and loading and unloading them.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::task;
use utoipa::ToSchema;

use super::VERSION;
use crate::app::App;
use crate::body;
use crate::models::{self, Models};
use crate::problem::{ErrorBody, Problem, Result};

/// What a client wants to know of the repository.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(crate) struct IndexRequest {
    /// Whether only models that can be used are listed.
    ready: bool,
}

/// A model of the repository.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IndexEntry {
    name: String,
    version: &'static str,
    /// `READY`, `LOADING` or `UNAVAILABLE`.
    state: &'static str,
    reason: &'static str,
}

/// The models that there are
#[utoipa::path(
    post, path = "/v2/repository/index", tag = "open inference protocol", request_body = Option<IndexRequest>,
    responses((status = 200, body = [IndexEntry]), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn index(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Json<Vec<IndexEntry>>> {
    let received = body::read(&app, &headers, body, app.deadline()).await?;
    let IndexRequest { ready } = match received.bytes.trim_ascii() {
        [] => IndexRequest::default(),
        bytes => serde_json::from_slice(bytes).map_err(|error| Problem::bad(format!("the body: {error}")))?,
    };
    let entry = |(name, state): (&str, models::State)| {
        let (state, reason) = match state {
            models::State::Ready(_) => ("READY", ""),
            models::State::Loading => ("LOADING", ""),
            models::State::Failed => ("UNAVAILABLE", "it could not be loaded"),
            models::State::Unloaded => ("UNAVAILABLE", "unloaded"),
        };
        IndexEntry { name: name.to_owned(), version: VERSION, state, reason }
    };
    let entries = app.models.all().into_iter().map(entry);
    Ok(Json(entries.filter(|entry| !ready || entry.state == "READY").collect()))
}

/// Loads a model, or loads it anew
///
/// It has to be one of those that the server was started with.
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/load", tag = "open inference protocol", params(("model" = String, Path)),
    responses((status = 200), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn load(State(app): State<App>, Path(name): Path<String>) -> Result<Json<serde_json::Value>> {
    control(app, move |models| models.load(&name)).await
}

/// Unloads a model
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/unload", tag = "open inference protocol", params(("model" = String, Path)),
    responses((status = 200), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn unload(State(app): State<App>, Path(name): Path<String>) -> Result<Json<serde_json::Value>> {
    control(app, move |models| models.unload(&name)).await
}

async fn control(
    app: App,
    act: impl FnOnce(&Models) -> Result<()> + Send + 'static,
) -> Result<Json<serde_json::Value>> {
    if !app.settings.model_control {
        let message =
            "models cannot be loaded or unloaded here: the server was started without `--allow-model-control`";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    // Threads that wait for their turn would be missing elsewhere.
    let permit = app.control.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::busy("another model is being loaded or unloaded: try again in a second"))?;
    let models = app.models.clone();
    let act = move || {
        let _permit = permit;
        act(&models)
    };
    task::spawn_blocking(act).await.map_err(|error| Problem::internal(&error))??;
    Ok(Json(serde_json::json!({})))
}
