//! CVAT's automatic annotation: the two calls of Nuclio's dashboard by which CVAT finds functions and invokes them
//! (cvat/apps/lambda_manager/views.py).

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use candle_deeplab::mask::{Polygon, Region};
use candle_deeplab::segment::{Segmented, Wanted};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::certainty;
use crate::answer::counted;
use crate::app::App;
use crate::body;
use crate::models::{self, Ready};
use crate::problem::{ErrorBody, Problem, Result};
use crate::work::{self, Wish};

/// Names the function that is invoked.
const FUNCTION: HeaderName = HeaderName::from_static("x-nuclio-function-name");

/// An image to be annotated.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct Invocation {
    /// Its file in base64.
    image: String,
    /// Regions of classes of which the network is less sure, from 0 to 1, are left out.
    #[serde(default)]
    threshold: Option<f64>,
}

/// A region of a class.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Annotation {
    label: String,
    /// The mean probability of the class over all its pixels in the image.
    confidence: f64,
    r#type: &'static str,
    /// The outline as x, y, x, y, …, without its holes.
    points: Vec<u32>,
    /// The pixels of the region's box, row by row, 0 or 1; then left, top, right and bottom, which belong to it.
    #[schema(value_type = Vec<u32>)]
    mask: Mask,
}

/// A region's pixels within its box.
#[derive(Debug, PartialEq, Eq)]
struct Mask {
    pixels: Vec<u8>,
    /// Left, top, right and bottom.
    bbox: [u32; 4],
}

impl Serialize for Mask {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_seq(self.pixels.iter().map(|pixel| u32::from(*pixel)).chain(self.bbox))
    }
}

/// The models, for CVAT
#[utoipa::path(get, path = "/api/functions", tag = "annotation tools", responses((status = 200, description = "Functions by their ids", body = Object)))]
pub(crate) async fn functions(State(app): State<App>) -> Json<Map<String, Value>> {
    let ready = app.models.all().into_iter().filter_map(|(_, state)| match state {
        models::State::Ready(ready) => Some((id(&ready.name), function(&app, &ready))),
        _ => None,
    });
    Json(ready.collect())
}

/// A model, for CVAT
#[utoipa::path(
    get, path = "/api/functions/{id}", tag = "annotation tools", params(("id" = String, Path)),
    responses((status = 200, description = "The function", body = Object), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn one(State(app): State<App>, Path(wanted): Path<String>) -> Result<Json<Value>> {
    let model = find(&app, &wanted)?;
    Ok(Json(function(&app, &model)))
}

/// Annotates an image, for CVAT
#[utoipa::path(
    post, path = "/api/function_invocations", tag = "annotation tools", request_body = Invocation,
    params(("x-nuclio-function-name" = Option<String>, Header, description = "The function's id; the first model by default")),
    responses((status = 200, body = [Annotation]), (status = "4XX", body = ErrorBody), (status = "5XX", body = ErrorBody)),
)]
pub(crate) async fn invoke(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response> {
    let deadline = app.deadline();
    let model = match headers.get(FUNCTION) {
        None => app.models.ready(None)?,
        Some(name) => find(&app, name.to_str().unwrap_or_default())?,
    };
    let (Invocation { image, threshold }, memory) = body::read_json(&app, &headers, body, deadline).await?;
    let picture = work::read_text(&app, image, deadline).await?;
    // Masks in memory and as text.
    let wish = Wish { wanted: Wanted::Scores, bytes_per_pixel: 24 };
    let done = work::segment(&app, &model, vec![picture], memory, wish, deadline).await?;
    let annotate = move || {
        let all = done.images.iter().map(|image| annotations(image, threshold.unwrap_or_default()));
        let all: Vec<Annotation> = all.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let bytes = serde_json::to_vec(&all).map_err(|error| Problem::internal(&error))?;
        Ok(counted(bytes, done.memory))
    };
    let (body, _) = work::encode(&app, deadline, annotate).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// Two models that CVAT could not tell apart, if there are any.
pub(crate) fn alike(models: &[String]) -> Option<(&str, &str)> {
    models.iter().enumerate().find_map(|(index, name)| {
        let other = models[..index].iter().find(|other| id(other) == id(name))?;
        Some((other.as_str(), name.as_str()))
    })
}

/// A name as CVAT allows it: letters, digits, `_`, `.` and `-`.
fn id(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' }).collect()
}

fn find(app: &App, wanted: &str) -> Result<Arc<Ready>> {
    let name = app.models.all().into_iter().map(|(name, _)| name.to_owned()).find(|name| id(name) == wanted);
    match name {
        Some(name) => app.models.ready(Some(&name)),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "there is no such function: `/api/functions` lists them")),
    }
}

/// What CVAT wants to know of a function.
fn function(app: &App, model: &Ready) -> Value {
    let labels = &model.labels;
    let drawn = (0..=u8::MAX).zip(&labels.names).filter(|(class, _)| labels.draws(*class));
    let spec: Vec<Value> =
        drawn.map(|(class, name)| json!({"id": class, "name": name, "type": "mask", "attributes": []})).collect();
    let (name, classes) = (&model.name, labels.names.len());
    json!({
        "metadata": {
            "name": id(name),
            "namespace": "nuclio",
            "labels": {"nuclio.io/project-name": "cvat"},
            "annotations": {
                "name": format!("DeepLabv3+ ({name})"),
                "type": "detector",
                "framework": "candle",
                "version": "1",
                "spec": Value::from(spec).to_string(),
            },
        },
        "spec": {
            "description": format!("Semantic segmentation into {classes} classes"),
            "handler": "main:handler",
            "runtime": "candle-deeplab",
        },
        "status": {"state": "ready", "httpPort": app.settings.listen.port()},
    })
}

