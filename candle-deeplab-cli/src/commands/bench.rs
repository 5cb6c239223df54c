//! `candle-deeplab bench`: how long a network takes from preprocessed pixels to the class of each.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use candle_deeplab::exec::Isa;
use candle_deeplab::exec::cpu::StepTime;
use candle_deeplab::{DeepLab, Executor, atomic};
use serde::Serialize;

use crate::args::{BenchArgs, ExecutorName};
use crate::exit::Exit;
use crate::output::{Output, Report};
use crate::resolve;

pub(crate) fn run(args: BenchArgs) -> Result<Exit> {
    let start = process_start().unwrap_or_else(Instant::now);
    let output = Output::new(args.json, false);
    let weights = resolve::model(&args.model, true)?;
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start the threads")?;
    }
    let report = measure(&args, weights, start)?;
    output.print(&report).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn measure(args: &BenchArgs, weights: PathBuf, start: Instant) -> Result<Measured> {
    let isa = match args.executor {
        ExecutorName::Cpu | ExecutorName::Eager => Isa::detect(),
        ExecutorName::Avx512 => Isa::Avx512,
        ExecutorName::Avx2 => Isa::Avx2,
        ExecutorName::Portable => Isa::Portable,
    };
    let precision = resolve::precision(args.dtype)?;
    let executor = if args.executor == ExecutorName::Eager { Executor::Eager } else { Executor::Cpu(isa) };
    let model = DeepLab::load(&weights, &Device::Cpu)
        .with_context(|| format!("cannot load the model in `{}`", weights.display()))?
        .with_executor(executor)?
        .with_precision(precision)?;
    let (height, width) = args.size;
    let pixels = gradient(args.batch, height, width)?;
    let mask = model.label_map(&pixels)?;
    let cold_start = start.elapsed();
    if let Some(path) = &args.save_mask {
        let mask = mask.flatten_all()?.to_vec1::<u8>()?;
        atomic::write_new(path, |file| file.write_all(&mask)).context("cannot write the mask")?;
    }

    let mut times = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let start = Instant::now();
        model.label_map(&pixels)?;
        times.push(start.elapsed());
    }
    times.sort();
    let layers = if args.layers { Some(layers(&model, &pixels)?) } else { None };
    let quantile = |share: f64| milliseconds(times[((times.len() - 1) as f64 * share).round() as usize]);
    let gmac = model.graph().summary(height, width)?.macs as f64 * args.batch as f64 / 1e9;
    Ok(Measured {
        executor: match executor {
            Executor::Cpu(isa) => isa.to_string(),
            _ => "eager".into(),
        },
        dtype: precision.to_string(),
        size: args.size,
        batch: args.batch,
        threads: rayon::current_num_threads(),
        runs: args.runs,
        median_ms: quantile(0.5),
        min_ms: quantile(0.0),
        p90_ms: quantile(0.9),
        cold_start_ms: milliseconds(cold_start),
        peak_rss_mib: peak_rss_mib(),
        gmac,
        gflops: 2.0 * gmac / (quantile(0.5) / 1e3),
        peak_gflops: isa.peak_flops(precision).map(|peak| peak / 1e9),
        layers,
    })
}

/// Pixels in the range of preprocessed ones, with something in them.
fn gradient(batch: usize, height: usize, width: usize) -> Result<Tensor> {
    let value = |i: usize| (i % 509) as f32 / 254.0 - 1.0;
    let values: Vec<f32> = (0..batch * 3 * height * width).map(value).collect();
    Ok(Tensor::from_vec(values, (batch, 3, height, width), &Device::Cpu)?)
}

fn layers(model: &DeepLab, pixels: &Tensor) -> Result<Vec<Layer>> {
    let cpu = model.fused()?;
    ensure!(cpu.is_some(), "`--layers` is about the fused executor: leave `--executor eager` out");
    let steps = cpu.map(|cpu| cpu.profile(pixels)).transpose()?.map(|(_, steps)| steps).unwrap_or_default();
    Ok(steps.into_iter().map(Layer::new).collect())
}

/// One step of the fused executor.
#[derive(Debug, Serialize)]
struct Layer {
    path: String,
    kernel: String,
    gmac: f64,
    ms: f64,
    gflops: f64,
}

impl Layer {
    fn new(step: StepTime) -> Self {
        let gmac = step.macs as f64 / 1e9;
        let (ms, gflops) = (milliseconds(step.time), 2.0 * gmac / step.time.as_secs_f64());
        Self { path: step.path, kernel: step.kernel, gmac, ms, gflops }
    }
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Measured {
    executor: String,
    dtype: String,
    size: (usize, usize),
    batch: usize,
    threads: usize,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p90_ms: f64,
    /// From the start of the process to the first label map.
    cold_start_ms: f64,
    /// `null` where the system does not say.
    peak_rss_mib: Option<f64>,
    /// Multiply-adds of the convolutions.
    gmac: f64,
    /// Two operations a multiply-add, at the median.
    gflops: f64,
    /// What the same threads reach with the executor's instructions for these numbers and nothing but registers.
    peak_gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
}

impl Report for Measured {
    fn text(&self, to: &mut dyn Write) -> io::Result<()> {
        for layer in self.layers.iter().flatten() {
            let Layer { path, kernel, ms, gflops, .. } = layer;
            writeln!(to, "{path:60} {kernel:20} {ms:8.2} ms {gflops:7.1} GFLOP/s")?;
        }
        let ((height, width), Self { executor, dtype, batch, threads, runs, .. }) = (self.size, self);
        writeln!(to, "{batch}×{height}×{width}, {executor}, {dtype}, threads: {threads}, runs: {runs}")?;
        writeln!(to, "median {:.1} ms, min {:.1}, p90 {:.1}", self.median_ms, self.min_ms, self.p90_ms)?;
        let peak = self.peak_gflops.map_or(String::new(), |peak| format!(" of at most {peak:.1}"));
        writeln!(
            to,
            "cold start {:.0} ms, {:.1} GMAC, {:.1}{peak} GFLOP/s",
            self.cold_start_ms, self.gmac, self.gflops
        )?;
        match self.peak_rss_mib {
            Some(peak) => writeln!(to, "peak memory {peak:.0} MiB"),
            None => Ok(()),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The most memory that the process has had, where the system says (Linux).
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// When the process began, where the system says (Linux, to a hundredth of a second).
fn process_start() -> Option<Instant> {
    /// Of `/proc/self/stat`, on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; the start is the 20th field behind it.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime - ticks / TICKS_PER_SECOND).ok()?;
    Instant::now().checked_sub(age)
}
