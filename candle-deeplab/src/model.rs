//! The public model: a network with its weights on a device.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{Module, VarBuilder, VarMap};
use once_cell::sync::OnceCell;

use crate::apart::apart;
use crate::arch;
use crate::config::{CONFIG_FILE, Config, WEIGHTS_FILE};
use crate::error::{Error, Result};
use crate::exec::backend::Backend;
use crate::exec::cpu::Cpu;
#[cfg(feature = "cuda")]
use crate::exec::cuda::Cuda;
use crate::exec::eager::Eager;
use crate::exec::fold;
use crate::exec::{Executor, Isa, Precision, Unavailable};
use crate::graph::{Graph, Param, Role, Size, Value};
use crate::weights::{Values, Weights, WeightsFile};

/// A DeepLab network with its weights, from preprocessed pixels `[N, 3, H, W]` to logits `[N, classes, H, W]`.
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
///
/// On the CPU, the [fused executor](crate::exec::cpu) runs it if the weights are constant f32 tensors; otherwise, and
/// if a gradient is needed, the [eager one](crate::exec::eager) does. [`with_executor`](Self::with_executor) chooses.
/// Clones share the weights.
///
/// # Memory
/// From the first forward pass on, a loaded model on the CPU holds its weights once, packed; the file is read for that
/// and not used afterwards. Weights are packed once, however many threads call at the same time: the others wait. The
/// packing starts as many threads of its own as the current rayon pool has, so that the first call is safe inside any
/// pool.
///
/// The memory of feature maps is kept for the next calls, so that calls with the same few sizes allocate only their
/// results: the memory of as many calls as ran at once, but of no more than the pool has threads. Memory that was more
/// than twice as large as needed for 32 calls in a row is freed.
///
/// [`taps`](Self::taps) that are only a part of a fused step need a second, eager copy of the weights.
#[derive(Debug, Clone)]
pub struct DeepLab {
    config: Config,
    graph: Arc<Graph>,
    weights: Arc<Weights>,
    device: Device,
    executor: Executor,
    precision: Precision,
    eager: Arc<OnceCell<Eager>>,
    cpu: Arc<OnceCell<Cpu>>,
    #[cfg(feature = "cuda")]
    cuda: Arc<OnceCell<Cuda>>,
}

