//! `candle-deeplab segment`: images in, pictures and files of their classes out.

mod encode;
mod engine;
mod image_ids;
mod names;
mod plan;
mod report;
mod sinks;
mod target;
mod video;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use image::DynamicImage;

use crate::args::{Format, SegmentArgs};
use crate::exit::{self, Exit};
use crate::input::{self, Inputs};
use crate::interrupt;
use crate::output::{Output, Report};
use crate::pipeline;
use crate::progress::Progress;
use crate::resolve;
use encode::{Style, Subject};
use engine::{Answer, Engine};
use plan::{Job, Wishes};
use report::{Batch, Failure, Seconds, Summary};
use target::Target;

/// Reading and writing are each done by no more threads than this, so that few images are in memory at once.
const MOST_WORKERS: usize = 4;

pub(crate) fn run(args: SegmentArgs) -> Result<Exit> {
    let formats = formats(&args)?;
    let device = resolve::device(args.device)?;
    let precision = resolve::fast_precision(args.dtype, &device)?;
    let Inputs { inputs, mut left_out } = input::expand(&args.inputs, args.output.as_deref())?;
    let wishes =
        Wishes { formats: &formats, output: args.output.as_deref(), encoding: &args.encoding, force: args.force };
    let mut plan = plan::plan(inputs, &wishes)?;
    left_out.append(&mut plan.left_out);
    let to_stdout = plan.folder.is_none();
    ensure!(
        !(to_stdout
            && io::stdout().is_terminal()
            && plan.jobs.iter().flat_map(|job| &job.targets).any(Target::is_binary)),
        "a terminal cannot show it: send standard output to a file or a program, or name a file with `-o`"
    );
    if !args.quiet {
        left_out.iter().for_each(|said| exit::say(said));
    }
    // Last: it may have to be fetched.
    let weights = resolve::model(&args.model, !args.quiet)?.dir;
    interrupt::install()?;
    resolve::threads(args.threads)?;

    let start = Instant::now();
    let engine = Engine::load(&weights, (&device, precision), &args)?;
    let style = Style {
        opacity: args.opacity,
        legend: args.legend,
        cutout: engine::classes(engine.labels(), &args.cutout)?,
        jpeg_quality: args.encoding.jpeg_quality(),
        replace: args.force,
    };
    let output = Output::new(args.json, args.quiet);
    let run = Run { args: &args, engine: &engine, style: &style, output, to_stdout, loaded: start.elapsed() };
    if formats.contains(&Format::Rle) {
        let (mut images, videos): (Vec<Job>, Vec<Job>) = plan.jobs.into_iter().partition(|job| !job.input.is_moving());
        image_ids::assign(&mut images, plan.folder.as_deref(), engine.labels())?;
        images.extend(videos);
        plan.jobs = images;
    }
    let (videos, images): (Vec<Job>, Vec<Job>) = plan.jobs.into_iter().partition(|job| job.input.is_moving());
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
    if args.probs && !formats.iter().any(|format| matches!(format, Format::Npy | Format::Rle)) {
        bail!("`--probs` is about what npy and rle hold: add one of them to `--format`");
    }
    if args.legend && !formats.iter().any(|format| format.is_picture()) {
        bail!("`--legend` is drawn into overlay, color and contours: add one of them to `--format`");
    }
    Ok(formats)
}

/// Everything that inputs have in common.
struct Run<'a> {
    args: &'a SegmentArgs,
    engine: &'a Engine,
    style: &'a Style,
    output: Output,
    /// Standard output carries an output, and reports go to standard error.
    to_stdout: bool,
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
            let subject = Subject {
                segmentation: &segmentation,
                scores: scores.as_ref(),
                shown: job.input.shown(),
                image_id: job.image_id,
            };
            for target in &job.targets {
                encode::write(target, &subject, self.style)?;
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
                // Whoever reads our output has seen enough.
                Err(error) if exit::is_closed_pipe(&error) => return Err(error),
                Err(error) => {
                    failed += 1;
                    self.fail(&failure(job, error))?;
                }
            }
        }
        Ok(failed)
    }

    fn print(&self, report: &impl Report) -> Result<()> {
        let printed = if self.to_stdout {
            self.output.print_to(report, &mut io::stderr().lock())
        } else {
            self.output.print(report)
        };
        printed.context("cannot print the result")
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
