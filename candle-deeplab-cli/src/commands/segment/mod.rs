//! `candle-deeplab segment`: images in, pictures and data of their classes out.

mod encode;
mod engine;
mod image_ids;
mod names;
mod plan;
mod report;
mod sinks;
mod style;
mod target;
mod video;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use candle_deeplab::Labels;
use candle_deeplab::pipeline;
use candle_deeplab::segment::{Segmented, free_memory};

use crate::args::{Format, SegmentArgs};
use crate::budget::{Budget, Claim};
use crate::device::Chosen;
use crate::exit::{self, Exit};
use crate::guard::guard;
use crate::input::{self, Input, Inputs, Photo, Reading};
use crate::interrupt;
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::resolve;
use encode::Subject;
use engine::Engine;
use plan::{Job, Wishes};
use report::{Batch, Failure, Seconds, Summary};
use style::Style;
use target::Target;

/// The most threads for reading and for writing each, so that few images are in memory at once.
const MOST_WORKERS: usize = 4;

/// The registry's most accurate model for photographs.
const BEST: &str = "deeplabv3plus-xception65-voc";

pub(crate) fn run(args: SegmentArgs) -> Result<Exit> {
    let formats = formats(&args)?;
    let tell = |line: &str| {
        if !args.quiet {
            exit::say(line);
        }
    };
    let (Chosen { device, name }, executor, precision) = resolve::runner(&args.network, tell)?;
    resolve::options(&args.network, precision)?;
    let Inputs { inputs, mut left_out } = input::expand(&args.inputs, args.output.as_deref())?;
    let wishes = Wishes {
        formats: &formats,
        output: args.output.as_deref(),
        encoding: &args.encoding,
        force: args.force,
        resume: args.resume,
        shard: args.shard,
    };
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
    // Last, since the model may have to be downloaded.
    let model = resolve::model(&args.model, !args.quiet)?;
    let output = Output::new(args.json, args.quiet);
    if args.model.model.is_none() && output == Output::Text {
        exit::say(&format!(
            "using the small model of this program; `--model {BEST}` is more accurate, and is fetched once"
        ));
    }
    interrupt::install()?;
    resolve::threads(args.network.threads)?;

    let start = Instant::now();
    let engine = Engine::new(resolve::load(&model, &device)?.with_executor(executor)?, precision, &args)?;
    let style = Style::new(&args, engine.labels())?;
    let wanted = wanted(engine.labels(), &[&args.classes[..], &args.cutout].concat())?;
    let (loaded, device) = (start.elapsed(), name.to_string());
    let budget = Budget::new(free_memory());
    let run =
        Run { args: &args, engine: &engine, style: &style, budget: &budget, wanted, device, output, to_stdout, loaded };
    let (mut videos, mut images): (Vec<Job>, Vec<Job>) = plan.jobs.into_iter().partition(|job| job.input.is_moving());
    if formats.contains(&Format::Rle) {
        // All parts of the work agree on the numbers.
        image_ids::assign(&mut images, plan.folder.as_deref(), engine.labels())?;
    }
    images.retain(|job| job.is_wanted);
    videos.retain(|job| job.is_wanted);
    let failed = run.refused(plan.refused)? + run.images(&images)? + run.videos(&videos)?;
    Ok(if failed == 0 { Exit::Success } else { Exit::SomeFailed })
}

/// The output formats that the arguments ask for.
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
    if args.style.legend && !formats.iter().any(|format| format.is_picture()) {
        bail!("`--legend` is a part of overlay, color and contours: add one of them to `--format`");
    }
    Ok(formats)
}

/// A class that the user asked for: its ids (some data sets have several classes of one name) and its name.
type Wanted = (Vec<u8>, String);

/// The classes that the user asked for, each once.
fn wanted(labels: &Labels, asked: &[String]) -> Result<Vec<Wanted>> {
    let mut wanted: Vec<Wanted> = vec![];
    for class in asked {
        let ids = style::classes(labels, std::slice::from_ref(class))?;
        let name = ids.first().map_or(String::new(), |id| labels.name(*id));
        if !wanted.iter().any(|(known, _)| *known == ids) {
            wanted.push((ids, name));
        }
    }
    Ok(wanted)
}

/// What all inputs of a run have in common.
struct Run<'a> {
    args: &'a SegmentArgs,
    engine: &'a Engine,
    style: &'a Style,
    budget: &'a Budget,
    wanted: Vec<Wanted>,
    /// The name of the device that the network runs on.
    device: String,
    output: Output,
    /// Whether standard output carries an output, so that reports go to standard error.
    to_stdout: bool,
    /// How long it took to load the model.
    loaded: Duration,
}

/// An image on its way, or why it is not.
type Read<'a> = Result<(Photo<'a>, Duration)>;
type Seen<'a> = Result<Answer<'a>>;

/// A segmented image.
struct Answer<'a> {
    segmented: Segmented,
    /// What was missing of the image.
    damage: Option<String>,
    seconds: Seconds,
    /// The memory that it has until its outputs are written.
    claim: Claim<'a>,
}

impl<'a> Run<'a> {
    /// Says why inputs are not even tried; gives their number.
    fn refused(&self, refused: Vec<(Input, String)>) -> Result<usize> {
        let count = refused.len();
        for (input, reason) in refused {
            let error = anyhow!(reason);
            let (image, said) = (input.shown(), exit::causes(&error).join(": "));
            self.fail(&Failure { image, error: said, message: exit::message(&error) })?;
        }
        Ok(count)
    }

