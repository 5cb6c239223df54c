//! The executor: a network with its weights on a GPU.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendDevice;
use candle_core::cuda::cudarc::driver::sys::CUresult;
use candle_core::cuda::cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, CudaViewMut, DevicePtr, DevicePtrMut, DriverError,
};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Storage, Tensor};

use super::batch::largest_batch;
use super::ends::{Images, Source};
use super::gemm::Blas;
use super::kernels::{Module, cuda_error};
use super::pack::Program;
use super::plan::{Answer, Plan, Request};
use super::ready::Ready;
use crate::config::Preprocessing;
use crate::error::{Error, Result};
use crate::exec::choice::{GpuPrecision, Unavailable};
use crate::exec::fold;
use crate::exec::fuse::Operand;
use crate::graph::{Graph, Param, Size, Value};
use crate::weights::Values;

/// How many plans are kept.
const MAX_PLANS: usize = 8;

/// A network with its weights packed on a GPU. **It has not yet run on a GPU.**
///
/// It runs on the device's own stream. One call runs at a time, and the next waits on the GPU until it has ended. Memory
/// is kept for the next calls: as much as the largest call has needed.
pub struct Cuda {
    graph: Arc<Graph>,
    device: CudaDevice,
    precision: GpuPrecision,
    program: Program,
    module: Module,
    blas: Blas,
    weights: CudaSlice<u8>,
    state: Mutex<State>,
}

/// What calls share.
#[derive(Default)]
struct State {
    arena: Option<CudaSlice<u8>>,
    /// The least recently used comes first. All are at the addresses of the arena.
    ready: Vec<Ready>,
    /// When the last call has ended. Streams may differ: candle's is that of the calling thread.
    done: Option<CudaEvent>,
}

/// Images of one size, and how a network sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pictures<'a> {
    /// Red, green and blue of each pixel, a byte each.
    pub(crate) bytes: &'a [&'a [u8]],
    pub(crate) image: Size,
    pub(crate) preprocessing: &'a Preprocessing,
    /// The size that an image is resized to.
    pub(crate) valid: Size,
    /// The network's input: `valid` with padding.
    pub(crate) input: Size,
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cuda").field("device", &self.device).field("precision", &self.precision).finish_non_exhaustive()
    }
}

impl Cuda {
    /// Folds, fuses and packs a network. Each parameter comes from `get`, which is called by several threads at once.
    ///
    /// # Errors
    /// Those of `get`; [`Error::Executor`] where the device is not a GPU; [`Error::Graph`] where the network does not end
    /// in the resize of its [logits](Graph::logits), or a parameter has another number of values; [`Error::Candle`] where
    /// CUDA's compiler or libraries fail.
    pub fn new(
        graph: Arc<Graph>,
        device: &Device,
        precision: GpuPrecision,
        get: impl Fn(&Param) -> Result<Tensor> + Sync,
    ) -> Result<Self> {
        Self::from_values(graph, device, precision, |param| Values::of(&get(param)?))
    }

