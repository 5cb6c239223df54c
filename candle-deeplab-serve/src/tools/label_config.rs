//! Label Studio's labeling configuration: an XML text that names what is labelled, and with what.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use crate::problem::{Problem, Result};

/// The brushes of a configuration, and the image that they paint on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Brushes {
    /// The name of the brushes' tag.
    pub(super) from_name: String,
    /// The name of the image's tag.
    pub(super) to_name: String,
    /// The key of the image in a task's data.
    pub(super) key: String,
    /// The labels to answer with, by the names of classes in lower case.
    pub(super) labels: BTreeMap<String, String>,
}

impl Brushes {
    /// Finds the first `BrushLabels` that belong to an `Image`.
    ///
    /// # Errors
    /// The text is no XML, or has no such tags.
    pub(super) fn find(config: &str) -> Result<Self> {
        // Documents with types of their own, which could grow without end, are refused by the parser.
        let document = Document::parse(config)
            .map_err(|error| Problem::bad(format!("the labeling configuration is no XML: {error}")))?;
        let tags = |name: &'static str| {
            document
                .descendants()
                .filter(move |tag| tag.is_element() && tag.tag_name().name().eq_ignore_ascii_case(name))
        };
        for brushes in tags("BrushLabels") {
            let to_names = brushes.attribute("toName").unwrap_or_default().split(',').map(str::trim);
            for to_name in to_names {
                let Some(image) = tags("Image").find(|image| image.attribute("name") == Some(to_name)) else {
                    continue;
                };
                let value = image.attribute("value").unwrap_or_default();
                let key = value.strip_prefix('$').unwrap_or(value).to_owned();
                let from_name = brushes.attribute("name").unwrap_or_default().to_owned();
                let labels = brushes.children().filter(Node::is_element).flat_map(names).collect();
                return Ok(Self { from_name, to_name: to_name.to_owned(), key, labels });
            }
        }
        let message = "the labeling configuration has no <BrushLabels> for an <Image>: this model answers with brushes";
        Err(Problem::bad(message))
    }

    /// The label for a class.
    pub(super) fn label(&self, class: &str) -> Option<&str> {
        self.labels.get(&class.to_lowercase()).map(String::as_str)
    }
}

/// The names of classes that a label stands for, in lower case, and the name to answer with. `predicted_values` lists classes
/// that are called otherwise, as in Label Studio's own backends.
fn names<'a>(label: Node<'a, '_>) -> Vec<(String, String)> {
    let Some(value) = label.attribute("value") else { return vec![] };
    let answer = label.attribute("alias").unwrap_or(value);
    let listed = label.attribute("predicted_values").unwrap_or_default().split(',').map(str::trim);
    let names = std::iter::once(value).chain(listed).filter(|name| !name.is_empty());
    names.map(|name| (name.to_lowercase(), answer.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brushes_are_found_with_their_image_and_labels() {
        let config = r#"<View>
            <Image name="other" value="$x"/><Image name="photo" value="$picture" zoom="true"/>
            <BrushLabels name="tag" toName="photo"><Label value="Person"/>
                <Label value="Vehicle" alias="v" predicted_values="car, bus"/></BrushLabels></View>"#;
        let found = Brushes::find(config).unwrap();
        assert_eq!((found.from_name.as_str(), found.to_name.as_str(), found.key.as_str()), ("tag", "photo", "picture"));
        assert_eq!(
            ["person", "Bus", "vehicle", "dog"].map(|name| found.label(name)),
            [Some("Person"), Some("v"), Some("v"), None]
        );
    }

    #[test]
    fn other_configurations_are_refused_in_words() {
        for (config, said) in [
            ("<View></View>", "no <BrushLabels>"),
            (r#"<View><BrushLabels name="a" toName="b"/></View>"#, "no <BrushLabels>"),
            ("<View>", "no XML"),
            ("", "no XML"),
            (r#"<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>"#, "no XML"),
        ] {
            let error = Brushes::find(config).unwrap_err();
            assert!(error.message.contains(said), "{config}: {error:?}");
        }
    }
}
