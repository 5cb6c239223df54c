//! `POST /v1/segment` and `GET /v1/models`: this server's own interface.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use candle_deeplab::Labels;
use candle_deeplab::segment::Segmented;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::counted;
use crate::app::App;
use crate::body::{self, BodyMemory, Received};
use crate::fetch;
use crate::format::{Format, Look};
use crate::meter::Stage;
use crate::models;
use crate::multipart::{self, File, Form, Part};
use crate::options::Options;
use crate::problem::{ErrorBody, Problem, Result};
use crate::work::{self, Done, Picture, Times, Wish};

/// A request that names its image by an address.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ByUrl {
    /// An `http` or `https` address on one of the hosts that the server allows.
    url: String,
}

/// The models that are served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelList {
    models: Vec<ModelEntry>,
}

/// A model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelEntry {
    name: String,
    /// Whether it can be used now.
    ready: bool,
    /// Whether it is used by requests that name no model.
    default: bool,
    /// Its classes in the order of their ids; none while it is not ready.
    classes: Vec<ClassEntry>,
    /// The class that means "nothing in particular", which overlays leave out.
    background: Option<u8>,
    /// The value of pixels that have no class.
    ignore: Option<u8>,
}

/// A class of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ClassEntry {
    id: usize,
    name: String,
    /// The data set's colour, as `#rrggbb`.
    color: String,
    /// The colour in overlays.
    vivid: String,
}

/// The models that are served, with their classes and colours
#[utoipa::path(get, path = "/v1/models", tag = "segmentation", responses((status = 200, body = ModelList)))]
pub(crate) async fn models(State(app): State<App>) -> Json<ModelList> {
    let entry = |(index, (name, state)): (usize, (&str, models::State))| {
        let labels = match &state {
            models::State::Ready(ready) => Some(&ready.labels),
            _ => None,
        };
        ModelEntry {
            name: name.to_owned(),
            ready: labels.is_some(),
            default: index == 0,
            classes: labels.map(classes).unwrap_or_default(),
            background: labels.and_then(|labels| labels.background),
            ignore: labels.and_then(|labels| labels.ignore),
        }
    };
    Json(ModelList { models: app.models.all().into_iter().enumerate().map(entry).collect() })
}

fn classes(labels: &Labels) -> Vec<ClassEntry> {
    let html = |[red, green, blue]: [u8; 3]| format!("#{red:02x}{green:02x}{blue:02x}");
    let vivid = labels.vivid();
    let entry = |(id, name): (usize, &String)| ClassEntry {
        id,
        name: name.clone(),
        color: html(labels.palette.get(id).copied().unwrap_or_default()),
        vivid: html(vivid.get(id).copied().unwrap_or_default()),
    };
    labels.names.iter().enumerate().map(entry).collect()
}

/// Segments an image
///
/// The image is the request's body, or the field `image` of a form, or, where the server allows it, at an address. One
/// format is answered as it is; several are answered as `multipart/form-data` with a part for each, which browsers read
/// with `await response.formData()`.
#[utoipa::path(
    post, path = "/v1/segment", tag = "segmentation", params(Options),
    request_body(
        content(
            (File = "application/octet-stream"), (File = "image/jpeg"), (File = "image/png"),
            (Form = "multipart/form-data"), (ByUrl = "application/json"),
        ),
        description = "The image's file: JPEG, PNG, WebP, BMP, TIFF or GIF",
    ),
    responses(
        (status = 200, description = "The segmentation in the format that was asked for", content(
            (File = "image/jpeg"), (File = "image/png"), (File = "image/webp"), (serde_json::Value = "application/json"),
            (serde_json::Value = "application/geo+json"), (File = "application/x-npy"), (String = "multipart/form-data"),
        )),
        (status = "4XX", description = "The request cannot be served", body = ErrorBody),
        (status = "5XX", description = "The server cannot answer now", body = ErrorBody),
    ),
)]
pub(crate) async fn segment(
    State(app): State<App>,
    options: std::result::Result<Query<Options>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let deadline = app.deadline();
    let Query(options) = options.map_err(|rejection| Problem::bad(rejection.body_text()))?;
    // What is known to be wrong is said before the body is read.
    app.models.ready(options.model.as_deref())?;
    let Received { bytes, mut memory } = body::read(&app, &headers, body, deadline).await?;
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (options, picture) = match content_type.split(';').next().unwrap_or_default().trim() {
        "multipart/form-data" => multipart::read(content_type, bytes, options).await?,
        "application/json" => {
            let ByUrl { url } = serde_json::from_slice(&bytes)
                .map_err(|error| Problem::bad(format!("the body is no `{{\"url\": \"…\"}}`: {error}")))?;
            let fetched = fetch::fetch(&app, url, deadline).await?;
            memory = fetched.memory;
            (options, Picture::Encoded(fetched.bytes))
        }
        _ => (options, Picture::Encoded(bytes)),
    };
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    answer(&app, &options, accept, (picture, memory), deadline).await
}

