//! From a foreign file to a model directory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;

use candle_deeplab::{CONFIG_FILE, WEIGHTS_FILE, atomic};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use crate::error::{Error, Result};
use crate::families::{self, Options, Recipe, Source};
use crate::layout::Layout;
use crate::read::Checkpoint;
use crate::report::Report;

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
    checkpoint.check()?;
    let report = report(&checkpoint, &recipe, out);
    write(&checkpoint, &recipe, out, force)?;
    Ok(report)
}

fn report(checkpoint: &Checkpoint, recipe: &Recipe, out: &Path) -> Report {
    let used: BTreeSet<&str> = recipe.sources.iter().map(|source| source.name.as_str()).collect();
    let (mut dropped, mut unused) = (BTreeMap::new(), Vec::new());
    for (name, _) in checkpoint.tensors().filter(|(name, info)| info.variable && !used.contains(name)) {
        match training_state(checkpoint, name) {
            Some(kind) => *dropped.entry(kind).or_insert(0) += 1,
            None => unused.push(name.to_owned()),
        }
    }
    let elements = |source: &Source| source.param.shape.iter().product::<usize>();
    Report {
        source: checkpoint.path().display().to_string(),
        format: checkpoint.format().to_string(),
        out: out.display().to_string(),
        decisions: checkpoint.decisions().iter().chain(&recipe.decisions).cloned().collect(),
        used: recipe.sources.len(),
        transposed: recipe.sources.iter().filter(|source| source.layout != Layout::Same).count(),
        parameters: recipe.sources.iter().map(elements).sum(),
        dropped,
        unused,
    }
}

/// What a variable is that only training needs, e.g. an optimizer's slot of another variable.
fn training_state(checkpoint: &Checkpoint, name: &str) -> Option<&'static str> {
    const SLOTS: [&str; 8] = ["Momentum", "Adam", "Adam_1", "RMSProp", "RMSProp_1", "Adagrad", "Ftrl", "Ftrl_1"];
    if matches!(name, "global_step" | "beta1_power" | "beta2_power") {
        return Some("training state");
    }
    let (owner, slot) = name.rsplit_once('/')?;
    (SLOTS.contains(&slot) && checkpoint.info(owner).is_some()).then_some("optimizer slots")
}

/// Writes the weights first: a folder with a `config.json` is then a whole model.
fn write(checkpoint: &Checkpoint, recipe: &Recipe, out: &Path, force: bool) -> Result<()> {
    let targets = [WEIGHTS_FILE, CONFIG_FILE].map(|name| out.join(name));
    if !force && let Some(taken) = targets.iter().find(|target| target.exists()) {
        return Err(Error::Exists { path: taken.clone() });
    }
    let config = serde_json::to_string_pretty(&recipe.config).map_err(io::Error::from);
    let config = config.map_err(|source| Error::Io { path: targets[1].clone(), action: "write", source })?;

    let made = !out.exists();
    std::fs::create_dir_all(out).map_err(|source| Error::Io { path: out.to_owned(), action: "make", source })?;
    let written = atomic::write(&targets[0], |file| write_weights(file, checkpoint, &recipe.sources))
        .and_then(|()| atomic::write(&targets[1], |file| writeln!(file, "{config}")));
    if written.is_err() && made {
        // Only if it is empty: what somebody else put there meanwhile stays.
        let _ = std::fs::remove_dir(out);
    }
    Ok(written?)
}

/// Streams a safetensors file: its header is known from the network, so no tensor waits in memory for another.
fn write_weights(file: &mut impl Write, checkpoint: &Checkpoint, sources: &[Source]) -> io::Result<()> {
    let mut infos = Vec::with_capacity(sources.len());
    let mut offset = 0;
    for Source { param, .. } in sources {
        let end = offset + param.shape.iter().product::<usize>() * size_of::<f32>();
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
