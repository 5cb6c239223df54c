//! The formats in which a segmentation is answered.

use std::io::{self, Write};

use candle_deeplab::mask::{Legend, Palette, Style};
use candle_deeplab::pixels::PictureFormat;
use candle_deeplab::segment::{Segmented, Wanted};

use crate::problem::{Problem, Result};
use crate::work::NAME;

/// What is made of a segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The photograph with the classes' colours over it.
    Overlay,
    /// The classes' colours alone.
    Color,
    /// The photograph with the classes' outlines.
    Contours,
    /// An indexed PNG of class ids.
    Mask,
    /// A grey PNG of class ids.
    Ids,
    /// A grey PNG of how sure the network is.
    Confidence,
    /// What is in the image, and how much of it.
    Json,
    /// COCO results.
    Rle,
    /// Polygons.
    Geojson,
    /// A numpy array of class ids.
    Npy,
    /// A numpy array of probabilities.
    Probs,
    /// Some classes on a transparent background.
    Cutout,
}

/// How formats are drawn and filtered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Look {
    pub(crate) picture: PictureFormat,
    pub(crate) opacity: f32,
    pub(crate) min_share: f64,
    /// The classes that are kept, if not all.
    pub(crate) classes: Option<Vec<u8>>,
    /// The classes of the cutout.
    pub(crate) cutout: Vec<u8>,
}

impl Format {
    /// All formats, with their names.
    pub(crate) const NAMES: [(&'static str, Self); 12] = [
        ("overlay", Self::Overlay),
        ("color", Self::Color),
        ("contours", Self::Contours),
        ("mask", Self::Mask),
        ("ids", Self::Ids),
        ("confidence", Self::Confidence),
        ("json", Self::Json),
        ("rle", Self::Rle),
        ("geojson", Self::Geojson),
        ("npy", Self::Npy),
        ("probs", Self::Probs),
        ("cutout", Self::Cutout),
    ];

    /// The formats of a list such as `mask,json`, each once.
    ///
    /// # Errors
    /// There is no such format.
    pub(crate) fn list(text: &str) -> Result<Vec<Self>> {
        let mut formats = vec![];
        for name in text.split(',').map(str::trim) {
            let Some((_, format)) = Self::NAMES.into_iter().find(|(known, _)| *known == name) else {
                let name: String = name.chars().take(32).collect();
                let known = Self::NAMES.map(|(name, _)| name).join(", ");
                return Err(Problem::bad(format!("there is no format `{name}`, only {known}")));
            };
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        Ok(formats)
    }

    /// The format and picture that an `Accept` header wants most, of those that say something.
    pub(crate) fn accepted(accept: &str) -> (Self, PictureFormat) {
        let quality = |parameters: &str| {
            let value = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
            value.and_then(|value| value.trim().parse::<f32>().ok()).filter(|q| (0.0..=1.0).contains(q))
        };
        let choice = |range: &str| {
            let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
            let format = match name.trim().to_ascii_lowercase().as_str() {
                "image/jpeg" => (Self::Overlay, PictureFormat::JPEG),
                "image/png" => (Self::Overlay, PictureFormat::Png),
                "image/webp" => (Self::Overlay, PictureFormat::Webp),
                "application/json" => (Self::Json, PictureFormat::JPEG),
                "application/geo+json" => (Self::Geojson, PictureFormat::JPEG),
                "application/x-npy" => (Self::Npy, PictureFormat::JPEG),
                _ => return None,
            };
            let quality = quality(parameters).unwrap_or(1.0);
            (quality > 0.0).then_some((quality, format))
        };
        let mut best: Option<(f32, (Self, PictureFormat))> = None;
        for (quality, format) in accept.split(',').filter_map(choice) {
            // The first of equals.
            if best.is_none_or(|(most, _)| quality > most) {
                best = Some((quality, format));
            }
        }
        best.map_or((Self::Overlay, PictureFormat::JPEG), |(_, format)| format)
    }

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.into_iter().find(|(_, format)| *format == self).map_or("", |(name, _)| name)
    }

    /// What the network has to find for it.
    pub(crate) fn wanted(self) -> Wanted {
        match self {
            Self::Confidence | Self::Probs => Wanted::Scores,
            Self::Cutout => Wanted::ScoresIfTheyFit,
            _ => Wanted::LabelMap,
        }
    }

    /// The same for several formats.
    pub(crate) fn wanted_by(formats: &[Self]) -> Wanted {
        let needs = |wanted| formats.iter().any(|format| format.wanted() == wanted);
        match (needs(Wanted::Scores), needs(Wanted::ScoresIfTheyFit)) {
            (true, _) => Wanted::Scores,
            (false, true) => Wanted::ScoresIfTheyFit,
            (false, false) => Wanted::LabelMap,
        }
    }

    /// How its picture is compressed; `None` if it is none, or always a PNG.
    fn picture(self, look: &Look) -> Option<PictureFormat> {
        match self {
            Self::Overlay | Self::Color | Self::Contours => Some(look.picture),
            // JPEG has no transparency.
            Self::Cutout if look.picture == PictureFormat::Webp => Some(PictureFormat::Webp),
            Self::Cutout => Some(PictureFormat::Png),
            _ => None,
        }
    }

    pub(crate) fn media_type(self, look: &Look) -> &'static str {
        match (self, self.picture(look)) {
            (_, Some(picture)) => picture.media_type(),
            (Self::Json | Self::Rle, _) => "application/json",
            (Self::Geojson, _) => "application/geo+json",
            (Self::Npy | Self::Probs, _) => "application/x-npy",
            _ => PictureFormat::Png.media_type(),
        }
    }