/// The regions of all classes that are drawn. Their masks together are the label map.
fn annotations(image: &Segmented, threshold: f64) -> Result<Vec<Annotation>> {
    /// The pixels of all masks, as a multiple of the image's: regions that lie within each other repeat them.
    const MOST: usize = 8;
    let (map, labels) = (image.segmentation.label_map(), image.segmentation.labels());
    let certainty = certainty(image)?;
    let (mut annotations, mut pixels) = (vec![], 0);
    for Region { class, polygon, .. } in map.regions() {
        let confidence = certainty(class);
        if !labels.draws(class) || confidence < threshold {
            continue;
        }
        let bbox = bbox(&polygon);
        pixels += area(bbox);
        if pixels > MOST * map.ids().len() + 4096 {
            return Err(Problem::too_large("the regions of this image are too many to be sent as masks"));
        }
        let mask = mask(&polygon, bbox);
        let points = polygon.exterior.concat();
        annotations.push(Annotation { label: labels.name(class), confidence, r#type: "mask", points, mask });
    }
    Ok(annotations)
}

/// The box around a region: left, top, right and bottom, which belong to it.
fn bbox(polygon: &Polygon) -> [u32; 4] {
    let axis = |axis: usize| polygon.exterior.iter().map(move |point| point[axis]);
    let least = |values: &mut dyn Iterator<Item = u32>| values.min().unwrap_or_default();
    let greatest = |values: &mut dyn Iterator<Item = u32>| values.max().unwrap_or(1) - 1;
    [least(&mut axis(0)), least(&mut axis(1)), greatest(&mut axis(0)), greatest(&mut axis(1))]
}

fn area([left, top, right, bottom]: [u32; 4]) -> usize {
    (right - left + 1) as usize * (bottom - top + 1) as usize
}

/// The pixels of a region within its box.
fn mask(polygon: &Polygon, bbox: [u32; 4]) -> Mask {
    let ([left, top, right, _], mut pixels) = (bbox, vec![0; area(bbox)]);
    let width = (right - left + 1) as usize;
    // A pixel lies within if an odd number of upright edges is to the left of it.
    for ring in std::iter::once(&polygon.exterior).chain(&polygon.holes) {
        let ends = ring.iter().zip(ring.iter().cycle().skip(1));
        for (&[x, from], &[_, to]) in ends.filter(|(a, b)| a[0] == b[0]) {
            let column = (x - left) as usize;
            for y in from.min(to)..from.max(to) {
                if column < width {
                    pixels[(y - top) as usize * width + column] ^= 1;
                }
            }
        }
    }
    for row in pixels.chunks_exact_mut(width) {
        let mut inside = 0;
        row.iter_mut().for_each(|pixel| {
            inside ^= *pixel;
            *pixel = inside;
        });
    }
    Mask { pixels, bbox }
}

#[cfg(test)]
mod tests {
    use candle_deeplab::graph::Size;
    use candle_deeplab::segment::LabelMap;

    use super::*;

    #[test]
    fn ids_have_only_what_cvat_allows() {
        assert_eq!(id("org/name@v1.0_x"), "org-name-v1.0_x");
        let models = |names: [&str; 3]| names.map(str::to_owned);
        assert_eq!(alike(&models(["a", "a/b", "a-b"])), Some(("a/b", "a-b")));
        assert_eq!(alike(&models(["a", "a/b", "a/c"])), None);
    }

    /// A ring with a hole, in which there is a pixel of the same class.
    #[test]
    fn masks_hold_the_region_alone() {
        let ids = [
            0, 0, 0, 0, 0, 0, //
            0, 1, 1, 1, 1, 1, //
            0, 1, 0, 0, 0, 1, //
            0, 1, 0, 1, 0, 1, //
            0, 1, 0, 0, 0, 1, //
            0, 1, 1, 1, 1, 1, //
        ];
        let map = LabelMap::new(ids.to_vec(), Size::new(6, 6)).unwrap();
        let regions = map.regions();
        let masks: Vec<Mask> = regions
            .iter()
            .filter(|region| region.class == 1)
            .map(|region| mask(&region.polygon, bbox(&region.polygon)))
            .collect();
        let ring = [
            1, 1, 1, 1, 1, //
            1, 0, 0, 0, 1, //
            1, 0, 0, 0, 1, //
            1, 0, 0, 0, 1, //
            1, 1, 1, 1, 1, //
        ];
        let expected =
            [Mask { pixels: ring.to_vec(), bbox: [1, 1, 5, 5] }, Mask { pixels: vec![1], bbox: [3, 3, 3, 3] }];
        assert_eq!(masks, expected);
        assert_eq!(serde_json::to_value(&masks[1]).unwrap(), json!([1, 3, 3, 3, 3]));
    }
}
