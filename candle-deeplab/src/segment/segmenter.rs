//! A network with its pre- and postprocessing: from an image to its label map.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use image::{DynamicImage, RgbImage};
use rayon::prelude::*;

use super::memory::tiles_that_fit;
use super::{Answer, LabelMap, MultiScale, Predictor, Scores, Segmentation, Tiles};
use crate::config::{Preprocessing, SizeRule};
use crate::error::{Error, Result};
use crate::graph::Size;
use crate::labels::Labels;
use crate::model::DeepLab;
use crate::pixels::{Geometry, Prepared};

/// Segments images of any size: it preprocesses an image, runs the network, and resizes the scores to the image.
///
/// The network is usually a [`DeepLab`]; any [`Predictor`] will do. Clones share it.
///
/// # Threads
/// Preprocessing, the network (on the CPU) and postprocessing run in the caller's rayon pool: inside `pool.install(..)`
/// that is `pool`, elsewhere the global one, which has a thread for each core unless `RAYON_NUM_THREADS` says
/// otherwise.
#[derive(Clone)]
pub struct Segmenter {
    network: Arc<dyn Predictor>,
    preprocessing: Preprocessing,
    labels: Labels,
    device: Device,
    tiles: Option<Tiles>,
    /// In bytes.
    memory_limit: Option<u64>,
    /// The overlap of tiles that the memory limit requires, in pixels.
    overlap: usize,
}

/// Whether [`Scores`] are wanted besides the label map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Only the label map.
    LabelMap,
    /// The scores, unless they alone would exceed the memory limit. That can happen only with [tiles](Tiles), whose
    /// scores are kept at the image's size.
    ScoresIfTheyFit,
    /// The scores, or an error if they do not fit.
    Scores,
}

/// A segmented image, with its scores and tiles if there are any.
#[derive(Debug, Clone)]
pub struct Segmented {
    /// The class of each pixel.
    pub segmentation: Segmentation,
    /// The scores, where they were wanted and fit.
    pub scores: Option<Scores>,
    /// The tiles that the image was cut into because of the memory limit, and their number.
    pub tiled: Option<(Tiles, usize)>,
}

impl fmt::Debug for Segmenter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segmenter")
            .field("preprocessing", &self.preprocessing)
            .field("labels", &self.labels.dataset)
            .field("device", &self.device)
            .field("tiles", &self.tiles)
            .field("memory_limit", &self.memory_limit)
            .field("overlap", &self.overlap)
            .finish_non_exhaustive()
    }
}

impl Segmenter {
    /// Makes a segmenter with the preprocessing, labels and device of a model.
    pub fn new(model: DeepLab) -> Self {
        let (preprocessing, labels, device) = surroundings(&model);
        Self::from_parts(model, preprocessing, labels, device)
    }

    /// Makes a segmenter that averages over several scales.
    pub fn multi_scale(model: MultiScale) -> Self {
        let (preprocessing, labels, device) = surroundings(model.model());
        Self::from_parts(model, preprocessing, labels, device)
    }

    /// Makes a segmenter around any network, which gets its pixels on `device`.
    pub fn from_parts(
        network: impl Predictor + 'static,
        preprocessing: Preprocessing,
        labels: Labels,
        device: Device,
    ) -> Self {
        let network = Arc::new(network);
        Self { network, preprocessing, labels, device, tiles: None, memory_limit: None, overlap: 0 }
    }

    /// Names and colours of the classes.
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// Makes the segmenter cut images into tiles, or with `None` not; see [`Tiles`].
    pub fn with_tiles(self, tiles: Option<Tiles>) -> Self {
        Self { tiles, ..self }
    }

    /// Limits how many bytes an image may take: see [`Options::memory_limit`](super::Options::memory_limit) and
    /// [`Options::overlap`](super::Options::overlap).
    pub fn with_memory_limit(self, memory_limit: Option<u64>, overlap: usize) -> Self {
        Self { memory_limit, overlap, ..self }
    }

    /// Finds the class of each pixel of an image. Transparency is dropped: hidden pixels are segmented too.
    ///
    /// The logits are cropped to the part of the input that the image fills, resized to the image (bilinear,
    /// half-pixel: the inverse of how the image was resized) and only then compared, which gives smoother outlines than
    /// resizing the label map as TensorFlow's exported graphs do. The first of equal logits wins. Where the image is
    /// not resized, the network's own [label map](Predictor::label_map) is used, if it has one.
    ///
    /// # Errors
    /// [`Error::Input`] for an image without pixels, [`Error::Output`] where the network does not return one logit for
    /// each label and input pixel, [`Error::NotFinite`] where a logit is NaN, [`Error::Memory`] where neither the
    /// whole image nor its tiles fit the memory limit, [`Error::Candle`] where the network fails.
    pub fn segment(&self, image: &DynamicImage) -> Result<Segmentation> {
        Ok(self.run(image.to_rgb8(), Wanted::LabelMap)?.segmentation)
    }

