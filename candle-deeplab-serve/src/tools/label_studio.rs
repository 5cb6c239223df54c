//! Label Studio's machine-learning backend: `/health`, `/setup`, `/predict` (label_studio/ml/api_connector.py, and
//! label_studio_ml/api.py of its ml-backend).

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use candle_deeplab::segment::{LabelMap, Segmented, Wanted};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::label_config::Brushes;
use super::{brush, certainty};
use crate::app::App;
use crate::body::{self, BodyMemory, Received, at_most};
use crate::fetch;
use crate::models::Ready;
use crate::problem::{ErrorBody, Problem, Result};
use crate::work::{self, Done, Picture, Wish};

/// The most tasks of a request.
const MAX_TASKS: usize = 1000;

/// The most values of a task.
const MAX_FIELDS: usize = 256;

/// A request for predictions.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct PredictRequest {
    #[serde(default, deserialize_with = "at_most::<_, _, MAX_TASKS>")]
    tasks: Vec<Task>,
    /// The labeling configuration.
    label_config: Option<String>,
}

/// What is to be labelled.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Task {
    #[schema(value_type = Option<serde_json::Value>)]
    id: Option<Field>,
    /// Its image under the key that the configuration names.
    #[serde(default, deserialize_with = "fields")]
    #[schema(value_type = Object)]
    data: BTreeMap<String, Field>,
}

/// Reads the values of a task, so that many short ones do not become many times as much memory. `null` is none.
fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<BTreeMap<String, Field>, D::Error> {
    struct Fields;

    impl<'de> Visitor<'de> for Fields {
        type Value = BTreeMap<String, Field>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {MAX_FIELDS} values with names")
        }

        fn visit_unit<E>(self) -> std::result::Result<Self::Value, E> {
            Ok(BTreeMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> std::result::Result<Self::Value, A::Error> {
            let mut fields = BTreeMap::new();
            while let Some((name, value)) = values.next_entry()? {
                if fields.len() == MAX_FIELDS {
                    return Err(A::Error::invalid_length(MAX_FIELDS + 1, &self));
                }
                fields.insert(name, value);
            }
            Ok(fields)
        }
    }
    deserializer.deserialize_any(Fields)
}

/// A value of a task, of which only texts and numbers are kept.
#[derive(Debug)]
enum Field {
    Text(String),
    Number(u64),
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(Kept)
    }
}

struct Kept;

