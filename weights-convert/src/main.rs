//! `weights-convert` converts checkpoints of other programs to candle-deeplab's model directories.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use weights_convert::{Card, Checkpoint, Options, WeightType, shown};

/// Exit code of `verify` for a model that differs from the reference.
const DIFFERENT: u8 = 1;
/// Exit code for wrong usage or input.
const BAD_INPUT: u8 = 2;
/// The longest name that `inspect` shows, in characters. All of TensorFlow's variables have shorter names, while TFLite
/// names a tensor after all operations that were fused into it. JSON has every name in full.
const WIDEST_NAME: usize = 120;

/// Convert DeepLab checkpoints of other programs into a directory that candle-deeplab loads.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tensors in a file: names, data types, shapes
    Inspect {
        /// A TensorFlow checkpoint (prefix, .index or folder), frozen graph (.pb), .tflite, .safetensors or PyTorch (.pth) file,
        /// or the folder of a transformers model
        file: PathBuf,
        /// The weights to take from a PyTorch file that holds several, e.g. model_ema
        #[arg(long, value_name = "NAME")]
        state: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Convert a checkpoint into config.json, model.safetensors and a model card
    Convert(Box<ConvertArgs>),
    /// Run a converted model on a reference's input and compare the logits; exit 0 only if they agree
    Verify {
        /// A directory that `convert` wrote
        dir: PathBuf,
        /// A safetensors file with `input` [N,3,H,W] (preprocessed) and `logits` [N,C,h,w], at the head's resolution or the input's
        #[arg(long, value_name = "FILE")]
        reference: PathBuf,
        /// The largest allowed difference, in standard deviations of the reference's logits
        #[arg(long, default_value_t = 1e-3, value_parser = parse_tolerance)]
        tolerance: f64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
struct ConvertArgs {
    /// A TensorFlow checkpoint (prefix, .index or folder), frozen graph (.pb), .tflite, .safetensors or PyTorch (.pth) file,
    /// or the folder of a transformers model (config.json, preprocessor_config.json and its weights)
    file: PathBuf,
    /// The model directory to write
    #[arg(short, long, visible_alias = "output", value_name = "DIR")]
    out: PathBuf,
    /// The weights to take from a PyTorch file that holds several, e.g. model_ema
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
    /// The code base the weights come from, where it is not recognised by itself
    #[arg(long, value_name = "NAME")]
    family: Option<String>,
    /// Input size over feature size the network was trained for: 8, 16 or 32
    #[arg(long, value_name = "N")]
    output_stride: Option<usize>,
    /// Dilations of the atrous branches at that output stride, e.g. 6,12,18
    #[arg(long, value_name = "R,R,R", value_delimiter = ',')]
    atrous_rates: Option<Vec<usize>>,
    /// Whether corner pixels keep their place when resizing, where it is not the family's usual rule
    #[arg(long, value_name = "BOOL")]
    align_corners: Option<bool>,
    /// Extra dilations of the last block's three units, e.g. 1,2,4
    #[arg(long, value_name = "A,B,C", value_parser = parse_multi_grid)]
    multi_grid: Option<[usize; 3]>,
    /// voc, cityscapes, ade20k, ade20k-150, or a file with one class name a line
    #[arg(long, value_name = "SET|FILE")]
    labels: Option<String>,
    /// The network's input size, where it is not the family's usual one
    #[arg(long, value_name = "HxW", value_parser = parse_size)]
    input_size: Option<(usize, usize)>,
    /// What to store the weights as: f32, or f16 at half the size (depthwise kernels, biases and norms stay f32)
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = parse_dtype)]
    dtype: WeightType,
    /// Keep the auxiliary head of torchvision's and mmsegmentation's networks; the answer does not depend on it
    #[arg(long)]
    keep_auxiliary: bool,
    /// Fail on any tensor that is missing or unexpected (the default)
    #[arg(long, overrides_with = "no_strict")]
    strict: bool,
    /// Leave out tensors that no rule knows, and name them in the report. A missing tensor still fails: without it the
    /// network would be another one. Optimizer slots, training state and auxiliary heads are never unexpected
    #[arg(long)]
    no_strict: bool,
    /// The licence of the weights, for the model card, e.g. apache-2.0
    #[arg(long, value_name = "ID")]
    license: Option<String>,
    /// A data set that the network was trained on, for the model card; may be given several times
    #[arg(long = "dataset", value_name = "ID")]
    datasets: Vec<String>,
    /// Replace the model and the model card that are already in the directory
    #[arg(long)]
    force: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    let tolerance = text.parse().ok().filter(|t: &f64| t.is_finite() && *t >= 0.0);
    tolerance.ok_or_else(|| "a number of standard deviations, such as 1e-3".into())
}

