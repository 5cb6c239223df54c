//! The network at the start of training: which weights it takes from another model, and how the others begin.

mod initial;
mod unfold;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor, Var};
use candle_deeplab::config::{Normalization, Provenance};
use candle_deeplab::graph::{Graph, Param};
use candle_deeplab::{Config, DeepLab, Labels, arch};

use crate::error::Result;
use crate::recipe::Model;

/// A network that is ready to be trained.
#[derive(Debug)]
pub struct Start {
    /// The recipe of the model, as training will write it.
    pub config: Config,
    /// The network.
    pub graph: Arc<Graph>,
    /// Its parameters, in the order of [`Graph::params`].
    pub vars: Vec<Var>,
    /// Where the parameters come from.
    pub origin: Origin,
}

/// Where the parameters of a network come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// How many parameters were taken from the model that training starts with.
    pub taken: usize,
    /// The layers that begin with random numbers, by their paths.
    pub new: Vec<String>,
    /// The layers of the start that this network does not have, or has in another shape.
    pub unused: Vec<String>,
    /// Whether the start's batch norms were folded, and had to be recovered from images.
    pub unfolded: bool,
}

/// Makes the network of a recipe, whose classes are those of `labels`.
///
/// Parameters of `start` are taken where name and shape fit; the others are initialised from `seed`. If the norms of
/// `start` are folded, they are recovered with `images`, batches of preprocessed pixels `[N, 3, H, W]`.
///
/// # Errors
/// [`Error::Recipe`](crate::Error::Recipe) and [`Error::Model`](crate::Error::Model) where the recipe describes no
/// possible network; the errors of `images`.
pub fn start(
    model: &Model,
    labels: &Labels,
    start: Option<&DeepLab>,
    images: impl Iterator<Item = Result<Tensor>>,
    seed: u64,
    device: &Device,
) -> Result<Start> {
    let config = config(model, labels, start)?;
    let graph = arch::graph(&config.network)?;
    let (known, unfolded) = match start {
        None => (HashMap::new(), false),
        Some(start) if start.config().network.normalization == Normalization::Folded => {
            (unfold::unfold(start, images)?, true)
        }
        Some(start) => (parameters(start)?, false),
    };
    let params = graph.params();
    let fits = |param: &Param| known.get(&param.name).filter(|tensor| tensor.dims() == param.shape);
    let (mut vars, mut origin) = (vec![], Origin { unfolded, ..Origin::default() });
    for param in &params {
        let tensor = match fits(param) {
            Some(tensor) => {
                origin.taken += 1;
                tensor.clone()
            }
            None => {
                push_layer(&mut origin.new, &graph.node(param.node).path);
                initial::values(&graph, param, seed)?
            }
        };
        vars.push(Var::from_tensor(&tensor.to_dtype(DType::F32)?.to_device(device)?)?);
    }
    let mut unused: Vec<&String> =
        known.keys().filter(|name| !params.iter().any(|param| param.name == **name && fits(param).is_some())).collect();
    unused.sort();
    for name in unused {
        push_layer(&mut origin.unused, name.rsplit_once('.').map_or(name, |(layer, _)| layer));
    }
    Ok(Start { config, graph: Arc::new(graph), vars, origin })
}

fn config(model: &Model, labels: &Labels, start: Option<&DeepLab>) -> Result<Config> {
    let from = start.map(DeepLab::config);
    let network = model.network(from, labels.names.len())?;
    let base = Config::deeplabv3(network.backbone.clone(), network.classes);
    let config = Config {
        preprocessing: model.preprocessing(from, &base.preprocessing),
        network,
        labels: labels.clone(),
        provenance: Provenance {
            source: model.start.clone().unwrap_or_else(|| "random weights".into()),
            format: "training".into(),
            ..base.provenance
        },
        ..base
    };
    config.validate().map_err(|reason| candle_deeplab::Error::Recipe { reason })?;
    Ok(config)
}

/// Adds the path of a layer. A layer has several parameters, one after the other; its norm counts as part of it.
fn push_layer(layers: &mut Vec<String>, path: &str) {
    let layer = path.strip_suffix(".bn").unwrap_or(path);
    if layers.last().is_none_or(|last| last != layer) {
        layers.push(layer.to_owned());
    }
}

/// The parameters of a model by name.
fn parameters(model: &DeepLab) -> Result<HashMap<String, Tensor>> {
    let named = |param: Param| Ok((model.parameter(&param)?, param.name));
    model.graph().params().into_iter().map(|param| named(param).map(|(tensor, name)| (name, tensor))).collect()
}

#[cfg(test)]
mod tests;
