//! The evaluation itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_deeplab::metrics::{Confusion, Trimap};
use candle_deeplab::{atomic, pipeline};
use image::GrayImage;

use super::count::Counted;
use super::judged::{Answer, Judged};
use super::pairs::Pairs;
use super::report::{About, Report, Sums};
use super::state::State;
use super::submission::Submission;
use super::{chart, picture};
use crate::data::Pair;
use crate::error::{Error, Result};

/// The most threads for reading and for counting each, so that few images are in memory at once.
const MOST_WORKERS: usize = 4;

/// What an evaluation does besides the scores.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// What is evaluated, for the report.
    pub about: About,
    /// Judge only so many images, the first ones.
    pub limit: Option<usize>,
    /// The widths of bands along borders that are judged separately, in pixels: see [`Trimap`].
    pub trimap: Vec<u32>,
    /// How many of the worst images the report lists.
    pub worst: usize,
}

/// An evaluation that can go on after an interruption, and writes label maps.
#[derive(Debug)]
pub struct Run<'a> {
    /// Whose label maps are judged.
    pub judged: Judged<'a>,
    /// What they are compared with.
    pub options: &'a Options,
    /// Where counts are kept, so that they need not be counted again.
    pub state: Option<&'a mut State>,
    /// Where label maps go, for a benchmark's server.
    pub submission: Option<&'a Submission>,
}

/// What an evaluation found.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The scores.
    pub report: Report,
    /// What they follow from.
    pub confusion: Confusion,
    /// The same for the bands along borders, if they were wanted.
    pub trimap: Option<Trimap>,
    /// The numbers of the worst images among the pairs, in the order of [`Report::worst`].
    pub worst: Vec<usize>,
}

/// Judges the label maps of all images (or the first [`limit`](Options::limit)). While one image goes through the network,
/// the next ones are read and the last ones counted.
///
/// `progress` is called after each image, with the number of images that are done and of all.
///
/// ```no_run
/// # fn example(segmenter: &candle_deeplab::Segmenter, pairs: &dyn candle_deeplab_train::eval::Pairs)
/// # -> candle_deeplab_train::Result<()> {
/// use candle_deeplab_train::eval::{Judged, Options, evaluate};
///
/// let found = evaluate(Judged::Network(segmenter), pairs, &Options::default(), |done, of| println!("{done} of {of}"))?;
/// println!("{:.1} % mIoU", 100.0 * found.report.miou);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::Data`] where the classes are not the data's, an image or label map cannot be read, a label map has another size
/// than its image, or there is nothing to judge; the network's errors.
pub fn evaluate(
    judged: Judged,
    pairs: &dyn Pairs,
    options: &Options,
    progress: impl FnMut(usize, usize),
) -> Result<Evaluation> {
    Run { judged, options, state: None, submission: None }.evaluate(pairs, progress)
}