    /// Segments images one after another: as fast as separate calls of [`segment`](Self::segment), since each call
    /// keeps all threads busy, and with the memory of one call.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), for the first image that cannot be segmented.
    pub fn segment_batch(&self, images: &[DynamicImage]) -> Result<Vec<Segmentation>> {
        images.iter().map(|image| self.segment(image)).collect()
    }

    /// Segments an image in a buffer of rows: red, green and blue of each pixel, a byte each, with `stride` bytes from
    /// one row to the next.
    ///
    /// # Errors
    /// [`Error::Pixels`] where the buffer is too small for the rows or they overlap; otherwise as
    /// [`segment`](Self::segment).
    pub fn segment_buffer(&self, bytes: &[u8], size: Size, stride: usize) -> Result<Segmentation> {
        Ok(self.run(image_of_rows(bytes, size, stride)?, Wanted::LabelMap)?.segmentation)
    }

    /// Segments an image given as a tensor: u8 `[H, W, 3]`, red, green and blue, on any device.
    ///
    /// # Errors
    /// [`Error::Pixels`] for a tensor of another shape or type; otherwise as [`segment`](Self::segment).
    pub fn segment_tensor(&self, image: &Tensor) -> Result<Segmentation> {
        let (&[height, width, 3], DType::U8) = (image.dims(), image.dtype()) else {
            let (shape, dtype) = (image.dims(), image.dtype().as_str());
            let reason = format!(
                "an image as a tensor is u8 [H, W, 3], and this is {dtype} {shape:?}: permute it, scale it to 0–255, and \
                 convert it with `to_dtype(DType::U8)`"
            );
            return Err(Error::Pixels { reason });
        };
        let bytes = image.flatten_all()?.to_vec1::<u8>()?;
        self.segment_buffer(&bytes, Size::new(height, width), 3 * width)
    }

    /// Segments an image as [`segment`](Self::segment) does, and returns the scores, too. With
    /// [tiles](Self::with_tiles), they are kept at the image's size.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), and [`Error::Memory`] where the scores alone exceed the memory limit.
    pub fn segment_with_scores(&self, image: &DynamicImage) -> Result<(Segmentation, Scores)> {
        let image = image.to_rgb8();
        let scores = self.scores(&image, self.tiles_for(size_of(&image))?)?;
        Ok((Segmentation::new(scores.label_map()?, self.labels.clone(), image)?, scores))
    }

    /// Segments an image as [`segment`](Self::segment) does, and returns its scores and tiles as well. It takes the
    /// image by value because the result contains it.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), and [`Error::Memory`] where [`Wanted::Scores`] asks for scores that alone exceed
    /// the memory limit.
    pub fn run(&self, image: RgbImage, wanted: Wanted) -> Result<Segmented> {
        let size = size_of(&image);
        let tiles = self.tiles_for(size)?;
        let scores = match wanted {
            Wanted::LabelMap => None,
            Wanted::Scores => Some(self.scores(&image, tiles)?),
            Wanted::ScoresIfTheyFit => match tiles {
                Some(tiles) if self.check_scores(self.seen(size, tiles)).is_err() => None,
                tiles => Some(self.scores(&image, tiles)?),
            },
        };
        let ids = match (&scores, tiles) {
            (Some(scores), _) => scores.label_map()?,
            (None, tiles) => self.ids(&image, tiles)?,
        };
        let tiled = match tiles {
            Some(Cut::OfNeed(tiles)) => Some((tiles, tiles.count(self.seen(size, Cut::OfNeed(tiles))))),
            _ => None,
        };
        self.segmented(image, ids, scores, tiled)
    }

