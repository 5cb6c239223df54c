//! The network of a run, from a start or from a checkpoint.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use candle_deeplab::graph::Graph;
use candle_deeplab::{CONFIG_FILE, Config, DeepLab, arch};

use crate::augment;
use crate::checkpoint::Checkpoint;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::loader::{self, Loader};
use crate::recipe::Recipe;
use crate::start::{Origin, Start, start};

/// Images from which folded batch norms are recovered: their statistics hardly change with more.
const IMAGES: usize = 32;

/// A network with its parameters.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) config: Config,
    pub(super) graph: Arc<Graph>,
    /// In the order of [`Graph::params`].
    pub(super) vars: Vec<Var>,
    pub(super) device: Device,
}

impl Network {
    /// The network of a recipe at its first step.
    pub(super) fn started(
        recipe: &Recipe,
        from: Option<&DeepLab>,
        data: &Arc<Dataset>,
        device: &Device,
    ) -> Result<(Self, Origin)> {
        if let (Some(name), None) = (&recipe.model.start, from) {
            return Err(Error::recipe("model.start", format!("the model `{name}` was not given to the run")));
        }
        let images = Images { recipe, from, data, batches: None, left: IMAGES };
        let started = start(&recipe.model, &data.labels, from, images, recipe.seed, device)?;
        let Start { config, graph, vars, origin } = started;
        Ok((Self { config, graph, vars, device: device.clone() }, origin))
    }

    /// The network of a checkpoint.
    pub(super) fn resumed(checkpoint: &Checkpoint, device: &Device) -> Result<Self> {
        let name = std::path::Path::new("checkpoint").join(CONFIG_FILE);
        let config: Config =
            serde_json::from_str(&checkpoint.state.config).map_err(|e| Error::data(&name, e.to_string()))?;
        config.validate().map_err(|reason| Error::data(&name, reason))?;
        let graph = arch::graph(&config.network)?;
        let tensors = checkpoint.part("model");
        let var = |param: candle_deeplab::graph::Param| {
            let found = tensors.get(&param.name).filter(|tensor| tensor.dims() == param.shape);
            let tensor = found.ok_or_else(|| Error::data(&name, format!("the checkpoint has no `{}`", param.name)))?;
            Ok(Var::from_tensor(&tensor.to_device(device)?)?)
        };
        let vars = graph.params().into_iter().map(var).collect::<Result<_>>()?;
        Ok(Self { config, graph: Arc::new(graph), vars, device: device.clone() })
    }
}

/// Pixels of training images as the start's preprocessing makes them, one image at a time. Nothing is read before the
/// first is asked for.
struct Images<'a> {
    recipe: &'a Recipe,
    from: Option<&'a DeepLab>,
    data: &'a Arc<Dataset>,
    batches: Option<Loader>,
    left: usize,
}

impl Images<'_> {
    fn batches(&mut self) -> Result<&mut Loader> {
        if self.batches.is_none() {
            let model = self.from.ok_or_else(|| Error::recipe("model.start", "there is no model to start with"))?;
            let plain = augment::Scale { min: 1.0, max: 1.0, step: None };
            let augment = augment::Recipe { scale: plain, photometric: None, ..self.recipe.augment.clone() };
            let loader = loader::Recipe { batch: 1, ..self.recipe.loader };
            let preprocessing = &model.config().preprocessing;
            let batches = Loader::new(self.data.clone(), &augment, preprocessing, &loader, self.recipe.seed, 0)?;
            self.batches = Some(batches);
        }
        self.batches.as_mut().ok_or_else(|| Error::recipe("model.start", "there are no images"))
    }
}

impl Iterator for Images<'_> {
    type Item = Result<Tensor>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.batches() {
            Ok(batches) => batches.next().map(|batch| Ok(batch?.pixels)),
            Err(error) => Some(Err(error)),
        }
    }
}