impl<'de> Visitor<'de> for Kept {
    type Value = Field;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Field, E> {
        Ok(Field::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Field, E> {
        Ok(Field::Text(value))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Field, E> {
        Ok(Field::Number(value))
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_unit<E>(self) -> std::result::Result<Field, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> std::result::Result<Field, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> std::result::Result<Field, A::Error> {
        while values.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}

/// Predictions, one for each task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PredictResponse {
    results: Vec<Prediction>,
}

/// The prediction of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Prediction {
    model_version: String,
    score: f64,
    result: Vec<Brush>,
}

/// The brush of a class.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Brush {
    id: String,
    r#type: &'static str,
    from_name: String,
    to_name: String,
    original_width: usize,
    original_height: usize,
    image_rotation: u32,
    /// The mean probability of the class over its pixels.
    score: f64,
    origin: &'static str,
    readonly: bool,
    value: Strokes,
}

/// The pixels of a brush.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Strokes {
    format: &'static str,
    rle: Vec<u8>,
    brushlabels: [String; 1],
}

/// The model, for Label Studio
#[utoipa::path(get, path = "/health", tag = "annotation tools", responses((status = 200, description = "It runs", body = Object)))]
pub(crate) async fn health() -> Json<Value> {
    Json(json!({"status": "UP", "model_class": "DeepLab"}))
}

/// Versions of the model, for Label Studio
#[utoipa::path(get, path = "/versions", tag = "annotation tools", responses((status = 200, description = "The versions", body = Object)))]
pub(crate) async fn versions(State(app): State<App>) -> Json<Value> {
    let names: Vec<&str> = app.models.all().into_iter().map(|(name, _)| name).take(1).collect();
    Json(json!({"versions": names}))
}

/// Says which model predicts, for Label Studio
#[utoipa::path(
    post, path = "/setup", tag = "annotation tools", request_body = Object,
    responses((status = 200, description = "The model's version", body = Object), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn setup(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Json<Value>> {
    body::read_ignored(&app, &headers, body, app.deadline()).await?;
    Ok(Json(json!({"model_version": app.models.ready(None)?.name})))
}

/// Predicts brushes, for Label Studio
#[utoipa::path(
    post, path = "/predict", tag = "annotation tools", request_body = PredictRequest,
    responses((status = 200, body = PredictResponse), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn predict(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Json<PredictResponse>> {
    let deadline = app.deadline();
    let model = app.models.ready(None)?;
    let (request, _memory) = body::read_json::<PredictRequest>(&app, &headers, body, deadline).await?;
    let config = request.label_config.ok_or_else(|| Problem::bad("`label_config` is missing"))?;
    let brushes = Brushes::find(&config)?;
    let mut results = vec![];
    for Task { id, data } in request.tasks {
        let task = match id {
            Some(Field::Text(id)) => format!("task {id}"),
            Some(Field::Number(id)) => format!("task {id}"),
            _ => "a task".to_owned(),
        };
        let of_task = |problem: Problem| problem.about(&task);
        let (image, memory) = image(&app, &brushes, data, deadline).await.map_err(of_task)?;
        let wish = Wish { wanted: Wanted::Scores, bytes_per_pixel: 16 };
        let done = work::segment(&app, &model, vec![image], memory, wish, deadline).await.map_err(of_task)?;
        let (model, brushes) = (model.clone(), brushes.clone());
        let predict = move || {
            let Done { images, memory: _memory, .. } = done;
            images.iter().map(|image| prediction(image, &model, &brushes)).collect::<Result<Vec<_>>>()
        };
        let (predictions, _) = work::encode(&app, deadline, predict).await?;
        results.extend(predictions);
    }
    Ok(Json(PredictResponse { results }))
}

/// The image of a task: in base64 within its data, whose memory the request's body has, or at an address that the server may
/// fetch.
async fn image(
    app: &App,
    brushes: &Brushes,
    mut data: BTreeMap<String, Field>,
    deadline: std::time::Instant,
) -> Result<(Picture, BodyMemory)> {
    let Some(Field::Text(text)) = data.remove(&brushes.key) else {
        let key: String = brushes.key.chars().take(64).collect();
        return Err(Problem::bad(format!("its data have no image under `{key}`")));
    };
    if text.starts_with("data:") {
        let memory = Received::none(&app.body_memory).memory;
        return Ok((work::read_text(app, text, deadline).await?, memory));
    }
    if !text.contains("://") {
        let message = "its image is a file of Label Studio's: give it as a `data:` address, or as an address on a host that \
                       the server was started with (`--allow-url`)";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let Received { bytes, memory } = fetch::fetch(app, text, deadline).await?;
    Ok((Picture::Encoded(bytes), memory))
}

/// A brush for each class that has a label.
fn prediction(image: &Segmented, model: &Ready, brushes: &Brushes) -> Result<Prediction> {
    let map: &LabelMap = image.segmentation.label_map();
    let certainty = certainty(image)?;
    let mut result = vec![];
    let mut scores = vec![];
    for found in map.found(&model.labels) {
        let Some(label) = brushes.label(&found.name) else { continue };
        let Some(rle) = brush::encode(map.ids(), |id| id == found.class) else {
            return Err(Problem::too_large("the image has more pixels than a brush can have"));
        };
        let score = certainty(found.class);
        scores.push(score);
        result.push(Brush {
            id: format!("{}-{}", model.name, found.class),
            r#type: "brushlabels",
            from_name: brushes.from_name.clone(),
            to_name: brushes.to_name.clone(),
            original_width: map.size().width,
            original_height: map.size().height,
            image_rotation: 0,
            score,
            origin: "prediction",
            readonly: false,
            value: Strokes { format: "rle", rle, brushlabels: [label.to_owned()] },
        });
    }
    let score = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    Ok(Prediction { model_version: model.name.clone(), score, result })
}
