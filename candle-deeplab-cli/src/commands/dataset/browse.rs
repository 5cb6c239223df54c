//! `candle-deeplab dataset browse`: pictures of what a network sees in training.

use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use candle_deeplab::config::Preprocessing;
use candle_deeplab::mask::{Legend, Style};
use candle_deeplab::{Labels, Segmentation};
use candle_deeplab_train::augment;
use candle_deeplab_train::augment::Sample;
use candle_deeplab_train::data::{Dataset, Source};
use candle_deeplab_train::loader::{self, Sampler};
use candle_deeplab_train::recipe::Recipe;
use image::{ImageFormat, Rgb, RgbImage, imageops};
use rayon::prelude::*;
use serde::Serialize;

use crate::args::DatasetBrowseArgs;
use crate::exit::{Exit, say};
use crate::interrupt;
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::target::Target;

pub(super) fn run(args: DatasetBrowseArgs) -> Result<Exit> {
    let output = Output::of(args.report);
    let settings = Settings::new(&args)?;
    let dataset = Arc::new(Dataset::open(&settings.source, &args.split)?);
    if let Some(note) = dataset.note().filter(|_| output == Output::Text) {
        say(note);
    }
    let Settings { augment, loader, seed, preprocessing, .. } = settings;
    let sampler = Sampler::new(dataset.clone(), &augment, &preprocessing, &loader, seed)?;
    let folder = &args.output;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    interrupt::install()?;
    let progress = Progress::new(Some(args.count as u64), "pictures", output != Output::Text)?;
    let draw = |number: usize| -> Result<Picture> {
        let (batch, place) = ((number / loader.batch) as u64, number % loader.batch);
        let drawn = sampler.sample(batch, place)?;
        let name = dataset.name(drawn.index).to_owned();
        let path = folder.join(format!("{number:05}_{}.png", name.replace(['/', '\\'], "_")));
        write(&path, args.force, &picture(drawn.sample, dataset.labels_of_maps())?)?;
        progress.step();
        let skipped = drawn.skipped.iter().map(ToString::to_string).collect();
        Ok(Picture { path, name, batch, place, skipped })
    };
    let pictures = (0..args.count).into_par_iter().map(draw).collect::<Result<Vec<_>>>();
    drop(progress);
    let pictures = pictures?;
    for skipped in pictures.iter().flat_map(|picture| &picture.skipped) {
        say(&format!("skipped: {skipped}"));
    }
    let has_skipped = pictures.iter().any(|picture| !picture.skipped.is_empty());
    let report = Browsed { folder: folder.clone(), split: args.split, pictures };
    output.print(&report).context("cannot print the result")?;
    Ok(if has_skipped { Exit::SomeFailed } else { Exit::Success })
}

/// What samples are made of.
struct Settings {
    source: Source,
    augment: augment::Recipe,
    loader: loader::Recipe,
    preprocessing: Preprocessing,
    seed: u64,
}

impl Settings {
    /// The recipe's settings, or the defaults, with the changes of the options.
    fn new(args: &DatasetBrowseArgs) -> Result<Self> {
        let preprocessing = candle_deeplab::bundled::config()?.preprocessing;
        let mut settings = match &args.config {
            Some(path) => {
                let recipe = Recipe::from_file(path, &[])?;
                let preprocessing = recipe.model.preprocessing(None, &preprocessing);
                let Recipe { data: source, augment, loader, seed, .. } = recipe;
                Self { source, augment, loader, preprocessing, seed }
            }
            None => Self {
                source: Source::new(""),
                augment: Default::default(),
                loader: Default::default(),
                preprocessing,
                seed: 0,
            },
        };
        let DatasetBrowseArgs { dir, layout, seed, .. } = args;
        settings.source.dir = dir.clone().unwrap_or(settings.source.dir);
        settings.source.kind = layout.kind.map(Into::into).or(settings.source.kind);
        settings.source.labels = layout.labels.clone().or(settings.source.labels);
        ensure!(
            !settings.source.dir.as_os_str().is_empty(),
            "the recipe does not say where the data set is: name its folder"
        );
        settings.seed = seed.unwrap_or(settings.seed);
        let augment = &mut settings.augment;
        if let Some((height, width)) = args.crop {
            augment.crop = [height, width];
        }
        if let Some((min, max)) = args.scale {
            augment.scale = augment::Scale { min, max, ..augment.scale };
        }
        augment.scale.step = args.scale_step.or(augment.scale.step);
        augment.cat_max_ratio = args.cat_max_ratio.unwrap_or(augment.cat_max_ratio);
        augment.flip = args.flip.unwrap_or(augment.flip);
        if args.photometric {
            augment.photometric.get_or_insert_default();
        }
        Ok(settings)
    }
}

/// The sample, and beside it the same with its labels drawn over it and a legend.
fn picture(sample: Sample, labels: Labels) -> Result<Vec<u8>> {
    const PAPER: Rgb<u8> = Rgb([255; 3]);
    let style = Style { legend: Legend::Below, min_share: 0.0, ..Style::default() };
    let segmentation = Segmentation::new(sample.labels.into_raw(), labels, sample.image)?;
    let overlay = segmentation.overlay(&style);
    let mut picture = RgbImage::from_pixel(2 * overlay.width(), overlay.height(), PAPER);
    imageops::replace(&mut picture, segmentation.image(), 0, 0);
    imageops::replace(&mut picture, &overlay, i64::from(overlay.width()), 0);
    let mut bytes = Cursor::new(vec![]);
    picture.write_to(&mut bytes, ImageFormat::Png).context("cannot encode the picture")?;
    Ok(bytes.into_inner())
}

fn write(path: &Path, replace: bool, bytes: &[u8]) -> Result<()> {
    let _whole = interrupt::writing();
    Target::new(path, replace, "-o")?.write(bytes)
}

#[derive(Debug, Serialize)]
struct Browsed {
    folder: PathBuf,
    split: String,
    pictures: Vec<Picture>,
}

/// A picture of a sample.
#[derive(Debug, Serialize)]
struct Picture {
    path: PathBuf,
    /// The sample's name in its split.
    name: String,
    /// Where training meets it.
    batch: u64,
    place: usize,
    /// What could not be read in its place.
    skipped: Vec<String>,
}

impl Report for Browsed {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "wrote {} pictures into {}", self.pictures.len(), self.folder.display())
    }
}
