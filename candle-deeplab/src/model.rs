//! The public model: a network with its weights on a device.

use std::collections::BTreeSet;
use std::path::Path;

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use candle_nn::{Module, VarBuilder};
use safetensors::Dtype as SafeDtype;

use crate::arch::LOGITS;
use crate::config::{Config, Network};
use crate::error::{Error, Result};
use crate::exec::eager::Eager;
use crate::graph::{Graph, Param};

/// The recipe's file in a model directory.
pub const CONFIG_FILE: &str = "config.json";
/// The weights' file in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// A DeepLab network with its weights: preprocessed pixels `[N, 3, H, W]` in, logits `[N, classes, H, W]` out.
///
/// ```no_run
/// use candle_core::{DType, Device, Tensor};
/// use candle_deeplab::DeepLab;
/// use candle_nn::Module;
///
/// let model = DeepLab::load("deeplabv3plus-xception65-voc", &Device::Cpu)?;
/// let pixels = Tensor::zeros((1, 3, 513, 513), DType::F32, &Device::Cpu)?;
/// let logits = model.forward(&pixels)?; // [1, 21, 513, 513]
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DeepLab {
    config: Config,
    executor: Eager,
    device: Device,
}

impl DeepLab {
    /// Loads a model directory (`config.json` and `model.safetensors`) in f32 onto a device.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`] for the recipe; [`Error::Weights`] where the file is damaged, or its tensors
    /// are not exactly those that the network wants.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let config = Config::from_file(&dir.as_ref().join(CONFIG_FILE))?;
        let executor = load_weights(config.network.graph()?, &dir.as_ref().join(WEIGHTS_FILE), device)?;
        Ok(Self { config, executor, device: device.clone() })
    }

    /// A model whose weights come from a [`VarBuilder`], by the names of [`Graph::params`]: from a `VarMap` to train,
    /// or from anywhere else that candle can read.
    ///
    /// # Errors
    /// [`Error::Graph`] where the config describes no possible network, [`Error::Candle`] where a weight is missing.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        let from_code = std::path::Path::new("config");
        config.validate().map_err(|reason| Error::config(from_code, reason))?;
        let get = |param: &Param| -> Result<Tensor> { Ok(vb.get(param.shape.as_slice(), &param.name)?) };
        let executor = Eager::new(config.network.graph()?, get)?;
        Ok(Self { config: config.clone(), executor, device: vb.device().clone() })
    }

    /// The same weights at another output stride (8, 16 or 32), with the atrous rates scaled to match.
    ///
    /// # Errors
    /// [`Error::OutputStride`] where the network has no such form.
    pub fn at_output_stride(&self, output_stride: usize) -> Result<Self> {
        let network = self.config.network.at_output_stride(output_stride)?;
        let executor = self.executor.with_graph(network.graph()?);
        Ok(Self { config: Config { network, ..self.config.clone() }, executor, device: self.device.clone() })
    }

    /// The recipe.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network as data.
    pub fn graph(&self) -> &Graph {
        self.executor.graph()
    }

    /// Where the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Logits `[N, classes, h, w]` at the head's own resolution: a quarter of the input's with a decoder, one over the
    /// output stride without.
    ///
    /// # Errors
    /// As [`taps`](Self::taps).
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor> {
        let graph = self.executor.graph();
        self.run(pixels, &[graph.tap(LOGITS)?]).map(|mut values| values.remove(0))
    }

    /// Intermediate values by their [taps](Graph::taps), e.g. `backbone` or `backbone.entry_flow.block2`.
    ///
    /// # Errors
    /// [`Error::NoSuchTap`]; [`Error::Input`] and [`Error::Graph`] where the pixels do not fit the network.
    pub fn taps(&self, pixels: &Tensor, taps: &[&str]) -> Result<Vec<Tensor>> {
        let graph = self.executor.graph();
        let values = taps.iter().map(|tap| graph.tap(tap)).collect::<Result<Vec<_>>>()?;
        self.run(pixels, &values)
    }

    fn run(&self, pixels: &Tensor, wanted: &[crate::graph::Value]) -> Result<Vec<Tensor>> {
        let &[_, 3, height, width] = pixels.dims() else {
            return Err(Error::Input { shape: pixels.dims().to_vec() });
        };
        self.executor.graph().sizes(height, width)?;
        Ok(self.executor.run(pixels, wanted)?)
    }
}

impl Module for DeepLab {
    /// Logits at the input's size.
    fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        let output = self.executor.graph().output();
        self.run(pixels, &[output]).map(|mut values| values.remove(0)).map_err(Error::into_candle)
    }
}

impl Network {
    /// The names of a graph's parameters that a set of names lacks, and the names that no parameter has.
    pub(crate) fn mismatch<'a>(params: &[Param], names: impl Iterator<Item = &'a str>) -> (Vec<String>, Vec<String>) {
        let wanted: BTreeSet<&str> = params.iter().map(|p| p.name.as_str()).collect();
        let have: BTreeSet<&str> = names.collect();
        let owned = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect();
        (owned(&wanted - &have), owned(&have - &wanted))
    }
}

/// Reads exactly the graph's parameters: a tensor too few, too many or of another shape is an error.
fn load_weights(graph: Graph, path: &Path, device: &Device) -> Result<Eager> {
    if crate::file::open(path)?.metadata().map_err(Error::io(path))?.len() == 0 {
        return Err(Error::weights(path, "the file is empty: convert or download the model again"));
    }
    // SAFETY: the map is read-only and lives until the end of this function. As with every memory map, another process
    // that truncates the file meanwhile can end this one; our own writers only ever rename whole files into place.
    let tensors = unsafe { MmapedSafetensors::new(path) }.map_err(|e| {
        Error::weights(path, format!("not a readable safetensors file ({e}): convert or download the model again"))
    })?;
    let params = graph.params();
    let views = tensors.tensors();
    let readable = [SafeDtype::F16, SafeDtype::BF16, SafeDtype::F32, SafeDtype::F64];
    if let Some((name, view)) = views.iter().find(|(_, view)| !readable.contains(&view.dtype())) {
        return Err(Error::weights(
            path,
            format!("`{name}` is {:?}, not a float that this program reads", view.dtype()),
        ));
    }
    let (missing, unexpected) = Network::mismatch(&params, views.iter().map(|(name, _)| name.as_str()));
    if !missing.is_empty() || !unexpected.is_empty() {
        let reason = format!(
            "the weights are not those of the network in {CONFIG_FILE}: missing {}, unexpected {}",
            listed(&missing),
            listed(&unexpected)
        );
        return Err(Error::weights(path, reason));
    }
    Eager::new(graph, |param| -> Result<Tensor> {
        let tensor = tensors.load(&param.name, device)?;
        if tensor.dims() != param.shape {
            let reason = format!("`{}` has shape {:?}, the network wants {:?}", param.name, tensor.dims(), param.shape);
            return Err(Error::weights(path, reason));
        }
        Ok(tensor.to_dtype(DType::F32)?)
    })
}

/// The first few of a list of names, with their number.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names {
        [] => "none".into(),
        _ if names.len() <= SHOWN => names.join(", "),
        _ => format!("{} ({}, …)", names.len(), names[..SHOWN].join(", ")),
    }
}
