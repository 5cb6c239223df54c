//! The description of the interface for programs: OpenAPI 3.1.

use axum::http::header;
use axum::response::IntoResponse;
use utoipa::OpenApi;

use crate::tools::{cvat, label_studio};
use crate::{meter, segment, v2};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "candle-deeplab",
        description = "Semantic segmentation: which class is where in an image.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    paths(
        segment::models,
        segment::segment,
        v2::metadata::server,
        v2::metadata::live,
        v2::metadata::ready,
        v2::metadata::model,
        v2::metadata::model_ready,
        v2::infer::infer,
        v2::metadata::model_version,
        v2::metadata::model_version_ready,
        v2::infer::infer_version,
        v2::repository::index,
        v2::repository::load,
        v2::repository::unload,
        label_studio::health,
        label_studio::versions,
        label_studio::setup,
        label_studio::predict,
        cvat::functions,
        cvat::one,
        cvat::invoke,
        meter::metrics,
    )
)]
struct Interface;

pub(crate) async fn document() -> impl IntoResponse {
    let json = Interface::openapi().to_json().unwrap_or_else(|error| {
        tracing::error!(%error, "the interface cannot be described");
        "{}".to_owned()
    });
    ([(header::CONTENT_TYPE, "application/json")], json)
}