    /// Segments images as [`run`](Self::run) does each of them, and computes those together that become inputs of one
    /// [size](Self::input_size) and need no tiles, as far as the memory limit allows. On a GPU that is faster than one
    /// after another; on the CPU it is as fast.
    ///
    /// # Errors
    /// Those of [`run`](Self::run), for each image.
    pub fn run_batch(&self, images: Vec<RgbImage>, wanted: Wanted) -> Vec<Result<Segmented>> {
        let mut results: Vec<(usize, Result<Segmented>)> = vec![];
        let mut together: BTreeMap<(usize, usize), Vec<(usize, RgbImage)>> = BTreeMap::new();
        for (index, image) in images.into_iter().enumerate() {
            match self.tiles_for(size_of(&image)) {
                Ok(None) if size_of(&image).area() > 0 => {
                    let Size { height, width } = self.input_size(size_of(&image));
                    together.entry((height, width)).or_default().push((index, image));
                }
                _ => results.push((index, self.run(image, wanted))),
            }
        }
        for (_, mut group) in together {
            while !group.is_empty() {
                let rest = group.split_off(self.most_together(&group).min(group.len()));
                let (indices, images): (Vec<usize>, Vec<RgbImage>) = group.into_iter().unzip();
                // Where they fail together, each gets its own answer or error.
                let found = if images.len() > 1 { self.found_together(&images, wanted).ok() } else { None };
                let found: Vec<Result<Segmented>> = match found {
                    Some(found) => images
                        .into_iter()
                        .zip(found)
                        .map(|(image, (ids, scores))| self.segmented(image, ids, scores, None))
                        .collect(),
                    None => images.into_iter().map(|image| self.run(image, wanted)).collect(),
                };
                results.extend(indices.into_iter().zip(found));
                group = rest;
            }
        }
        results.sort_by_key(|(index, _)| *index);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// The size of the network's input for an image of a size, unless the image is cut into tiles.
    pub fn input_size(&self, image: Size) -> Size {
        Geometry::new(self.preprocessing.size, image).input
    }

    /// How many of the images, which have inputs of one size, the memory limit lets be computed together.
    fn most_together(&self, images: &[(usize, RgbImage)]) -> usize {
        let needed = images.iter().map(|(_, image)| self.memory_of(size_of(image), None).ok().flatten().unwrap_or(0));
        let needed = needed.max().unwrap_or(0).max(1);
        self.memory_limit.map_or(usize::MAX, |limit| usize::try_from(limit / needed).unwrap_or(usize::MAX)).max(1)
    }

    /// The ids, and the scores if they are wanted, of images whose inputs have one size, in one call of the network.
    fn found_together(&self, images: &[RgbImage], wanted: Wanted) -> Result<Vec<(Vec<u8>, Option<Scores>)>> {
        if wanted == Wanted::LabelMap
            && let Some(ids) = self.ids_of_pixels(&images.iter().collect::<Vec<_>>())?
        {
            return Ok(ids.into_iter().map(|ids| (ids, None)).collect());
        }
        let prepared = images.par_iter().map(|image| self.preprocessing.prepare(image, &self.device));
        let (pixels, geometries): (Vec<Tensor>, Vec<Geometry>) = prepared
            .map(|prepared| prepared.map(|Prepared { pixels, geometry }| (pixels, geometry)))
            .collect::<Result<_>>()?;
        let pixels = Tensor::cat(&pixels, 0)?;
        if wanted == Wanted::LabelMap
            && geometries.iter().all(|geometry| geometry.valid == geometry.image)
            && let Some(maps) = self.network.label_map(&pixels)?
        {
            let maps = geometries.iter().enumerate().map(|(index, geometry)| {
                let ids = direct_ids(&maps.narrow(0, index, 1)?, geometry)?;
                Ok((ids, None))
            });
            return maps.collect();
        }
        let answer = self.network.predict(&pixels)?;
        let found = geometries.iter().enumerate().map(|(index, geometry)| {
            let scores = Scores::new(&answer.narrow(0, index, 1)?, self.answer(), self.classes(), geometry)?;
            Ok((scores.label_map()?, (wanted != Wanted::LabelMap).then_some(scores)))
        });
        found.collect()
    }

    fn segmented(
        &self,
        image: RgbImage,
        ids: Vec<u8>,
        scores: Option<Scores>,
        tiled: Option<(Tiles, usize)>,
    ) -> Result<Segmented> {
        Ok(Segmented { segmentation: Segmentation::new(ids, self.labels.clone(), image)?, scores, tiled })
    }

    /// About how many bytes an image of this size takes for feature maps and scores, beyond the weights and the image
    /// itself, in tiles or whole. `None` if the [network does not say](Predictor::memory).
    ///
    /// It is an estimate, made before anything is allocated: executors differ in what they keep besides the network's
    /// own values.
    ///
    /// # Errors
    /// Those of [`Predictor::memory`], and [`Error::Memory`] where the memory limit is too small for the image.
    pub fn memory(&self, image: Size) -> Result<Option<u64>> {
        self.memory_of(image, self.tiles_for(image)?)
    }

    /// How many bytes an image may take on the network's own device: see [`Predictor::device_memory`].
    ///
    /// # Errors
    /// Those of [`Predictor::device_memory`].
    pub fn device_memory(&self) -> Result<Option<u64>> {
        self.network.device_memory()
    }

    /// About how many bytes the scores of an image of a size take, where they are kept.
    ///
    /// # Errors
    /// Those of [`memory`](Self::memory).
    pub fn scores_memory(&self, image: Size) -> Result<u64> {
        let seen = match self.tiles_for(image)? {
            Some(cut) => self.seen(image, cut),
            None => Geometry::new(self.preprocessing.size, image).input,
        };
        Ok(seen.bytes(self.classes()))
    }

    fn memory_of(&self, image: Size, cut: Option<Cut>) -> Result<Option<u64>> {
        let (input, kept) = match cut {
            None => (Geometry::new(self.preprocessing.size, image).input, 0),
            Some(cut) => {
                let (tile, seen) = (cut.tiles().size(), self.seen(image, cut));
                // A strip as high as a tile is kept, and all scores where they have to be resized.
                let strip = Size::new(tile.height.min(seen.height), seen.width).bytes(self.classes());
                let answer = if seen == image { 0 } else { seen.bytes(self.classes()) };
                (tile, strip.saturating_add(answer))
            }
        };
        // Executors keep their feature maps while the scores are made.
        let beside = input.bytes(3 + self.classes()).saturating_add(kept);
        Ok(self.network.memory(input)?.map(|network| network.saturating_add(beside)))
    }

    /// How an image has to be cut into tiles, if at all.
    fn tiles_for(&self, image: Size) -> Result<Option<Cut>> {
        if let Some(tiles) = self.tiles {
            return Ok(Some(Cut::Asked(tiles)));
        }
        let Some(limit) = self.memory_limit else { return Ok(None) };
        // A network that does not say what it needs is assumed to fit. An input that it cannot take whole may still
        // work in tiles.
        let fits = |cut| self.memory_of(image, cut).is_ok_and(|needed| needed.is_none_or(|needed| needed <= limit));
        if fits(None) {
            return Ok(None);
        }
        let tiles = tiles_that_fit(self.preprocessing.size, self.overlap, |tiles| fits(Some(Cut::OfNeed(tiles))))?;
        match self.memory_of(image, Some(Cut::OfNeed(tiles)))? {
            Some(needed) if needed > limit => {
                let Size { height, width } = image;
                Err(Error::Memory { what: "the network's feature maps", height, width, needed, limit })
            }
            _ => Ok(Some(Cut::OfNeed(tiles))),
        }
    }

    /// The size of the image that is cut into tiles.
    fn seen(&self, image: Size, cut: Cut) -> Size {
        match cut {
            Cut::Asked(_) => image,
            Cut::OfNeed(_) => Geometry::new(self.preprocessing.size, image).valid,
        }
    }

    /// Checks that all scores of an image of this size fit the memory limit.
    fn check_scores(&self, image: Size) -> Result<()> {
        let (needed, Size { height, width }) = (image.bytes(self.classes()), image);
        match self.memory_limit {
            Some(limit) if needed > limit => Err(Error::Memory { what: "the scores", height, width, needed, limit }),
            _ => Ok(()),
        }
    }

    fn scores(&self, image: &RgbImage, cut: Option<Cut>) -> Result<Scores> {
        let size = size_of(image);
        let Some(cut) = cut else {
            return self.scores_of(&self.preprocessing.prepare(image, &self.device)?);
        };
        let seen = self.seen(size, cut);
        self.check_scores(seen)?;
        let image = self.preprocessing.resize(image, seen);
        cut.tiles().scores(&image, self.classes(), self.answer(), size, &|tile| self.tile(tile, cut.tiles()))
    }

    fn ids(&self, image: &RgbImage, cut: Option<Cut>) -> Result<Vec<u8>> {
        match cut {
            Some(cut) if self.seen(size_of(image), cut) == size_of(image) => {
                cut.tiles().label_map(image, self.classes(), &|tile| self.tile(tile, cut.tiles()))
            }
            Some(cut) => self.scores(image, Some(cut))?.label_map(),
            None => {
                if let Some(ids) = self.ids_of_pixels(&[image])? {
                    return Ok(ids.into_iter().flatten().collect());
                }
                let prepared = self.preprocessing.prepare(image, &self.device)?;
                match self.short_way(&prepared)? {
                    Some(ids) => Ok(ids),
                    None => self.scores_of(&prepared)?.label_map(),
                }
            }
        }
    }

    /// The scores of a tile. It is not resized, whatever the model's size rule says, but padded to the size of all
    /// tiles.
    fn tile(&self, tile: &RgbImage, tiles: Tiles) -> Result<Scores> {
        let Size { height, width } = tiles.size();
        let size = SizeRule::Native { height, width };
        self.scores_of(&Preprocessing { size, ..self.preprocessing.clone() }.prepare(tile, &self.device)?)
    }

    fn scores_of(&self, prepared: &Prepared) -> Result<Scores> {
        let answer = self.network.predict(&prepared.pixels)?;
        Scores::new(&answer, self.answer(), self.classes(), &prepared.geometry)
    }

    /// The ids of images of one size, if the network makes them from their pixels by itself.
    fn ids_of_pixels(&self, images: &[&RgbImage]) -> Result<Option<Vec<Vec<u8>>>> {
        let Some(size) = images.first().map(|image| size_of(image)) else { return Ok(None) };
        if size.area() == 0 || images.iter().any(|image| size_of(image) != size) {
            return Ok(None);
        }
        let geometry = Geometry::new(self.preprocessing.size, size);
        self.network.label_images(images, &self.preprocessing, &geometry)
    }

    /// The network's own label map, if the image was not resized, only padded, to become its input.
    fn short_way(&self, Prepared { pixels, geometry }: &Prepared) -> Result<Option<Vec<u8>>> {
        if geometry.valid != geometry.image {
            return Ok(None);
        }
        self.network.label_map(pixels)?.map(|ids| direct_ids(&ids, geometry)).transpose()
    }

    fn answer(&self) -> Answer {
        self.network.answer()
    }

    fn classes(&self) -> usize {
        self.labels.names.len()
    }
}

/// Why an image is cut into tiles.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The caller asked for tiles: the image is cut without being resized.
    Asked(Tiles),
    /// The network's input would not fit into memory: it is cut after resizing.
    OfNeed(Tiles),
}