async fn answer(
    app: &App,
    options: &Options,
    accept: &str,
    (picture, memory): (Picture, BodyMemory),
    deadline: Instant,
) -> Result<Response> {
    let model = app.models.ready(options.model.as_deref())?;
    let (formats, look) = options.formats(accept, &model.labels)?;
    let wish = Wish { wanted: Format::wanted_by(&formats), bytes_per_pixel: bytes_per_pixel(&formats, &model.labels) };
    let done = work::segment(app, &model, vec![picture], memory, wish, deadline).await?;
    let times = done.times;
    let (mut response, encoded) = work::encode(app, deadline, move || {
        let Done { images, memory, .. } = done;
        let Ok([mut segmented]) = <[Segmented; 1]>::try_from(images) else {
            return Err(Problem::internal(&"one image gave several answers"));
        };
        if let Some(classes) = &look.classes {
            let kept = segmented.segmentation.keep(classes);
            segmented.segmentation = kept.map_err(|error| Problem::bad(error.to_string()))?;
        }
        let parts = formats.iter().map(|format| part(*format, &segmented, &look)).collect::<Result<Vec<_>>>()?;
        Ok(match <[Part; 1]>::try_from(parts) {
            Ok([Part { content_type, disposition, bytes, .. }]) => {
                let headers = [(header::CONTENT_TYPE, content_type), (header::CONTENT_DISPOSITION, &disposition)];
                (headers, counted(bytes, memory)).into_response()
            }
            Err(parts) => {
                let (content_type, bytes) = multipart::write(&parts);
                ([(header::CONTENT_TYPE, content_type)], counted(bytes, memory)).into_response()
            }
        })
    })
    .await?;
    response.headers_mut().insert("server-timing", server_timing(times, encoded)?);
    Ok(response)
}

/// The memory that the formats take for a pixel, beside that of a picture.
fn bytes_per_pixel(formats: &[Format], labels: &Labels) -> u64 {
    let classes = labels.names.len() as u64;
    // A number of four bytes for each class.
    if formats.contains(&Format::Probs) { 4 * classes } else { 4 * (formats.len() as u64 - 1) }
}

/// Writes a segmentation in a format.
fn part(format: Format, segmented: &Segmented, look: &Look) -> Result<Part> {
    let mut bytes = vec![];
    let written = format.write(segmented, look, &mut bytes);
    written.map_err(|error| match error.kind() {
        // The picture is too large for its format.
        std::io::ErrorKind::InvalidInput => Problem::bad(error.to_string()),
        _ => Problem::internal(&error),
    })?;
    let disposition = format!("inline; filename=\"{}\"", format.file_name(look));
    Ok(Part { name: format.name(), content_type: format.media_type(look), disposition, bytes })
}

fn server_timing(times: Times, encode: Duration) -> Result<HeaderValue> {
    let Times { decode, queue, compute } = times;
    let stages = [(Stage::Decode, decode), (Stage::Queue, queue), (Stage::Compute, compute), (Stage::Encode, encode)];
    let stages = stages.map(|(stage, time)| format!("{};dur={:.1}", stage.name(), 1e3 * time.as_secs_f64()));
    HeaderValue::from_str(&stages.join(", ")).map_err(|error| Problem::internal(&error))
}
