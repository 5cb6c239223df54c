//! Statistics of an image as JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::statistics::Coverage;
use crate::labels::Labels;
use crate::segment::LabelMap;

#[derive(Serialize)]
struct Document<'a> {
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<&'a str>,
    width: usize,
    height: usize,
    dataset: &'a str,
    classes: Vec<Class>,
}

#[derive(Serialize)]
struct Class {
    #[serde(flatten)]
    found: Coverage,
    color: String,
}

impl LabelMap {
    /// Writes the classes in the image as a JSON object: `image` as given, `width`, `height`, `dataset`, and for each
    /// of the `classes`, the largest first, `class`, `name`, `pixels`, `share`, `bbox` (x, y, width, height) and
    /// `color`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_json(&self, labels: &Labels, image: &str, to: impl Write) -> io::Result<()> {
        self.write_document(labels, image, None, to)
    }

    /// The same for an image of which a part was missing: `damaged` says what, behind `image`.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write_json_of_damaged(&self, labels: &Labels, image: &str, damaged: &str, to: impl Write) -> io::Result<()> {
        self.write_document(labels, image, Some(damaged), to)
    }

    fn write_document(
        &self,
        labels: &Labels,
        image: &str,
        damaged: Option<&str>,
        mut to: impl Write,
    ) -> io::Result<()> {
        let class = |found: Coverage| Class { color: labels.html_color(found.class), found };
        let document = Document {
            image,
            damaged,
            width: self.size().width,
            height: self.size().height,
            dataset: &labels.dataset,
            classes: self.found(labels).into_iter().map(class).collect(),
        };
        serde_json::to_writer_pretty(&mut to, &document)?;
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Size;

    #[test]
    fn the_document_says_what_is_where() {
        let map = LabelMap::new(vec![0, 0, 15, 0], Size::new(2, 2)).unwrap();
        let mut bytes = vec![];
        map.write_json(&Labels::voc(), "a \"b\".jpg", &mut bytes).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let class = |class, name: &str, pixels, share: f64, bbox: [u32; 4], color: &str| {
            serde_json::json!({
                "class": class, "name": name, "pixels": pixels, "share": share, "bbox": bbox, "color": color
            })
        };
        let classes = [
            class(0, "background", 3, 0.75, [0, 0, 2, 2], "#000000"),
            class(15, "person", 1, 0.25, [0, 1, 1, 1], "#c08080"),
        ];
        assert_eq!(
            json,
            serde_json::json!({
                "image": "a \"b\".jpg", "width": 2, "height": 2, "dataset": "voc", "classes": classes
            })
        );
    }

    #[test]
    fn damage_is_said() {
        let map = LabelMap::new(vec![0; 4], Size::new(2, 2)).unwrap();
        let mut bytes = vec![];
        map.write_json_of_damaged(&Labels::voc(), "a.jpg", "half of it", &mut bytes).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&json["image"], &json["damaged"]), (&"a.jpg".into(), &"half of it".into()));
    }
}