impl Cut {
    fn tiles(self) -> Tiles {
        match self {
            Self::Asked(tiles) | Self::OfNeed(tiles) => tiles,
        }
    }
}

fn size_of(image: &RgbImage) -> Size {
    Size::new(image.height() as usize, image.width() as usize)
}

/// The ids of an image that was padded but not resized, from the label map of its input, u8 `[1, H, W]`.
fn direct_ids(ids: &Tensor, geometry: &Geometry) -> Result<Vec<u8>> {
    let Geometry { input, valid, .. } = *geometry;
    let ids = LabelMap::new(ids.flatten_all()?.to_vec1()?, input)?.into_ids();
    if valid == input {
        return Ok(ids);
    }
    let rows = ids.chunks_exact(input.width).take(valid.height);
    Ok(rows.flat_map(|row| &row[..valid.width]).copied().collect())
}

/// The preprocessing, labels and device of a model.
fn surroundings(network: &DeepLab) -> (Preprocessing, Labels, Device) {
    let config = network.config();
    (config.preprocessing.clone(), config.labels.clone(), network.device().clone())
}

/// Copies an image out of a buffer of rows.
fn image_of_rows(bytes: &[u8], size: Size, stride: usize) -> Result<RgbImage> {
    let Size { height, width } = size;
    let wrong = |what: &str| Error::Pixels {
        reason: format!(
            "{} bytes with {stride} from a row to the next do not hold {width}×{height} pixels of 3 bytes: {what}",
            bytes.len()
        ),
    };
    let row = width.checked_mul(3).ok_or_else(|| wrong("a row is too long"))?;
    if stride < row {
        return Err(wrong("rows overlap"));
    }
    // The last row need not be padded to the stride.
    let needed = height.checked_sub(1).and_then(|rows| rows.checked_mul(stride)?.checked_add(row));
    if needed.unwrap_or(0) > bytes.len() || needed.is_none() && height > 0 {
        return Err(wrong("there are too few bytes"));
    }
    let rows = bytes.chunks(stride.max(1)).take(height).flat_map(|bytes| &bytes[..row]).copied().collect();
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(wrong("a side is too long"));
    };
    RgbImage::from_raw(width, height, rows).ok_or_else(|| wrong("there are too few bytes"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use candle_nn::{VarBuilder, VarMap};
    use image::Rgb;

    use super::*;
    use crate::config::{Backbone, CONFIG_FILE, Config, Filter, WEIGHTS_FILE};
    use crate::exec::Executor;

    fn preprocessing(size: SizeRule) -> Preprocessing {
        let (mean, std) = ([0.0; 3], [255.0; 3]);
        Preprocessing { mean, std, pad_value: [255.0; 3], size, filter: Filter::Bilinear }
    }

    fn three_classes() -> Labels {
        Labels { background: Some(0), ..Labels::numbered(3) }
    }

    /// A network whose class is the strongest colour: red 0, green 1, blue 2.
    fn by_color(size: SizeRule) -> Segmenter {
        let network = |pixels: &Tensor| pixels.affine(4.0, -1.0);
        Segmenter::from_parts(network, preprocessing(size), three_classes(), Device::Cpu)
    }

    /// Red on the left, green on the right, a blue bar at the bottom.
    fn flag(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| match (x < width / 2, y < height * 3 / 4) {
            (_, false) => Rgb([0, 0, 255]),
            (true, _) => Rgb([255, 0, 0]),
            (false, _) => Rgb([0, 255, 0]),
        })
    }

    fn strongest(image: &RgbImage) -> Vec<u8> {
        image.pixels().map(|p| (0..3).max_by_key(|&c| p.0[c]).unwrap() as u8).collect()
    }

    /// Whatever the sizes, each pixel gets its own class, except where resizing blurs two colours.
    #[test]
    fn every_size_rule_brings_the_classes_back_to_their_pixels() {
        let rules = [
            SizeRule::Fit { height: 65, width: 65 },
            SizeRule::Stretch { height: 50, width: 81 },
            SizeRule::Native { height: 33, width: 33 },
        ];
        for rule in rules {
            for (width, height) in [(64, 48), (20, 12), (200, 140), (65, 65), (30, 200)] {
                let image = flag(width, height);
                let segmentation = by_color(rule).segment(&image.clone().into()).unwrap();
                assert_eq!((segmentation.width(), segmentation.height()), (width, height));
                let wrong = segmentation.ids().iter().zip(strongest(&image)).filter(|(a, b)| **a != *b).count();
                // The outlines are as long as the image is wide plus high; a pixel to either side may go astray.
                let outline = 2 * (width + height) as usize;
                assert!(wrong <= outline / 4, "{rule:?} {width}×{height}: {wrong} wrong of {outline}");
                if matches!(rule, SizeRule::Native { .. }) {
                    assert_eq!(wrong, 0);
                }
            }
        }
    }

    /// A network that makes classes of pixels by itself, and notes how many images it gets at once.
    struct Whole(Arc<Mutex<Vec<usize>>>);

    impl Predictor for Whole {
        fn predict(&self, pixels: &Tensor) -> Result<Tensor> {
            Ok(pixels.affine(4.0, -1.0)?)
        }

        fn label_images(
            &self,
            images: &[&RgbImage],
            preprocessing: &Preprocessing,
            geometry: &Geometry,
        ) -> Result<Option<Vec<Vec<u8>>>> {
            assert_eq!(*geometry, Geometry::new(preprocessing.size, size_of(images[0])));
            self.0.lock().unwrap().push(images.len());
            Ok(Some(images.iter().map(|image| strongest(image)).collect()))
        }
    }

    #[test]
    fn a_network_that_takes_pixels_gets_images_of_one_size_together() {
        let (calls, size) = (Arc::default(), SizeRule::Stretch { height: 9, width: 9 });
        let network = Whole(Arc::clone(&calls));
        let segmenter = Segmenter::from_parts(network, preprocessing(size), three_classes(), Device::Cpu);
        assert_eq!(segmenter.segment(&flag(30, 20).into()).unwrap().ids(), strongest(&flag(30, 20)));
        let images = vec![flag(8, 8), flag(8, 8)];
        for (segmented, image) in segmenter.run_batch(images.clone(), Wanted::LabelMap).iter().zip(&images) {
            assert_eq!(segmented.as_ref().unwrap().segmentation.ids(), strongest(image));
        }
        assert_eq!(*calls.lock().unwrap(), [1, 2]);
        // Images of other sizes and scores come from its scores, and an image without pixels is what it always is.
        assert!(segmenter.run_batch(vec![flag(8, 8), flag(7, 8)], Wanted::LabelMap).iter().all(|found| found.is_ok()));
        assert!(segmenter.run(flag(8, 8), Wanted::Scores).unwrap().scores.is_some());
        assert!(matches!(segmenter.run(RgbImage::new(0, 4), Wanted::LabelMap), Err(Error::Input { .. })));
        assert_eq!(*calls.lock().unwrap(), [1, 2]);
    }

    #[test]
    fn padding_is_never_seen() {
        // The padding is white, a tie that class 0 wins; the image has no class 0.
        let image = RgbImage::from_pixel(31, 9, Rgb([0, 0, 255]));
        let segmentation = by_color(SizeRule::Fit { height: 40, width: 40 }).segment(&image.into()).unwrap();
        assert_eq!(segmentation.ids(), [2; 31 * 9]);
    }

    /// The same answer whether the logits lie in memory as rows of each class or as classes of each pixel, and in
    /// half precision.
    #[test]
    fn the_layout_and_type_of_the_logits_do_not_matter() {
        let image = DynamicImage::from(flag(50, 40));
        let rule = SizeRule::Fit { height: 33, width: 33 };
        let expected = by_color(rule).segment(&image).unwrap();
        let channels_last =
            |pixels: &Tensor| pixels.affine(4.0, -1.0)?.permute((0, 2, 3, 1))?.contiguous()?.permute((0, 3, 1, 2));
        let half = |pixels: &Tensor| pixels.affine(4.0, -1.0)?.to_dtype(DType::BF16);
        let parts = || (preprocessing(rule), three_classes(), Device::Cpu);
        let (p, l, d) = parts();
        assert_eq!(Segmenter::from_parts(channels_last, p, l, d).segment(&image).unwrap().ids(), expected.ids());
        let (p, l, d) = parts();
        let rounded = Segmenter::from_parts(half, p, l, d).segment(&image).unwrap();
        let differing = rounded.ids().iter().zip(expected.ids()).filter(|(a, b)| a != b).count();
        assert!(differing <= 20, "{differing}");
    }

    #[test]
    fn a_network_that_answers_in_another_shape_is_an_error() {
        let rule = SizeRule::Fit { height: 9, width: 9 };
        let image = DynamicImage::from(flag(9, 9));
        let few = |pixels: &Tensor| pixels.narrow(1, 0, 2);
        let small = |pixels: &Tensor| pixels.narrow(2, 0, 3);
        let (p, l) = (preprocessing(rule), three_classes());
        let few = Segmenter::from_parts(few, p.clone(), l.clone(), Device::Cpu).segment(&image).unwrap_err();
        let small = Segmenter::from_parts(small, p, l, Device::Cpu).segment(&image).unwrap_err();
        assert!(matches!(few, Error::Output { expected: [1, 3, 9, 9], .. }), "{few}");
        assert!(matches!(small, Error::Output { expected: [1, 3, 9, 9], .. }), "{small}");
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error_and_no_answer() {
        let network = |pixels: &Tensor| pixels.affine(f64::NAN, 0.0);
        let rule = SizeRule::Fit { height: 9, width: 9 };
        let segmenter = Segmenter::from_parts(network, preprocessing(rule), three_classes(), Device::Cpu);
        assert!(matches!(segmenter.segment(&flag(14, 12).into()), Err(Error::NotFinite)));
    }

    #[test]
    fn an_image_is_the_same_in_a_buffer_and_in_a_tensor() {
        let (width, height) = (5, 4);
        let (image, segmenter) = (flag(width, height), by_color(SizeRule::Native { height: 1, width: 1 }));
        let size = Size::new(height as usize, width as usize);
        let expected = segmenter.segment(&image.clone().into()).unwrap();
        let row = 3 * size.width;
        let padded: Vec<u8> = image.as_raw().chunks(row).flat_map(|row| [row, &[7; 4]].concat()).collect();
        // The padding of the last row may be missing.
        let padded = &padded[..padded.len() - 4];
        assert_eq!(segmenter.segment_buffer(padded, size, row + 4).unwrap(), expected);
        let tensor = Tensor::from_slice(image.as_raw(), (size.height, size.width, 3), &Device::Cpu).unwrap();
        assert_eq!(segmenter.segment_tensor(&tensor).unwrap(), expected);
        assert_eq!(segmenter.segment_batch(&[image.into(), DynamicImage::new_rgb8(1, 1)]).unwrap()[0], expected);
    }

    /// Images of several sizes, some of which become inputs of one size: all are segmented as one by one.
    #[test]
    fn images_are_the_same_together_as_alone() {
        let images: Vec<RgbImage> = [(41, 33), (33, 41), (41, 33), (40, 31), (161, 90), (41, 33)]
            .iter()
            .enumerate()
            .map(|(number, &(width, height))| {
                RgbImage::from_fn(width, height, |x, y| Rgb([(7 * x) as u8, (5 * y) as u8, (40 * number) as u8]))
            })
            .collect();
        for size in [SizeRule::Native { height: 1, width: 1 }, SizeRule::Fit { height: 65, width: 65 }] {
            let plain = Segmenter::new(random(size));
            // As much as the largest takes, so that not all go together.
            let tight = plain.memory(Size::new(90, 161)).unwrap();
            for segmenter in [plain.clone(), plain.with_memory_limit(tight, 8)] {
                for wanted in [Wanted::LabelMap, Wanted::Scores] {
                    let together = segmenter.run_batch(images.clone(), wanted);
                    assert_eq!(together.len(), images.len());
                    for (found, image) in together.into_iter().zip(&images) {
                        let (found, alone) = (found.unwrap(), segmenter.run(image.clone(), wanted).unwrap());
                        assert_eq!(found.segmentation, alone.segmentation);
                        assert_eq!((found.scores.is_some(), found.tiled), (wanted == Wanted::Scores, alone.tiled));
                        let scores =
                            |found: &Segmented| found.scores.as_ref().map(|s| s.tensor().to_vec3::<f32>().unwrap());
                        assert_eq!(scores(&found), scores(&alone));
                    }
                }
            }
        }
        let nothing = RgbImage::new(0, 3);
        let found = by_color(SizeRule::Native { height: 1, width: 1 })
            .run_batch(vec![flag(4, 4), nothing, flag(4, 4)], Wanted::LabelMap);
        assert_eq!(found.iter().map(|found| found.is_ok()).collect::<Vec<_>>(), [true, false, true]);
    }

    #[test]
    fn pixels_that_do_not_lie_as_somebody_says_are_refused() {
        let segmenter = by_color(SizeRule::Native { height: 1, width: 1 });
        let buffer = |bytes: usize, height, width, stride| {
            segmenter.segment_buffer(&vec![0; bytes], Size::new(height, width), stride).unwrap_err()
        };
        for error in
            [buffer(59, 4, 5, 15), buffer(60, 4, 5, 14), buffer(60, usize::MAX, 5, 15), buffer(60, 4, usize::MAX, 1)]
        {
            assert!(matches!(error, Error::Pixels { .. }), "{error}");
        }
        assert!(matches!(buffer(60, 0, 5, 15), Error::Input { .. }));
        for tensor in [
            Tensor::zeros((3, 4, 5), DType::U8, &Device::Cpu).unwrap(),
            Tensor::zeros((4, 5, 3), DType::F32, &Device::Cpu).unwrap(),
        ] {
            let error = segmenter.segment_tensor(&tensor).unwrap_err().to_string();
            assert!(error.contains("to_dtype(DType::U8)"), "{error}");
        }
    }

    /// A network with random weights, which has all classes somewhere.
    fn random(size: SizeRule) -> DeepLab {
        random_but(size, None)
    }

    /// The same with one of the logits' biases at a value.
    fn random_but(size: SizeRule, bias: Option<f32>) -> DeepLab {
        let config = Config::deeplabv3plus(Backbone::mobilenet_v2(0.35), 5).with_size(size);
        let (dir, vars) = (tempfile::tempdir().unwrap(), VarMap::new());
        DeepLab::new(&config, VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu)).unwrap();
        std::fs::write(dir.path().join(CONFIG_FILE), serde_json::to_string(&config).unwrap()).unwrap();
        if let Some(bias) = bias {
            let data = vars.data().lock().unwrap();
            let (_, var) = data.iter().find(|(name, _)| name.as_str() == "classifier.bias").unwrap();
            var.set(&Tensor::new(&[0f32, 0.0, bias, 0.0, 0.0], &Device::Cpu).unwrap()).unwrap();
        }
        vars.save(dir.path().join(WEIGHTS_FILE)).unwrap();
        DeepLab::load(dir.path(), &Device::Cpu).unwrap()
    }

    /// With NaN somewhere, the greatest of the others is no answer.
    #[test]
    fn damaged_weights_are_an_error_in_every_executor() {
        let image = DynamicImage::from(flag(50, 40));
        for bias in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let model = random_but(SizeRule::Native { height: 1, width: 1 }, Some(bias));
            for executor in [Executor::Auto, Executor::Eager] {
                let model = model.clone().with_executor(executor).unwrap();
                let pixels = Tensor::zeros((1, 3, 40, 50), DType::F32, &Device::Cpu).unwrap();
                assert!(matches!(model.label_map(&pixels), Err(Error::NotFinite)), "{bias}");
                assert!(matches!(Segmenter::new(model).segment(&image), Err(Error::NotFinite)), "{bias}");
            }
        }
    }

    #[test]
    fn the_short_way_gives_the_classes_of_the_long_one() {
        let image = RgbImage::from_fn(161, 129, |x, y| {
            let wave = |scale: f32, at: u32| (128.0 + 127.0 * (at as f32 / scale).sin()) as u8;
            Rgb([wave(31.0, x), wave(17.0, y), wave(53.0, x + y)])
        });
        let image = DynamicImage::from(image);
        // Without padding, and with it.
        for least in [1, 193] {
            let size = SizeRule::Native { height: least, width: least };
            // Some random networks see one class everywhere, which has no borders to be compared.
            let models = std::iter::repeat_with(|| random(size)).take(50);
            let mut answers = models.map(|model| (Segmenter::new(model.clone()).segment(&image).unwrap(), model));
            let (short, model) = answers.find(|(short, _)| short.found().len() > 1).unwrap();
            let (long, _) = Segmenter::new(model.clone()).segment_with_scores(&image).unwrap();
            assert_eq!(short.ids(), long.ids());
            // The eager executor has no short way, and agrees to rounding.
            let eager = Segmenter::new(model.with_executor(Executor::Eager).unwrap()).segment(&image).unwrap();
            let differing = eager.ids().iter().zip(short.ids()).filter(|(a, b)| a != b).count();
            assert!(differing <= short.ids().len() / 1000, "{differing} of {} pixels", short.ids().len());
        }
    }
}