    /// As [`new`](Self::new), but takes the values of each parameter instead of a tensor.
    pub(crate) fn from_values<'a>(
        graph: Arc<Graph>,
        device: &Device,
        precision: GpuPrecision,
        get: impl Fn(&Param) -> Result<Values<'a>> + Sync,
    ) -> Result<Self> {
        let Device::Cuda(device) = device else { return Err(Unavailable::GpuWeights.into()) };
        let device = device.clone();
        let (program, bytes) = Program::new(&graph, precision, &fold::reader(&graph, get))?;
        let (module, stream) = (Module::new(&device)?, device.cuda_stream());
        let blas = Blas::new(&stream, precision)?;
        let weights = stream.clone_htod(&bytes).map_err(|error| failed(error, &stream, "weights", bytes.len()))?;
        // Other threads have other streams.
        stream.synchronize().map_err(cuda_error)?;
        let state = Mutex::default();
        Ok(Self { graph, device, precision, program, module, blas, weights, state })
    }

    /// The numbers that it computes with.
    pub fn precision(&self) -> GpuPrecision {
        self.precision
    }

    /// Logits `[N, classes, h, w]` at the head's resolution, f32, for pixels `[N, 3, H, W]`, f32 on the same device.
    ///
    /// # Errors
    /// [`Error::Input`] and [`Error::Graph`] where the pixels do not fit the network, [`Error::Device`] and [`Error::Dtype`]
    /// where they are elsewhere or not f32; [`Error::Executor`] where the GPU has too little memory; [`Error::Candle`] where
    /// CUDA fails.
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor> {
        let logits = self.program.fused.logits;
        self.of_pixels(pixels, Answer::Maps(vec![logits.map]), |call| call.planes(logits, None))
    }

    /// Logits `[N, classes, H, W]` at the input's size, as [`logits`](Self::logits).
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn output(&self, pixels: &Tensor) -> Result<Tensor> {
        let (logits, align_corners) = (self.program.fused.logits, self.program.fused.output.align_corners);
        self.of_pixels(pixels, Answer::Maps(vec![logits.map]), |call| {
            call.planes(logits, Some((call.ready.request.input, align_corners)))
        })
    }

    /// The values of nodes, each `[N, C, h, w]`, as [`logits`](Self::logits). `None` where a node is only a part of a step,
    /// such as a convolution before its norm.
    ///
    /// # Errors
    /// As [`logits`](Self::logits).
    pub fn values(&self, pixels: &Tensor, nodes: &[Value]) -> Result<Option<Vec<Tensor>>> {
        let places: Option<Vec<Operand>> = nodes.iter().map(|node| self.program.fused.places[node.index()]).collect();
        let Some(places) = places else { return Ok(None) };
        let maps = places.iter().map(|place| place.map).collect();
        let values = |call: Call<'_>| places.iter().map(|place| call.planes(*place, None)).collect::<Result<Vec<_>>>();
        self.of_pixels(pixels, Answer::Maps(maps), values).map(Some)
    }

    /// The class of each pixel, u8 `[N, H, W]` on the device: the one with the greatest [`output`](Self::output), to
    /// rounding. The output is never computed as a whole. The first of equals wins.
    ///
    /// # Errors
    /// As [`logits`](Self::logits); [`Error::Graph`] for more than 256 classes; [`Error::NotFinite`] where a logit is NaN.
    pub fn label_map(&self, pixels: &Tensor) -> Result<Tensor> {
        self.graph.check_label_map("take the logits")?;
        let (_, input) = self.check(pixels)?;
        self.of_pixels(pixels, Answer::Labels { valid: input, image: input }, |call| call.label_map())
    }

    /// The classes of images, one after another, `[H, W]` each: from 8-bit pixels on the host to labels on the host, which
    /// is all that crosses the bus. Images are resized as [`Preprocessing::prepare`] does it, and the answer has their own
    /// size, as from a segmenter. As many images as fit into the GPU's memory are computed together.
    ///
    /// # Errors
    /// As [`label_map`](Self::label_map).
    pub(crate) fn label_maps(&self, pictures: Pictures) -> Result<Vec<Vec<u8>>> {
        self.graph.check_label_map("take the logits")?;
        let Pictures { bytes, image, preprocessing, valid, input } = pictures;
        let request = |batch| Request {
            batch,
            input,
            source: Source::Images(Images::new(preprocessing, image, valid)),
            answer: Answer::Labels { valid, image },
        };
        let needed =
            |batch: usize| -> Result<u64> { Ok(Plan::new(&self.program, &self.graph, &request(batch))?.bytes as u64) };
        // Where not even one fits, allocating says so.
        let at_once = largest_batch(bytes.len().max(1), self.room()?, needed)?.max(1);
        let mut labels = Vec::with_capacity(bytes.len());
        for bytes in bytes.chunks(at_once) {
            let fill = |stream: &Arc<CudaStream>, to: &mut CudaViewMut<'_, u8>| -> Result<()> {
                for (index, bytes) in bytes.iter().enumerate() {
                    let place = index * bytes.len()..(index + 1) * bytes.len();
                    let mut to =
                        to.try_slice_mut(place).ok_or(Error::Input { shape: vec![image.height, image.width] })?;
                    stream.memcpy_htod(*bytes, &mut to).map_err(cuda_error)?;
                }
                Ok(())
            };
            let found = self.call(request(bytes.len()), fill, |call| call.labels())?;
            labels.extend(found.chunks_exact(image.area()).map(<[u8]>::to_vec));
        }
        Ok(labels)
    }

    /// The bytes that a call for one image takes on the GPU, beyond the weights.
    ///
    /// # Errors
    /// [`Error::Graph`] for an input that the network cannot take, [`Error::Executor`] for one that is too large.
    pub fn memory(&self, input: Size) -> Result<u64> {
        let answer = Answer::Labels { valid: input, image: input };
        let request = Request { batch: 1, input, source: Source::Planes, answer };
        Ok(Plan::new(&self.program, &self.graph, &request)?.bytes as u64)
    }

    /// The bytes that a call may take: what the GPU has free, and what earlier calls have kept.
    ///
    /// # Errors
    /// [`Error::Candle`] where the driver does not say.
    pub fn room(&self) -> Result<u64> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = state.arena.as_ref().map_or(0, CudaSlice::len);
        let (free, _) = self.device.cuda_stream().context().mem_get_info().map_err(cuda_error)?;
        Ok((free + kept) as u64)
    }

    /// The batch and the size of pixels, if the network can take them.
    fn check(&self, pixels: &Tensor) -> Result<(usize, Size)> {
        let wrong = || Error::Input { shape: pixels.dims().to_vec() };
        let &[batch, channels, height, width] = pixels.dims() else { return Err(wrong()) };
        if batch == 0 || channels != self.program.fused.maps[0].channels {
            return Err(wrong());
        }
        if pixels.dtype() != DType::F32 {
            return Err(Error::Dtype { expected: DType::F32, actual: pixels.dtype() });
        }
        let (expected, actual) = (self.device.location(), pixels.device().location());
        if expected != actual {
            return Err(Error::Device { expected, actual });
        }
        Ok((batch, Size::new(height, width)))
    }

    /// Computes an answer to preprocessed pixels.
    fn of_pixels<R>(&self, pixels: &Tensor, answer: Answer, finish: impl FnOnce(Call<'_>) -> Result<R>) -> Result<R> {
        let (batch, input) = self.check(pixels)?;
        let pixels = pixels.contiguous()?;
        let (storage, layout) = pixels.storage_and_layout();
        let (Storage::Cuda(storage), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
            return Err(Error::Input { shape: pixels.dims().to_vec() });
        };
        let pixels = storage.as_cuda_slice::<f32>()?.slice(start..end);
        let fill = |stream: &Arc<CudaStream>, to: &mut CudaViewMut<'_, u8>| -> Result<()> {
            // SAFETY: floats are bytes, and four times as many.
            let bytes = unsafe { pixels.transmute::<u8>(4 * (end - start)) };
            let bytes = bytes.ok_or_else(|| Error::Input { shape: vec![end - start] })?;
            Ok(stream.memcpy_dtod(&bytes, to).map_err(cuda_error)?)
        };
        self.call(Request { batch, input, source: Source::Planes, answer }, fill, finish)
    }

    /// Runs a call: `fill` copies the source to its place, and `finish` makes something of the result.
    fn call<R>(
        &self,
        request: Request,
        fill: impl FnOnce(&Arc<CudaStream>, &mut CudaViewMut<'_, u8>) -> Result<()>,
        finish: impl FnOnce(Call<'_>) -> Result<R>,
    ) -> Result<R> {
        let stream = self.device.cuda_stream();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = &state.done {
            stream.wait(done).map_err(cuda_error)?;
        }
        let result = self.run(&mut state, &stream, request, fill, finish);
        // After an error, too, since a part of the work may be under way.
        state.done = Some(stream.record_event(None).map_err(cuda_error)?);
        result
    }

    fn run<R>(
        &self,
        state: &mut State,
        stream: &Arc<CudaStream>,
        request: Request,
        fill: impl FnOnce(&Arc<CudaStream>, &mut CudaViewMut<'_, u8>) -> Result<()>,
        finish: impl FnOnce(Call<'_>) -> Result<R>,
    ) -> Result<R> {
        let known = state.ready.iter().position(|ready| ready.request == request);
        let plan = match known {
            Some(_) => None,
            None => Some(Plan::new(&self.program, &self.graph, &request)?),
        };
        let bytes = plan.as_ref().map_or(0, |plan| plan.bytes);
        if state.arena.as_ref().is_none_or(|arena| arena.len() < bytes) {
            // Whatever is ready has the addresses of the old arena, which is freed before the new one is allocated.
            state.ready.clear();
            state.arena = None;
            // SAFETY: plans write what they read.
            let arena = unsafe { stream.alloc::<u8>(bytes) };
            let what = format!("{} inputs of {}", request.batch, request.input);
            state.arena = Some(arena.map_err(|error| failed(error, stream, &what, bytes))?);
        }
        let State { arena: Some(arena), ready: all, .. } = state else {
            return Err(Error::Executor("there is no memory for a call".into()));
        };
        // It is taken out, and comes back last if all goes well.
        let mut ready = match (known, plan) {
            (Some(known), _) => all.remove(known),
            (None, Some(plan)) => {
                let bases = [arena.device_ptr(stream).0, self.weights.device_ptr(stream).0];
                Ready::new(request, plan, bases, (&self.module, &self.blas), stream)?
            }
            (None, None) => return Err(Error::Executor("there is no plan for a call".into())),
        };
        let outside = || Error::Executor("a plan is larger than its memory".into());
        fill(stream, &mut arena.try_slice_mut(ready.plan.source.clone()).ok_or_else(outside)?)?;
        // SAFETY: the arena is at least as large as the plan, at whose addresses it was made ready, and the lock keeps
        // other calls away from it; the weights are those that the program has packed.
        unsafe { ready.run(&self.blas, stream) }?;
        let result = finish(Call { executor: self, stream, arena, ready: &ready })?;
        if all.len() == MAX_PLANS {
            all.remove(0);
        }
        all.push(ready);
        Ok(result)
    }
}

/// A call whose work is on the stream.
struct Call<'a> {
    executor: &'a Cuda,
    stream: &'a Arc<CudaStream>,
    arena: &'a CudaSlice<u8>,
    ready: &'a Ready,
}

impl Call<'_> {
    /// A map as a tensor `[N, C, h, w]`, resized if a size and a rule are given.
    fn planes(&self, place: Operand, resized: Option<(Size, bool)>) -> Result<Tensor> {
        let Self { executor, stream, ready, .. } = self;
        let (size, align_corners) = resized.unwrap_or((ready.plan.size_of(place), true));
        let shape = (ready.request.batch, place.channels, size.height, size.width);
        // SAFETY: the kernel writes all of it.
        let mut planes = unsafe { executor.device.alloc::<f32>(shape.0 * shape.1 * size.area()) }?;
        {
            let (address, _written) = planes.device_ptr_mut(stream);
            let launch = ready.plan.to_planes(place, (size, align_corners), ready.bases, address);
            let function = executor.module.function(&launch.kernel)?;
            // SAFETY: the planes have the shape that the launch is made for, and the arena is the plan's.
            unsafe { launch.run(&function, stream) }?;
        }
        let storage = CudaStorage::wrap_cuda_slice(planes, executor.device.clone());
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }

    /// The classes as a tensor `[N, H, W]` on the device.
    fn label_map(&self) -> Result<Tensor> {
        let Self { executor, stream, arena, ready } = self;
        let (Request { batch, input, .. }, labels) = (&ready.request, &ready.plan.labels);
        let count = batch * input.area();
        let mut flag = [0u8];
        stream.memcpy_dtoh(&arena.slice(labels.start + count..labels.end), &mut flag).map_err(cuda_error)?;
        // SAFETY: the copy fills it.
        let mut ids = unsafe { executor.device.alloc::<u8>(count) }?;
        stream.memcpy_dtod(&arena.slice(labels.start..labels.start + count), &mut ids).map_err(cuda_error)?;
        stream.synchronize().map_err(cuda_error)?;
        if flag != [0] {
            return Err(Error::NotFinite);
        }
        let storage = CudaStorage::wrap_cuda_slice(ids, executor.device.clone());
        let shape = (*batch, input.height, input.width);
        Ok(Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false))
    }

    /// The classes on the host.
    fn labels(&self) -> Result<Vec<u8>> {
        let labels = &self.ready.plan.labels;
        let mut bytes = vec![0u8; labels.len()];
        self.stream.memcpy_dtoh(&self.arena.slice(labels.clone()), &mut bytes).map_err(cuda_error)?;
        self.stream.synchronize().map_err(cuda_error)?;
        match bytes.pop() {
            Some(0) => Ok(bytes),
            _ => Err(Error::NotFinite),
        }
    }
}

/// An error of an allocation: where the GPU has too little memory, it says what to do.
fn failed(error: DriverError, stream: &CudaStream, what: &str, bytes: usize) -> Error {
    if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return cuda_error(error).into();
    }
    let free = stream.context().mem_get_info().map_or(0, |(free, _)| free);
    Error::Executor(format!(
        "{what} take {} MiB on the GPU, and {} MiB are free: give fewer images at a time, smaller ones or tiles, compute in \
         bf16, or end other programs that use the GPU",
        bytes >> 20,
        free >> 20
    ))
}
