//! From a file to its family, its network, and the source of each parameter.

use std::collections::BTreeSet;

use candle_deeplab::arch;
use candle_deeplab::config::{Config, Network};
use candle_deeplab::graph::{Op, Role};

use super::family::{Family, Inferred, Match};
use super::layers::{Layers, Source};
use super::options::Options;
use super::unused::Unused;
use super::{
    config, jfzhang, mmseg, network, smp, tf_slim, timm, torchvision, transformers, transformers_config, vainf,
};
use crate::decision::Decision;
use crate::error::{Error, Missing, Result};
use crate::read::Checkpoint;

/// All families; the first that knows a file's names has it.
static FAMILIES: [&Family; 21] = [
    &tf_slim::FAMILY,
    &torchvision::MOBILENET_V3,
    &torchvision::FAMILY,
    &vainf::V3_PLUS,
    &vainf::V3,
    &jfzhang::FAMILY,
    &smp::XCEPTION_41,
    &smp::XCEPTION_65,
    &smp::XCEPTION_71,
    &smp::TIMM_RESNET,
    &smp::V3_TIMM_RESNET,
    &smp::NATIVE,
    &smp::V3,
    &smp::V3_SEQUENTIAL,
    &mmseg::MOBILENET_V2,
    &mmseg::FAMILY,
    &transformers::FAMILY,
    &timm::XCEPTION_41,
    &timm::XCEPTION_65,
    &timm::XCEPTION_71,
    &timm::RESNET,
];

/// What a file was recognised as: the model's recipe, and where each of its parameters comes from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What `config.json` will hold.
    pub config: Config,
    /// One source for each parameter of the network, in its order.
    pub sources: Vec<Source>,
    /// What was decided on the way, from the file's wrapper to the preprocessing.
    pub decisions: Vec<Decision>,
    /// The file's variables that are no part of the model.
    pub unused: Unused,
}

/// Finds out whose weights a file holds and how its network is built.
///
/// # Errors
/// [`Error::Unrecognised`] where no family knows the names; [`Error::Tensors`], [`Error::WrongShape`] and
/// [`Error::WrongGeometry`] where the file is not the network that its names promise.
pub fn recognise(checkpoint: &Checkpoint, options: &Options) -> Result<Recipe> {
    let (family, found) = find(checkpoint, options.family.as_deref())?;
    let layers = Layers::new(checkpoint, found.backbone, family.rules, family.naming);
    let mut decisions = vec![Decision { what: "family", value: family.name.into(), because: found.because }];
    decisions.extend_from_slice(checkpoint.decisions());
    let Inferred { mut backbone, low_level, input } = (family.infer)(&layers)?;
    let folder = if family.name == transformers::FAMILY.name { transformers_config::read(checkpoint)? } else { None };
    if let Some(folder) = &folder {
        folder.backbone(checkpoint, &mut backbone, &mut decisions)?;
    }
    let known = network::Known { conventions: &family.conventions, options, folder: folder.as_ref() };
    let network = network::network(&layers, backbone, low_level, known, &mut decisions)?;
    let unloadable = |error: candle_deeplab::Error| Error::Unloadable {
        path: checkpoint.path().to_owned(),
        reason: error.to_string(),
    };
    let graph = arch::graph(&network).map_err(unloadable)?;
    let sources = graph.params().into_iter().map(|param| layers.source(&graph, param)).collect::<Result<Vec<_>>>()?;
    let config = config::config(checkpoint, family.name, network, input, known, &mut decisions)?;

    let used: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let unused = Unused::of(checkpoint, |name| used.contains(name), family.spare);
    decisions.extend(quantised(checkpoint, &sources));
    check_tensors(checkpoint, &sources, if options.ignore_unexpected { &[] } else { &unused.unexpected })?;
    let told = options.output_stride.is_some() || options.atrous_rates.is_some() || options.multi_grid.is_some();
    match check_geometry(checkpoint, &config.network, &sources) {
        // A user may choose another geometry than the file's graph has, and the report says so.
        Err(Error::WrongGeometry { tensor, found, wanted, .. }) if told => decisions.push(Decision {
            what: "geometry",
            value: "not the file's".into(),
            because: format!("flags: (stride, rate) of `{tensor}` is {wanted:?}, in the file's graph {found:?}"),
        }),
        checked => checked?,
    }
    Ok(Recipe { config, sources, decisions, unused })
}

