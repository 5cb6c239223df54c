//! From a foreign file to a model directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use candle_deeplab::{CONFIG_FILE, WEIGHTS_FILE, atomic};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{Error, Result};
use crate::families::{self, Options, Recipe, Source};
use crate::layout::Layout;
use crate::read::Checkpoint;
use crate::report::Report;

/// Ten times the largest published network; a small file can claim more (a constant is stored once).
const MAX_PARAMETERS: usize = 1 << 30;

/// Converts the file at `source` into `config.json` and `model.safetensors` in the folder `out`.
///
/// Everything is checked before anything is written, and one tensor at a time is held in memory. `out` is made where it
/// is missing; a model that is already in it is replaced only with `force`.
///
/// # Errors
/// Where the file is damaged or not a network this crate knows, a tensor is missing or misshapen, an option contradicts
/// the file, or `out` cannot be written.
pub fn convert(source: &Path, out: &Path, options: &Options, force: bool) -> Result<Report> {
    let checkpoint = Checkpoint::open(source)?;
    let recipe = families::recognise(&checkpoint, options)?;
    let parameters: usize = recipe.sources.iter().map(Source::elements).sum();
    if parameters > MAX_PARAMETERS {
        let reason = format!("its network would have {parameters} parameters, more than {MAX_PARAMETERS}");
        return Err(Error::Unrecognised { path: checkpoint.path().to_owned(), reason });
    }
    checkpoint.check()?;
    let report = report(&checkpoint, &recipe, out);
    write(&checkpoint, &recipe, out, force)?;
    Ok(report)
}

fn report(checkpoint: &Checkpoint, recipe: &Recipe, out: &Path) -> Report {
    let used: BTreeSet<&str> = recipe.sources.iter().map(|source| source.name.as_str()).collect();
    let (mut dropped, mut unused) = (BTreeMap::new(), Vec::new());
    for (name, _) in checkpoint.tensors().filter(|(name, info)| info.variable && !used.contains(name)) {
        match not_of_the_model(checkpoint, name).or_else(|| (recipe.spare)(name)) {
            Some(kind) => *dropped.entry(kind).or_insert(0) += 1,
            None => unused.push(name.to_owned()),
        }
    }
    Report {
        source: checkpoint.path().display().to_string(),
        format: checkpoint.format().to_string(),
        out: out.display().to_string(),
        decisions: checkpoint.decisions().iter().chain(&recipe.decisions).cloned().collect(),
        used: recipe.sources.len(),
        transposed: recipe.sources.iter().filter(|source| source.layout != Layout::Same).count(),
        parameters: recipe.sources.iter().map(Source::elements).sum(),
        dropped,
        unused,
    }
}

/// What a variable is that a network for inference has no use for, e.g. an optimizer's slot of another variable.
fn not_of_the_model(checkpoint: &Checkpoint, name: &str) -> Option<&'static str> {
    const SLOTS: [&str; 8] = ["Momentum", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "Adagrad", "Ftrl", "Ftrl_1"];
    if matches!(name, "global_step" | "beta1_power" | "beta2_power") || name.ends_with(".num_batches_tracked") {
        return Some("training state");
    }
    if name.starts_with("aux_classifier.") || name.starts_with("auxiliary_head.") {
        return Some("auxiliary head");
    }
    let (owner, slot) = name.rsplit_once('/')?;
    (SLOTS.contains(&slot) && checkpoint.info(owner).is_some()).then_some("optimizer slots")
}

/// Writes the weights first: a folder with a `config.json` is then a whole model.
fn write(checkpoint: &Checkpoint, recipe: &Recipe, out: &Path, force: bool) -> Result<()> {
    let [weights, config] = [WEIGHTS_FILE, CONFIG_FILE].map(|name| out.join(name));
    for target in [&weights, &config] {
        match target.symlink_metadata() {
            Ok(there) if there.is_dir() => return Err(Error::NotAFile { path: target.clone() }),
            Ok(_) if !force => return Err(Error::Exists { path: target.clone() }),
            Ok(_) if same_file(target, checkpoint.path()) => return Err(Error::OverSource { path: target.clone() }),
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
    if force && config.exists() {
        // Until the new one stands, there is no model: never new weights under an old recipe.
        std::fs::remove_file(&config).map_err(io(&config, "replace"))?;
    }
    let replace = if force { Replace::Yes } else { Replace::No };
    let written = replace
        .write(&weights, |file| write_weights(file, checkpoint, &recipe.sources))
        .and_then(|()| replace.write(&config, |file| writeln!(file, "{recipe_text}")));
    if let Err(error) = written {
        let overtaken =
            matches!(&error, candle_deeplab::Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists);
        if !overtaken {
            // Weights without a recipe are of no use; the folder goes only if it is empty then.
            let _ = std::fs::remove_file(&weights);
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

/// Streams a safetensors file: its header is known from the network, so no tensor waits in memory for another.
fn write_weights(file: &mut impl Write, checkpoint: &Checkpoint, sources: &[Source]) -> io::Result<()> {
    let mut infos = Vec::with_capacity(sources.len());
    let mut offset = 0;
    for source in sources {
        let (param, end) = (&source.param, offset + source.elements() * size_of::<f32>());
        let info = TensorInfo { dtype: Dtype::F32, shape: param.shape.clone(), data_offsets: (offset, end) };
        infos.push((param.name.clone(), info));
        offset = end;
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let header = Metadata::new(Some(metadata), infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&header)?;
    // The format pads its header with spaces, so that the tensors are aligned.
    header.resize(header.len().next_multiple_of(8), b' ');
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for Source { param, name, layout } in sources {
        let tensor = checkpoint.read(name).and_then(|raw| raw.to_f32()).map_err(io::Error::other)?;
        let values = layout.to_ours(tensor, &param.shape);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.write_all(&bytes)?;
    }
    Ok(())
}