impl DeepLab {
    /// Loads a model directory (`config.json` and `model.safetensors`) in f32 onto a device.
    ///
    /// # Errors
    /// [`Error::NoFolder`] where there is no such directory; [`Error::Io`] and [`Error::Config`] for the recipe;
    /// [`Error::Weights`] where the file is damaged, or its tensors are not exactly those of the network.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let dir = dir.as_ref();
        if !dir.try_exists().map_err(Error::io(dir))? {
            return Err(Error::NoFolder { path: dir.to_owned() });
        }
        let config = Config::from_file(&dir.join(CONFIG_FILE))?;
        let open = |graph: &Graph| WeightsFile::open(&dir.join(WEIGHTS_FILE), graph);
        Self::from_file(config, open, device)
    }

    /// Loads a model that is embedded in the program, from the text of its `config.json` and the content of its
    /// `model.safetensors`. Errors call it `name`.
    ///
    /// ```ignore
    /// let weights = include_bytes!("../model/model.safetensors");
    /// let model = DeepLab::from_embedded("our model", include_str!("../model/config.json"), weights, &Device::Cpu)?;
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_embedded(name: &str, config: &str, weights: &'static [u8], device: &Device) -> Result<Self> {
        let config = Config::parse(config, &Path::new(name).join(CONFIG_FILE))?;
        let open = |graph: &Graph| WeightsFile::embedded(&Path::new(name).join(WEIGHTS_FILE), weights, graph);
        Self::from_file(config, open, device)
    }

    fn from_file(config: Config, open: impl FnOnce(&Graph) -> Result<WeightsFile>, device: &Device) -> Result<Self> {
        let graph = arch::graph(&config.network)?;
        let weights = Weights::File(open(&graph)?);
        let model = Self::from_parts(config, graph, weights, device.clone());
        if !device.is_cpu() {
            model.eager()?;
        }
        Ok(model)
    }

    /// Makes a model whose weights come from a [`VarBuilder`], by the names of [`Graph::params`]: from a `VarMap` for
    /// training, or from any other source that candle can read. Variables that a `VarMap` does not have yet are
    /// initialised as by [`Role::init`].
    ///
    /// # Errors
    /// [`Error::Recipe`] and [`Error::Graph`] where the config describes no possible network, [`Error::Candle`] where a weight
    /// is missing.
    pub fn new(config: &Config, vb: VarBuilder) -> Result<Self> {
        config.validate().map_err(|reason| Error::Recipe { reason })?;
        let graph = arch::graph(&config.network)?;
        let tensor = |param: Param| {
            let init = param.role.init();
            Ok((vb.get_with_hints(param.shape.as_slice(), &param.name, init)?, param.name))
        };
        let tensors = graph.params().into_iter().map(tensor).map(|found| found.map(|(tensor, name)| (name, tensor)));
        let weights = Weights::Tensors(tensors.collect::<Result<_>>()?);
        Ok(Self::from_parts(config.clone(), graph, weights, vb.device().clone()))
    }

    /// The variables for an optimiser: all parameters of the network in the map, by the names of [`Graph::params`],
    /// except for the moving statistics of batch norms.
    ///
    /// # Errors
    /// [`Error::Candle`] where the map lacks one.
    pub fn trainable(&self, vars: &VarMap) -> Result<Vec<Var>> {
        let vars = vars.data().lock().unwrap_or_else(PoisonError::into_inner);
        let trainable = self.graph.params().into_iter().filter(|param| param.role.is_trainable());
        let var = |param: Param| {
            let missing = || candle_core::Error::Msg(format!("there is no variable `{}`", param.name));
            Ok(vars.get(&param.name).cloned().ok_or_else(missing)?)
        };
        trainable.map(var).collect()
    }

    fn from_parts(config: Config, graph: Graph, weights: Weights, device: Device) -> Self {
        let (graph, weights) = (Arc::new(graph), Arc::new(weights));
        let (executor, precision) = (Executor::default(), Precision::default());
        Self {
            config,
            graph,
            weights,
            device,
            executor,
            precision,
            eager: Arc::default(),
            cpu: Arc::default(),
            #[cfg(feature = "cuda")]
            cuda: Arc::default(),
        }
    }

    /// The same weights at another output stride (8, 16 or 32), with the atrous rates scaled to match. They are packed
    /// again for its first forward pass.
    ///
    /// # Errors
    /// [`Error::OutputStride`] where the network has no such form.
    pub fn at_output_stride(&self, output_stride: usize) -> Result<Self> {
        let network = self.config.network.at_output_stride(output_stride)?;
        let graph = Arc::new(arch::graph(&network)?);
        let config = Config { network, ..self.config.clone() };
        Ok(Self {
            config,
            graph,
            eager: Arc::default(),
            cpu: Arc::default(),
            #[cfg(feature = "cuda")]
            cuda: Arc::default(),
            ..self.clone()
        })
    }

    /// The same model with another executor than the default, [`Executor::Auto`]. If both use the same instructions and
    /// precision, they share the packed weights. [`Executor::CudaFused`] needs a model that was loaded onto a CUDA device.
    ///
    /// # Errors
    /// [`Error::Executor`] where this machine or this model does not allow it, [`Error::NoHead`] for a backbone.
    pub fn with_executor(&self, executor: Executor) -> Result<Self> {
        self.with(executor, self.precision)
    }

    /// The same model at another precision than the default, f32. [`Bf16`](Precision::Bf16) needs the
    /// [fused executor](Cpu::new), which computes no gradients of the input. Packed weights are shared as by
    /// [`with_executor`](Self::with_executor).
    ///
    /// # Errors
    /// [`Error::Executor`] where this machine has no fast instructions for it (unless
    /// [`with_executor`](Self::with_executor) has chosen an executor), or this model does not allow it;
    /// [`Error::NoHead`] for a backbone.
    pub fn with_precision(&self, precision: Precision) -> Result<Self> {
        self.with(self.executor, precision)
    }

    fn with(&self, executor: Executor, precision: Precision) -> Result<Self> {
        if matches!(executor, Executor::CudaFused(_)) {
            executor.resolve(precision)?;
            self.check_head()?;
            if !self.device.is_cuda() || !self.weights.are_constant_f32() {
                return Err(Unavailable::GpuWeights.into());
            }
        } else if matches!(executor, Executor::Cpu(_)) || precision != Precision::F32 {
            self.check_head()?;
            if !self.may_fuse() {
                return Err(Unavailable::Weights.into());
            }
        }
        executor.resolve(precision)?;
        let mut other = Self { executor, precision, ..self.clone() };
        // The packed weights depend on nothing else.
        if (other.fused_isa(), other.precision) != (self.fused_isa(), self.precision) {
            other.cpu = Arc::default();
        }
        #[cfg(feature = "cuda")]
        if other.executor != self.executor {
            other.cuda = Arc::default();
        }
        if matches!(executor, Executor::CudaFused(_)) {
            // The eager executor's copy of the weights, which was made when the model was loaded.
            other.eager = Arc::default();
        }
        Ok(other)
    }

    /// The recipe.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The network as data.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The values of one of the network's [parameters](Graph::params), on the CPU.
    ///
    /// # Errors
    /// [`Error::Weights`] where the model has no such parameter, or its file has been damaged since it was opened.
    pub fn parameter(&self, param: &Param) -> Result<Tensor> {
        Ok(self.weights.tensor(param, &Device::Cpu)?.to_device(&Device::Cpu)?)
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Logits `[N, classes, h, w]` at the head's own resolution: a quarter of the input's with a decoder, and 1 /
    /// output stride without.
    ///
    /// # Errors
    /// [`Error::NoHead`] for a backbone without a head; [`Error::Input`] and [`Error::Graph`] where the pixels do not
    /// fit the network; [`Error::Device`] and [`Error::Dtype`] where they are on another device or of another type than
    /// the weights; [`Error::Weights`] where the file has been damaged since it was opened.
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor> {
        let logits = self.graph.logits().ok_or(Error::NoHead)?;
        match self.backend_for(pixels)? {
            Some(backend) => backend.logits(pixels),
            None => self.run(pixels, logits),
        }
    }

    /// Logits `[N, classes, H, W]` at the input's size: the result of [`forward`](Module::forward), with an error of
    /// this crate.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn output(&self, pixels: &Tensor) -> Result<Tensor> {
        self.check_head()?;
        match self.backend_for(pixels)? {
            Some(backend) => backend.output(pixels),
            None => self.run(pixels, self.graph.output()),
        }
    }

    /// The class of each pixel, u8 `[N, H, W]`: the one with the greatest logit at the input's size.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`Error::Graph`] for more than 256 classes; [`Error::NotFinite`] where the fused
    /// executor finds a logit that is NaN.
    pub fn label_map(&self, pixels: &Tensor) -> Result<Tensor> {
        self.check_head()?;
        if let Some(backend) = self.backend_for(pixels)? {
            return backend.label_map(pixels);
        }
        self.graph.check_label_map("take the logits")?;
        let output = self.run(pixels, self.graph.output())?;
        // Zero times any finite number is zero; one value comes over the bus of a GPU.
        if output.affine(0.0, 0.0)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()? != 0.0 {
            return Err(Error::NotFinite);
        }
        Ok(output.argmax(1)?.to_dtype(DType::U8)?)
    }

    /// Does in advance what the first call for inputs of this size would do: reads and packs the weights, plans, and
    /// allocates memory.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn warm_up(&self, input: Size) -> Result<()> {
        let dtype = self.weights.dtype();
        let pixels = Tensor::zeros((1, 3, input.height, input.width), dtype, &self.device)?;
        self.output(&pixels).map(|_| ())
    }

    /// Intermediate values `[N, C, h, w]` by their [taps](Graph::taps), e.g. `backbone` or `backbone.entry_flow.block2`.
    /// Nothing after the last of them is computed.
    ///
    /// The fused executor has only the results of its steps, such as the backbone and its blocks, the ASPP and the
    /// decoder. If one of `taps` is inside a step, the eager executor computes all of them.
    ///
    /// # Errors
    /// [`Error::NoSuchTap`]; otherwise as [`logits`](Self::logits).
    pub fn taps(&self, pixels: &Tensor, taps: &[&str]) -> Result<Vec<Tensor>> {
        let values = taps.iter().map(|tap| self.graph.tap(tap)).collect::<Result<Vec<_>>>()?;
        if let Some(backend) = self.backend_for(pixels)?
            && let Some(tensors) = backend.values(pixels, &values)?
        {
            return Ok(tensors);
        }
        self.run_all(pixels, &values)
    }

    /// The fused executor, if this model uses it, e.g. for its [profile](Cpu::profile). The first call packs the
    /// weights.
    ///
    /// # Errors
    /// [`Error::Weights`] where the file has been damaged since it was opened.
    pub fn fused(&self) -> Result<Option<&Cpu>> {
        let Some(isa) = self.fused_isa() else { return Ok(None) };
        let get = |param: &Param| self.weights.values(param);
        let pack = || Cpu::from_values(self.graph.clone(), isa, self.precision, get);
        self.cpu.get_or_try_init(|| apart(pack)).map(Some)
    }

    /// The fused executor on a GPU, if this model uses it. The first call packs the weights.
    ///
    /// # Errors
    /// [`Error::Weights`] where the file has been damaged since it was opened, [`Error::Executor`] where the GPU has too
    /// little memory, [`Error::Candle`] where CUDA's compiler or libraries fail.
    #[cfg(feature = "cuda")]
    pub fn cuda(&self) -> Result<Option<&Cuda>> {
        let Executor::CudaFused(precision) = self.executor else { return Ok(None) };
        let get = |param: &Param| self.weights.values(param);
        let pack = || Cuda::from_values(self.graph.clone(), &self.device, precision, get);
        self.cuda.get_or_try_init(|| apart(pack)).map(Some)
    }

    /// The instructions of the fused executor, if this model uses it.
    fn fused_isa(&self) -> Option<Isa> {
        if self.may_fuse() { self.executor.resolve(self.precision).ok().flatten() } else { None }
    }

    fn check_head(&self) -> Result<()> {
        self.graph.logits().map(|_| ()).ok_or(Error::NoHead)
    }

    /// A source of the weights by node and role.
    pub(crate) fn reader<'a>(&'a self) -> impl Fn(Value, Role) -> Result<Values<'a>> + Sync {
        fold::reader(&self.graph, |param| self.weights.values(param))
    }

    /// Whether the fused executor can run this model: it computes only logits, and copies the weights.
    fn may_fuse(&self) -> bool {
        self.graph.logits().is_some() && self.device.is_cpu() && self.weights.are_constant_f32()
    }

    fn backend_for(&self, pixels: &Tensor) -> Result<Option<Backend<'_>>> {
        #[cfg(feature = "cuda")]
        if let Some(cuda) = self.cuda()? {
            return Ok(Some(Backend::Cuda(cuda)));
        }
        let may_differentiate = self.executor == Executor::Auto && self.precision == Precision::F32;
        let wants_gradient = may_differentiate && pixels.track_op();
        if wants_gradient { Ok(None) } else { Ok(self.fused()?.map(Backend::Cpu)) }
    }

    fn eager(&self) -> Result<&Eager> {
        let graph = || Graph::clone(&self.graph);
        self.eager.get_or_try_init(|| Eager::new(graph(), |param| self.weights.tensor(param, &self.device)))
    }

    fn run(&self, pixels: &Tensor, wanted: Value) -> Result<Tensor> {
        self.run_all(pixels, &[wanted]).map(|mut values| values.remove(0))
    }

    fn run_all(&self, pixels: &Tensor, wanted: &[Value]) -> Result<Vec<Tensor>> {
        let &[_, 3, height, width] = pixels.dims() else {
            return Err(Error::Input { shape: pixels.dims().to_vec() });
        };
        let (expected, actual) = (self.device.location(), pixels.device().location());
        if expected != actual {
            return Err(Error::Device { expected, actual });
        }
        let (expected, actual) = (self.weights.dtype(), pixels.dtype());
        if expected != actual {
            return Err(Error::Dtype { expected, actual });
        }
        self.graph.sizes(height, width)?;
        Ok(self.eager()?.run(pixels, wanted)?)
    }
}

impl Module for DeepLab {
    /// Logits at the input's size.
    fn forward(&self, pixels: &Tensor) -> candle_core::Result<Tensor> {
        self.output(pixels).map_err(Error::into_candle)
    }
}
