//! `candle-deeplab eval`: how well label maps agree with those of a data set.

mod report;

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_deeplab::segment::free_memory;
use candle_deeplab::{DeepLab, Executor, Labels, Precision, Segmenter, atomic};
use candle_deeplab_train::data::{Dataset, Kind, Source};
use candle_deeplab_train::eval::{
    About, Benchmark, How, Judged, Options, Pairs, Predictions, Run, State, Submission, Unlabelled,
};

use crate::args::EvalArgs;
use crate::device::Chosen;
use crate::exit::{self, Exit};
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;
use crate::resolve;
use report::{Scores, Submitted};

/// The share of the free memory that a network may take; the rest is for images on their way.
const SHARE: (u64, u64) = (3, 4);

pub(crate) fn run(args: EvalArgs) -> Result<Exit> {
    let output = Output::new(args.json, args.quiet);
    let source = Source { dir: args.data.clone(), kind: args.kind.map(Into::into), labels: args.labels.clone() };
    // Before a model is fetched.
    source.splits()?;
    let benchmark = if args.submission { Some(benchmark(source.layout())?) } else { None };
    let folder = args.out.as_deref().map(prepare).transpose()?;
    let command = Command { args: &args, source, output, folder, benchmark };
    match &args.predictions {
        Some(predictions) => command.predictions(predictions),
        None => command.model(),
    }
}

/// Where label maps for a server go, in the folder of the results.
const SUBMISSION: &str = "submission";

/// The benchmark whose data set has this layout.
fn benchmark(kind: Kind) -> Result<Benchmark> {
    match kind {
        Kind::Voc => Ok(Benchmark::Voc),
        Kind::Cityscapes => Ok(Benchmark::Cityscapes),
        Kind::Folder | Kind::Ade20k => {
            bail!(
                "`--submission` is for VOC's and Cityscapes' servers: leave it out, or say `--kind voc` or `--kind cityscapes`"
            )
        }
    }
}

