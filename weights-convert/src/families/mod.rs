//! Whose weights these are: from the names and shapes in a file to a recipe and a source for each of our parameters.
//!
//! A family is a table of names and a few habits that its files do not tell; everything else is the same for all.

mod backbones;
mod jfzhang;
mod layers;
mod mmseg;
mod names;
mod network;
mod recipe;
mod smp;
mod tf_slim;
mod timm;
mod torch;
mod torchvision;
mod transformers;
mod vainf;

use candle_deeplab::config::{Backbone, Config, Network};
use candle_deeplab::graph::{Op, Param, Role};

pub use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::read::Checkpoint;
use layers::Layers;
use names::Rule;

/// All families; the first that knows a file's names has it.
static FAMILIES: [&Family; 20] = [
    &tf_slim::FAMILY,
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

/// A code base whose files we know.
struct Family {
    name: &'static str,
    naming: Naming,
    /// Whether a file is of this family; an error where it is, but cannot be used.
    find: fn(&Checkpoint) -> Result<Option<Found>>,
    rules: &'static [&'static [Rule]],
    /// What a tensor is that its files may hold and the network has no use for, such as an ImageNet classifier.
    spare: fn(&str) -> Option<&'static str>,
    habits: network::Habits,
    /// The backbone and what goes with it.
    plan: fn(&Layers) -> Result<Plan>,
}

/// How a layer's tensors are called and laid out.
#[derive(Debug, Clone, Copy)]
enum Naming {
    /// TF-Slim: `scope/weights`, `scope/BatchNorm/gamma`.
    Slim,
    /// PyTorch: `module.weight`, `module.running_mean`.
    Torch,
}

/// A file's family, found.
struct Found {
    /// The backbone's own scope.
    backbone: &'static str,
    /// The rule that fired.
    because: String,
}

/// What a family makes of a file's backbone.
struct Plan {
    backbone: Backbone,
    /// The tap for the decoder.
    low_level: &'static str,
    input: recipe::Input,
}

/// What a file does not tell, from whoever knows: each overrides what would be inferred.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The family, by its name in a report, where the names in the file would be taken for another's.
    pub family: Option<String>,
    /// Input size over feature size the network was trained for: 8, 16 or 32.
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<Vec<usize>>,
    /// Whether corner pixels keep their place when resizing.
    pub align_corners: Option<bool>,
    /// Extra dilations of the last block's three units.
    pub multi_grid: Option<[usize; 3]>,
    /// A known data set (`voc`, `cityscapes`, `ade20k`) or a file of class names.
    pub labels: Option<String>,
    /// Height and width of the network's input.
    pub input_size: Option<(usize, usize)>,
}

/// Where one of our parameters comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Our parameter.
    pub param: Param,
    /// The tensor's name in the file.
    pub name: String,
    /// How its axes stand there.
    pub layout: Layout,
}

impl Source {
    /// Number of the parameter's elements.
    pub fn elements(&self) -> usize {
        self.param.shape.iter().product()
    }
}

/// A file understood: the model's recipe and where each of its parameters comes from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What `config.json` will hold.
    pub config: Config,
    /// One source for each parameter of the network, in its order.
    pub sources: Vec<Source>,
    /// What was decided on the way.
    pub decisions: Vec<Decision>,
    /// What a tensor is that the family's files may hold and the network has no use for.
    pub spare: fn(&str) -> Option<&'static str>,
}

/// Finds out whose weights a file holds and how its network is built.
///
/// # Errors
/// [`Error::Unrecognised`] where no family knows the names; [`Error::MissingTensor`], [`Error::WrongShape`] and
/// [`Error::WrongGeometry`] where the file is not the network that its names promise.
pub fn recognise(checkpoint: &Checkpoint, options: &Options) -> Result<Recipe> {
    let (family, found) = find(checkpoint, options.family.as_deref())?;
    let layers = Layers::new(checkpoint, found.backbone, family.rules, family.naming);
    let mut decisions = vec![Decision { what: "family", value: family.name.into(), because: found.because }];
    let Plan { backbone, low_level, input } = (family.plan)(&layers)?;
    let network = network::network(&layers, backbone, low_level, &family.habits, options, &mut decisions)?;
    let unloadable = |error: candle_deeplab::Error| Error::Unloadable {
        path: checkpoint.path().to_owned(),
        reason: error.to_string(),
    };
    let graph = network.graph().map_err(unloadable)?;
    let sources = graph.params().into_iter().map(|param| layers.source(&graph, param)).collect::<Result<Vec<_>>>()?;
    let config = recipe::config(checkpoint, family.name, network, input, options, &mut decisions)?;

    check_shapes(checkpoint, &sources)?;
    let told = options.output_stride.is_some() || options.atrous_rates.is_some() || options.multi_grid.is_some();
    match check_geometry(checkpoint, &config.network, &sources) {
        // Whoever says so may run the weights in another way than the file's graph does, but not without a word.
        Err(Error::WrongGeometry { tensor, found, wanted, .. }) if told => decisions.push(Decision {
            what: "geometry",
            value: "not the file's".into(),
            because: format!("flags: (stride, rate) of `{tensor}` is {wanted:?}, in the file's graph {found:?}"),
        }),
        checked => checked?,
    }
    Ok(Recipe { config, sources, decisions, spare: family.spare })
}

/// The family of a file, among those of one name if one was given.
fn find(checkpoint: &Checkpoint, name: Option<&str>) -> Result<(&'static Family, Found)> {
    let candidates: Vec<&Family> = FAMILIES.into_iter().filter(|f| name.is_none_or(|name| f.name == name)).collect();
    let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    names.dedup();
    if candidates.is_empty() {
        return Err(Error::Flag { flag: "--family", reason: format!("choose one of {}", names.join(", ")) });
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

/// Every source exists with the shape that its parameter has in the source's layout.
fn check_shapes(checkpoint: &Checkpoint, sources: &[Source]) -> Result<()> {
    for Source { param, name, layout } in sources {
        let wanted = layout.source_shape(&param.shape);
        let Some(info) = checkpoint.info(name) else {
            return Err(Error::MissingTensor {
                path: checkpoint.path().to_owned(),
                tensor: name.clone(),
                shape: wanted,
                param: param.name.clone(),
            });
        };
        if info.quantized || !info.dtype.is_float() {
            let what = if info.quantized { format!("quantised {}", info.dtype) } else { info.dtype.to_string() };
            return Err(Error::NotFloat { path: checkpoint.path().to_owned(), tensor: name.clone(), what });
        }
        if info.shape != wanted {
            return Err(Error::WrongShape {
                path: checkpoint.path().to_owned(),
                tensor: name.clone(),
                found: info.shape.clone(),
                wanted,
                param: param.name.clone(),
            });
        }
    }
    Ok(())
}

/// Where the file holds the graph too, each convolution strides and dilates there as it does in ours.
fn check_geometry(checkpoint: &Checkpoint, network: &Network, sources: &[Source]) -> Result<()> {
    let graph = network.graph()?;
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
