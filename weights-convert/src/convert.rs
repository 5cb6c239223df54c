//! From a foreign file to a model directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use candle_deeplab::graph::Param;
use candle_deeplab::{CONFIG_FILE, WEIGHTS_FILE, atomic, header};
use half::f16;
use safetensors::tensor::{Dtype, TensorInfo};

use crate::card::{self, CARD_FILE};
use crate::error::{Error, Result};
use crate::families::{self, Options, Recipe, Source, WeightType};
use crate::read::{Checkpoint, MAX_UNFOLDED};
use crate::report::Report;

/// Ten times the largest published network; a small file can claim more (a constant is stored once).
const MAX_PARAMETERS: usize = 1 << 30;

/// How often the bytes of a file may be those of its network: weights of 8 bits become f32, and some files leave repeated
/// values out.
const MOST_UNFOLDED: u64 = 8;

/// Converts the file at `source` into a model directory `out`: [`Checkpoint::open`], then [`convert_checkpoint`].
///
/// # Errors
/// As [`Checkpoint::open`] and [`convert_checkpoint`].
pub fn convert(source: &Path, out: &Path, options: &Options, force: bool) -> Result<Report> {
    convert_checkpoint(&Checkpoint::open(source)?, out, options, force)
}

/// Converts an opened file of weights into `config.json`, `model.safetensors` and a model card in the folder `out`.
///
/// Everything is checked before anything is written, and one tensor at a time is held in memory. `out` is made where it
/// is missing; a model that is already in it is replaced only with `force`, and weights that are not finite are an error
/// without it.
///
/// # Errors
/// Where the file is damaged or not a network this crate knows, a tensor is missing, unexpected or misshapen, an option
/// contradicts the file, or `out` cannot be written.
pub fn convert_checkpoint(checkpoint: &Checkpoint, out: &Path, options: &Options, force: bool) -> Result<Report> {
    let recipe = families::recognise(checkpoint, options)?;
    let parameters: usize = recipe.sources.iter().map(Source::elements).sum();
    if parameters > MAX_PARAMETERS {
        let reason = format!("its network would have {parameters} parameters, more than {MAX_PARAMETERS}");
        return Err(Error::Unrecognised { path: checkpoint.path().to_owned(), reason });
    }
    let wanted = (parameters as u64).saturating_mul(size_of::<f32>() as u64);
    let most = checkpoint.bytes().saturating_mul(MOST_UNFOLDED).saturating_add(MAX_UNFOLDED);
    if wanted > most {
        let reason =
            format!("its network would have {wanted} bytes of weights, and the file has {}", checkpoint.bytes());
        return Err(Error::Unrecognised { path: checkpoint.path().to_owned(), reason });
    }
    checkpoint.check()?;
    let not_finite = not_finite(checkpoint, &recipe.sources)?;
    if let (Some((tensor, count)), false) = (not_finite.first(), force) {
        let (path, tensor, count) = (checkpoint.path().to_owned(), tensor.clone(), *count);
        return Err(Error::NotFinite { path, tensor, count, others: not_finite.len() - 1 });
    }
    let mut report = Report::new(checkpoint, &recipe, out.display().to_string());
    report.not_finite = not_finite.into_iter().map(|(tensor, _)| tensor).collect();
    let card = card::text(&recipe, options);
    write(checkpoint, &recipe, options.dtype, &card, out, force)?;
    Ok(report)
}

/// Writes the recipe last: a folder with a `config.json` is then a whole model.
fn write(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    dtype: WeightType,
    card_text: &str,
    out: &Path,
    force: bool,
) -> Result<()> {
    let [weights, card, config] = [WEIGHTS_FILE, CARD_FILE, CONFIG_FILE].map(|name| out.join(name));
    for target in [&weights, &card, &config] {
        match target.symlink_metadata() {
            Ok(there) if there.is_dir() => return Err(Error::NotAFile { path: target.clone() }),
            Ok(_) if !force => return Err(Error::Exists { path: target.clone() }),
            Ok(_) if checkpoint.files().any(|file| same_file(target, &file)) => {
                return Err(Error::OverSource { path: target.clone() });
            }
            _ => {}
        }
    }
    let io = |path: &Path, action| {
        let path = path.to_owned();
        move |source| Error::Io { path, action, source }
    };
    let recipe_text =
        serde_json::to_string_pretty(&recipe.config).map_err(io::Error::from).map_err(io(&config, "write"))?;
    let made = !out.exists();
    std::fs::create_dir_all(out).map_err(io(out, "make"))?;
    atomic::remove_leftovers(out);
    let mut before = None;
    if force && config.exists() {
        before = Some(std::fs::read(&config).map_err(io(&config, "read"))?);
        // Until the new one stands, there is no model: never new weights under an old recipe.
        std::fs::remove_file(&config).map_err(io(&config, "replace"))?;
    }
    let replace = if force { Replace::Yes } else { Replace::No };
    let mut written = Vec::new();
    let mut write = |path: &Path, content: &mut dyn FnMut(&mut BufWriter<&mut File>) -> io::Result<()>| {
        replace.write(path, content)?;
        written.push(path.to_owned());
        Ok::<(), candle_deeplab::Error>(())
    };
    let result = write(&weights, &mut |file| write_weights(file, checkpoint, &recipe.sources, dtype))
        .and_then(|()| write(&card, &mut |file| file.write_all(card_text.as_bytes())))
        .and_then(|()| write(&config, &mut |file| writeln!(file, "{recipe_text}")));
    if let Err(error) = result {
        // The old weights are still there, and so is their model.
        if let Some(recipe) = before.filter(|_| !written.contains(&weights)) {
            let _ = atomic::write_new(&config, |file| file.write_all(&recipe));
        }
        // Weights without a recipe are of no use; the folder goes only if it is empty then.
        for path in written {
            let _ = std::fs::remove_file(path);
        }
        if made {
            let _ = std::fs::remove_dir(out);
        }
        return Err(error.into());
    }
    Ok(())
}