/// Makes the folder of the results.
fn prepare(folder: &Path) -> Result<&Path> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}` (`--out`)", folder.display()))?;
    atomic::remove_leftovers(folder);
    Ok(folder)
}

/// An evaluation as the arguments want it.
struct Command<'a> {
    args: &'a EvalArgs,
    source: Source,
    output: Output,
    folder: Option<&'a Path>,
    benchmark: Option<Benchmark>,
}

impl Command<'_> {
    fn predictions(&self, folder: &Path) -> Result<Exit> {
        let data = Dataset::open(&self.source, &self.args.split)?;
        self.note(&data);
        let predictions = Predictions::find(folder, &data, self.args.limit.unwrap_or(usize::MAX))?;
        resolve::threads(self.args.network.threads)?;
        let about = self.about(folder.display().to_string());
        self.evaluate(Judged::Predictions(&predictions), &data, about)
    }

    fn model(&self) -> Result<Exit> {
        let (args, network) = (self.args, &self.args.network);
        let (Chosen { device, name }, executor, precision) = resolve::runner(network, |line| self.say(line))?;
        let mut options = resolve::options(network, precision)?;
        // Last, since the model may have to be downloaded.
        let found = resolve::model(&args.model, self.output != Output::Quiet)?;
        let labels = found.files.config()?.labels;
        let (data, has_labels) = self.open(&labels)?;
        resolve::threads(network.threads)?;
        options.memory_limit = free_memory().filter(|_| device.is_cpu()).map(|free| free / SHARE.1 * SHARE.0);
        let model = resolve::load(&found, &device)?.with_executor(executor)?;
        let runs = executor_of(&model, executor, precision)?;
        let segmenter = options.segmenter(model)?;
        let options = Some(How::new(&options, name.to_string(), runs));
        let digest = if self.folder.is_some() { found.files.digest()? } else { None };
        let about = About { digest, options, ..self.about(args.model.name().to_owned()) };
        match has_labels {
            true => self.evaluate(Judged::Network(&segmenter), &data, about),
            false => self.submit(&segmenter, &Unlabelled(&data), about),
        }
    }

    /// The data set, and whether it has labels, which only a submission can do without.
    fn open(&self, model: &Labels) -> Result<(Dataset, bool)> {
        let (source, split) = (&self.source, &self.args.split);
        // The labels of Cityscapes' test split are there, and say nothing.
        let is_secret = self.benchmark == Some(Benchmark::Cityscapes) && split == "test";
        match Dataset::open_for(source, split, model) {
            Ok(data) if !is_secret => {
                self.note(&data);
                Ok((data, true))
            }
            Err(error) if self.benchmark.is_none() => Err(error.into()),
            other => {
                let reason = other.err().map_or(String::new(), |error| format!(" ({error})"));
                self.say(&format!("nothing is judged, since the split has no labels{reason}"));
                Ok((Dataset::open_images(source, split, model)?, false))
            }
        }
    }

    fn evaluate(&self, judged: Judged, data: &Dataset, about: About) -> Result<Exit> {
        let options = self.options(about);
        let found = self.run("state.jsonl", judged, data, &options, |run, step| Ok(run.evaluate(data, step)?))?;
        let mut files = vec![];
        if let Some(folder) = self.folder {
            let _writing = interrupt::writing();
            found.write(folder)?;
            if self.args.worst.is_some() {
                files = found.draw_worst(judged, data, &folder.join("worst"))?;
            }
        }
        let worst = files.iter().map(|path| path.display().to_string()).collect();
        self.output.print(&Scores::new(found.report, worst)).context("cannot print the result")?;
        Ok(Exit::Success)
    }

    fn submit(&self, segmenter: &Segmenter, images: &Unlabelled, about: About) -> Result<Exit> {
        let options = self.options(about);
        let judged = Judged::Network(segmenter);
        // Without labels nothing is counted, so an evaluation cannot go on from there.
        let state = "submission.jsonl";
        let images = self.run(state, judged, images, &options, |run, step| Ok(run.submit(images, step)?))?;
        let folder = self.folder.map(|folder| folder.join(SUBMISSION).display().to_string()).unwrap_or_default();
        self.output.print(&Submitted { images, submission: folder }).context("cannot print the result")?;
        Ok(Exit::Success)
    }

    /// Runs an evaluation with its state (a file in the folder of the results), its submission and a progress bar.
    fn run<T>(
        &self,
        state: &str,
        judged: Judged,
        pairs: &dyn Pairs,
        options: &Options,
        work: impl FnOnce(Run, &mut dyn FnMut(usize, usize)) -> Result<T>,
    ) -> Result<T> {
        interrupt::install()?;
        let labels = pairs.labels();
        let open =
            |folder: &Path| State::open(folder.join(state), &options.about, labels, &options.trimap, self.args.force);
        let mut state = self.folder.map(open).transpose()?;
        let submission = match (self.folder, self.benchmark) {
            (Some(folder), Some(benchmark)) => {
                Some(Submission::new(benchmark, &folder.join(SUBMISSION), &self.args.split, labels)?)
            }
            _ => None,
        };
        let progress = Progress::new(Some(pairs.len() as u64), "images", self.output == Output::Quiet)?;
        let mut step = |done: usize, of: usize| progress.at(done as u64, of as u64);
        let run = Run { judged, options, state: state.as_mut(), submission: submission.as_ref() };
        work(run, &mut step)
    }

    fn options(&self, about: About) -> Options {
        let widest = self.args.trimap.unwrap_or(0) as u32;
        let worst = self.args.worst.unwrap_or(0);
        Options { about, limit: self.args.limit, trimap: (1..=widest).collect(), worst }
    }

    fn about(&self, model: String) -> About {
        let (data, split) = (self.args.data.display().to_string(), self.args.split.clone());
        About { model, data, split, ..About::default() }
    }

    fn note(&self, data: &Dataset) {
        if let (Some(note), Output::Text) = (data.note(), self.output) {
            exit::say(note);
        }
    }

    fn say(&self, line: &str) {
        if self.output != Output::Quiet {
            exit::say(line);
        }
    }
}

/// What really runs a model: the fused executor's instructions, `cuda-fused`, or `eager`.
fn executor_of(model: &DeepLab, executor: Executor, precision: Precision) -> Result<String> {
    if let Executor::CudaFused(precision) = executor {
        return Ok(format!("cuda-fused, {precision}"));
    }
    let fused = if model.device().is_cpu() { executor.resolve(precision)? } else { None };
    Ok(fused.map_or("eager".into(), |isa| isa.to_string()))
}
