//! Whose weights these are: from the names and shapes in a file to a recipe and a source for each of our parameters.
//!
//! A family is a table of names and a few habits that its files do not tell; everything else is the same for all.

mod backbones;
mod hub;
mod jfzhang;
mod layers;
mod leftover;
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

use std::collections::BTreeSet;

use candle_deeplab::arch;
use candle_deeplab::config::{Backbone, Config, Network};
use candle_deeplab::graph::{Op, Param, Role};

pub use crate::decision::Decision;
use crate::error::{Error, Missing, Result};
use crate::layout::Layout;
use crate::read::Checkpoint;
use layers::Layers;
pub use leftover::Unused;
use names::Rule;

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
    /// Leave out variables that no rule knows, which are an error otherwise. A missing one always is.
    pub ignore_unexpected: bool,
    /// Keep the auxiliary head that some networks were trained with. [`AUXILIARY`](candle_deeplab::arch::AUXILIARY) is
    /// the tap of its logits then; the answer stays the same.
    pub keep_auxiliary: bool,
    /// What the weights are stored as.
    pub dtype: WeightType,
    /// For the model card.
    pub card: Card,
}

/// The numbers that a converted model stores. Executors widen them to f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WeightType {
    /// 32 bits: the values as they were.
    #[default]
    F32,
    /// 16 bits, 11 of them precise, up to 65504: about half the size. Values are rounded to the nearest. Kernels with
    /// fewer than 32 products in a sum (depthwise ones, most stems), biases and norms stay in f32: there, rounding does
    /// not average out, and they are few.
    F16,
}

/// What a model card says that no file of weights tells. What is not known stays out of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// The licence of the weights, as the Hub calls it: `apache-2.0`.
    pub license: Option<String>,
    /// What the network was trained on, as the Hub calls it.
    pub datasets: Vec<String>,
    /// The mean IoU, in percent, that its authors published for the first of the data sets.
    pub miou: Option<f64>,
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
    let Plan { mut backbone, low_level, input } = (family.plan)(&layers)?;
    let beside = if family.name == transformers::FAMILY.name { hub::read(checkpoint)? } else { None };
    if let Some(beside) = &beside {
        beside.backbone(checkpoint, &mut backbone, &mut decisions)?;
    }
    let known = network::Known { habits: &family.habits, options, beside: beside.as_ref() };
    let network = network::network(&layers, backbone, low_level, known, &mut decisions)?;
    let unloadable = |error: candle_deeplab::Error| Error::Unloadable {
        path: checkpoint.path().to_owned(),
        reason: error.to_string(),
    };
    let graph = arch::graph(&network).map_err(unloadable)?;
    let sources = graph.params().into_iter().map(|param| layers.source(&graph, param)).collect::<Result<Vec<_>>>()?;
    let config = recipe::config(checkpoint, family.name, network, input, known, &mut decisions)?;

    let used: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let unused = Unused::of(checkpoint, |name| used.contains(name), family.spare);
    decisions.extend(quantised(checkpoint, &sources));
    check_tensors(checkpoint, &sources, if options.ignore_unexpected { &[] } else { &unused.unexpected })?;
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
    Ok(Recipe { config, sources, decisions, unused })
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

/// What to know of a network that was made for integers.
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
    for Source { param, name, layout } in sources {
        let wanted = layout.source_shape(&param.shape);
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
