//! Where the frames of a video go: another video, lines of JSON, or a file for each.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};
use candle_deeplab::mask::Coverage;
use candle_deeplab::segment::Segmented;
use serde::Serialize;
use tempfile::TempPath;

use super::encode::{self, Subject};
use super::plan::{Job, already_there};
use super::style::Style;
use super::target::{Destination, Encoding, Target, pixels};
use crate::ffmpeg::{Pixels, Recipe, Video, Writer};
use crate::interrupt::{self, Unfinished};

/// An output of a video that is being written.
pub(super) struct Sink<'a> {
    target: &'a Target,
    kind: Kind,
    /// The file that is being written; `None` for standard output and for one file per frame.
    file: Option<Pending>,
}

enum Kind {
    Film(Writer),
    Lines(Box<dyn Write + Send>),
    Frames,
}

/// The classes of a frame, as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    video: &'a str,
    /// Counted from 1.
    frame: u64,
    /// Time from the beginning of the video.
    seconds: f64,
    width: u32,
    height: u32,
    dataset: &'a str,
    classes: Vec<Coverage>,
}

impl<'a> Sink<'a> {
    /// Begins an output. When this returns, ffmpeg has shown that it can write a video of this kind.
    pub(super) fn new(
        target: &'a Target,
        job: &Job,
        video: &Video,
        style: &Style,
        seconds: Option<f64>,
    ) -> Result<Self> {
        let file = match &target.to {
            Destination::File(path) => Some(Pending::new(path)?),
            Destination::Frames(_) | Destination::Stdout => None,
        };
        let kind = match (target.encoding, &target.to) {
            (_, Destination::Frames(_)) => Kind::Frames,
            (Encoding::Film(container), _) => {
                let pixels = pixels(target.format).context("it is no video")?;
                let sound = video.is_finite.then_some(&job.input.source);
                let mut film = video.clone();
                if pixels == Pixels::Rgb {
                    film.height = style.film_height(video.width, video.height);
                }
                let recipe = Recipe::new(container, pixels, &film, sound, seconds)?;
                Kind::Film(recipe.start(file.as_ref().map(Pending::path))?)
            }
            _ => Kind::Lines(match &file {
                Some(file) => Box::new(BufWriter::new(file.create()?)),
                None => Box::new(io::stdout()),
            }),
        };
        Ok(Self { target, kind, file })
    }

    /// Writes a frame; `number` counts from 1.
    pub(super) fn frame(
        &mut self,
        job: &Job,
        video: &Video,
        number: u64,
        answer: &Segmented,
        style: &Style,
    ) -> Result<()> {
        let segmentation = &answer.segmentation;
        match &mut self.kind {
            Kind::Film(writer) => match pixels(self.target.format) {
                Some(Pixels::Rgb) => writer.frame(&style.picture(segmentation, self.target.format)),
                Some(Pixels::Rgba) => writer.frame(&style.cutout(segmentation, answer.scores.as_ref())?),
                Some(Pixels::Gray) => writer.frame(segmentation.ids()),
                None => bail!("it is no video"),
            },
            Kind::Lines(to) => {
                let line = Line {
                    video: &job.input.shown(),
                    frame: number,
                    seconds: (number - 1) as f64 / video.frames_per_second,
                    width: segmentation.width(),
                    height: segmentation.height(),
                    dataset: &segmentation.labels().dataset,
                    classes: segmentation.found(),
                };
                let written = serde_json::to_string(&line).map_err(io::Error::from);
                let written = written.and_then(|line| writeln!(to, "{line}"));
                // The reader of a pipe should get each line at once.
                let written = if self.file.is_none() { written.and_then(|()| to.flush()) } else { written };
                written.context("cannot write the lines")
            }
            Kind::Frames => {
                let subject = Subject {
                    damage: None,
                    segmentation,
                    scores: answer.scores.as_ref(),
                    shown: format!("{}, frame {number}", job.input.shown()),
                    image_id: number,
                };
                encode::write(&self.target.of_frame(number), &subject, style)
            }
        }
    }

    /// Ends the output after `frames` frames.
    pub(super) fn finish(self, frames: u64, style: &Style) -> Result<()> {
        match self.kind {
            Kind::Film(writer) => writer.finish()?,
            Kind::Lines(mut to) => to.flush().context("cannot write the lines")?,
            Kind::Frames => remove_frames_after(frames, self.target, style)?,
        }
        self.file.map_or(Ok(()), |file| file.finish(style.replace))
    }
}

/// Removes the remaining frames of a longer video that was written to the same folder before.
fn remove_frames_after(frames: u64, target: &Target, style: &Style) -> Result<()> {
    let left = (frames + 1..).map(|frame| target.of_frame(frame));
    for file in left.map_while(|target| target.path().filter(|path| path.is_file()).map(Path::to_owned)) {
        if !style.replace {
            bail!("{}", already_there(&file, ""));
        }
        std::fs::remove_file(&file).with_context(|| format!("cannot remove `{}`", file.display()))?;
    }
    Ok(())
}

/// A file that is written beside its target and renamed when it is complete.
struct Pending {
    unfinished: Unfinished,
    target: PathBuf,
}

impl Pending {
    fn new(target: &Path) -> Result<Self> {
        encode::make_folder_of(target)?;
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        // The process's id in the name makes it unique.
        let path = target.with_file_name(format!(".{name}.{}.incomplete", process::id()));
        Ok(Self { unfinished: interrupt::unfinished(path), target: target.to_owned() })
    }

    fn path(&self) -> &Path {
        self.unfinished.path()
    }

    fn create(&self) -> Result<File> {
        File::create_new(self.path()).with_context(|| format!("cannot write `{}`", self.target.display()))
    }

    fn finish(self, replace: bool) -> Result<()> {
        let Self { unfinished, target } = self;
        let _unfinished = interrupt::writing();
        let shown = || format!("cannot write `{}`", target.display());
        File::open(unfinished.path()).and_then(|file| file.sync_all()).with_context(shown)?;
        let file = TempPath::try_from_path(unfinished.path()).with_context(shown)?;
        let renamed = if replace { file.persist(&target) } else { file.persist_noclobber(&target) };
        match renamed {
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => bail!("{}", already_there(&target, "")),
            renamed => renamed.with_context(shown),
        }
    }
}
