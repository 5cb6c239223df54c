//! `candle-deeplab bench`: how long a network takes from preprocessed pixels to the label map. On a GPU, both stay there.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use candle_deeplab::exec::Isa;
use candle_deeplab::exec::cpu::{StepTime, peak_flops};
use candle_deeplab::segment::free_memory;
use candle_deeplab::{DeepLab, Executor, Precision};
use candle_deeplab_hub::Resolved;
use serde::Serialize;

use crate::args::BenchArgs;
use crate::device::{self, Chosen};
use crate::exit::{self, Exit};
use crate::output::{Output, Report};
use crate::resolve;
use crate::target::Target;

pub(crate) fn run(args: BenchArgs) -> Result<Exit> {
    let start = process_start().unwrap_or_else(Instant::now);
    let output = Output::new(args.json, false);
    let (executor, precision, fused) = resolve::executor(args.executor, args.dtype)?;
    ensure!(
        !args.layers || fused.is_some(),
        "`--layers` is about the fused executor, which does not run here: leave it out, or choose `--executor cpu`"
    );
    let mask = args.save_mask.as_ref().map(|path| Target::new(path, args.force, "--save-mask")).transpose()?;
    if let Some(size) = args.size {
        check_memory(args.batch, size, 0)?;
    }
    let chosen = device::choose(args.executor.device(args.device), precision, exit::say)?;
    resolve::check_device(args.executor, &chosen.device)?;
    resolve::threads(args.threads)?;
    // Last, since the model may have to be downloaded.
    let found = resolve::model(&args.model, true)?;
    let report = measure(&args, (executor, precision), &chosen, &found, mask, start)?;
    output.print(&report).context("cannot print the result")?;
    Ok(Exit::Success)
}

fn measure(
    args: &BenchArgs,
    (executor, precision): (Executor, Precision),
    Chosen { device, name }: &Chosen,
    found: &Resolved,
    mask: Option<Target>,
    start: Instant,
) -> Result<Measured> {
    let mut model = resolve::load(found, device)?;
    if let Some(stride) = args.output_stride {
        model = model.at_output_stride(stride)?;
    }
    model = model.with_executor(executor)?.with_precision(precision)?;
    let size = args.size.unwrap_or_else(|| model.config().preprocessing.size.network_size());
    // Of a GPU's memory only the GPU knows.
    let maps = if device.is_cpu() { model.graph().peak_bytes(size.0, size.1)? } else { 0 };
    check_memory(args.batch, size, maps)?;
    let pixels = gradient(args.batch, size)?.to_device(device)?;
    let classes = model.label_map(&pixels)?;
    let cold_start = found.cached.then(|| milliseconds(start.elapsed()));
    if let Some(mask) = mask {
        mask.write(&classes.flatten_all()?.to_vec1::<u8>()?)?;
    }

    let mut times = Vec::with_capacity(args.runs);
    for _ in 0..args.runs {
        let start = Instant::now();
        model.label_map(&pixels)?;
        times.push(start.elapsed());
    }
    times.sort();
    let isa = model.fused()?.map(|cpu| cpu.isa());
    let layers = if args.layers { Some(layers(&model, &pixels)?) } else { None };
    let quantile = |share: f64| milliseconds(times[((times.len() - 1) as f64 * share).round() as usize]);
    let gmac = model.graph().summary(size.0, size.1)?.macs as f64 * args.batch as f64 / 1e9;
    Ok(Measured {
        model: args.model.name().to_owned(),
        output_stride: model.config().network.output_stride,
        device: name.to_string(),
        executor: match executor {
            Executor::CudaFused(_) => "cuda-fused".into(),
            _ => isa.map_or("eager".into(), |isa| isa.to_string()),
        },
        dtype: match executor {
            Executor::CudaFused(precision) => precision.to_string(),
            _ => precision.to_string(),
        },
        size,
        batch: args.batch,
        threads: rayon::current_num_threads(),
        runs: args.runs,
        median_ms: quantile(0.5),
        min_ms: quantile(0.0),
        p90_ms: quantile(0.9),
        cold_start_ms: cold_start,
        peak_rss_mib: peak_rss_mib(),
        gmac,
        gflops: 2.0 * gmac / (quantile(0.5) / 1e3),
        peak_gflops: match device.is_cpu() {
            true => peak_flops(isa.unwrap_or_else(Isa::detect), precision).map(|peak| peak / 1e9),
            false => None,
        },
        layers,
    })
}

