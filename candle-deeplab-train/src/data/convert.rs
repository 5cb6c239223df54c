//! Converts label files from one way of writing classes to another.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use candle_deeplab::graph::Size;
use candle_deeplab::pixels::Encoded;
use candle_deeplab::{LabelMap, Labels};
use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};

use super::IGNORE;
use super::ids::{Ids, Unknown};
use super::label_file::LabelFile;
use super::layout::Encoding;
use super::layout::cityscapes::CITYSCAPES_LABEL_IDS;
use crate::error::{Error, Result};

/// Cityscapes' label id of what is no class.
const UNLABELED: u8 = 0;

/// A way of writing classes, made of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conversion {
    /// Colours to ids: an indexed PNG whose indices are the ids and whose palette has the colours. The labels' ignore
    /// value (255 if they have none) has the colour that [`Labels::png_palette`] gives it, unless that is a class's.
    ColorsToIds(Labels),
    /// Ids to the labels' colours.
    IdsToColors(Labels),
    /// Cityscapes' label ids to train ids; all that is no class becomes 255.
    LabelIdsToTrainIds,
    /// Cityscapes' train ids to label ids, as its server wants them; what is no class becomes 0.
    TrainIdsToLabelIds,
}

impl Conversion {
    /// Converts a file; the result is a PNG file's content.
    ///
    /// # Errors
    /// [`Error::Data`] where a colour or an id is none of the classes', with its place, or the file is not of the kind
    /// that is converted; [`Error::Model`] and [`Error::Damaged`] where it cannot be read or decoded.
    pub fn convert(&self, path: &Path) -> Result<Vec<u8>> {
        let mut png = vec![];
        match self {
            Self::ColorsToIds(labels) => {
                let ids = ids(path, labels)?;
                map(ids)?.write_mask(labels, &mut png).map_err(Error::io(path))?;
            }
            Self::IdsToColors(labels) => {
                let mut picture = Cursor::new(vec![]);
                let written = colors(path, labels)?.write_to(&mut picture, ImageFormat::Png);
                written.map_err(|source| candle_deeplab::Error::Image { path: path.to_owned(), source })?;
                png = picture.into_inner();
            }
            Self::LabelIdsToTrainIds => {
                let mut ids = LabelFile::open(path)?.read()?;
                let labels = Labels::cityscapes();
                let table = Ids::new(&labels, Encoding::CityscapesIds);
                table.apply(&mut ids).map_err(|unknown| unknown_id(path, unknown, "Cityscapes' label ids, 0 to 33"))?;
                map(ids)?.write_ids(&mut png).map_err(Error::io(path))?;
            }
            Self::TrainIdsToLabelIds => {
                let mut ids = LabelFile::open(path)?.read()?;
                let table = Ids::new(&Labels::cityscapes(), Encoding::Classes);
                table.apply(&mut ids).map_err(|unknown| unknown_id(path, unknown, "Cityscapes' train ids, 0 to 18"))?;
                let label_id = |id: u8| CITYSCAPES_LABEL_IDS.get(usize::from(id)).copied().unwrap_or(UNLABELED);
                ids.iter_mut().for_each(|id| *id = label_id(*id));
                map(ids)?.write_ids(&mut png).map_err(Error::io(path))?;
            }
        }
        Ok(png)
    }
}

/// The ids of a picture's colours.
fn ids(path: &Path, labels: &Labels) -> Result<GrayImage> {
    let image = Encoded::open(path)?.into_image()?;
    if matches!(image, DynamicImage::ImageLuma8(_) | DynamicImage::ImageLuma16(_)) {
        return Err(Error::data(path, "it is grey: it seems to hold ids, and no colours"));
    }
    let (image, classes) = (image.into_rgb8(), Colors::of(labels));
    let mut ids = GrayImage::new(image.width(), image.height());
    // Neighbours mostly have the same colour.
    let mut last = None;
    for ((x, y, pixel), id) in image.enumerate_pixels().zip(ids.iter_mut()) {
        *id = match last {
            Some((color, id)) if color == pixel.0 => id,
            _ => classes.id(pixel.0).map_err(|reason| Error::data(path, format!("column {x}, row {y}: {reason}")))?,
        };
        last = Some((pixel.0, *id));
    }
    Ok(ids)
}

/// The picture of a file's ids.
fn colors(path: &Path, labels: &Labels) -> Result<RgbImage> {
    let ids = LabelFile::open(path)?.read()?;
    let table = Ids::new(labels, Encoding::Classes);
    let known = format!("the {} classes of `{}` and what they ignore", labels.names.len(), labels.dataset);
    table.apply(&mut ids.clone()).map_err(|unknown| unknown_id(path, unknown, &known))?;
    let palette = labels.png_palette();
    let color = |x, y| Rgb(palette[usize::from(ids.get_pixel(x, y).0[0])]);
    Ok(RgbImage::from_fn(ids.width(), ids.height(), color))
}

fn map(ids: GrayImage) -> Result<LabelMap> {
    let size = Size::new(ids.height() as usize, ids.width() as usize);
    Ok(LabelMap::new(ids.into_raw(), size)?)
}

fn unknown_id(path: &Path, Unknown { id, x, y }: Unknown, known: &str) -> Error {
    Error::data(path, format!("id {id} at column {x}, row {y} is none of {known}"))
}

/// The ids of colours.
struct Colors<'a> {
    labels: &'a Labels,
    ids: HashMap<[u8; 3], u8>,
    /// Colours that several classes have.
    shared: HashMap<[u8; 3], [u8; 2]>,
}

impl<'a> Colors<'a> {
    fn of(labels: &'a Labels) -> Self {
        let mut colors = Self { labels, ids: HashMap::new(), shared: HashMap::new() };
        for (id, color) in (0..=u8::MAX).zip(&labels.palette) {
            if let Some(other) = colors.ids.insert(*color, id) {
                colors.shared.insert(*color, [other, id]);
            }
        }
        let ignore = labels.ignore.unwrap_or(IGNORE);
        colors.ids.entry(labels.png_palette()[usize::from(ignore)]).or_insert(ignore);
        colors
    }

    /// The id of a colour.
    ///
    /// # Errors
    /// A sentence that names the colour, and the one that comes closest.
    fn id(&self, color: [u8; 3]) -> std::result::Result<u8, String> {
        let (shown, labels) = (html(color), self.labels);
        if let Some(classes) = self.shared.get(&color) {
            let [one, other] = classes.map(|class| labels.name(class));
            return Err(format!("the colour {shown} stands for {one} and for {other}: give them different colours"));
        }
        self.ids.get(&color).copied().ok_or_else(|| {
            let apart = |(a, b): (&u8, &u8)| u32::from(a.abs_diff(*b)).pow(2);
            let distance = |other: &[u8; 3]| color.iter().zip(other).map(apart).sum::<u32>();
            let near = self.ids.iter().min_by_key(|(other, id)| (distance(other), **id));
            let near = near.map(|(color, id)| format!("; the closest is {}, {}", labels.name(*id), html(*color)));
            let (dataset, near) = (&labels.dataset, near.unwrap_or_default());
            format!(
                "no class of `{dataset}` has the colour {shown}{near} (JPEG files, and pictures that were scaled, have \
                 mixed colours)"
            )
        })
    }
}

fn html([red, green, blue]: [u8; 3]) -> String {
    format!("#{red:02x}{green:02x}{blue:02x} ({red}, {green}, {blue})")
}