    /// The number of images that failed.
    fn images(&self, jobs: &[Job]) -> Result<usize> {
        let many = jobs.len() > 1;
        let progress = Progress::new(Some(jobs.len() as u64), "images", !many || self.output == Output::Quiet)?;
        let start = Instant::now();
        let mut failed = 0;
        let done = |result: Result<Summary, Failure>| {
            progress.step();
            match result {
                Ok(summary) => progress.around(|| {
                    failed += usize::from(summary.error.is_some());
                    summary.error.iter().for_each(|error| exit::say(&format!("error: {error}")));
                    self.print(&summary)
                }),
                Err(failure) => {
                    failed += 1;
                    progress.around(|| self.fail(&failure))
                }
            }
        };
        pipeline::run(
            jobs.len(),
            rayon::current_num_threads().clamp(1, MOST_WORKERS).min(jobs.len().max(1)),
            |index| guard("reading the image", || self.read(&jobs[index])),
            |_, image| guard("segmenting the image", || self.segment(image)),
            |index, answer| self.write(&jobs[index], answer, many),
            done,
        )?;
        drop(progress);
        if many && self.output == Output::Text {
            let device = self.device.clone();
            exit::say(&Batch { images: jobs.len() - failed, failed, took: start.elapsed(), device }.text());
        }
        Ok(failed)
    }

    fn read(&self, job: &Job) -> Read<'a> {
        let start = Instant::now();
        let reading = Reading { budget: self.budget, kept: |size| self.engine.kept(size), lenient: self.args.lenient };
        Ok((reading.read(&job.input)?, start.elapsed()))
    }

    fn segment(&self, image: Read<'a>) -> Seen<'a> {
        let (Photo { image, damage, claim }, read) = image?;
        let start = Instant::now();
        let limit = self.budget.network(claim.bytes);
        let segmented = self.engine.segment(image, limit).context("cannot segment the image")?;
        let seconds = Seconds {
            load: self.loaded.as_secs_f64(),
            read: read.as_secs_f64(),
            segment: start.elapsed().as_secs_f64(),
            write: 0.0,
        };
        Ok(Answer { segmented, damage, seconds, claim })
    }

    fn write(&self, job: &Job, seen: Seen, many: bool) -> Result<Summary, Failure> {
        let write = || {
            let Answer { segmented, damage, mut seconds, claim: _claim } = seen?;
            if self.engine.has_hard_edges(&segmented) && self.output != Output::Quiet {
                exit::say(&format!("{}: {}", job.input.shown(), engine::HARD_EDGES));
            }
            let Segmented { segmentation, scores, tiled } = segmented;
            let start = Instant::now();
            let subject = Subject {
                segmentation: &segmentation,
                scores: scores.as_ref(),
                shown: job.input.shown(),
                damage: damage.as_deref(),
                image_id: job.image_id,
            };
            let found = segmentation.found();
            let there = |classes: &[u8]| found.iter().any(|found| classes.contains(&found.class));
            let absent: Vec<String> =
                self.wanted.iter().filter(|(ids, _)| !there(ids)).map(|(_, name)| name.clone()).collect();
            // Without the wanted classes the cutout would be an empty picture.
            let nothing = !self.args.cutout.is_empty() && !there(&self.style.cutout);
            let (skipped, targets): (Vec<&Target>, Vec<&Target>) =
                job.targets.iter().partition(|target| nothing && target.format == Format::Cutout);
            for target in &targets {
                encode::write(target, &subject, self.style)?;
            }
            seconds.write = start.elapsed().as_secs_f64();
            Ok(Summary {
                image: job.input.shown(),
                width: segmentation.width(),
                height: segmentation.height(),
                outputs: targets.into_iter().map(Into::into).collect(),
                device: self.device.clone(),
                tiled,
                damaged: damage.clone(),
                found,
                absent,
                error: skipped.first().map(|_| nothing_to_cut_out(&job.input.shown(), &self.args.cutout)),
                seconds,
                brief: many,
            })
        };
        guard("writing the outputs", write).map_err(|error| failure(job, error))
    }

    /// Segments videos, and returns how many failed.
    fn videos(&self, jobs: &[Job]) -> Result<usize> {
        let mut failed = 0;
        for job in jobs {
            let (device, quiet) = (self.device.clone(), self.output == Output::Quiet);
            match guard("the work on the video", || {
                video::segment(job, self.engine, self.style, self.budget, self.args.seconds, device, quiet)
            }) {
                Ok(film) => self.print(&film)?,
                // The reader of our output has closed it: end the run.
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

/// Why there is no cutout.
fn nothing_to_cut_out(image: &str, asked: &[String]) -> String {
    match asked {
        [one] => format!("{image}: there is no {one} in it, and so no cutout"),
        several => format!("{image}: there is none of {} in it, and so no cutout", several.join(", ")),
    }
}

/// Says which input it is about; most errors name the file by themselves.
fn failure(job: &Job, error: anyhow::Error) -> Failure {
    let image = job.input.shown();
    let named = exit::causes(&error).iter().any(|cause| cause.contains(&image));
    let error = if named { error } else { error.context(image.clone()) };
    Failure { image, error: exit::causes(&error).join(": "), message: exit::message(&error) }
}