/// Refuses an input that does not fit into memory; `maps` is the size of one image's feature maps in bytes.
fn check_memory(batch: usize, (height, width): (usize, usize), maps: u64) -> Result<()> {
    let pixels = [3, height as u64, width as u64, size_of::<f32>() as u64].iter().product::<u64>();
    let needed = maps.saturating_add(pixels).saturating_mul(batch as u64);
    let most = free_memory().unwrap_or(isize::MAX as u64);
    ensure!(
        needed <= most,
        "{batch}×{height}×{width} takes about {} MiB, and {} MiB can be had: choose a smaller `--size` or `--batch`",
        needed >> 20,
        most >> 20
    );
    Ok(())
}

/// An input that is not constant, in the range of preprocessed pixels.
fn gradient(batch: usize, (height, width): (usize, usize)) -> Result<Tensor> {
    let value = |i: usize| (i % 509) as f32 / 254.0 - 1.0;
    let values: Vec<f32> = (0..batch * 3 * height * width).map(value).collect();
    Ok(Tensor::from_vec(values, (batch, 3, height, width), &Device::Cpu)?)
}

fn layers(model: &DeepLab, pixels: &Tensor) -> Result<Vec<Layer>> {
    let cpu = model.fused()?.context("the fused executor has not run")?;
    Ok(cpu.profile(pixels)?.1.into_iter().map(Layer::new).collect())
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

/// The result of a benchmark.
#[derive(Debug, Serialize)]
struct Measured {
    /// The model as the user named it.
    model: String,
    output_stride: usize,
    device: String,
    /// The fused executor's instruction set, `cuda-fused`, or `eager`.
    executor: String,
    dtype: String,
    size: (usize, usize),
    batch: usize,
    threads: usize,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p90_ms: f64,
    /// From the start of the process to the first label map. `null` where the model was fetched or converted on the way.
    cold_start_ms: Option<f64>,
    /// `null` where the system does not say.
    peak_rss_mib: Option<f64>,
    /// Multiply-adds of the convolutions.
    gmac: f64,
    /// Two operations per multiply-add, at the median time. Winograd's and Strassen's algorithms do fewer, so this may
    /// exceed the peak.
    gflops: f64,
    /// What the same threads reach on registers alone, with the executor's instructions and precision. `null` on a GPU.
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
        let ((height, width), Self { device, executor, dtype, batch, threads, runs, .. }) = (self.size, self);
        writeln!(to, "{} at output stride {}", self.model, self.output_stride)?;
        let place = if device == "cpu" { String::new() } else { format!(" on {device}") };
        writeln!(to, "{batch}×{height}×{width}, {executor}{place}, {dtype}, threads: {threads}, runs: {runs}")?;
        writeln!(to, "median {:.1} ms, min {:.1}, p90 {:.1}", self.median_ms, self.min_ms, self.p90_ms)?;
        match self.cold_start_ms {
            Some(cold_start) => writeln!(to, "cold start {cold_start:.0} ms")?,
            None => writeln!(to, "cold start not measured: the model was fetched or converted first")?,
        }
        let peak = self.peak_gflops.map_or(String::new(), |peak| format!(" (registers alone reach {peak:.1})"));
        writeln!(to, "{:.1} GMAC, effectively {:.1} GFLOP/s{peak}", self.gmac, self.gflops)?;
        match self.peak_rss_mib {
            Some(peak) => writeln!(to, "peak memory {peak:.0} MiB"),
            None => Ok(()),
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The process's peak memory in MiB, where the system reports it (Linux).
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// When the process started, where the system reports it (Linux, to a hundredth of a second).
fn process_start() -> Option<Instant> {
    /// The unit of times in `/proc/self/stat`, the same on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold any character; the start is the 20th field after it.
    let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    let age = Duration::try_from_secs_f64(uptime - ticks / TICKS_PER_SECOND).ok()?;
    Instant::now().checked_sub(age)
}
