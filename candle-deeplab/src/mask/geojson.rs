//! Writes polygons as GeoJSON (RFC 7946).

use std::io::{self, Write};

use serde::Serialize;

use super::regions::{Polygon, Ring};
use crate::labels::Labels;
use crate::segment::LabelMap;

#[derive(Serialize)]
struct Collection {
    r#type: &'static str,
    features: Vec<Feature>,
}

/// One class.
#[derive(Serialize)]
struct Feature {
    r#type: &'static str,
    properties: Properties,
    geometry: MultiPolygon,
}

#[derive(Serialize)]
struct Properties {
    class: u8,
    name: String,
    color: String,
    pixels: u64,
}

#[derive(Serialize)]
struct MultiPolygon {
    r#type: &'static str,
    coordinates: Vec<Vec<Ring>>,
}

impl LabelMap {
    /// Writes the drawn classes ([`Labels::draws`]) as a GeoJSON feature collection: a MultiPolygon for each class,
    /// with `class`, `name`, `color` and `pixels` as properties.
    ///
    /// Coordinates are in pixels from the image's upper left corner, y down, not geographic, and exact along the
    /// pixels' edges ([`Polygon`]). By these numbers, outer rings run counterclockwise and holes clockwise, as RFC 7946
    /// requires.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_geojson(&self, labels: &Labels, mut to: impl Write) -> io::Result<()> {
        let mut features: Vec<Feature> = vec![];
        for region in self.regions().into_iter().filter(|region| labels.draws(region.class)) {
            let position = features.iter().position(|feature| feature.properties.class == region.class);
            let index = position.unwrap_or_else(|| {
                features.push(feature(labels, region.class));
                features.len() - 1
            });
            features[index].properties.pixels += region.pixels;
            features[index].geometry.coordinates.push(closed(region.polygon));
        }
        features.sort_by_key(|feature| feature.properties.class);
        serde_json::to_writer(&mut to, &Collection { r#type: "FeatureCollection", features })?;
        writeln!(to)
    }
}

fn feature(labels: &Labels, class: u8) -> Feature {
    let (name, color) = (labels.name(class), labels.html_color(class));
    Feature {
        r#type: "Feature",
        properties: Properties { class, name, color, pixels: 0 },
        geometry: MultiPolygon { r#type: "MultiPolygon", coordinates: vec![] },
    }
}

/// The rings of a polygon, with the first point repeated at the end.
fn closed(polygon: Polygon) -> Vec<Ring> {
    let mut rings = vec![polygon.exterior];
    rings.extend(polygon.holes);
    rings.iter_mut().for_each(|ring| ring.extend_from_within(..1));
    rings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Size;

    #[test]
    fn a_class_is_a_multipolygon() {
        let ids = vec![15, 15, 15, 0, 8, 15, 0, 15, 0, 0, 15, 15, 15, 255, 15];
        let map = LabelMap::new(ids, Size::new(3, 5)).unwrap();
        let mut bytes = vec![];
        map.write_geojson(&Labels::voc(), &mut bytes).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["type"], "FeatureCollection");
        let names: Vec<_> = json["features"].as_array().unwrap().iter().map(|f| &f["properties"]["name"]).collect();
        assert_eq!(names, ["cat", "person"]);
        let person = &json["features"][1];
        assert_eq!(
            person["properties"],
            serde_json::json!({"class": 15, "name": "person", "color": "#c08080", "pixels": 9})
        );
        assert_eq!(
            person["geometry"],
            serde_json::json!({"type": "MultiPolygon", "coordinates": [
                [[[3, 0], [3, 3], [0, 3], [0, 0], [3, 0]], [[2, 2], [2, 1], [1, 1], [1, 2], [2, 2]]],
                [[[5, 2], [5, 3], [4, 3], [4, 2], [5, 2]]],
            ]})
        );
    }

    #[test]
    fn an_image_of_background_has_no_features() {
        let mut bytes = vec![];
        LabelMap::new(vec![0], Size::new(1, 1)).unwrap().write_geojson(&Labels::voc(), &mut bytes).unwrap();
        assert_eq!(bytes, b"{\"type\":\"FeatureCollection\",\"features\":[]}\n");
    }
}