/// The family of a file, among those of one name if one was given.
fn find(checkpoint: &Checkpoint, name: Option<&str>) -> Result<(&'static Family, Match)> {
    let candidates: Vec<&Family> = FAMILIES.into_iter().filter(|f| name.is_none_or(|name| f.name == name)).collect();
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    names.dedup();
    if candidates.is_empty() {
        return Err(Error::Option { option: "family", reason: format!("choose one of {}", names.join(", ")) });
    }
    for family in candidates {
        if let Some(found) = (family.find)(checkpoint)? {
            return Ok((family, found));
        }
    }
    let sample: Vec<&str> = checkpoint.tensors().take(3).map(|(name, _)| name).collect();
    let has = if sample.is_empty() { "no tensors".into() } else { format!("tensors such as {}", sample.join(", ")) };
    let known = name.map_or(names.join(", "), str::to_owned);
    let reason = format!("its names are not those of a DeepLab of {known}; it has {has}");
    Err(Error::Unrecognised { path: checkpoint.path().to_owned(), reason })
}

/// The decision about a network that was quantised.
fn quantised(checkpoint: &Checkpoint, sources: &[Source]) -> Option<Decision> {
    let is = |source: &&Source| checkpoint.info(&source.name).is_some_and(|info| info.quantized);
    let count = sources.iter().filter(is).count();
    (count > 0).then(|| Decision {
        what: "quantised",
        value: format!("{count} tensors"),
        because: "read as the numbers they stand for; the network computes in float between them".into(),
    })
}

/// Every source exists with the shape that its parameter has in the source's layout, and nothing is `unexpected`.
fn check_tensors(checkpoint: &Checkpoint, sources: &[Source], unexpected: &[String]) -> Result<()> {
    let path = || checkpoint.path().to_owned();
    let mut missing = Vec::new();
    for Source { param, name, axes } in sources {
        let wanted = axes.source_shape(&param.shape);
        let Some(info) = checkpoint.info(name) else {
            missing.push(Missing { tensor: name.clone(), shape: wanted, param: param.name.clone() });
            continue;
        };
        if !info.quantized && !info.dtype.is_float() {
            return Err(Error::NotFloat { path: path(), tensor: name.clone(), what: info.dtype.to_string() });
        }
        if !fits(&info.shape, &wanted) {
            let (tensor, found, param) = (name.clone(), info.shape.clone(), param.name.clone());
            return Err(Error::WrongShape { path: path(), tensor, found, wanted, param });
        }
    }
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    Err(Error::Tensors { path: path(), missing, unexpected: unexpected.to_vec() })
}

/// Whether a shape is the wanted one, or the same with more or fewer axes of one: a 1×1 kernel that a linear layer was
/// stored as, a vector that was stored for broadcasting. The elements' order is the same then.
fn fits(found: &[usize], wanted: &[usize]) -> bool {
    let long = |shape: &[usize]| shape.iter().copied().filter(|&side| side != 1).collect::<Vec<_>>();
    found == wanted || found.len() != wanted.len() && long(found) == long(wanted)
}

/// Where the file holds the graph too, each convolution strides and dilates there as it does in ours.
fn check_geometry(checkpoint: &Checkpoint, network: &Network, sources: &[Source]) -> Result<()> {
    let graph = arch::graph(network)?;
    for Source { param, name, .. } in sources.iter().filter(|s| s.param.role == Role::Kernel) {
        let (Some(theirs), Op::Conv(ours)) = (checkpoint.geometry().convs.get(name), graph.node(param.node).op) else {
            continue;
        };
        let ours = ((ours.stride, ours.stride), (ours.dilation, ours.dilation));
        if (theirs.stride, theirs.dilation) != ours {
            return Err(Error::WrongGeometry {
                path: checkpoint.path().to_owned(),
                tensor: name.clone(),
                found: (theirs.stride.0, theirs.dilation.0),
                wanted: (ours.0.0, ours.1.0),
            });
        }
    }
    Ok(())
}
