//! All addresses of the server.

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;

use crate::app::App;
use crate::error::Error;
use crate::tools::{cvat, label_studio};
use crate::{auth, drain, meter, observe, openapi, page, segment, unread, v2};

/// The router of a server.
///
/// # Errors
/// [`Error::Setting`] for a site that is no address.
pub(crate) fn router(app: App) -> Result<Router, Error> {
    let cors = cors(&app.settings.cors)?;
    let constant = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let routes = Router::new()
        .route("/", get(page::index))
        .route("/assets/{file}", get(page::asset))
        .route("/docs", get(page::docs))
        .route("/openapi.json", get(openapi::document))
        .route("/metrics", get(meter::metrics))
        .route("/v1/models", get(segment::models))
        .route("/v1/segment", post(segment::segment))
        .route("/v2", get(v2::metadata::server))
        // Triton's own clients ask without the slash, and others with it.
        .route("/v2/", get(v2::metadata::server))
        .route("/v2/health/live", get(v2::metadata::live))
        .route("/v2/health/ready", get(v2::metadata::ready))
        .route("/v2/models/{model}", get(v2::metadata::model))
        .route("/v2/models/{model}/ready", get(v2::metadata::model_ready))
        .route("/v2/models/{model}/infer", post(v2::infer::infer))
        .route("/v2/models/{model}/versions/{version}", get(v2::metadata::model_version))
        .route("/v2/models/{model}/versions/{version}/ready", get(v2::metadata::model_version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(v2::infer::infer_version))
        .route("/v2/repository/index", post(v2::repository::index))
        .route("/v2/repository/models/{model}/load", post(v2::repository::load))
        .route("/v2/repository/models/{model}/unload", post(v2::repository::unload))
        .route("/health", get(label_studio::health))
        .route("/versions", get(label_studio::versions))
        .route("/setup", post(label_studio::setup))
        .route("/predict", post(label_studio::predict))
        .route("/api/functions", get(cvat::functions))
        .route("/api/functions/{id}", get(cvat::one))
        .route("/api/function_invocations", post(cvat::invoke))
        // Before the layers, so that they see it, too.
        .fallback(|| async { StatusCode::NOT_FOUND })
        .layer(from_fn_with_state(app.clone(), drain::check))
        .layer(from_fn_with_state(app.clone(), auth::check))
        .layer(from_fn_with_state(app.clone(), unread::read))
        .with_state(app);
    let layers = ServiceBuilder::new()
        .layer(from_fn(observe::observe))
        .layer(constant(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(constant(header::X_FRAME_OPTIONS, "DENY"))
        .layer(constant(header::REFERRER_POLICY, "no-referrer"))
        .layer(constant(header::CONTENT_SECURITY_POLICY, page::POLICY))
        .layer(constant(header::CACHE_CONTROL, "no-store"))
        .layer(cors)
        // Bodies are read by `body`, which has limits of its own.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(observe::panicked));
    Ok(routes.layer(layers))
}

/// Lets the scripts of other sites use the server, if the settings name any.
fn cors(sites: &[String]) -> Result<CorsLayer, Error> {
    if sites.is_empty() {
        return Ok(CorsLayer::new());
    }
    let value = |site: &String| {
        HeaderValue::from_str(site)
            .map_err(|_| Error::Setting(format!("`{site}` is no web site: give it as https://example.org")))
    };
    let allowed = match sites.iter().any(|site| site == "*") {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(sites.iter().map(value).collect::<Result<Vec<_>, _>>()?),
    };
    Ok(CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            HeaderName::from_static("x-api-key"),
            v2::infer::JSON_LENGTH,
        ])
        .expose_headers([
            HeaderName::from_static("x-request-id"),
            HeaderName::from_static("server-timing"),
            header::CONTENT_DISPOSITION,
            header::RETRY_AFTER,
            v2::infer::JSON_LENGTH,
        ])
        .max_age(Duration::from_secs(3600)))
}
