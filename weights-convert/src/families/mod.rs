//! Whose weights these are: from the names and shapes in a file to a recipe and a source for each of our parameters.

mod tf_slim;

use candle_deeplab::config::{Config, Network};
use candle_deeplab::graph::{Graph, Op, Param, Role};

pub use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::read::Checkpoint;

/// What a file does not tell, from whoever knows: each overrides what would be inferred.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Input size over feature size the network was trained for: 8, 16 or 32.
    pub output_stride: Option<usize>,
    /// Dilations of the ASPP's atrous branches at that output stride.
    pub atrous_rates: Option<Vec<usize>>,
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

/// A file understood: the model's recipe and where each of its parameters comes from.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What `config.json` will hold.
    pub config: Config,
    /// One source for each parameter of the network, in its order.
    pub sources: Vec<Source>,
    /// What was decided on the way.
    pub decisions: Vec<Decision>,
}

/// Finds out whose weights a file holds and how its network is built.
///
/// # Errors
/// [`Error::Unrecognised`] where no family knows the names; [`Error::MissingTensor`], [`Error::WrongShape`] and
/// [`Error::WrongGeometry`] where the file is not the network that its names promise.
pub fn recognise(checkpoint: &Checkpoint, options: &Options) -> Result<Recipe> {
    let recipe = tf_slim::recognise(checkpoint, options)?;
    check_shapes(checkpoint, &recipe.sources)?;
    let told = options.output_stride.is_some() || options.atrous_rates.is_some() || options.multi_grid.is_some();
    if !told {
        check_geometry(checkpoint, &recipe.config.network, &recipe.sources)?;
    }
    Ok(recipe)
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
    let graph: Graph = network.graph()?;
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
