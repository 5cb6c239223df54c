//! `candle-deeplab train`: trains a network, or goes on with it.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use candle_deeplab::{DeepLab, Precision};
use candle_deeplab_train::recipe::Recipe;
use candle_deeplab_train::run::{self, End, Event, Job, Outcome, RECIPE_FILE};
use serde::Serialize;

use crate::args::{ModelArgs, TrainArgs};
use crate::exit::{Exit, say};
use crate::output::{Output, Report};
use crate::progress::Progress;
use crate::{device, interrupt, resolve};

pub(crate) fn run(args: TrainArgs) -> Result<Exit> {
    let output = Output::new(args.json, args.quiet);
    resolve::threads(args.threads)?;
    let path = args.config.clone().unwrap_or_else(|| args.out.join(RECIPE_FILE));
    let mut recipe = Recipe::from_file(&path, &args.set)?;
    match &args.data {
        Some(dir) => recipe.data.dir = dir.clone(),
        None => ensure!(!recipe.data.dir.as_os_str().is_empty(), "say where the data set is: `--data DIR`"),
    }
    let device = device::choose(args.device, Precision::F32, say)?.device;
    let job = Job {
        start: start(&recipe, &args)?,
        recipe,
        out: args.out.clone(),
        device,
        resume: args.resume,
        stop_at: args.steps,
    };
    interrupt::install()?;
    // The first Ctrl-C ends the run after the step, and saves it; the second ends the program.
    let _stoppable = interrupt::recording();
    let screen = Screen::new(args.quiet)?;
    let outcome = run::train(job, &interrupt::stopped, &mut |event| screen.show(&event))?;
    drop(screen);
    output.print(&Trained::new(&outcome, args.out)).context("cannot print the result")?;
    Ok(Exit::Success)
}

/// The model that training starts with, unless a checkpoint takes its place. Its weights are read on the CPU.
fn start(recipe: &Recipe, args: &TrainArgs) -> Result<Option<DeepLab>> {
    if args.resume && run::has_begun(&args.out)? {
        return Ok(None);
    }
    let Some(name) = recipe.model.start.clone() else { return Ok(None) };
    let model = ModelArgs { model: Some(name), zoo: args.zoo.clone() };
    let found = resolve::model(&model, !args.quiet)?;
    resolve::load(&found, &Device::Cpu).map(Some)
}

/// The time between two lines of progress in a log.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// What a run shows on standard error while it goes: its progress is a bar on a terminal, and a line now and then
/// elsewhere, such as in a log.
struct Screen {
    quiet: bool,
    progress: Progress,
    logged: Cell<Instant>,
}

impl Screen {
    fn new(quiet: bool) -> Result<Self> {
        Ok(Self { quiet, progress: Progress::line(quiet)?, logged: Cell::new(Instant::now()) })
    }

    fn show(&self, event: &Event) {
        if self.quiet {
            return;
        }
        match event {
            Event::Step(step) if io::stderr().is_terminal() => {
                self.progress.tell(step.stop, step.step, || progress(step));
            }
            Event::Step(step) => {
                if self.logged.get().elapsed() >= LOG_INTERVAL {
                    self.logged.set(Instant::now());
                    say(&format!("step {} of {}: {}", step.step, step.stop, progress(step)));
                }
            }
            event => {
                if let Some(line) = line(event) {
                    self.progress.around(|| say(&line));
                }
            }
        }
    }
}

/// Where a run stands, as a line of text.
fn progress(step: &run::Progress) -> String {
    format!(
        "loss {:.3}  accuracy {:.1} %  rate {:.2e}  {:.1} images/s  {} left",
        step.loss,
        100.0 * step.accuracy,
        step.rate,
        step.images_per_second,
        duration(step.seconds_left)
    )
}

/// An event as a line of text.
fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Started { origin, step, stop, images, classes, parameters } => {
            let mut text = format!("{images} images, {classes} classes, {parameters} parameters to train");
            if let Some(origin) = origin {
                if origin.taken > 0 {
                    text += &format!("\n{} tensors are those of the start", origin.taken);
                }
                if origin.unfolded {
                    text += ", whose folded batch norms were recovered";
                }
                if !origin.new.is_empty() {
                    text += &format!("\nnew: {}", origin.new.join(", "));
                }
                if !origin.unused.is_empty() {
                    text += &format!("\nnot used of the start: {}", origin.unused.join(", "));
                }
            }
            text + &format!("\nsteps {step} to {stop}")
        }
        Event::Validated { step, miou, best } => {
            let best = if *best { ", the best so far" } else { "" };
            format!("step {step}: mIoU {:.2} %{best}", 100.0 * miou)
        }
        Event::Saved { step, path } => format!("step {step}: saved {}", path.display()),
        Event::Note(text) => text.clone(),
        _ => return None,
    })
}

fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

/// The result of a run.
#[derive(Debug, Serialize)]
struct Trained {
    /// `done`, `stopped` or `no_longer_better`.
    end: &'static str,
    step: usize,
    best_step: Option<usize>,
    best_miou: Option<f64>,
    skipped: usize,
    seconds: f64,
    out: PathBuf,
}

impl Trained {
    fn new(outcome: &Outcome, out: PathBuf) -> Self {
        let end = match outcome.end {
            End::Done => "done",
            End::Stopped => "stopped",
            End::NoLongerBetter => "no_longer_better",
        };
        let Outcome { step, best, skipped, seconds, .. } = *outcome;
        let (best_step, best_miou) = (best.map(|(step, _)| step), best.map(|(_, miou)| miou));
        Self { end, step, best_step, best_miou, skipped, seconds, out }
    }
}

impl Report for Trained {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        let Self { end, step, skipped, seconds, out, .. } = self;
        let (out, time) = (out.display(), duration(*seconds));
        let why = match *end {
            "stopped" => "stopped by you: go on with --resume",
            "no_longer_better" => "stopped, since validation no longer got better",
            _ => "done",
        };
        writeln!(to, "{step} steps in {time}: {why}")?;
        if let (Some(step), Some(miou)) = (self.best_step, self.best_miou) {
            writeln!(to, "best: mIoU {:.2} % at step {step}", 100.0 * miou)?;
        }
        if *skipped > 0 {
            writeln!(to, "{skipped} samples could not be read and were skipped")?;
        }
        writeln!(to, "the model is in {out}: candle-deeplab segment photo.jpg --model {out}")
    }
}
