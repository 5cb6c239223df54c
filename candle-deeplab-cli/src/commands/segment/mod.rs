//! `candle-deeplab segment`: images in, pictures and files of their classes out.

mod encode;
mod engine;
mod plan;
mod report;
mod style;
mod video;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use image::DynamicImage;

use crate::args::{Format, SegmentArgs};
use crate::exit::{self, Exit};
use crate::input;
use crate::interrupt;
use crate::output::{Output, Report};
use crate::pipeline;
use crate::progress::Progress;
use crate::resolve;
use engine::{Answer, Engine};
use plan::Job;
use report::{Batch, Failure, Seconds, Summary};
use style::Style;

/// Reading and writing are each done by no more threads than this, so that few images are in memory at once.
const MOST_WORKERS: usize = 4;

pub(crate) fn run(args: SegmentArgs) -> Result<Exit> {
    let formats = formats(&args)?;
    let device = resolve::device(args.device)?;
    let precision = resolve::fast_precision(args.dtype, &device)?;
    let inputs = input::expand(&args.inputs, args.output.as_deref())?;
    let jobs = plan::plan(inputs, &formats, args.output.as_deref(), args.force)?;
    // Last: it may have to be fetched.
    let weights = resolve::model(&args.model, !args.quiet)?.dir;
    interrupt::install()?;
    resolve::threads(args.threads)?;

    let start = Instant::now();
    let engine = Engine::load(&weights, (&device, precision), &args)?;
    let style = Style::new(&args, engine.labels())?;
    let output = Output::new(args.json, args.quiet);
    let run = Run { args: &args, engine: &engine, style: &style, output, loaded: start.elapsed() };
    let (videos, images): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.input.is_moving());
    let failed = run.images(&images)? + run.videos(&videos)?;
    Ok(if failed == 0 { Exit::Success } else { Exit::SomeFailed })
}

/// What to make of each input.
fn formats(args: &SegmentArgs) -> Result<Vec<Format>> {
    let mut formats: Vec<Format> = vec![];
    args.format.iter().for_each(|format| {
        if !formats.contains(format) {
            formats.push(*format);
        }
    });
    if !args.cutout.is_empty() {
        formats.push(Format::Cutout);
    }
    if formats.is_empty() {
        formats.push(Format::Overlay);
    }
    if args.probs && !formats.contains(&Format::Npy) {
        bail!("`--probs` is about what npy holds: add `--format npy`");
    }
    if args.style.legend && !formats.iter().any(|format| format.is_picture()) {
        bail!("`--legend` is a part of overlay, color and contours: add one of them to `--format`");
    }
    Ok(formats)
}

/// Everything that inputs have in common.
struct Run<'a> {
    args: &'a SegmentArgs,
    engine: &'a Engine,
    style: &'a Style,
    output: Output,
    /// How long it took to load the model.
    loaded: Duration,
}

/// An image on its way, or why it is not.
type Read = Result<(DynamicImage, Duration)>;
type Segmented = Result<(Answer, Seconds)>;

impl Run<'_> {
    /// The number of images that failed.
    fn images(&self, jobs: &[Job]) -> Result<usize> {
        let many = jobs.len() > 1;
        let progress = Progress::new(Some(jobs.len() as u64), "images", !many || self.output == Output::Quiet)?;
        let start = Instant::now();
        let mut failed = 0;
        let done = |result: Result<Summary, Failure>| {
            progress.step();
            match result {
                Ok(summary) => progress.around(|| self.print(&summary)),
                Err(failure) => {
                    failed += 1;
                    progress.around(|| self.fail(&failure))
                }
            }
        };
        pipeline::run(
            jobs.len(),
            rayon::current_num_threads().clamp(1, MOST_WORKERS).min(jobs.len().max(1)),
            |index| read(&jobs[index]),
            |_, image| self.segment(image),
            |index, answer| self.write(&jobs[index], answer, many),
            done,
        )?;
        drop(progress);
        if many && self.output == Output::Text {
            let device = self.args.device.to_string();
            exit::say(&Batch { images: jobs.len() - failed, failed, took: start.elapsed(), device }.text());
        }
        Ok(failed)
    }

    fn segment(&self, image: Read) -> Segmented {
        let (image, read) = image?;
        let start = Instant::now();
        let answer = self.engine.segment(&image).context("cannot segment the image")?;
        let seconds = Seconds {
            load: self.loaded.as_secs_f64(),
            read: read.as_secs_f64(),
            segment: start.elapsed().as_secs_f64(),
            write: 0.0,
        };
        Ok((answer, seconds))
    }

    fn write(&self, job: &Job, segmented: Segmented, many: bool) -> Result<Summary, Failure> {
        let write = || {
            let (Answer { segmentation, scores, tiled }, mut seconds) = segmented?;
            let start = Instant::now();
            for target in &job.targets {
                encode::write(target, &job.input, &segmentation, scores.as_ref(), self.style)?;
            }
            seconds.write = start.elapsed().as_secs_f64();
            Ok(Summary {
                image: job.input.shown(),
                width: segmentation.width(),
                height: segmentation.height(),
                outputs: job.targets.iter().map(Into::into).collect(),
                device: self.args.device.to_string(),
                tiled,
                found: segmentation.found(),
                seconds,
                brief: many,
            })
        };
        write().map_err(|error| failure(job, error))
    }

    /// The number of videos that failed.
    fn videos(&self, jobs: &[Job]) -> Result<usize> {
        let mut failed = 0;
        for job in jobs {
            let (device, quiet) = (self.args.device.to_string(), self.output == Output::Quiet);
            match video::segment(job, self.engine, self.style, self.args.seconds, device, quiet) {
                Ok(film) => self.print(&film)?,
                Err(error) => {
                    failed += 1;
                    self.fail(&failure(job, error))?;
                }
            }
        }
        Ok(failed)
    }

    fn print(&self, report: &impl Report) -> Result<()> {
        self.output.print(report).context("cannot print the result")
    }

    fn fail(&self, failure: &Failure) -> Result<()> {
        exit::say(&failure.message);
        self.print(failure)
    }
}

fn read(job: &Job) -> Read {
    let start = Instant::now();
    // Segmentation wants red, green and blue; that much of the work is done here.
    let image = DynamicImage::ImageRgb8(job.input.image()?.into_rgb8());
    Ok((image, start.elapsed()))
}

/// Says which input it is about; most errors name the file by themselves.
fn failure(job: &Job, error: anyhow::Error) -> Failure {
    let image = job.input.shown();
    let named = exit::causes(&error).iter().any(|cause| cause.contains(&image));
    let error = if named { error } else { error.context(image.clone()) };
    Failure { image, error: exit::causes(&error).join(": "), message: exit::message(&error) }
}