/// Whether a file that is there may be replaced.
#[derive(Clone, Copy)]
enum Replace {
    Yes,
    No,
}

impl Replace {
    fn write(
        self,
        path: &Path,
        content: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
    ) -> candle_deeplab::Result<()> {
        match self {
            Self::Yes => atomic::write(path, content),
            Self::No => atomic::write_new(path, content),
        }
    }
}

/// Whether two paths lead to one file, through whatever links.
fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The type that a parameter is stored as. See [`WeightType::F16`].
fn stored_as(param: &Param, dtype: WeightType) -> Dtype {
    /// From this many products in a sum on, their rounding errors average out.
    const MANY: usize = 32;
    let products: usize = param.shape.iter().skip(1).product();
    match dtype {
        WeightType::F16 if products >= MANY => Dtype::F16,
        _ => Dtype::F32,
    }
}

/// Streams a safetensors file: its header is known from the network, so no tensor waits in memory for another.
fn write_weights(
    file: &mut impl Write,
    checkpoint: &Checkpoint,
    sources: &[Source],
    dtype: WeightType,
) -> io::Result<()> {
    let mut infos = Vec::with_capacity(sources.len());
    let mut offset = 0;
    for source in sources {
        let (param, stored) = (&source.param, stored_as(&source.param, dtype));
        let end = offset + source.elements() * stored.bitsize() / 8;
        let info = TensorInfo { dtype: stored, shape: param.shape.clone(), data_offsets: (offset, end) };
        infos.push((param.name.clone(), info));
        offset = end;
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    file.write_all(&header::encode(Some(metadata), infos)?)?;
    for Source { param, name, axes } in sources {
        let tensor = checkpoint.read(name).and_then(|raw| raw.to_f32()).map_err(io::Error::other)?;
        let values = axes.to_ours(tensor, &param.shape);
        match stored_as(param, dtype) {
            Dtype::F16 => {
                let halves = values.iter().map(|value| (value, f16::from_f32(*value)));
                if let Some((lost, _)) = halves.clone().find(|(value, half)| value.is_finite() && !half.is_finite()) {
                    let reason = format!("`{}` holds {lost}, which is too large for f16: store f32", param.name);
                    return Err(io::Error::other(reason));
                }
                write_numbers(file, halves.map(|(_, half)| half.to_le_bytes()))?;
            }
            _ => write_numbers(file, values.iter().map(|value| value.to_le_bytes()))?,
        }
    }
    Ok(())
}

/// Writes numbers some at a time, so that they are not in memory twice.
fn write_numbers<const N: usize>(file: &mut impl Write, mut numbers: impl Iterator<Item = [u8; N]>) -> io::Result<()> {
    const AT_ONCE: usize = 1 << 14;
    let mut bytes = Vec::with_capacity(AT_ONCE * N);
    loop {
        bytes.clear();
        bytes.extend(numbers.by_ref().take(AT_ONCE).flatten());
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all(&bytes)?;
    }
}

/// The tensors that hold NaN or infinities, and how many of them.
fn not_finite(checkpoint: &Checkpoint, sources: &[Source]) -> Result<Vec<(String, usize)>> {
    let mut tensors = Vec::new();
    for Source { name, .. } in sources {
        let count = checkpoint.read(name)?.to_f32()?.iter().filter(|value| !value.is_finite()).count();
        if count > 0 {
            tensors.push((name.clone(), count));
        }
    }
    Ok(tensors)
}
