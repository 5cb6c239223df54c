//! Inference.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use candle_deeplab::segment::{Scores, Segmented, Wanted};
use serde::Serialize;
use utoipa::ToSchema;

use super::tensor::{InferRequest, OutputTensor, Parameters, TensorValues};
use super::{LABEL_MAP, PROBABILITIES, VERSION, check_version};
use crate::answer::counted;
use crate::app::{App, blocking};
use crate::body::{self, Received};
use crate::problem::{ErrorBody, Problem, Result};
use crate::work::{self, Done, Picture, Wish};

/// Says how many bytes of a body are JSON; the others are tensors.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// An answer to a request for inference.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InferResponse {
    model_name: String,
    model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    outputs: Vec<OutputTensor>,
}

/// An output that is wanted, and whether it is bytes behind the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Output {
    name: &'static str,
    is_binary: bool,
}

/// What a request asks for.
struct Asked {
    id: Option<String>,
    outputs: Vec<Output>,
    pictures: Vec<Picture>,
}

impl Asked {
    /// Reads a body, of which so many bytes are JSON and the others tensors.
    fn read(body: &[u8], json_length: usize) -> Result<Self> {
        let (json, mut binary) = body.split_at(json_length);
        let InferRequest { id, inputs, outputs, parameters } = serde_json::from_slice(json)
            .map_err(|error| Problem::bad(format!("the request cannot be read: {error}")))?;
        let outputs = wanted_outputs(outputs, &parameters.unwrap_or_default())?;
        let Ok([input]) = <[_; 1]>::try_from(inputs) else { return Err(Problem::bad("there is one input, `image`")) };
        let pictures = input.pictures(&mut binary)?;
        if !binary.is_empty() {
            return Err(Problem::bad(format!("{} bytes behind the JSON belong to no tensor", binary.len())));
        }
        Ok(Self { id, outputs, pictures })
    }
}

/// How many bytes of a body of `length` bytes are JSON.
fn json_length(headers: &HeaderMap, length: usize) -> Result<usize> {
    let Some(json) = headers.get(JSON_LENGTH) else { return Ok(length) };
    let json = json.to_str().ok().and_then(|json| json.parse().ok()).filter(|json| *json <= length);
    json.ok_or_else(|| Problem::bad(format!("`{JSON_LENGTH}` is no length within the body")))
}

/// Segments images
#[utoipa::path(
    post, path = "/v2/models/{model}/infer", tag = "open inference protocol", params(("model" = String, Path)),
    request_body(content = InferRequest, description = "JSON, or JSON and the bytes of tensors with `Inference-Header-Content-Length`"),
    responses((status = 200, body = InferResponse), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn infer(
    State(app): State<App>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let deadline = app.deadline();
    let model = app.models.ready(Some(&name))?;
    let received = body::read_text(&app, &headers, body, deadline).await?;
    let json_length = json_length(&headers, received.bytes.len())?;
    // Long texts take their time, which the threads that serve do not have.
    let read = move || {
        let Received { bytes, memory } = received;
        Ok((Asked::read(&bytes, json_length)?, memory))
    };
    let (Asked { id, outputs, pictures }, memory) = blocking(&app.decoders, deadline, read).await?;
    let wants_scores = outputs.iter().any(|output| output.name == PROBABILITIES);
    let numbers = if wants_scores { model.labels.names.len() as u64 } else { 1 };
    let is_json = outputs.iter().any(|output| !output.is_binary);
    let wish = Wish {
        wanted: if wants_scores { Wanted::Scores } else { Wanted::LabelMap },
        // A number is four bytes, in a tensor and in the answer; as text it has up to twelve characters.
        bytes_per_pixel: numbers * if is_json { 16 } else { 8 },
    };
    let done = work::segment(&app, &model, pictures, memory, wish, deadline).await?;
    let ((json_length, body), _) = work::encode(&app, deadline, move || {
        let Done { images, memory, .. } = done;
        let mut binary = vec![];
        let outputs = outputs.iter().map(|output| tensor(*output, &images, &mut binary)).collect::<Result<Vec<_>>>()?;
        let response = InferResponse { model_name: name, model_version: VERSION, id, outputs };
        let mut bytes = serde_json::to_vec(&response).map_err(|error| Problem::internal(&error))?;
        // Where nothing follows the JSON, its length needs not be told.
        let json_length = (!binary.is_empty()).then_some(bytes.len());
        bytes.append(&mut binary);
        Ok((json_length, counted(bytes, memory)))
    })
    .await?;
    Ok(match json_length {
        None => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Some(length) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
                (JSON_LENGTH, HeaderValue::from(length)),
            ];
            (headers, body).into_response()
        }
    })
}

/// Segments images with a version of a model, of which there is one
#[utoipa::path(
    post, path = "/v2/models/{model}/versions/{version}/infer", tag = "open inference protocol",
    params(("model" = String, Path), ("version" = String, Path)),
    request_body(content = InferRequest, description = "As without a version"),
    responses((status = 200, body = InferResponse), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn infer_version(
    state: State<App>,
    Path((name, version)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    check_version(&version)?;
    infer(state, Path(name), headers, body).await
}

fn wanted_outputs(wanted: Vec<super::tensor::WantedOutput>, all: &Parameters) -> Result<Vec<Output>> {
    let is_binary = all.binary_data_output.unwrap_or(false);
    if wanted.is_empty() {
        return Ok(vec![Output { name: LABEL_MAP, is_binary }]);
    }
    let mut outputs: Vec<Output> = vec![];
    for output in wanted {
        let name = match output.name.as_str() {
            LABEL_MAP => LABEL_MAP,
            PROBABILITIES => PROBABILITIES,
            _ => return Err(Problem::bad(format!("there are two outputs, `{LABEL_MAP}` and `{PROBABILITIES}`"))),
        };
        if outputs.iter().any(|known| known.name == name) {
            return Err(Problem::bad(format!("the output `{name}` is asked for twice")));
        }
        outputs.push(Output { name, is_binary: output.parameters.and_then(|p| p.binary_data).unwrap_or(is_binary) });
    }
    Ok(outputs)
}

/// An output of all images as one tensor.
fn tensor(output: Output, found: &[Segmented], binary: &mut Vec<u8>) -> Result<OutputTensor> {
    let maps = || found.iter().map(|image| image.segmentation.label_map());
    let Some(size) = maps().next().map(|map| map.size()) else { return Err(Problem::bad("there is no image")) };
    if maps().any(|map| map.size() != size) {
        return Err(Problem::bad(
            "the images differ in size, so that no tensor holds their answers: send them one by one",
        ));
    }
    let mut shape = vec![found.len(), size.height, size.width];
    let values = if output.name == LABEL_MAP {
        TensorValues::Ids(maps().flat_map(|map| map.ids()).copied().collect())
    } else {
        let scores = found.iter().filter_map(|image| image.scores.as_ref());
        shape.push(scores.clone().next().map_or(0, Scores::classes));
        let values = scores.map(Scores::probabilities_by_pixel).collect::<candle_deeplab::Result<Vec<_>>>();
        TensorValues::Probabilities(values.map_err(|error| Problem::internal(&error))?.concat())
    };
    Ok(match output.is_binary {
        true => OutputTensor::binary(output.name, shape, values, binary),
        false => OutputTensor::json(output.name, shape, values),
    })
}