fn parse_multi_grid(text: &str) -> Result<[usize; 3], String> {
    let factors: Option<Vec<usize>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    factors.and_then(|f| f.try_into().ok()).ok_or_else(|| "three numbers, such as 1,2,4".into())
}

fn parse_dtype(text: &str) -> Result<WeightType, String> {
    match text {
        "f32" => Ok(WeightType::F32),
        "f16" => Ok(WeightType::F16),
        _ => Err("f32 or f16".into()),
    }
}

fn parse_size(text: &str) -> Result<(usize, usize), String> {
    let (height, width) = text.split_once(['x', 'X', '×']).ok_or("height x width, such as 513x513")?;
    let side = |text: &str| text.trim().parse().map_err(|_| "height x width, such as 513x513".to_owned());
    Ok((side(height)?, side(width)?))
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Control characters in a file's names must not reach the terminal. If printing fails, nobody can be told.
            let text: String =
                in_flags(&error.to_string()).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let _ = writeln!(std::io::stderr(), "error: {text}");
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// Replaces the names of option fields in the library's messages by those of the flags.
fn in_flags(text: &str) -> String {
    let command = Cli::command();
    let convert = command.find_subcommand("convert").into_iter().flat_map(clap::Command::get_arguments);
    let fields = convert.filter_map(|flag| Some((flag.get_id().to_string(), flag.get_long()?)));
    let others = [("ignore_unexpected", "no-strict"), ("replace", "force")].map(|(field, flag)| (field.into(), flag));
    fields
        .chain(others)
        .fold(text.to_owned(), |text, (field, flag)| text.replace(&format!("`{field}`"), &format!("--{flag}")))
}

/// Whether the reader of our output has closed it, which is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match command {
        Command::Inspect { file, state, json } => {
            let checkpoint = Checkpoint::open_state(&file, state.as_deref())?;
            checkpoint.check()?;
            inspect(&mut out, &checkpoint, json)?;
        }
        Command::Convert(args) => {
            let options = Options {
                family: args.family,
                output_stride: args.output_stride,
                atrous_rates: args.atrous_rates,
                align_corners: args.align_corners,
                multi_grid: args.multi_grid,
                labels: args.labels,
                input_size: args.input_size,
                keep_auxiliary: args.keep_auxiliary,
                dtype: args.dtype,
                card: Card { license: args.license, datasets: args.datasets, miou: None },
                ignore_unexpected: args.no_strict && !args.strict,
            };
            let checkpoint = Checkpoint::open_state(&args.file, args.state.as_deref())?;
            let report = weights_convert::convert_checkpoint(&checkpoint, &args.out, &options, args.force)?;
            if args.json {
                writeln!(out, "{}", in_flags(&serde_json::to_string(&report)?))?;
            } else {
                writeln!(out, "{}", in_flags(&report.to_string()))?;
            }
        }
        Command::Verify { dir, reference, tolerance, json } => {
            let comparison = weights_convert::verify(&dir, &reference, tolerance)?;
            if json {
                writeln!(out, "{}", serde_json::to_string(&comparison)?)?;
            } else {
                writeln!(out, "{comparison}")?;
            }
            if !comparison.passed {
                return Ok(ExitCode::from(DIFFERENT));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect(out: &mut impl Write, checkpoint: &Checkpoint, json: bool) -> anyhow::Result<()> {
    if json {
        let tensor = |(name, info): (&str, &weights_convert::TensorInfo)| {
            serde_json::json!({
                "name": name,
                "dtype": info.dtype.to_string(),
                "shape": info.shape,
                "variable": info.variable,
                "quantized": info.quantized,
            })
        };
        let tensors: Vec<_> = checkpoint.tensors().map(tensor).collect();
        let file = serde_json::json!({
            "path": checkpoint.path(),
            "format": checkpoint.format().to_string(),
            "decisions": checkpoint.decisions(),
            "tensors": tensors,
        });
        writeln!(out, "{file}")?;
        return Ok(());
    }
    let width = checkpoint.tensors().map(|(name, _)| shown(name, WIDEST_NAME).chars().count()).max().unwrap_or(0);
    for (name, info) in checkpoint.tensors() {
        let name = shown(name, WIDEST_NAME);
        let quantized = if info.quantized { "  quantized" } else { "" };
        writeln!(out, "{name:width$}  {:10}  {:?}{quantized}", info.dtype.to_string(), info.shape)?;
    }
    for decision in checkpoint.decisions() {
        let [value, because] = [&decision.value, &decision.because].map(|text| shown(text, WIDEST_NAME));
        writeln!(out, "{}: {value} ({because})", decision.what)?;
    }
    writeln!(
        out,
        "{}: {}, {} tensors",
        checkpoint.path().display(),
        checkpoint.format(),
        checkpoint.tensors().count()
    )?;
    Ok(())
}