impl Run<'_> {
    /// Judges label maps: see [`evaluate`].
    ///
    /// # Errors
    /// As [`evaluate`], and those of the state's and the submission's files.
    pub fn evaluate(self, pairs: &dyn Pairs, progress: impl FnMut(usize, usize)) -> Result<Evaluation> {
        let options = self.options;
        let sums = self.count(pairs, progress)?;
        let report = sums.report(pairs.labels(), options.about.clone(), options.worst)?;
        let worst = sums.worst(options.worst).into_iter().map(|(index, _)| index).collect();
        Ok(Evaluation { report, confusion: sums.confusion, trimap: sums.trimap, worst })
    }

    /// Only writes label maps for a server, for images whose labels nobody has. Gives the number of images.
    ///
    /// # Errors
    /// As [`Run::evaluate`].
    pub fn submit(self, pairs: &dyn Pairs, progress: impl FnMut(usize, usize)) -> Result<usize> {
        Ok(self.count(pairs, progress)?.count)
    }

    fn count(self, pairs: &dyn Pairs, mut progress: impl FnMut(usize, usize)) -> Result<Sums> {
        let Self { judged, options, mut state, submission } = self;
        judged.check(pairs, &options.about.data)?;
        let (classes, widths) = (pairs.labels().names.len(), &options.trimap);
        let count = options.limit.map_or(pairs.len(), |limit| limit.min(pairs.len()));
        if count == 0 {
            let reason = format!("split `{}` has no images: nothing can be judged", options.about.split);
            return Err(Error::data(&options.about.data, reason));
        }
        let mut sums = Sums::new(classes, widths)?;
        let mut left = vec![];
        for index in 0..count {
            let name = pairs.name(index);
            let is_written = submission.is_none_or(|submission| submission.path(name).is_file());
            match state.as_ref().and_then(|state| state.done.get(name)).filter(|_| is_written) {
                Some(counted) => sums.add(index, counted)?,
                None => left.push(index),
            }
        }
        let mut done = count - left.len();
        let mut last = Instant::now();
        pipeline::run(
            left.len(),
            rayon::current_num_threads().clamp(1, MOST_WORKERS).min(left.len().max(1)),
            |turn| judged.read(pairs, left[turn]),
            |_, read| {
                let (question, labels) = read?;
                Ok((judged.answer(question)?, labels))
            },
            |turn, answer: Result<(Answer, GrayImage)>| {
                let (Answer { map, tiled }, labels) = answer?;
                let name = pairs.name(left[turn]);
                submission.map_or(Ok(()), |submission| submission.write(name, &map))?;
                let counted = Counted::new(name, classes, widths, labels, (map.ids(), tiled));
                Ok((left[turn], counted.map_err(|error| Error::data(name, error.to_string()))?))
            },
            |counted: Result<(usize, Counted)>| {
                let (index, mut counted) = counted?;
                counted.seconds = last.elapsed().as_secs_f64();
                last = Instant::now();
                sums.add(index, &counted)?;
                state.as_mut().map_or(Ok(()), |state| state.add(&counted))?;
                done += 1;
                progress(done, count);
                Ok::<(), Error>(())
            },
        )?;
        Ok(sums)
    }
}

impl Evaluation {
    /// Writes the result into a folder: `report.json`, `confusion.csv` and `confusion.svg`, and, where there is a trimap,
    /// `trimap.csv` and `trimap.svg`. Files of these names are replaced.
    ///
    /// # Errors
    /// [`Error::Model`] where a file cannot be written, [`Error::Chart`].
    pub fn write(&self, folder: &Path) -> Result<()> {
        let names: Vec<String> = self.report.classes.iter().map(|class| class.name.clone()).collect();
        let json = serde_json::to_string_pretty(&self.report).map_err(|error| Error::io(folder)(error.into()))?;
        atomic::write(folder.join("report.json"), |file| writeln!(file, "{json}"))?;
        atomic::write(folder.join("confusion.csv"), |file| self.confusion.write_csv(&names, file))?;
        let svg = chart::confusion_svg(&self.confusion, &names)?;
        atomic::write(folder.join("confusion.svg"), |file| file.write_all(svg.as_bytes()))?;
        if self.report.trimap.is_empty() {
            return Ok(());
        }
        atomic::write(folder.join("trimap.csv"), |file| {
            writeln!(file, "width,miou,pixel_accuracy,pixels")?;
            let number = |score: Option<f64>| score.map_or(String::new(), |score| score.to_string());
            self.report.trimap.iter().try_for_each(|band| {
                let (miou, accuracy) = (number(band.miou), number(band.pixel_accuracy));
                writeln!(file, "{},{miou},{accuracy},{}", band.width, band.pixels)
            })
        })?;
        let svg = chart::trimap_svg(&self.report)?;
        atomic::write(folder.join("trimap.svg"), |file| file.write_all(svg.as_bytes()))?;
        Ok(())
    }

    /// Draws the worst images into a folder, which is made: `01_NAME.png` is the worst of all. See
    /// [`mistakes`](picture::mistakes).
    ///
    /// # Errors
    /// As [`evaluate`], since the network sees them again.
    pub fn draw_worst(&self, judged: Judged, pairs: &dyn Pairs, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let draw = |(index, rank): (&usize, usize)| {
            let Pair { image, labels } = pairs.read(*index)?;
            let map = judged.answer(judged.question(pairs, *index, &image, &labels)?)?.map;
            let picture = picture::mistakes(&image, &labels, map.ids(), pairs.labels())?;
            let path = folder.join(format!("{rank:02}_{}.png", pairs.name(*index).replace('/', "_")));
            atomic::write(&path, |file| {
                let encoder = image::codecs::png::PngEncoder::new(file);
                picture.write_with_encoder(encoder).map_err(std::io::Error::other)
            })?;
            Ok(path)
        };
        self.worst.iter().zip(1..).map(draw).collect()
    }
}