    pub(crate) fn file_name(self, look: &Look) -> String {
        let extension = match (self, self.picture(look)) {
            (_, Some(picture)) => picture.extension(),
            (Self::Json | Self::Rle, _) => "json",
            (Self::Geojson, _) => "geojson",
            (Self::Npy | Self::Probs, _) => "npy",
            _ => "png",
        };
        format!("{}.{extension}", self.name())
    }

    /// Writes a segmentation in this format.
    pub(crate) fn write(self, segmented: &Segmented, look: &Look, to: &mut dyn Write) -> io::Result<()> {
        let Segmented { segmentation, scores, .. } = segmented;
        let (map, labels) = (segmentation.label_map(), segmentation.labels());
        let style = || Style {
            palette: Palette::Vivid,
            opacity: look.opacity,
            outlines: true,
            names: true,
            legend: Legend::None,
            min_share: look.min_share,
        };
        let picture = self.picture(look).unwrap_or(PictureFormat::Png);
        let missing = || io::Error::other("the network's scores are missing");
        match self {
            Self::Overlay => picture.write(&segmentation.overlay(&style()), to),
            Self::Color => picture.write(&segmentation.colors(&style()), to),
            Self::Contours => picture.write(&segmentation.contours(&style()), to),
            Self::Cutout => {
                let cutout = segmentation.cutout(&look.cutout, scores.as_ref()).map_err(io::Error::other)?;
                picture.write_transparent(&cutout, to)
            }
            Self::Mask => map.write_mask(labels, to),
            Self::Ids => map.write_ids(to),
            Self::Confidence => scores.as_ref().ok_or_else(missing)?.write_confidence(to),
            Self::Json => map.write_json(labels, NAME, to),
            Self::Rle => map.write_rle(labels, 1, None, to),
            Self::Geojson => map.write_geojson(labels, to),
            Self::Npy => map.write_npy(to),
            Self::Probs => scores.as_ref().ok_or_else(missing)?.write_npy(to),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_each_format_once() {
        assert_eq!(Format::list("mask, json,mask").unwrap(), [Format::Mask, Format::Json]);
        let said = Format::list("mask,polygons").unwrap_err().message;
        assert!(said.contains("`polygons`") && said.contains("overlay, color"), "{said}");
    }

    #[test]
    fn the_accepted_format_is_the_one_of_the_greatest_quality() {
        for (accept, format, picture) in [
            ("*/*", Format::Overlay, PictureFormat::JPEG),
            ("", Format::Overlay, PictureFormat::JPEG),
            ("image/png", Format::Overlay, PictureFormat::Png),
            ("text/html, image/webp;q=0.9, application/json;q=0.5", Format::Overlay, PictureFormat::Webp),
            ("image/jpeg;q=0.2, application/json", Format::Json, PictureFormat::JPEG),
            ("application/geo+json; q=1, image/png", Format::Geojson, PictureFormat::JPEG),
            ("application/json;q=0, image/png;q=0.1", Format::Overlay, PictureFormat::Png),
        ] {
            assert_eq!(Format::accepted(accept), (format, picture), "{accept}");
        }
    }
}
